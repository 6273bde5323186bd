//! The flow table: one for all workers, `&self` everywhere, no lock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ahash::RandomState;
use crossbeam::utils::CachePadded;
use thiserror::Error;
use topology::{ListenerId, TargetId};
use wire::TcpFlags;

use crate::index::Index;
use crate::key::{Direction, Key};
use crate::ports::{PoolId, Ports};
use crate::slab::{Filling, FlowId, FlowPath, Slot, State, Totals};
use crate::slots::{Free, Limbo};
use crate::tick::Tick;
use crate::track::{ANSWER_WITHIN, Cause, Phase, Track, linger};
use crate::turns::Turns;

/// All flows of all workers.
pub struct Table {
    slots: Box<[Slot]>,
    index: Index,
    ports: Ports,
    hasher: RandomState,
    turns: Turns,
    free: Free,
    workers: Box<[CachePadded<PerWorker>]>,
}

/// What one worker's turn writes.
#[derive(Default)]
struct PerWorker {
    limbo: Limbo,
    /// Flows that this worker has opened, less those that it has ended.
    live: AtomicI64,
}

/// What a flow is made of.
#[derive(Clone, Copy, Debug)]
pub struct NewFlow {
    /// The consumer's side.
    pub original: Key,
    /// The target's side; its local port has been taken from `pool`.
    pub reply: Key,
    /// The listener that admitted it.
    pub listener: ListenerId,
    /// The target that was chosen.
    pub target: TargetId,
    /// Where the source port goes back to.
    pub pool: PoolId,
    /// How it is carried.
    pub path: FlowPath,
    /// How long it may stay silent.
    pub idle: Duration,
}

/// Why there is no room for a new flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Refused {
    /// The table is at its capacity.
    #[error("the flow table is full")]
    Full,
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
    /// Where it is in its life.
    pub phase: Phase,
    /// Its target.
    pub target: TargetId,
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
    /// The listener that had admitted it.
    pub listener: ListenerId,
    /// What went from the consumer to the target.
    pub forward: Totals,
    /// What came back.
    pub returned: Totals,
}

impl Table {
    /// A table for `capacity` flows, used by `workers` workers. `seed` keys the hash.
    pub fn new(capacity: usize, workers: usize, ports: Ports, seed: [u64; 4]) -> Self {
        Self {
            slots: bytemuck::zeroed_slice_box(capacity),
            index: Index::new(capacity * 2),
            ports,
            hasher: RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]),
            turns: Turns::new(workers),
            free: Free::default(),
            workers: (0..workers).map(|_| CachePadded::default()).collect(),
        }
    }

    /// Begins `worker`'s turn. A worker has one turn at a time.
    #[inline]
    pub fn turn(&self, worker: usize) -> Turn<'_> {
        self.turns.begin(worker);
        Turn { table: self, worker }
    }

    /// The source ports.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// How many flows there can be.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// How many flows there are, about: the workers' own counts, added up.
    pub fn len(&self) -> usize {
        // What one worker opens, another may end: a single count may be negative, and a moment's sum too.
        let sum: i64 = self.workers.iter().map(|worker| worker.live.load(Ordering::Relaxed)).sum();
        sum.max(0) as usize
    }

    /// How many workers use it.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Whether there is nothing to wait for: no flow that could expire, no slot in limbo.
    pub fn is_quiet(&self) -> bool {
        self.is_empty() && self.workers.iter().all(|worker| worker.limbo.front().is_none())
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
        let found = self.index.find(self.hash(words), |slot, direction| {
            self.slots[slot as usize].side(direction).has_key(words)
        });
        found.is_some_and(|(slot, _)| self.slots[slot as usize].state().is_live())
    }

    /// How full the table is, or this pool if that is fuller, in hundredths.
    fn used(&self, pool: PoolId) -> usize {
        (self.len() * 100 / self.capacity()).max(self.ports.used(pool))
    }

    #[inline]
    fn hash(&self, words: [u64; 3]) -> u64 {
        self.hasher.hash_one(words)
    }
}

/// A worker's turn with the table. What it finds stays what it is until the turn ends.
pub struct Turn<'a> {
    table: &'a Table,
    worker: usize,
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        self.table.turns.end(self.worker);
    }
}

impl Turn<'_> {
    /// The flow that a packet with this key belongs to.
    #[inline]
    pub fn find(&self, key: &Key) -> Option<Found> {
        let words = key.to_words();
        let slots = &self.table.slots;
        let (slot, direction) = self.table.index.find(self.table.hash(words), |slot, direction| {
            slots[slot as usize].side(direction).has_key(words)
        })?;
        let found = &slots[slot as usize];
        let state = found.state();
        state.is_live().then(|| Found {
            flow: FlowId { slot, generation: state.generation() },
            direction,
            onward: found.side(direction).onward(),
            path: found.path(),
            phase: state.track().phase(),
            target: found.target(),
        })
    }

    /// Opens a flow, and says what a look-up of its original key would find. On refusal the source port goes back to its
    /// pool.
    pub fn insert(&self, new: &NewFlow, now: Duration) -> Result<Found, Refused> {
        // More than one, so that limbo shrinks also while flows come as fast as they go.
        self.recycle(4);
        let table = self.table;
        let Some(slot) = table.free.take(&table.slots) else {
            table.ports.give_back(new.pool, new.reply.local_port);
            return Err(Refused::Full);
        };
        let track =
            if new.original.protocol == wire::Protocol::Tcp { Track::OPENING } else { Track::TALKING };
        let generation = table.slots[slot as usize].fill(&Filling {
            original: new.original,
            reply: new.reply,
            listener: new.listener,
            target: new.target,
            pool: new.pool,
            path: new.path,
            idle: Tick::of(new.idle),
            track,
            now: Tick::of(now),
        });
        self.count_live(1);
        let flow = FlowId { slot, generation };
        self.publish(flow, new).inspect_err(|_| {
            self.release(flow);
        })?;
        Ok(Found {
            flow,
            direction: Direction::Forward,
            onward: new.reply,
            path: new.path,
            phase: track.phase(),
            target: new.target,
        })
    }

    /// The reply key goes first: by the time that the consumer's packet is sent on, its answer finds the flow.
    fn publish(&self, flow: FlowId, new: &NewFlow) -> Result<(), Refused> {
        let sides = [(new.reply, Direction::Reply), (new.original, Direction::Forward)];
        for (key, direction) in sides {
            let words = key.to_words();
            let hash = self.table.hash(words);
            self.table.index.insert(hash, direction, flow.slot).ok_or(Refused::Full)?;
            let rival = self.table.index.find(hash, |slot, direction| {
                slot != flow.slot && self.table.slots[slot as usize].side(direction).has_key(words)
            });
            if rival.is_some() {
                return Err(Refused::Raced);
            }
        }
        Ok(())
    }

    /// Counts a packet of the flow and follows its TCP flags.
    #[inline]
    pub fn observe(&self, found: &Found, flags: TcpFlags, bytes: usize, now: Duration) {
        let slot = &self.table.slots[found.flow.slot as usize];
        slot.side(found.direction).count(bytes);
        slot.touch(found.direction, Tick::of(now));
        let settled = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST;
        if flags.bits() & settled != 0 || found.phase == Phase::Opening {
            slot.advance(found.flow.generation, |track| track.after(flags, found.direction));
        }
    }

    /// Whether one more ICMP error about the flow may be passed on: ten at once, and ten a second after that. Path MTU
    /// discovery needs fewer: one error tells the sender what fits for all that it sends, each further hop with a smaller
    /// MTU takes one more, and one that is held back comes again when the sender does.
    ///
    /// An error is no sign of life, and ends nothing: anybody may send one.
    pub fn allows_error(&self, found: &Found, now: Duration) -> bool {
        self.table.slots[found.flow.slot as usize].allows_error(Tick::of(now))
    }

    /// A closed flow's tuple opens again: the same flow, target and port, from the start. Says what the old one was; `None`
    /// if it is gone, or open again already.
    pub fn reopen(&self, flow: FlowId, now: Duration) -> Option<Ended> {
        let slot = &self.table.slots[flow.slot as usize];
        let state = slot.state();
        if state.generation() != flow.generation || state.track().phase() != Phase::Closing {
            return None;
        }
        let ended = describe(flow, slot, state.track().cause());
        slot.change(state, Track::OPENING).then(|| {
            slot.begin(Tick::of(now));
            ended
        })
    }

    /// Ends a flow whose tuple or place is needed: neither key finds it any more; its slot and its port go to limbo. `None`
    /// if it was gone already.
    pub fn release(&self, flow: FlowId) -> Option<Ended> {
        self.end_now(flow, |_| Cause::Released)
    }

    /// Ends a flow that is over, for the reason that its packets tell.
    pub fn finish(&self, flow: FlowId) -> Option<Ended> {
        self.end_now(flow, Track::cause)
    }

    /// Ends the flow in `slot` if its time is up. Terminated flows are left to their owners.
    pub fn expire(&self, slot: usize, now: Duration) -> Option<Ended> {
        let found = &self.table.slots[slot];
        let state = found.state();
        if !state.is_live() || found.path() != FlowPath::Nat {
            return None;
        }
        let now = Tick::of(now);
        let (since, limit) = match state.track().phase() {
            Phase::Opening => (found.started(), Tick::of(ANSWER_WITHIN)),
            Phase::Established => (found.last_seen(), found.idle()),
            Phase::Closing => (found.last_seen(), Tick::of(linger(self.table.used(found.port().0)))),
        };
        if now.since(since) < limit.0 {
            return None;
        }
        self.end(slot as u32, state, state.track().cause())
    }

    /// Ends a flow whatever state it is in.
    fn end_now(&self, flow: FlowId, cause: impl Fn(Track) -> Cause) -> Option<Ended> {
        let slot = &self.table.slots[flow.slot as usize];
        loop {
            let state = slot.state();
            if !state.is_live() || state.generation() != flow.generation {
                return None;
            }
            if let Some(ended) = self.end(flow.slot, state, cause(state.track())) {
                return Some(ended);
            }
        }
    }

    /// Unlinks the flow in `slot` and puts the slot into limbo, if its state is still the one that was judged.
    fn end(&self, slot: u32, judged: State, cause: Cause) -> Option<Ended> {
        let table = self.table;
        let own = &table.slots[slot as usize];
        if !own.kill(judged) {
            return None;
        }
        let ended = describe(FlowId { slot, generation: judged.generation() }, own, cause);
        table.index.remove(table.hash(ended.original.to_words()), Direction::Forward, slot);
        table.index.remove(table.hash(ended.reply.to_words()), Direction::Reply, slot);
        own.retired.store(table.turns.retire(), Ordering::Relaxed);
        self.count_live(-1);
        table.workers[self.worker].limbo.push(&table.slots, slot);
        Some(ended)
    }

    /// Frees what has been in limbo long enough, up to `budget` slots.
    pub fn recycle(&self, budget: usize) {
        let table = self.table;
        let limbo = &table.workers[self.worker].limbo;
        for _ in 0..budget {
            let Some(first) = limbo.front() else { return };
            let slot = &table.slots[first as usize];
            if !table.turns.passed(slot.retired.load(Ordering::Relaxed)) {
                return;
            }
            limbo.pop(&table.slots, first);
            let (pool, port) = slot.port();
            table.ports.give_back(pool, port);
            table.free.give_back(&table.slots, first);
        }
    }

    fn count_live(&self, change: i64) {
        let live = &self.table.workers[self.worker].live;
        live.store(live.load(Ordering::Relaxed) + change, Ordering::Relaxed);
    }
}

fn describe(flow: FlowId, slot: &Slot, cause: Cause) -> Ended {
    Ended {
        flow,
        cause,
        original: slot.side(Direction::Forward).key(),
        reply: slot.side(Direction::Reply).key(),
        listener: slot.listener(),
        forward: slot.side(Direction::Forward).totals(),
        returned: slot.side(Direction::Reply).totals(),
    }
}

#[cfg(test)]
mod tests;
