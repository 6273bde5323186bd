//! A worker: the engine's per-thread part, and the four calls that drive it.

use std::sync::Arc;
use std::time::Duration;

use flow::{Ended, Turn};
use stack::Numbers;
use topology::DeviceId;
use wire::Frame;

use crate::answers::Answers;
use crate::attached::Attached;
use crate::contract::{Event, Message, Output, WorkerId};
use crate::escort::{self, Escorts, Site};
use crate::expiry::tell_both_ends;
use crate::fragments::Datagrams;
use crate::journey::{BATCH, Journey};
use crate::overhear::{overhear, overhear_end};
use crate::plan::Plan;
use crate::probe::{Ground, Prober};
use crate::shared::Shared;
use crate::sweep::Sweep;
use crate::terminate::{CAPACITY, News, Over, Terminator};

/// One thread's part of the engine.
pub struct Worker {
    shared: Arc<Shared>,
    /// The plan that it goes by: looked after once a batch, so that a packet costs nothing for it.
    plan: Arc<Plan>,
    /// That plan's number, once it is taken up.
    taken_up: u64,
    /// How often fates had changed when it last looked at those of its terminated flows.
    sentences: u64,
    own: Own,
    sweep: Sweep,
}

/// What only this worker touches.
pub(crate) struct Own {
    pub(crate) id: WorkerId,
    pub(crate) attached: Attached,
    /// RSTs for what belongs to no flow.
    pub(crate) resets: Answers,
    /// Answers to pings, and ICMP errors of our own.
    pub(crate) messages: Answers,
    pub(crate) escorts: Escorts,
    /// What the handshakes begin with that this worker makes in a target's stead.
    pub(crate) numbers: Numbers,
    pub(crate) terminator: Terminator,
    pub(crate) datagrams: Datagrams,
    pub(crate) prober: Prober,
}

impl Worker {
    /// Connections that one worker terminates at most.
    pub const MOST_TERMINATED: usize = CAPACITY;

    /// The worker `id`. It has no device yet: each one comes with a [`Message::Attach`]. `seed` keys the numbers of its own
    /// TCP connections.
    pub fn new(shared: Arc<Shared>, id: WorkerId, seed: [u64; 2]) -> Self {
        let plan = shared.plan();
        let own = Own {
            id,
            attached: Attached::default(),
            resets: Answers::new(),
            messages: Answers::new(),
            escorts: Escorts::new(),
            numbers: Numbers::new(seed),
            terminator: Terminator::new(&shared, &plan, seed),
            datagrams: Datagrams::new(plan.view.mtu, shared.datagram_keys.clone()),
            prober: Prober::new(&shared, id, seed),
        };
        Self { shared, plan, taken_up: 0, sentences: 0, own, sweep: Sweep::default() }
    }

    /// Escorts no more flows than this at once, though there is room for more: a simulation would never fill that.
    pub fn limit_escorts(&mut self, most: usize) {
        self.own.escorts.limit(most);
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
        self.keep_up(now);
        let turn = self.shared.flows.turn(self.own.id.index());
        let (shared, plan, own) = (&self.shared, &self.plan, &mut self.own);
        let mut journey = Journey { shared, plan, turn, own, device, slot: 0, now, out };
        for batch in frames.chunks_mut(BATCH) {
            if batch.len() > 1 {
                journey.prefetch(batch);
            }
            for frame in batch {
                if let Some(verdict) = journey.carry(frame) {
                    journey.out.verdict(journey.slot, verdict);
                }
                journey.slot += 1;
            }
            journey.move_on();
        }
    }

    /// Does what is due at `now`: timers of escorted and terminated flows, of health checks and of datagrams in fragments, and a
    /// look at up to `budget` flows whose time may be up.
    pub fn expire<O: Output>(&mut self, now: Duration, budget: usize, out: &mut O) {
        self.keep_up(now);
        let (shared, plan) = (&*self.shared, &*self.plan);
        let turn = shared.flows.turn(self.own.id.index());
        let Own { id, attached, escorts, terminator, datagrams, prober, .. } = &mut self.own;
        escort::expire(escorts, &mut Site { shared, plan, turn: &turn, attached, now, out });
        terminator.expire(now, out, &mut |news, out| conclude(shared, plan, &turn, news, now, out));
        let partings = &mut terminator.partings;
        prober.expire(&mut Ground { shared, plan, turn: &turn, attached, partings }, now, out);
        datagrams.expire(now, out);
        turn.recycle(budget);
        let high_water = shared.flows.high_water();
        for slot in self.sweep.next_slots(now, budget, *id, shared.workers(), high_water) {
            let Some(ended) = turn.expire(slot, now) else { continue };
            tell_both_ends(plan, attached, &ended, out);
            close(Some(ended), out);
        }
    }

    /// Takes a message from outside.
    pub fn message<O: Output>(&mut self, message: Message, now: Duration, out: &mut O) {
        self.keep_up(now);
        match message {
            Message::Attach(device) => self.own.attached.set(device, true),
            Message::Detach(device) => {
                self.own.attached.set(device, false);
                self.own.terminator.detach(device, now);
                self.own.prober.detach(device, now);
                let view = &self.plan.view;
                let is_gone = |place| view.locate(place).is_none_or(|at| at.device == device);
                self.own.datagrams.detach(is_gone, out);
                self.expire(now, 0, out);
            }
            Message::Planned => self.expire(now, 0, out),
            Message::Offload(offload) => self.own.terminator.set_offload(offload),
        }
    }

    /// Sees to it that what follows goes by the plan in force, and that flows end which are to.
    #[inline]
    fn keep_up(&mut self, now: Duration) {
        let sentences = self.shared.flows.lanes().sentences();
        self.keep_up_since(sentences, now);
    }

    /// So many sentences had been passed before it looks at the plan: what opens by one that is still in force after that look is
    /// found at the next.
    #[inline]
    fn keep_up_since(&mut self, sentences: u64, now: Duration) {
        if self.shared.latest() != self.taken_up {
            self.take_up(now);
        }
        if sentences != self.sentences {
            self.sentences = sentences;
            self.own.terminator.end_sentenced(self.shared.flows.lanes(), now);
        }
    }

    #[cold]
    fn take_up(&mut self, now: Duration) {
        self.plan = self.shared.plan();
        self.taken_up = self.plan.number;
        self.own.terminator.take_up(&self.plan);
        self.own.prober.take_up(&self.plan.checks, now);
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

    /// How many health checks are under way here, those included whose connection is still closing.
    pub fn probes(&self) -> usize {
        self.own.prober.len()
    }

    /// When [`Worker::expire`] should be called next, if nothing else happens. A worker that sleeps would not learn that
    /// another one has filled a slot which is its own to sweep: so there is always a next time, if only in a second.
    pub fn next_deadline(&self) -> Duration {
        let quiet = self.shared.flows.is_quiet();
        let sweep = self.sweep.due + if quiet { QUIET } else { Duration::ZERO };
        let Own { escorts, terminator, datagrams, prober, .. } = &self.own;
        let timers = [
            escorts.next_deadline(),
            terminator.next_deadline(),
            datagrams.next_deadline(),
            prober.next_deadline(),
        ];
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

/// Takes note of what has become of a terminated flow.
pub(crate) fn conclude<O: Output>(
    shared: &Shared,
    plan: &Plan,
    turn: &Turn<'_>,
    news: News,
    now: Duration,
    out: &mut O,
) {
    match news {
        News::Answered(lane) => overhear(shared, plan, shared.flows.lanes().lane(lane).target, false),
        News::Over(over) => retire(shared, plan, turn, &over, now, out),
    }
}

/// Ends a terminated flow that is over, and says so.
pub(crate) fn retire<O: Output>(
    shared: &Shared,
    plan: &Plan,
    turn: &Turn<'_>,
    over: &Over,
    now: Duration,
    out: &mut O,
) {
    let Some(ended) = turn.retire(over.flow, over.cause, now) else { return };
    overhear_end(shared, plan, over, &ended);
    close(Some(ended), out);
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

#[cfg(test)]
mod tests;
