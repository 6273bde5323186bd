//! A worker's turn with the table: what it finds stays what it is until the turn ends.

use std::time::Duration;

use wire::{Packet, Protocol};

use crate::key::{Direction, Key, Place};
use crate::lanes::{Fate, LaneId};
use crate::numbering::Numbering;
use crate::path::FlowPath;
use crate::shares::Share;
use crate::slab::{Filling, FlowId, Slot, State};
use crate::table::{Ended, Found, NewFlow, Refused, Table};
use crate::tick::Tick;
use crate::tombs::Tomb;
use crate::track::{AFTER_RESET, ANSWER_WITHIN, Cause, Phase, Sign, Track, linger};

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

impl<'a> Turn<'a> {
    #[inline]
    pub(crate) fn begin(table: &'a Table, worker: usize) -> Self {
        table.turns.begin(worker);
        Self { table, worker }
    }

    /// The flow that a packet with this key belongs to.
    #[inline]
    pub fn find(&self, key: &Key) -> Option<Found> {
        let words = key.to_words();
        self.table.look_up(words, self.table.hash(words))
    }

    /// Brings near what [`Turn::find`] will ask for: of a batch, each packet's look-up waits while the others' memory comes.
    #[inline]
    pub fn prefetch<const N: usize>(&self, keys: impl Iterator<Item = Key>) {
        let mut hashes = [0; N];
        let mut count = 0;
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.table.hash(key.to_words());
            self.table.index.prefetch(*hash);
            count += 1;
        }
        for hash in &hashes[..count] {
            if let Some(slot) = self.table.index.guess(*hash) {
                self.table.slots[slot as usize].prefetch();
            }
        }
    }

    /// Opens a flow, and says what a look-up of its original key would find. Where room is short, half-open flows make it:
    /// `crowded_out` is told of each.
    pub fn open(
        &self,
        new: &NewFlow,
        now: Duration,
        mut crowded_out: impl FnMut(Ended),
    ) -> Result<Found, Refused> {
        // More than one, so that limbo shrinks also while flows come as fast as they go.
        self.recycle(4);
        let table = self.table;
        if let Some(share) = self.share(new).filter(|share| share.is_full()) {
            self.crowd_out(share).map(&mut crowded_out);
        }
        if table.len() >= table.capacity() {
            let fullest = table.lanes.fullest().ok_or(Refused::Full)?;
            crowded_out(self.crowd_out(fullest).ok_or(Refused::Full)?);
        }
        let port = table.lanes.pool(new.lane).take(new.preference, self.worker).ok_or(Refused::Ports)?;
        let Some(slot) = table.free.take(&table.slots) else {
            table.lanes.pool(new.lane).give_back(port);
            return Err(Refused::Full);
        };
        self.fill(slot, new, port, Tick::of(now))
    }

    fn fill(&self, slot: u32, new: &NewFlow, port: u16, now: Tick) -> Result<Found, Refused> {
        let table = self.table;
        let pool = &table.lanes.lane(new.lane).pool;
        let reply = Key {
            place: Place::Node(pool.node),
            protocol: pool.protocol,
            local_port: port,
            remote: pool.target,
            remote_port: pool.target_port,
        };
        let track = if new.is_followed() { Track::OPENING } else { Track::TALKING };
        // Before anybody can end it, and count down.
        table.lanes.arrive(new.lane);
        let share = self.share(new);
        share.inspect(|share| share.count());
        let state = table.slots[slot as usize].fill(&Filling {
            original: new.original,
            reply,
            lane: new.lane,
            path: new.path,
            track,
            now,
        });
        table.count_live(self.worker, 1);
        let flow = FlowId { slot, generation: state.generation() };
        // If a sweep has ended it before both its keys could be found, what the sweep has not found to take out is there still.
        let confirmed = |()| table.slots[slot as usize].confirm(state).ok_or(Refused::Raced);
        let state = self.publish(flow, new, reply).and_then(confirmed).inspect_err(|_| {
            self.release(flow, Cause::Released);
            SIDES.into_iter().for_each(|direction| self.unlink(slot, direction));
        })?;
        // Only now: whoever crowds it out has to find what there is to take out.
        share.inspect(|share| self.enlist(share, flow));
        Ok(Found {
            flow,
            direction: Direction::Forward,
            onward: reply,
            path: new.path,
            lane: new.lane,
            state,
        })
    }

    /// The reply key goes first: by the time that the consumer's packet is sent on, its answer finds the flow. Nobody's packet leads
    /// to a probe but its target's.
    fn publish(&self, flow: FlowId, new: &NewFlow, reply: Key) -> Result<(), Refused> {
        let original =
            (!matches!(new.path, FlowPath::Probe { .. })).then_some((new.original, Direction::Forward));
        for (key, direction) in [(reply, Direction::Reply)].into_iter().chain(original) {
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

    /// Counts a packet of the flow, whose TCP is followed elsewhere, if it is TCP.
    #[inline]
    pub fn count(&self, found: &Found, len: usize, now: Duration) {
        self.table.slots[found.flow.slot as usize].count(found.direction, len, Tick::of(now));
    }

    /// How the numbers of a flow's two sides differ.
    #[inline]
    pub fn numbering(&self, found: &Found) -> Numbering {
        self.table.slots[found.flow.slot as usize].numbering()
    }

    /// The flow with this id as its consumer's packets find it, if it has not ended.
    pub fn at(&self, flow: FlowId) -> Option<Found> {
        let slot = &self.table.slots[flow.slot as usize];
        let state = slot.state();
        let is_it = state.is_live() && !state.is_parted() && state.generation() == flow.generation;
        is_it.then(|| Found {
            flow,
            direction: Direction::Forward,
            onward: slot.side(Direction::Reply).key(),
            path: slot.path(),
            lane: slot.lane(),
            state,
        })
    }

    /// Its consumer's side, as the consumer's packets match it.
    pub fn original(&self, found: &Found) -> Key {
        self.table.slots[found.flow.slot as usize].side(Direction::Forward).key()
    }

    /// From now on a flow is carried like this, and its two sides' numbers differ by so much. For whoever escorts it: one worker.
    pub fn steer(&self, found: &Found, path: FlowPath, numbering: &Numbering) {
        self.table.slots[found.flow.slot as usize].steer(path, numbering);
    }

    /// Something that ends at this sequence number was sent to the target in the consumer's name.
    pub fn advance(&self, found: &Found, sent: u32) {
        self.table.slots[found.flow.slot as usize].advance(Direction::Forward, sent);
    }

    /// Counts a packet of the flow and follows its TCP, by the numbers that the target's side goes by.
    #[inline]
    pub fn observe(&self, found: &Found, packet: &Packet, now: Duration) -> Sign {
        let slot = &self.table.slots[found.flow.slot as usize];
        let (sign, change) = slot.observe(found.state, found.direction, packet, Tick::of(now));
        if let Some((from, to)) = change
            && to.track().phase() != Phase::Opening
        {
            self.settle(from, found.lane);
        }
        sign
    }

    /// Whether one more ICMP error about the flow may be passed on: ten at once, and ten a second after that. Path MTU
    /// discovery needs fewer: one error tells the sender what fits for all that it sends, each further hop with a smaller
    /// MTU takes one more, and one that is held back comes again when the sender does.
    ///
    /// An error is no sign of life, and ends nothing: anybody may send one.
    pub fn allows_error(&self, found: &Found, now: Duration) -> bool {
        self.table.slots[found.flow.slot as usize].allows_error(Tick::of(now))
    }

    /// A closed flow's tuple opens again: the same flow, target and port, from the start. Says what it is now and what the old
    /// one was; `None` if it is gone, or open again already.
    pub fn reopen(&self, found: &Found, now: Duration) -> Option<(Found, Ended)> {
        let slot = &self.table.slots[found.flow.slot as usize];
        let state = slot.state();
        if !is_closed(state, found) {
            return None;
        }
        let ended = self.describe(found.flow, slot, state.track().cause());
        // First its clock: a sweep must not take the new flow for one that has waited since the old one began.
        slot.begin(Tick::of(now));
        let state = slot.change(state, state.reopened()).ok()?;
        if let Some(share) = self.table.lanes.share(found.lane) {
            share.count();
            self.enlist(share, found.flow);
        }
        Some((Found { state, ..*found }, ended))
    }

    /// A closed flow's tuple goes to a new flow, to another target: this one ends, but its port stays quiet until its time is
    /// up. `None` if it was gone already, or is open again.
    pub fn part(&self, found: &Found) -> Option<Ended> {
        let slot = &self.table.slots[found.flow.slot as usize];
        let state = slot.state();
        if !is_closed(state, found) {
            return None;
        }
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
        let slot = &self.table.slots[flow.slot as usize];
        loop {
            let state = slot.state();
            if !state.is_live() || state.is_parted() || state.generation() != flow.generation {
                return None;
            }
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
        if !state.is_live() || !found.path().passes_through() && !state.is_parted() {
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

    /// What a new flow counts against while it is half-open.
    fn share(&self, new: &NewFlow) -> Option<&'a Share> {
        self.table.lanes.share(new.lane).filter(|_| new.is_followed())
    }

    fn crowd_out(&self, share: &Share) -> Option<Ended> {
        let oldest = share.oldest(|slot| self.table.half_open(slot))?;
        self.release(oldest, Cause::CrowdedOut)
    }

    /// From now on a half-open flow may be crowded out.
    fn enlist(&self, share: &Share, flow: FlowId) {
        share.enlist(flow, |slot| self.table.half_open(slot));
    }

    /// A flow whose state was this has moved on: it is half-open no longer, if it was.
    fn settle(&self, was: State, lane: LaneId) {
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

    fn unlink(&self, slot: u32, direction: Direction) {
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
}

const SIDES: [Direction; 2] = [Direction::Forward, Direction::Reply];

/// Whether this is the flow that was found, and it is closed.
fn is_closed(state: State, found: &Found) -> bool {
    state.is_live()
        && !state.is_parted()
        && state.generation() == found.flow.generation
        && state.track().phase() == Phase::Closing
}
