//! How a flow ends: by its owner, by its lane, by its time; and what stands in its place then.

use std::time::Duration;

use wire::Protocol;

use super::{SIDES, Turn};
use crate::key::Direction;
use crate::lanes::{Fate, LaneId};
use crate::path::FlowPath;
use crate::slab::{FlowId, Slot};
use crate::state::State;
use crate::table::{Ended, Found};
use crate::tick::Tick;
use crate::tombs::Tomb;
use crate::track::{AFTER_RESET, ANSWER_WITHIN, Cause, Phase, Track, linger};

impl<'a> Turn<'a> {
    /// A closed flow's tuple opens again, to the same target and from the same port: a new flow in the old one's place, carried like
    /// this. Says what it is and what the old one was; `None` if that is gone, or open again already.
    pub fn reopen(&self, found: &Found, path: FlowPath, now: Duration) -> Option<(Found, Ended)> {
        let (slot, state) = self.closed(found)?;
        let ended = self.describe(found.flow, slot, state.track().cause());
        let between = slot.change(state, state.between()).ok()?;
        let share = self.table.lanes.share(found.lane).inspect(|share| share.count());
        let state = slot.reopen(between, path, Tick::of(now));
        let flow = FlowId { generation: state.generation(), ..found.flow };
        share.inspect(|share| self.enlist(share, flow));
        Some((Found { flow, path, state, ..*found }, ended))
    }

    /// A closed flow's tuple goes to a new flow, to another target: this one ends, but its port stays quiet until its time is
    /// up. `None` if it was gone already, or is open again.
    pub fn part(&self, found: &Found) -> Option<Ended> {
        let (slot, state) = self.closed(found)?;
        let ended = self.describe(found.flow, slot, state.track().cause());
        self.rest(found.flow.slot, state, state.track())?;
        Some(ended)
    }

    /// Ends a flow for `cause`: neither key finds it any more; its slot and its port go to limbo. `None` if it was gone
    /// already.
    pub fn release(&self, flow: FlowId, cause: Cause) -> Option<Ended> {
        let slot = &self.table.slots[flow.slot as usize];
        loop {
            let state = slot.state();
            if !state.is_live() || state.generation() != flow.generation {
                return None;
            }
            if let Some(ended) = self.end(flow.slot, state, cause) {
                return Some(ended);
            }
        }
    }

    /// Ends a flow that is over, or whose lane has ended, for `cause`: neither key finds it any more. Its port stays quiet from now
    /// on for as long as that of a flow which its own ends have closed or reset, if they have done so or we do. `None` if it
    /// had ended already.
    pub fn retire(&self, flow: FlowId, cause: Cause, now: Duration) -> Option<Ended> {
        let Some(closed) = Track::closed(cause) else {
            return self.release(flow, cause).inspect(|ended| self.bury(ended));
        };
        loop {
            let (slot, state) = self.living(flow)?;
            let ended = self.describe(flow, slot, cause);
            // Before it rests: a sweep must not take its silence so far for its rest.
            slot.touch(Tick::of(now));
            if self.rest(flow.slot, state, closed).is_some() {
                return Some(ended);
            }
        }
    }

    /// Ends the flow in `slot` if its time is up, or that of its lane. Terminated flows and probes are left to their owners; of a
    /// flow that only kept its port, the end has been told; and one that has closed already has nothing left to end.
    pub fn expire(&self, slot: usize, now: Duration) -> Option<Ended> {
        let found = &self.table.slots[slot];
        let state = found.state();
        if !state.is_live() || state.is_between() || !found.path().passes_through() && !state.is_parted() {
            return None;
        }
        // One that has only just begun is probably on its way into the index: what its opener has not told of needs no end.
        if let Fate::Ended(cause) = self.table.lanes.fate(found.lane())
            && state.track().phase() != Phase::Closing
            && Tick::of(now).since(found.started()) > 0
        {
            let flow = FlowId { slot: slot as u32, generation: state.generation() };
            return self.retire(flow, cause, now);
        }
        let (since, limit) = self.patience(found, state);
        if Tick::of(now).since(since) < limit.0 {
            return None;
        }
        let ended = self.end(slot as u32, state, state.track().cause()).filter(|_| !state.is_parted())?;
        self.bury(&ended);
        Some(ended)
    }

    /// Frees what has been in limbo long enough, up to `budget` slots.
    pub fn recycle(&self, budget: usize) {
        let table = self.table;
        for _ in 0..budget {
            let Some(slot) = table.limbo(self.worker).pop(&table.slots, &table.turns) else { return };
            let freed = &table.slots[slot as usize];
            table.lanes.pool(freed.lane()).give_back(freed.side(Direction::Reply).key().local_port);
            table.free.give_back(&table.slots, slot);
        }
    }

    /// Leaves a tombstone for a TCP flow that was silent for too long.
    fn bury(&self, ended: &Ended) {
        if ended.cause == Cause::Idle && ended.original.protocol == Protocol::Tcp {
            self.table.tombs.bury(&Tomb { original: ended.original, reply: ended.reply, heard: ended.heard });
        }
    }

    /// Since when a flow's silence counts, and how much of it ends the flow.
    fn patience(&self, slot: &Slot, state: State) -> (Tick, Tick) {
        let track = state.track();
        let closed = || linger(self.table.used(slot.lane()));
        match track.phase() {
            Phase::Opening => (slot.started(), Tick::of(ANSWER_WITHIN)),
            Phase::Established if track.is_suspect() => (slot.last_seen(), Tick::of(AFTER_RESET)),
            Phase::Established => (slot.last_seen(), self.table.lanes.idle(slot.lane())),
            Phase::Closing if track.is_reset() => (slot.last_seen(), Tick::of(closed().min(AFTER_RESET))),
            Phase::Closing => (slot.last_seen(), Tick::of(closed())),
        }
    }

    /// A flow whose state was this has moved on: it is half-open no longer, if it was.
    pub(super) fn settle(&self, was: State, lane: LaneId) {
        if was.track().phase() == Phase::Opening
            && let Some(share) = self.table.lanes.share(lane)
        {
            share.settle();
        }
    }

    /// Ends a flow, but for its port, if its state is still the one that was judged: neither key finds it any more, and its slot is
    /// swept when its time is up.
    fn rest(&self, slot: u32, judged: State, closed: Track) -> Option<()> {
        let own = &self.table.slots[slot as usize];
        own.change(judged, judged.with_track(closed).parted()).ok()?;
        self.settle(judged, own.lane());
        self.table.lanes.leave(own.lane());
        self.table.count_resting(self.worker, 1);
        self.unlink(slot, Direction::Forward);
        Some(())
    }

    /// As [`Turn::living`], of one that has closed.
    fn closed(&self, found: &Found) -> Option<(&'a Slot, State)> {
        self.living(found.flow).filter(|(_, state)| state.track().phase() == Phase::Closing)
    }

    /// Unlinks the flow in `slot` and puts the slot into limbo, if its state is still the one that was judged.
    fn end(&self, slot: u32, judged: State, cause: Cause) -> Option<Ended> {
        let table = self.table;
        let own = &table.slots[slot as usize];
        own.change(judged, judged.dead()).ok()?;
        self.settle(judged, own.lane());
        let ended = self.describe(FlowId { slot, generation: judged.generation() }, own, cause);
        if !judged.is_parted() {
            self.unlink(slot, Direction::Forward);
        }
        self.unlink(slot, Direction::Reply);
        table.count_live(self.worker, -1);
        if judged.is_parted() {
            table.count_resting(self.worker, -1);
        } else {
            table.lanes.leave(own.lane());
        }
        table.limbo(self.worker).push(&table.slots, slot);
        Some(ended)
    }

    pub(super) fn unlink(&self, slot: u32, direction: Direction) {
        let words = self.table.slots[slot as usize].side(direction).key().to_words();
        self.table.index.remove(self.table.hash(words), direction, slot);
    }

    fn describe(&self, flow: FlowId, slot: &Slot, cause: Cause) -> Ended {
        let lane = self.table.lanes.lane(slot.lane());
        Ended {
            flow,
            cause,
            original: slot.side(Direction::Forward).key(),
            reply: slot.side(Direction::Reply).key(),
            user: lane.user,
            target: lane.target,
            forward: slot.side(Direction::Forward).totals(),
            returned: slot.side(Direction::Reply).totals(),
            heard: slot.last_seen(),
            expected: SIDES.map(|direction| slot.side(direction).acknowledged()),
            sent: SIDES.map(|direction| slot.side(direction).sent()),
            numbering: slot.numbering(),
        }
    }

    /// The slot of a flow that has not ended, and its state.
    pub(super) fn living(&self, flow: FlowId) -> Option<(&'a Slot, State)> {
        let slot = &self.table.slots[flow.slot as usize];
        let state = slot.state();
        let is_it = state.is_live() && !state.is_parted() && state.generation() == flow.generation;
        is_it.then_some((slot, state))
    }
}
