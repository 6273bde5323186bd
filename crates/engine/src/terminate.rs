//! The terminate path: the consumer's TCP ends in a connection of our own, and a second one goes on to the target.
//!
//! A terminated flow is a [`Relay`]: two connections of `stack`, owned by the worker that met the SYN. The flow table
//! leads both sides' packets to it. The consumer's SYN is answered only when the target has answered ours, so that a
//! target that refuses makes us refuse.

use std::time::Duration;

use flow::{ANSWER_WITHIN, Cause, Direction, FlowId, Found, Key};
use stack::{Connection, InputError, Settings, Stack, State};
use topology::{DeviceId, Topology};
use wire::Frame;

use crate::contract::{Egress, Output};
use crate::verdict::Reason;
use crate::view::View;

/// Terminated flows of one worker. Each holds up to 1 MiB of buffers while it is busy.
const CAPACITY: usize = 1024;
const NEVER: Duration = Duration::MAX;

/// A worker's own TCP: its stack and its relays.
pub(crate) struct Terminator {
    stack: Stack,
    relays: Vec<Option<Relay>>,
    vacant: Vec<u32>,
    /// When each relay wants to be looked at next, beside the relays so that a scan for the earliest is short.
    deadlines: Vec<Duration>,
    earliest: Duration,
}

/// What a new relay is made of.
#[derive(Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub(crate) flow: FlowId,
    pub(crate) original: &'a Key,
    pub(crate) reply: &'a Key,
    pub(crate) view: &'a View,
    pub(crate) idle_timeout: Duration,
}

/// What became of a packet of a terminated flow.
pub(crate) struct Taken {
    pub(crate) reason: Reason,
    /// The flow is over and has been cleared away here: its keys can go.
    pub(crate) over: Option<Over>,
}

/// A terminated flow that is over.
pub(crate) struct Over {
    pub(crate) flow: FlowId,
    pub(crate) cause: Cause,
}

/// One terminated flow.
struct Relay {
    flow: FlowId,
    consumer: Half,
    target: Half,
    opened: Duration,
    heard: Duration,
    idle_timeout: Duration,
    /// Why we have ended it ourselves, if we have.
    aborted: Option<Cause>,
}

/// One of a relay's two connections, and the device that it is on.
struct Half {
    connection: Connection,
    device: DeviceId,
}

impl Terminator {
    pub(crate) fn new(topology: &Topology, seed: [u64; 2]) -> Self {
        // The MSS that we announce is the ceiling itself: 40 bytes of headers below this.
        let mtu = topology.run.mss_ceiling + 40;
        Self {
            stack: Stack::new(Settings { mtu: mtu.into(), ..Settings::new(seed) }),
            relays: (0..CAPACITY).map(|_| None).collect(),
            vacant: (0..CAPACITY as u32).rev().collect(),
            deadlines: vec![NEVER; CAPACITY],
            earliest: NEVER,
        }
    }

    /// Whether frames may leave with work undone from now on.
    pub(crate) fn set_offload(&mut self, offload: bool) {
        self.stack.set_offload(offload);
    }

    /// A place for one more relay.
    pub(crate) fn vacancy(&self) -> Option<u32> {
        self.vacant.last().copied()
    }

    /// Opens the relay at `place`, which must be the current [`Terminator::vacancy`]: ready for the consumer's SYN, and
    /// about to dial the target.
    pub(crate) fn open(&mut self, place: u32, opening: &Opening<'_>, now: Duration) {
        let Opening { flow, original, reply, view, idle_timeout } = *opening;
        let (interface, node) = (view.locate(original.place), view.locate(reply.place));
        let local = (interface.address.ip(), original.local_port).into();
        let remote = (original.remote.ip(), original.remote_port).into();
        let consumer = Connection::accept(&mut self.stack, local, remote, now);
        let from = (node.address.ip(), reply.local_port).into();
        let to = (reply.remote.ip(), reply.remote_port).into();
        let target = Connection::dial(&mut self.stack, from, to, now);
        self.vacant.pop();
        self.relays[place as usize] = Some(Relay {
            flow,
            consumer: Half { connection: consumer, device: interface.device },
            target: Half { connection: target, device: node.device },
            opened: now,
            heard: now,
            idle_timeout,
            aborted: None,
        });
    }

    /// Takes in a packet of the relay at `place`.
    pub(crate) fn input<O: Output>(
        &mut self,
        place: u32,
        found: &Found,
        frame: &Frame<'_>,
        now: Duration,
        out: &mut O,
    ) -> Taken {
        let Some(relay) = find(&mut self.relays, place, found.flow) else {
            return Taken { reason: Reason::NoFlow, over: None };
        };
        let half = relay.half(found.direction);
        let device = half.device;
        let mut emit = |frame: &mut Frame<'_>| out.emit(frame, Egress::Device(device));
        let reason = match half.connection.input(&mut self.stack, frame, now, &mut emit) {
            Ok(()) => {
                relay.heard = now;
                Reason::Terminated
            }
            // No sign of life: whoever sends it may know nothing of this relay.
            Err(InputError::LateSyn) => Reason::Terminated,
            Err(InputError::Stray | InputError::Checksum) => Reason::BadChecksum,
        };
        Taken { reason, over: self.attend(place, now, out) }
    }

    /// Takes note that the path to the peer of one half of the relay at `place` carries no more than `mtu`, as an error about
    /// a segment with this `sequence` number says. `false` if no such segment of that half is under way.
    pub(crate) fn lower_mtu(&mut self, place: u32, found: &Found, mtu: usize, sequence: u32) -> bool {
        find(&mut self.relays, place, found.flow)
            .is_some_and(|relay| relay.half(found.direction).connection.lower_mtu(mtu, sequence))
    }

    /// Attends to every relay whose time has come; tells `over` about those that end.
    pub(crate) fn expire<O: Output>(
        &mut self,
        now: Duration,
        out: &mut O,
        over: &mut impl FnMut(Over, &mut O),
    ) {
        if now < self.earliest {
            return;
        }
        for place in 0..CAPACITY as u32 {
            if self.deadlines[place as usize] <= now
                && let Some(ended) = self.attend(place, now, out)
            {
                over(ended, out);
            }
        }
        self.earliest = self.deadlines.iter().copied().min().unwrap_or(NEVER);
    }

    /// When [`Terminator::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        (self.earliest != NEVER).then_some(self.earliest)
    }

    /// Ends every relay that has a half on `device`: its other half is told with a RST, at the next [`Terminator::expire`].
    pub(crate) fn detach(&mut self, device: DeviceId) {
        for (relay, deadline) in self.relays.iter_mut().zip(&mut self.deadlines) {
            if let Some(relay) = relay
                && [&relay.consumer, &relay.target].iter().any(|half| half.device == device)
            {
                relay.abort(Cause::Released);
                *deadline = Duration::ZERO;
                self.earliest = Duration::ZERO;
            }
        }
    }

    /// Moves a relay on: bytes across, frames out, the next deadline. Tells if that was its end.
    fn attend<O: Output>(&mut self, place: u32, now: Duration, out: &mut O) -> Option<Over> {
        let at = place as usize;
        let relay = self.relays[at].as_mut()?;
        relay.give_up_if_unanswered(now);
        stack::relay(&mut relay.consumer.connection, &mut relay.target.connection);
        for half in [&mut relay.target, &mut relay.consumer] {
            let device = half.device;
            half.connection.poll(&mut self.stack, now, &mut |frame: &mut Frame<'_>| {
                out.emit(frame, Egress::Device(device));
            });
        }
        if relay.is_over(now) {
            let over = Over { flow: relay.flow, cause: relay.cause() };
            self.relays[at] = None;
            self.deadlines[at] = NEVER;
            self.vacant.push(place);
            return Some(over);
        }
        let deadline = relay.deadline(&mut self.stack, now);
        self.deadlines[at] = deadline;
        self.earliest = self.earliest.min(deadline);
        None
    }
}

/// The relay at `place`, if it is this flow's.
fn find(relays: &mut [Option<Relay>], place: u32, flow: FlowId) -> Option<&mut Relay> {
    relays.get_mut(place as usize)?.as_mut().filter(|relay| relay.flow == flow)
}

impl Relay {
    /// The half that packets in this direction come to.
    fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Forward => &mut self.consumer,
            Direction::Reply => &mut self.target,
        }
    }

    /// When we stop waiting for the target's answer; never, once it has come.
    fn answer_due(&self) -> Duration {
        match self.target.connection.state() {
            State::Opening => self.opened + ANSWER_WITHIN,
            _ => NEVER,
        }
    }

    fn give_up_if_unanswered(&mut self, now: Duration) {
        if now >= self.answer_due() {
            self.abort(Cause::Unanswered);
        }
    }

    fn abort(&mut self, cause: Cause) {
        self.aborted = Some(cause);
        self.target.connection.abort();
        self.consumer.connection.abort();
    }

    /// Why it is over.
    fn cause(&self) -> Cause {
        let states = [&self.consumer, &self.target].map(|half| half.connection.state());
        match self.aborted {
            Some(cause) => cause,
            None if states.iter().any(|state| matches!(state, State::Failed(_))) => Cause::Reset,
            None if states == [State::Closed; 2] => Cause::Finished,
            None => Cause::Idle,
        }
    }

    fn is_over(&self, now: Duration) -> bool {
        let closed = |half: &Half| matches!(half.connection.state(), State::Closed | State::Failed(_));
        (closed(&self.consumer) && closed(&self.target)) || now >= self.heard + self.idle_timeout
    }

    fn deadline(&mut self, stack: &mut Stack, now: Duration) -> Duration {
        let own = [self.heard + self.idle_timeout, self.answer_due()];
        let halves = [&mut self.consumer, &mut self.target]
            .into_iter()
            .filter_map(|half| half.connection.poll_at(stack, now));
        halves.chain(own).min().unwrap_or(NEVER)
    }
}
