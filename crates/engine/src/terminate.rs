//! The terminate path: the consumer's TCP ends in a connection of our own, and a second one goes on to the target.
//!
//! A terminated flow is a [`Relay`]: two connections of `stack`, owned by the worker that met the SYN. The flow table
//! leads both sides' packets to its place here. The consumer's SYN is answered only when the target has answered ours, so that a
//! target that refuses makes us refuse.

pub(crate) mod fence;
mod openings;
pub(crate) mod partings;
mod preface;
mod relay;

use std::time::Duration;

use flow::{Cause, Fate, FlowId, Found, Key, LaneId, Lanes};
use stack::{Parting, Settings, Stack};
use topology::{DeviceId, EndpointId};
use wire::{Frame, Packet, SynOptions};

use crate::contract::Output;
use crate::journey::BATCH;
use crate::plan::Plan;
use crate::shared::Shared;
use crate::verdict::Reason;
use crate::wheel::Wheel;

pub(crate) use relay::Opening;

use fence::{Gate, fenced};
use openings::Openings;
use partings::Partings;
use relay::{Outlook, Relay};

/// Terminated flows of one worker. Where the kernel refuses the addresses for their buffers, there are fewer.
pub(crate) const CAPACITY: usize = 16_384;
/// Relays attended to before frames have their turn again.
const AT_ONCE: usize = 256;

/// A worker's own TCP: its stack and its relays.
pub(crate) struct Terminator {
    stack: Stack,
    /// By place. There are as many places as there have ever been relays at once.
    relays: Vec<Option<Box<Relay>>>,
    vacant: Vec<u32>,
    openings: Openings,
    wheel: Wheel,
    /// Relays that packets of the batch in hand have come for. Each is moved on once, when all of the batch is in: what comes
    /// together leaves together, and is acknowledged together.
    stirred: Vec<u32>,
    pub(crate) partings: Partings,
}

/// What became of a packet of a terminated flow.
pub(crate) struct Taken {
    pub(crate) reason: Reason,
    /// What the target's SYN-ACK has said, if this was it.
    pub(crate) syn_options: Option<SynOptions>,
}

/// What has become of a terminated flow that was moved on.
pub(crate) enum News {
    /// The target of a flow of this lane has answered, and the connection stands.
    Answered(LaneId),
    /// It is over.
    Over(Over),
}

/// A terminated flow that is over and has been cleared away here: its keys can go.
pub(crate) struct Over {
    pub(crate) flow: FlowId,
    pub(crate) cause: Cause,
    /// Whether its target has refused it.
    pub(crate) is_refused: bool,
}

impl Terminator {
    pub(crate) fn new(shared: &Shared, plan: &Plan, seed: [u64; 2]) -> Self {
        let topology = plan.topology();
        // The MSS that we announce is the ceiling itself: 40 bytes of headers below this.
        let mtu = topology.run.mss_ceiling + 40;
        let settings = Settings { mtu: mtu.into(), connections: 2 * CAPACITY, ..Settings::new(seed) };
        let stack = Stack::new(settings, &shared.terminate_memory);
        Self {
            relays: Vec::new(),
            vacant: Vec::new(),
            openings: Openings::new(topology, shared.workers(), stack.places() / 2),
            stack,
            wheel: Wheel::new(),
            stirred: Vec::with_capacity(BATCH),
            partings: Partings::new(seed),
        }
    }

    /// Whether frames may leave with work undone from now on.
    pub(crate) fn set_offload(&mut self, offload: bool) {
        self.stack.set_offload(offload);
    }

    /// Gets ready for a plan's endpoints.
    pub(crate) fn take_up(&mut self, plan: &Plan) {
        self.openings.take_up(plan.topology());
    }

    /// How many relays there are.
    pub(crate) fn len(&self) -> usize {
        self.relays.len() - self.vacant.len()
    }

    /// How many there can be: [`CAPACITY`], or fewer where the kernel has refused addresses.
    pub(crate) fn capacity(&self) -> usize {
        self.stack.places() / 2
    }

    /// A place for one more relay, of a newcomer at `endpoint`. Where places are short, a half-open one makes room: `over` is told.
    /// Where memory is, none could: it has hardly any.
    pub(crate) fn vacancy<O: Output>(
        &mut self,
        endpoint: EndpointId,
        now: Duration,
        out: &mut O,
        over: &mut impl FnMut(Over, &mut O),
    ) -> Result<u32, Reason> {
        let own = self.openings.crowded_out_by(endpoint);
        let oldest = match self.place() {
            Ok(_) => own,
            Err(Reason::TerminateFull) => own.or_else(|| self.openings.oldest_of_most()),
            Err(reason) => return Err(reason),
        };
        if let Some(ended) = oldest.and_then(|oldest| self.crowd_out(oldest, now, out)) {
            over(ended, out);
        }
        self.place()
    }

    /// Ends a half-open relay, so that there is room for a newcomer elsewhere: the oldest of the endpoint that has most.
    pub(crate) fn make_room<O: Output>(&mut self, now: Duration, out: &mut O) -> Option<Over> {
        let oldest = self.openings.oldest_of_most()?;
        self.crowd_out(oldest, now, out)
    }

    /// Opens the relay at `place`, which must be the current [`Terminator::vacancy`].
    pub(crate) fn open(
        &mut self,
        place: u32,
        endpoint: EndpointId,
        opening: Opening<'_>,
        now: Duration,
    ) -> Result<(), Reason> {
        let relay = Some(Relay::open(&mut self.stack, opening, now).ok_or(Reason::TerminateFull)?);
        match self.vacant.pop() {
            Some(_) => self.relays[place as usize] = relay,
            None => {
                self.relays.push(relay);
                // So that nothing has to be allocated when it ends.
                self.vacant.reserve(self.relays.len());
            }
        }
        self.openings.enlist(endpoint, place);
        self.partings.prepare();
        Ok(())
    }

    /// Takes in a packet of the relay at `place`. What it causes happens at the next [`Terminator::settle`].
    pub(crate) fn input<O: Output>(
        &mut self,
        place: u32,
        found: &Found,
        frame: &Frame<'_>,
        packet: &Packet,
        now: Duration,
        out: &mut O,
    ) -> Taken {
        if !self.is_at(place, found.flow) {
            return Taken { reason: Reason::NoFlow, syn_options: None };
        }
        let taken = self.stir(place, out, |relay, stack, gate| {
            let reason = relay.input(stack, found.direction, frame, packet, now, gate);
            Taken { reason, syn_options: relay.take_syn_options() }
        });
        taken.unwrap_or(Taken { reason: Reason::Terminated, syn_options: None })
    }

    /// Takes note that the path to the peer of one half of the relay at `place` carries no more than `mtu`, as an error about
    /// a segment with this `sequence` number says, if that half has such a segment under way: what is too large leaves again, at
    /// the next [`Terminator::settle`].
    pub(crate) fn lower_mtu<O: Output>(
        &mut self,
        place: u32,
        found: &Found,
        mtu: usize,
        sequence: u32,
        out: &mut O,
    ) -> Reason {
        if !self.is_at(place, found.flow) {
            return Reason::IcmpNoFlow;
        }
        let lowered = self.stir(place, out, |relay, _, _| relay.lower_mtu(found.direction, mtu, sequence));
        if lowered == Some(true) { Reason::IcmpTerminated } else { Reason::IcmpNoFlow }
    }

    /// Whether relays wait for [`Terminator::settle`].
    #[inline]
    pub(crate) fn is_stirred(&self) -> bool {
        !self.stirred.is_empty()
    }

    /// Moves on the relays that packets have come for. Tells `tell` what has become of them.
    pub(crate) fn settle<O: Output>(
        &mut self,
        now: Duration,
        out: &mut O,
        tell: &mut impl FnMut(News, &mut O),
    ) {
        for nth in 0..self.stirred.len() {
            if let Some(news) = self.attend(self.stirred[nth], now, out) {
                tell(news, out);
            }
        }
        self.stirred.clear();
    }

    /// Attends to relays whose time has come, so many at once. Tells `tell` what has become of them.
    pub(crate) fn expire<O: Output>(
        &mut self,
        now: Duration,
        out: &mut O,
        tell: &mut impl FnMut(News, &mut O),
    ) {
        self.wheel.advance(now);
        for _ in 0..AT_ONCE {
            let Some(place) = self.wheel.take_due() else { return };
            if let Some(news) = self.attend(place, now, out) {
                tell(news, out);
            }
        }
    }

    /// When [`Terminator::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.wheel.next()
    }

    /// Ends every relay that has a half on `device`: its other half is told with a RST, at the next [`Terminator::expire`].
    pub(crate) fn detach(&mut self, device: DeviceId, now: Duration) {
        for (place, relay) in self.relays.iter_mut().enumerate() {
            if let Some(relay) = relay.as_mut().filter(|relay| relay.is_on(device)) {
                relay.abort(Cause::Released);
                self.wheel.set(place as u32, now, now);
            }
        }
    }

    /// Ends every relay whose lane has ended: both peers are told with a RST, at the next [`Terminator::expire`].
    pub(crate) fn end_sentenced(&mut self, lanes: &Lanes, now: Duration) {
        for (place, relay) in self.relays.iter_mut().enumerate() {
            let Some(relay) = relay.as_mut() else { continue };
            if let Fate::Ended(cause) = lanes.fate(relay.lane) {
                relay.abort(cause);
                self.wheel.set(place as u32, now, now);
            }
        }
    }

    /// A flow opens that has this key: what is left of a connection that had it before is of no use any more.
    pub(crate) fn forget_parting(&mut self, key: &Key) {
        self.partings.forget(key);
    }

    /// What is left of the terminated connection that packets with this key belonged to, if both sides have closed it.
    pub(crate) fn parting(&self, key: &Key, now: Duration) -> Option<Parting> {
        self.partings.find(key, now)
    }

    /// Whether the relay at `place` is this flow's.
    fn is_at(&self, place: u32, flow: FlowId) -> bool {
        self.relays.get(place as usize).and_then(Option::as_ref).is_some_and(|relay| relay.flow == flow)
    }

    /// The place that the next relay gets.
    fn place(&self) -> Result<u32, Reason> {
        let new = || Some(self.relays.len()).filter(|len| *len < self.capacity()).map(|len| len as u32);
        let place = self.vacant.last().copied().or_else(new).ok_or(Reason::TerminateFull)?;
        if self.stack.has_room() { Ok(place) } else { Err(Reason::TerminateMemory) }
    }

    /// Lets a relay do `work`, behind the fence; it is moved on when the batch is in. `None` if that has panicked: then moving on
    /// is its end.
    fn stir<O: Output, T>(
        &mut self,
        place: u32,
        out: &mut O,
        work: impl FnOnce(&mut Relay, &mut Stack, &mut Gate<'_, O>) -> T,
    ) -> Option<T> {
        let stack = &mut self.stack;
        let relay = self.relays.get_mut(place as usize)?.as_mut()?;
        let done = fenced(out, |gate| work(relay, stack, gate));
        if done.is_none() {
            relay.abort(Cause::Panicked);
        }
        if !self.stirred.contains(&place) {
            self.stirred.push(place);
        }
        done
    }

    /// Moves a relay on, behind the fence.
    fn attend<O: Output>(&mut self, place: u32, now: Duration, out: &mut O) -> Option<News> {
        let stack = &mut self.stack;
        let relay = self.relays.get_mut(place as usize)?.as_mut()?;
        let was_opening = relay.is_opening();
        match fenced(out, |gate| relay.attend(stack, now, gate)) {
            Some(Outlook::Until(deadline)) => {
                self.wheel.set(place, deadline, now);
                let has_answered = was_opening && !relay.is_opening();
                has_answered.then(|| {
                    self.openings.settle(place);
                    News::Answered(relay.lane)
                })
            }
            Some(Outlook::Over) => self.remove(place, now).map(News::Over),
            None => {
                // What is left of it may still be able to tell its peers. If not, they will find out.
                fenced(out, |gate| {
                    relay.abort(Cause::Panicked);
                    relay.attend(stack, now, gate)
                });
                self.remove(place, now).map(News::Over)
            }
        }
    }

    /// Ends a half-open relay whose place is needed.
    fn crowd_out<O: Output>(&mut self, place: u32, now: Duration, out: &mut O) -> Option<Over> {
        let stack = &mut self.stack;
        let relay = self.relays.get_mut(place as usize)?.as_mut()?;
        fenced(out, |gate| relay.make_room(stack, now, gate));
        self.remove(place, now)
    }

    fn remove(&mut self, place: u32, now: Duration) -> Option<Over> {
        let relay = self.relays.get_mut(place as usize)?.take()?;
        self.openings.settle(place);
        self.wheel.remove(place);
        self.vacant.push(place);
        let cause = relay.cause();
        if cause == Cause::Finished {
            relay.partings().for_each(|(key, parting)| self.partings.keep(key, parting, now));
        }
        Some(Over { flow: relay.flow, cause, is_refused: relay.is_refused() })
    }
}

#[cfg(test)]
mod tests;
