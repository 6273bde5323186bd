//! Where a worker keeps what it knows of the flows that it escorts: places that grow in number with use, a deadline for each,
//! and an order in which some make room.

use std::time::Duration;

use flow::{FlowId, Numbering};

use super::splice::Greeted;
use super::{Escort, Header, Stage};
use crate::lists::Lists;
use crate::wheel::Wheel;

/// The list of those that make room.
const YIELDING: usize = 0;

/// The flows that a worker escorts.
pub(crate) struct Escorts {
    /// There are as many as there have ever been escorts at once.
    places: Vec<Option<Escort>>,
    vacant: Vec<u16>,
    /// Places that make room where there is none, the oldest first.
    yielding: Lists,
    wheel: Wheel,
    /// The place that is looked at next for a flow that has ended unnoticed.
    hand: usize,
}

impl Escorts {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), vacant: Vec::new(), yielding: Lists::new(1), wheel: Wheel::new(), hand: 0 }
    }

    /// The place that the next escort gets, if there is one: no more than a flow's path can name.
    pub(crate) fn vacancy(&self) -> Option<u16> {
        self.vacant.last().copied().or_else(|| u16::try_from(self.places.len()).ok())
    }

    /// Keeps an escort at `place`: the current [`Escorts::vacancy`], or where the same flow had one before. It makes room for
    /// others until it is settled.
    pub(crate) fn put(&mut self, place: u16, escort: Escort, deadline: Duration, now: Duration) {
        let at = usize::from(place);
        if at == self.places.len() {
            self.places.push(None);
            // So that nothing has to be allocated when it goes.
            self.vacant.reserve(self.places.len());
        }
        if self.places[at].replace(escort).is_none() && self.vacant.last() == Some(&place) {
            self.vacant.pop();
        }
        self.yielding.remove(place.into());
        self.yielding.push(YIELDING, place.into());
        self.wheel.remove(place.into());
        self.wheel.set(place.into(), deadline, now);
    }

    /// The escort at `place`, if it is this flow's.
    #[inline]
    pub(crate) fn at(&mut self, place: u16, flow: FlowId) -> Option<&mut Escort> {
        self.places.get_mut(usize::from(place))?.as_mut().filter(|escort| escort.flow == flow)
    }

    /// The header that the target of the flow at `place` has to get, and how the flow's numbers stand.
    #[inline]
    pub(crate) fn headed(&mut self, place: u16, flow: FlowId) -> Option<(&mut Header, &mut Numbering)> {
        match self.at(place, flow)? {
            Escort { numbering, stage: Stage::Header(header), .. } => Some((header, numbering)),
            Escort { stage: Stage::Greeting(_), .. } => None,
        }
    }

    /// The greeting of the flow at `place`, if its ends have not met.
    #[inline]
    pub(crate) fn greeted(&mut self, place: u16, flow: FlowId) -> Option<&mut Greeted> {
        match &mut self.at(place, flow)?.stage {
            Stage::Greeting(greeted) => Some(greeted),
            Stage::Header(_) => None,
        }
    }

    /// The escort at `place` does not make room any more.
    pub(crate) fn settle(&mut self, place: u16) {
        self.yielding.remove(place.into());
    }

    /// When the escort at `place` is to be looked after.
    pub(crate) fn set_deadline(&mut self, place: u16, deadline: Duration, now: Duration) {
        self.wheel.set(place.into(), deadline, now);
    }

    /// The escort at `place` is over.
    pub(crate) fn remove(&mut self, place: u16) {
        if self.places.get_mut(usize::from(place)).and_then(Option::take).is_some() {
            self.yielding.remove(place.into());
            self.wheel.remove(place.into());
            self.vacant.push(place);
        }
    }

    /// Removes one of the next few escorts whose flow has ended, if any has.
    pub(crate) fn reclaim(&mut self, has_ended: impl Fn(FlowId) -> bool) {
        const LOOKS: usize = 16;
        for _ in 0..LOOKS.min(self.places.len()) {
            let place = self.hand % self.places.len();
            self.hand = place + 1;
            if self.places[place].as_ref().is_some_and(|escort| has_ended(escort.flow)) {
                return self.remove(place as u16);
            }
        }
    }

    /// Who makes room next.
    pub(crate) fn oldest(&self) -> Option<(u16, FlowId)> {
        let place = self.yielding.first(YIELDING)?;
        Some((place as u16, self.places[place as usize].as_ref()?.flow))
    }

    /// Turns the wheel on.
    pub(crate) fn advance(&mut self, now: Duration) {
        self.wheel.advance(now);
    }

    /// One of those whose deadline has come. It has none until it is given another.
    pub(crate) fn take_due(&mut self) -> Option<(u16, FlowId)> {
        let place = self.wheel.take_due()?;
        Some((place as u16, self.places[place as usize].as_ref()?.flow))
    }

    /// When the next deadline comes.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.wheel.next()
    }
}
