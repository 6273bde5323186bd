//! Where a worker keeps what it knows of the flows that it escorts: places that grow in number with use, a deadline for each,
//! and an order in which some make room. No endpoint has more than half of them: clients that connect and say nothing may keep
//! theirs for as long as they like.

use std::time::Duration;

use flow::{FlowId, Numbering};
use topology::EndpointId;

use super::splice::Greeted;
use super::{Escort, Header, Stage};
use crate::lists::Lists;
use crate::wheel::Wheel;

/// As many as a flow's path can name.
const MOST: usize = 1 << 16;

/// The flows that a worker escorts.
pub(crate) struct Escorts {
    /// How many there may be at once.
    most: usize,
    /// There are as many as there have ever been escorts at once.
    places: Vec<Option<Escort>>,
    vacant: Vec<u16>,
    /// Places that make room where there is none: by endpoint, the oldest first.
    yielding: Lists,
    /// By endpoint: how many places it has.
    counts: Vec<usize>,
    wheel: Wheel,
    /// The place that is looked at next for a flow that has ended unnoticed.
    hand: usize,
}

impl Escorts {
    pub(crate) fn new() -> Self {
        let (yielding, wheel) = (Lists::new(0), Wheel::new());
        let (places, vacant, counts) = (Vec::new(), Vec::new(), Vec::new());
        Self { most: MOST, places, vacant, yielding, counts, wheel, hand: 0 }
    }

    /// There may be no more than this at once.
    pub(crate) fn limit(&mut self, most: usize) {
        self.most = most.min(MOST);
    }

    /// The place that the next escort of this endpoint's gets, if there is one.
    pub(crate) fn vacancy(&self, endpoint: EndpointId) -> Option<u16> {
        if self.has_half(endpoint) {
            return None;
        }
        let next = self.places.len();
        self.vacant.last().copied().or_else(|| u16::try_from(next).ok().filter(|_| next < self.most))
    }

    /// Whether an endpoint has as many places as it may have.
    fn has_half(&self, endpoint: EndpointId) -> bool {
        self.counts.get(endpoint.index()).is_some_and(|count| *count >= self.most.div_ceil(2))
    }

    /// Keeps an escort at `place`, the current [`Escorts::vacancy`]. It makes room for others until it is settled.
    pub(crate) fn put(&mut self, place: u16, escort: Escort, deadline: Duration, now: Duration) {
        let endpoint = escort.endpoint.index();
        match self.vacant.pop() {
            Some(_) => self.places[usize::from(place)] = Some(escort),
            None => {
                self.places.push(Some(escort));
                // So that nothing has to be allocated when it goes.
                self.vacant.reserve(self.places.len());
            }
        }
        if endpoint >= self.counts.len() {
            self.counts.resize(endpoint + 1, 0);
            self.yielding.grow(endpoint + 1);
        }
        self.counts[endpoint] += 1;
        self.yielding.push(endpoint, place.into());
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
        if let Some(escort) = self.places.get_mut(usize::from(place)).and_then(Option::take) {
            self.counts[escort.endpoint.index()] -= 1;
            self.yielding.remove(place.into());
            self.wheel.remove(place.into());
            self.vacant.push(place);
        }
    }

    /// Removes one of the next few escorts, if it is over for its flow and its place is of use to this endpoint.
    pub(crate) fn reclaim(&mut self, endpoint: EndpointId, mut is_over: impl FnMut(FlowId) -> bool) {
        const LOOKS: usize = 16;
        let only_own = self.has_half(endpoint);
        for _ in 0..LOOKS.min(self.places.len()) {
            let place = self.hand % self.places.len();
            self.hand = place + 1;
            let of_use = self.places[place].as_ref().filter(|own| !only_own || own.endpoint == endpoint);
            if of_use.is_some_and(|escort| is_over(escort.flow)) {
                return self.remove(place as u16);
            }
        }
    }

    /// Who makes room next for one of this endpoint's: one of its own if it has its half, otherwise one of whoever has most.
    pub(crate) fn oldest_against(&self, endpoint: EndpointId) -> Option<(u16, FlowId)> {
        let of = if self.has_half(endpoint) {
            endpoint.index()
        } else {
            let yields = |of: &usize| self.yielding.first(*of).is_some();
            (0..self.counts.len()).filter(yields).max_by_key(|of| self.counts[*of])?
        };
        let place = self.yielding.first(of)?;
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
