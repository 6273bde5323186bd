//! One terminated flow: two connections, what joins them, and when it is over.

use std::time::Duration;

use flow::{ANSWER_WITHIN, Cause, Direction, FlowId, Key, LaneId};
use stack::{Connection, Failure, InputError, Parting, Stack, State};
use topology::{DeviceId, Expiry, HeaderPlacement};
use wire::{Frame, Packet, ProxyBytes, SynOptions};

use super::fence::Gate;
use super::preface::Preface;
use crate::contract::Output;
use crate::verdict::Reason;
use crate::view::View;

/// Silence after which a relay gives back what memory it does not need.
const REST_AFTER: Duration = Duration::from_secs(1);

/// What a new relay is made of.
pub(crate) struct Opening<'a> {
    pub(crate) flow: FlowId,
    pub(crate) lane: LaneId,
    pub(crate) original: &'a Key,
    pub(crate) reply: &'a Key,
    pub(crate) view: &'a View,
    /// What the target is told ahead of the consumer's bytes, and when.
    pub(crate) header: Option<(ProxyBytes, HeaderPlacement)>,
    pub(crate) idle_timeout: Duration,
    pub(crate) expiry: Expiry,
}

/// One terminated flow.
pub(crate) struct Relay {
    pub(crate) flow: FlowId,
    pub(crate) lane: LaneId,
    consumer: Half,
    target: Half,
    preface: Option<Preface>,
    opened: Duration,
    idle_timeout: Duration,
    expiry: Expiry,
    is_opening: bool,
    /// Why we have ended it ourselves, if we have.
    aborted: Option<Cause>,
    /// Whether its memory has been given back since it was last heard.
    is_resting: bool,
}

/// One of a relay's two connections.
struct Half {
    connection: Connection,
    /// The device that it is on.
    device: DeviceId,
    /// What its peer's packets look like to the flow table.
    key: Key,
    /// When its peer was last heard.
    heard: Duration,
    /// Since when its peer has something to acknowledge.
    owed: Option<Duration>,
}

/// What becomes of a relay that has been attended to.
pub(crate) enum Outlook {
    /// It is to be looked at again then, if nothing happens before.
    Until(Duration),
    /// It can be dropped.
    Over,
}

impl Relay {
    /// Ready for the consumer's SYN, and about to dial the target; `None` if the stack has no place for both connections.
    pub(crate) fn open(stack: &mut Stack, opening: Opening<'_>, now: Duration) -> Option<Box<Self>> {
        let Opening { flow, lane, original, reply, view, header, idle_timeout, expiry } = opening;
        let (interface, node) = (view.locate(original.place)?, view.locate(reply.place)?);
        let local = (interface.address.ip(), original.local_port).into();
        let remote = (original.remote.ip(), original.remote_port).into();
        let consumer = Connection::accept(stack, local, remote, now)?;
        let from = (node.address.ip(), reply.local_port).into();
        let to = (reply.remote.ip(), reply.remote_port).into();
        let target = Connection::dial(stack, from, to, now)?;
        // It is large: made where it stays, it is not moved again.
        Some(Box::new(Self {
            flow,
            lane,
            consumer: Half {
                connection: consumer,
                device: interface.device,
                key: *original,
                heard: now,
                owed: None,
            },
            target: Half { connection: target, device: node.device, key: *reply, heard: now, owed: None },
            preface: header.map(|(header, placement)| Preface::new(header, placement)),
            opened: now,
            idle_timeout,
            expiry,
            is_opening: true,
            aborted: None,
            is_resting: false,
        }))
    }

    /// Takes in a packet that comes in this direction.
    pub(crate) fn input<O: Output>(
        &mut self,
        stack: &mut Stack,
        direction: Direction,
        frame: &Frame<'_>,
        packet: &Packet,
        now: Duration,
        gate: &mut Gate<'_, O>,
    ) -> Reason {
        let half = self.half(direction);
        let device = half.device;
        let emit = &mut |frame: &mut Frame<'_>| gate.emit(frame, device);
        match half.connection.input_parsed(stack, frame, packet, now, emit) {
            Ok(()) => {
                self.hear(direction, now);
                Reason::Terminated
            }
            Err(InputError::NoMemory) => {
                self.hear(direction, now);
                Reason::TerminateMemory
            }
            // No sign of life: whoever sends it may know nothing of this relay.
            Err(InputError::LateSyn | InputError::Unacceptable) => Reason::Terminated,
            Err(InputError::Stray | InputError::Checksum) => Reason::BadChecksum,
        }
    }

    /// Moves it on: what is due, bytes across, frames out.
    pub(crate) fn attend<O: Output>(
        &mut self,
        stack: &mut Stack,
        now: Duration,
        gate: &mut Gate<'_, O>,
    ) -> Outlook {
        self.give_up_in_time(now);
        if self.aborted.is_some() {
            self.target.connection.abort();
            self.consumer.connection.abort();
        }
        self.relay();
        self.target.poll(stack, now, gate);
        self.consumer.poll(stack, now, gate);
        self.rest_when_silent(now);
        self.is_opening = self.is_opening && self.has_opening_half();
        if self.is_over(now) { Outlook::Over } else { Outlook::Until(self.deadline(stack, now)) }
    }

    /// Ends it for `cause`: the next time that it is attended to, both peers are told with a RST.
    pub(crate) fn abort(&mut self, cause: Cause) {
        self.aborted = Some(cause);
    }

    /// Ends it because its place is needed. The target is told, which would wait for us in vain; the consumer is not, because it is
    /// most likely nobody.
    pub(crate) fn make_room<O: Output>(&mut self, stack: &mut Stack, now: Duration, gate: &mut Gate<'_, O>) {
        self.aborted = Some(Cause::CrowdedOut);
        self.target.connection.abort();
        self.target.poll(stack, now, gate);
    }

    /// Takes note that the path to the peer in this direction carries no more than `mtu`, as an error says about a segment with
    /// this `sequence` number. `false` if no such segment is under way.
    pub(crate) fn lower_mtu(&mut self, direction: Direction, mtu: usize, sequence: u32) -> bool {
        self.half(direction).connection.lower_mtu(mtu, sequence)
    }

    /// Whether either handshake is still to be completed.
    pub(crate) fn is_opening(&self) -> bool {
        self.is_opening
    }

    /// What its target's SYN-ACK has said: told once.
    pub(crate) fn take_syn_options(&mut self) -> Option<SynOptions> {
        self.target.connection.take_syn_options()
    }

    /// Whether its target has answered its SYN with a RST.
    pub(crate) fn is_refused(&self) -> bool {
        self.target.connection.state() == State::Failed(Failure::Refused)
    }

    /// Whether one of its halves is on this device.
    pub(crate) fn is_on(&self, device: DeviceId) -> bool {
        self.halves().iter().any(|half| half.device == device)
    }

    /// Why it is over.
    pub(crate) fn cause(&self) -> Cause {
        let states = self.halves().map(|half| half.connection.state());
        match self.aborted {
            Some(cause) => cause,
            None if states.iter().any(|state| matches!(state, State::Failed(_))) => Cause::Reset,
            None if states == [State::Closed; 2] => Cause::Finished,
            None => Cause::Idle,
        }
    }

    /// What is left of those of its connections that are in TIME-WAIT.
    pub(crate) fn partings(&self) -> impl Iterator<Item = (Key, Parting)> {
        self.halves().into_iter().filter_map(|half| Some((half.key, half.connection.parting()?)))
    }

    /// Carries across what can be carried.
    fn relay(&mut self) {
        let (consumer, target) = (&mut self.consumer.connection, &mut self.target.connection);
        match &mut self.preface {
            Some(preface) => preface.relay(consumer, target),
            None => drop(stack::relay(consumer, target)),
        }
    }

    /// The half that packets in this direction come to.
    fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Forward => &mut self.consumer,
            Direction::Reply => &mut self.target,
        }
    }

    fn has_opening_half(&self) -> bool {
        self.halves().iter().any(|half| half.connection.state() == State::Opening)
    }

    fn halves(&self) -> [&Half; 2] {
        [&self.consumer, &self.target]
    }

    fn hear(&mut self, direction: Direction, now: Duration) {
        self.half(direction).heard = now;
        self.is_resting = false;
    }

    fn heard(&self) -> Duration {
        self.consumer.heard.max(self.target.heard)
    }

    /// When its memory is to be given back, if it has not been.
    fn rest_at(&self) -> Option<Duration> {
        (!self.is_resting).then(|| self.heard() + REST_AFTER)
    }

    fn rest_when_silent(&mut self, now: Duration) {
        if self.rest_at().is_some_and(|at| now >= at) {
            self.is_resting = true;
            self.consumer.connection.rest();
            self.target.connection.rest();
        }
    }

    fn give_up_in_time(&mut self, now: Duration) {
        if self.aborted.is_some() || now < self.gives_up_at() {
            return;
        }
        if self.is_opening {
            self.abort(Cause::Unanswered);
        } else if self.expiry == Expiry::Reset {
            self.abort(Cause::Idle);
        }
    }

    /// When it has been opening for too long; once it is open, when it has been silent for too long: as a whole, or a peer
    /// that has something to acknowledge.
    fn gives_up_at(&self) -> Duration {
        if self.is_opening {
            return self.opened + ANSWER_WITHIN;
        }
        let owed = self.halves().into_iter().filter_map(|half| Some(half.owed?.max(half.heard)));
        owed.fold(self.heard(), Duration::min) + self.idle_timeout
    }

    fn is_over(&self, now: Duration) -> bool {
        self.halves().iter().all(|half| half.connection.state().is_over()) || now >= self.gives_up_at()
    }

    fn deadline(&mut self, stack: &mut Stack, now: Duration) -> Duration {
        let halves = [&mut self.consumer, &mut self.target];
        let timers = halves.map(|half| half.connection.poll_at(stack, now));
        timers.into_iter().chain([self.rest_at()]).flatten().fold(self.gives_up_at(), Duration::min)
    }
}

impl Half {
    fn poll<O: Output>(&mut self, stack: &mut Stack, now: Duration, gate: &mut Gate<'_, O>) {
        let device = self.device;
        self.connection.poll(stack, now, &mut |frame| gate.emit(frame, device));
        self.owed = self.connection.is_owed().then(|| self.owed.unwrap_or(now));
    }
}
