//! A worker's turn with the table: what it finds stays what it is until the turn ends.

mod ending;

use std::time::Duration;

use wire::Packet;

use crate::key::{Direction, Key, Place};
use crate::numbering::Numbering;
use crate::path::FlowPath;
use crate::shares::Share;
use crate::slab::{Filling, FlowId};
use crate::table::{Ended, Found, NewFlow, Refused, Table};
use crate::tick::Tick;
use crate::track::{Cause, Phase, Sign, Track};

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
        let (slot, state) = self.living(flow)?;
        Some(Found {
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
    /// A flow that has ended meanwhile, or begun anew, is left as it is.
    pub fn steer(&self, found: &Found, path: FlowPath, numbering: &Numbering) {
        // Its path before its state: if it begins anew after that, it has another path.
        let from = self.table.slots[found.flow.slot as usize].path_word();
        if let Some((slot, _)) = self.living(found.flow) {
            slot.steer(from, path, numbering);
        }
    }

    /// Something that ends at this sequence number, as the target numbers, was sent to the target in the consumer's name.
    pub fn advance(&self, found: &Found, sent: u32) {
        if let Some((slot, _)) = self.living(found.flow) {
            slot.advance(sent);
        }
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
}

const SIDES: [Direction; 2] = [Direction::Forward, Direction::Reply];
