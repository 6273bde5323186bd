//! A worker: the engine's per-thread part, and the four calls that drive it.

use std::sync::Arc;
use std::time::Duration;

use flow::Ended;
use topology::DeviceId;
use wire::Frame;

use crate::answers::Answers;
use crate::contract::{Event, Message, Output, WorkerId};
use crate::expiry::tell_both_ends;
use crate::fragments::Datagrams;
use crate::journey::{BATCH, Journey};
use crate::shared::Shared;
use crate::sweep::Sweep;
use crate::terminate::{CAPACITY, Terminator};

/// One thread's part of the engine.
pub struct Worker {
    shared: Arc<Shared>,
    own: Own,
    sweep: Sweep,
}

/// What only this worker touches.
pub(crate) struct Own {
    pub(crate) id: WorkerId,
    attached: Box<[bool]>,
    /// RSTs for what belongs to no flow.
    pub(crate) resets: Answers,
    /// Answers to pings, and ICMP errors of our own.
    pub(crate) messages: Answers,
    pub(crate) terminator: Terminator,
    pub(crate) datagrams: Datagrams,
}

impl Own {
    /// Whether frames can leave by this device.
    #[inline]
    pub(crate) fn is_attached(&self, device: DeviceId) -> bool {
        self.attached[device.index()]
    }
}

impl Worker {
    /// Connections that one worker terminates at most.
    pub const MOST_TERMINATED: usize = CAPACITY;

    /// The worker `id`. It has no device yet: each one comes with a [`Message::Attach`]. `seed` keys the numbers of its own
    /// TCP connections.
    pub fn new(shared: Arc<Shared>, id: WorkerId, seed: [u64; 2]) -> Self {
        let own = Own {
            id,
            attached: vec![false; shared.topology.namespaces.len()].into(),
            resets: Answers::new(),
            messages: Answers::new(),
            terminator: Terminator::new(&shared, seed),
            datagrams: Datagrams::new(shared.view.mtu, shared.datagram_keys.clone()),
        };
        Self { shared, own, sweep: Sweep::default() }
    }

    /// Carries a batch of frames that came from `device`. Each one ends in one verdict.
    #[inline]
    pub fn input<O: Output>(
        &mut self,
        device: DeviceId,
        frames: &mut [Frame<'_>],
        now: Duration,
        out: &mut O,
    ) {
        let turn = self.shared.flows.turn(self.own.id.index());
        let mut journey = Journey { shared: &self.shared, turn, own: &mut self.own, device, now, out };
        for (nth, batch) in frames.chunks_mut(BATCH).enumerate() {
            if batch.len() > 1 {
                journey.prefetch(batch);
            }
            for (place, frame) in batch.iter_mut().enumerate() {
                if let Some(verdict) = journey.carry(frame) {
                    journey.out.verdict(nth * BATCH + place, verdict);
                }
            }
        }
    }

    /// Does what is due at `now`: timers of terminated flows and of datagrams in fragments, and a look at up to `budget`
    /// flows whose time may be up.
    pub fn expire<O: Output>(&mut self, now: Duration, budget: usize, out: &mut O) {
        let turn = self.shared.flows.turn(self.own.id.index());
        self.own.terminator.expire(now, out, &mut |over, out| close(turn.retire(over.flow, over.cause), out));
        self.own.datagrams.expire(now, out);
        turn.recycle(budget);
        let workers = self.shared.workers();
        for slot in self.sweep.next_slots(now, budget, self.own.id, workers, self.shared.flows.high_water()) {
            let Some(ended) = turn.expire(slot, now) else { continue };
            tell_both_ends(&self.shared, &self.own, &ended, out);
            close(Some(ended), out);
        }
    }

    /// Takes a message from outside.
    pub fn message<O: Output>(&mut self, message: Message, now: Duration, out: &mut O) {
        match message {
            Message::Attach(device) => self.own.attached[device.index()] = true,
            Message::Detach(device) => {
                self.own.attached[device.index()] = false;
                self.own.terminator.detach(device, now);
                let view = &self.shared.view;
                self.own.datagrams.detach(|place| view.locate(place).device == device, out);
                self.expire(now, 0, out);
            }
            Message::Offload(offload) => self.own.terminator.set_offload(offload),
        }
    }

    /// How many connections can be terminated here: [`Worker::MOST_TERMINATED`], or fewer where the kernel has refused to set
    /// aside addresses for their buffers.
    pub fn most_terminated(&self) -> usize {
        self.own.terminator.capacity()
    }

    /// How many connections are terminated here.
    pub fn terminated(&self) -> usize {
        self.own.terminator.len()
    }

    /// When [`Worker::expire`] should be called next, if nothing else happens. A worker that sleeps would not learn that
    /// another one has filled a slot which is its own to sweep: so there is always a next time, if only in a second.
    pub fn next_deadline(&self) -> Duration {
        let quiet = self.shared.flows.is_quiet();
        let sweep = self.sweep.due + if quiet { QUIET } else { Duration::ZERO };
        let timers = [self.own.terminator.next_deadline(), self.own.datagrams.next_deadline()];
        timers.into_iter().flatten().fold(sweep, Duration::min)
    }
}

/// How much later the next look is while there are no flows.
const QUIET: Duration = Duration::from_secs(1);

/// Says that a flow is no more, if somebody else has not said it already.
pub(crate) fn close<O: Output>(ended: Option<Ended>, out: &mut O) {
    if let Some(ended) = ended {
        out.event(closed_event(&ended));
    }
}

/// What is said about a flow that is no more.
pub(crate) fn closed_event(ended: &Ended) -> Event {
    Event::FlowClosed {
        flow: ended.flow,
        cause: ended.cause,
        forward: ended.forward,
        returned: ended.returned,
    }
}
