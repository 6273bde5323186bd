//! The flow table: one for all workers, `&self` everywhere, no lock.

use crate::sync::{AtomicI64, Memory, Ordering};

use ahash::RandomState;
use crossbeam::utils::CachePadded;
use thiserror::Error;
use topology::TargetId;
use wire::Protocol;

use crate::index::Index;
use crate::key::{Direction, Key};
use crate::lanes::{LaneId, LaneUser, Lanes};
use crate::numbering::Numbering;
use crate::path::FlowPath;
use crate::slab::{FlowId, Slot, Totals};
use crate::slots::{Free, Limbo};
use crate::state::State;
use crate::tick::Tick;
use crate::tombs::{Tomb, Tombs};
use crate::track::{Cause, Phase};
use crate::turn::Turn;
use crate::turns::Turns;

/// All flows of all workers.
pub struct Table {
    pub(crate) slots: Memory<Slot>,
    pub(crate) index: Index,
    pub(crate) lanes: Lanes,
    pub(crate) turns: Turns,
    pub(crate) free: Free,
    pub(crate) tombs: Tombs,
    hasher: RandomState,
    capacity: usize,
    workers: Box<[CachePadded<PerWorker>]>,
}

/// What one worker's turn writes.
#[derive(Default)]
struct PerWorker {
    limbo: Limbo,
    /// Flows that this worker has opened, less those that it has ended.
    live: AtomicI64,
    /// Of those, flows that have ended but for their ports.
    resting: AtomicI64,
}

/// Slots beyond the capacity: while a flow that has made room is still in limbo, its successor has one already.
const RESERVE: usize = if cfg!(loom) { 0 } else { 1024 };

/// What a flow is made of. Its reply key's port is the table's to choose.
#[derive(Clone, Copy, Debug)]
pub struct NewFlow {
    /// The consumer's side; for a probe, [`Key::of_probe`].
    pub original: Key,
    /// The lane that it is on.
    pub lane: LaneId,
    /// How it is carried.
    pub path: FlowPath,
    /// What the choice of its source port begins with: whoever comes with the same again gets the same port again.
    pub preference: u64,
}

impl NewFlow {
    /// Whether its TCP is followed here. A terminated flow's owner knows more about it than its packets tell.
    pub(crate) fn is_followed(&self) -> bool {
        self.original.protocol == Protocol::Tcp && self.path.passes_through()
    }
}

/// Why there is no room for a new flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Refused {
    /// The table is at its capacity, and every flow in it is established.
    #[error("the flow table is full")]
    Full,
    /// Every source port towards the target is in use.
    #[error("no source port is free")]
    Ports,
    /// Another worker is inserting the same flow. A look-up may find that one; or each has seen the other, and neither is.
    #[error("another worker was first")]
    Raced,
}

/// A flow that a key has led to: a copy, to be used within the turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Which flow.
    pub flow: FlowId,
    /// Which way the packet goes.
    pub direction: Direction,
    /// The other side: where the packet is sent on from, and to.
    pub onward: Key,
    /// How the flow is carried.
    pub path: FlowPath,
    /// The lane that it is on.
    pub lane: LaneId,
    pub(crate) state: State,
}

impl Found {
    /// Where it is in its life.
    #[inline]
    pub fn phase(&self) -> Phase {
        self.state.track().phase()
    }

    /// Whether its target has not answered the consumer's SYN.
    #[inline]
    pub fn awaits_answer(&self) -> bool {
        self.state.track().awaits_answer()
    }
}

/// A flow that is no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Which flow.
    pub flow: FlowId,
    /// Why.
    pub cause: Cause,
    /// The consumer's side.
    pub original: Key,
    /// The target's side.
    pub reply: Key,
    /// Whose it was.
    pub user: LaneUser,
    /// The target that it went to.
    pub target: TargetId,
    /// What went from the consumer to the target.
    pub forward: Totals,
    /// What came back.
    pub returned: Totals,
    /// When it was last heard of.
    pub heard: Tick,
    /// The sequence numbers that the consumer and the target expect next: where a RST to each would have to be, as the target
    /// numbers.
    pub expected: [u32; 2],
    /// The ends of what the consumer and the target have sent, as the target numbers.
    pub sent: [u32; 2],
    /// How the consumer numbers differently.
    pub numbering: Numbering,
}

impl Table {
    /// A table for `capacity` flows on these lanes, used by `workers` workers. `seed` keys the hash.
    pub fn new(capacity: usize, workers: usize, lanes: Lanes, seed: [u64; 4]) -> Self {
        let slots = capacity + RESERVE;
        let hasher = RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        Self {
            slots: Memory::zeroed(slots),
            index: Index::new(slots * 2),
            lanes,
            turns: Turns::new(workers),
            free: Free::default(),
            tombs: Tombs::new(hasher.clone()),
            hasher,
            capacity,
            workers: (0..workers).map(|_| CachePadded::default()).collect(),
        }
    }

    /// Begins `worker`'s turn. A worker has one turn at a time.
    #[inline]
    pub fn turn(&self, worker: usize) -> Turn<'_> {
        Turn::begin(self, worker)
    }

    /// The lanes that its flows are on, and their source ports.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// How many flows there can be.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many places are taken, by flows and by ended ones whose ports are kept quiet, about: the workers' own counts, added
    /// up.
    pub fn len(&self) -> usize {
        self.sum(|worker| &worker.live)
    }

    /// How many flows there are that have not ended, about.
    pub fn live(&self) -> usize {
        self.len().saturating_sub(self.sum(|worker| &worker.resting))
    }

    fn sum(&self, count: impl Fn(&PerWorker) -> &AtomicI64) -> usize {
        // What one worker opens, another may end: a single count may be negative, and a moment's sum too.
        let sum: i64 = self.workers.iter().map(|worker| count(worker).load(Ordering::Relaxed)).sum();
        sum.max(0) as usize
    }

    /// How many workers use it.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Whether there is nothing to wait for: no flow that could expire, no slot in limbo.
    pub fn is_quiet(&self) -> bool {
        self.is_empty() && self.workers.iter().all(|worker| worker.limbo.is_empty())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slots that have ever been used: what a sweep has to look at.
    pub fn high_water(&self) -> usize {
        self.free.high_water()
    }

    /// Whether a flow has this key at the moment. It is a look from outside of any turn: good for a question, not for
    /// sending a packet by it.
    pub fn has(&self, key: &Key) -> bool {
        let words = key.to_words();
        self.look_up(words, self.hash(words)).is_some()
    }

    /// The flow that had this key until it expired in silence.
    pub fn tomb(&self, key: &Key) -> Option<Tomb> {
        self.tombs.find(key)
    }

    #[inline]
    pub(crate) fn hash(&self, words: [u64; 3]) -> u64 {
        self.hasher.hash_one(words)
    }

    /// The live flow that this key leads to.
    #[inline]
    pub(crate) fn look_up(&self, words: [u64; 3], hash: u64) -> Option<Found> {
        let (slot, direction) = self
            .index
            .find(hash, |slot, direction| self.slots[slot as usize].side(direction).has_key(words))?;
        let found = &self.slots[slot as usize];
        let state = found.state();
        if !state.is_live() || state.is_parted() {
            return None;
        }
        Some(Found {
            flow: FlowId { slot, generation: state.generation() },
            direction,
            onward: found.side(direction.other()).key(),
            path: found.path(),
            lane: found.lane(),
            state,
        })
    }

    pub(crate) fn limbo(&self, worker: usize) -> &Limbo {
        &self.workers[worker].limbo
    }

    pub(crate) fn count_live(&self, worker: usize, change: i64) {
        add(&self.workers[worker].live, change);
    }

    pub(crate) fn count_resting(&self, worker: usize, change: i64) {
        add(&self.workers[worker].resting, change);
    }

    /// How full the table is, or this lane's pool if that is fuller, in hundredths.
    pub(crate) fn used(&self, lane: LaneId) -> usize {
        (self.len() * 100 / self.capacity()).max(self.lanes.pool(lane).used())
    }

    /// The flow in a slot, if it is half-open.
    pub(crate) fn half_open(&self, slot: u32) -> Option<FlowId> {
        let state = self.slots[slot as usize].state();
        let is_half_open = state.is_live() && state.track().phase() == Phase::Opening;
        is_half_open.then(|| FlowId { slot, generation: state.generation() })
    }
}

/// One worker writes each count.
fn add(count: &AtomicI64, change: i64) {
    count.store(count.load(Ordering::Relaxed) + change, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
