//! The datagrams that come in fragments, as one worker knows them: what has come of each, and what is done with the rest.

use std::collections::HashMap;
use std::time::Duration;

use ahash::RandomState;
use flow::{FlowId, Key, Place};
use wire::{Addr, Fragment};

use super::coverage::{Coverage, Misfit};
use super::waiting::{Kept, NoRoom, Waiting};
use crate::contract::{Event, Output};
use crate::verdict::Reason;

/// Datagrams that are known at once; the oldest makes room.
const MOST: usize = 512;
/// How long fragments wait for the first one.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a datagram is remembered: as long as a receiver would wait for the rest of it.
const LIFETIME_V4: Duration = Duration::from_secs(30);
const LIFETIME_V6: Duration = Duration::from_secs(60);
const NEVER: Duration = Duration::MAX;

/// What the fragments of a datagram have in common. The place carries its device, so that two consumers with the same
/// addresses are told apart. (Only UDP comes here.)
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) place: Place,
    pub(crate) remote: Addr,
    pub(crate) identification: u32,
}

/// How a datagram goes on, as its first fragment has settled it.
#[derive(Clone, Copy)]
pub(crate) struct Passage {
    /// What finds its flow …
    pub(crate) key: Key,
    /// … as long as it still is this one.
    pub(crate) flow: FlowId,
    /// Its new identification.
    pub(crate) identification: u32,
}

/// Where a datagram is kept, until it is forgotten.
#[derive(Clone, Copy)]
pub(crate) struct Slot(usize);

/// One worker's datagrams.
pub(crate) struct Datagrams {
    slots: HashMap<Name, Slot, RandomState>,
    datagrams: Box<[Option<Datagram>]>,
    /// In which order they began, 0 where there is none: beside the datagrams, so that a scan for the oldest is short.
    begun: Box<[u64]>,
    latest: u64,
    waiting: Waiting,
    /// Nothing is due before this.
    earliest: Duration,
}

struct Datagram {
    name: Name,
    seen: Coverage,
    fate: Fate,
    /// When it is forgotten.
    due: Duration,
}

/// What is done with a datagram's fragments.
#[derive(Clone, Copy)]
enum Fate {
    /// They wait for the first one.
    Open,
    /// They are sent on.
    Carried(Passage),
    /// They are dropped, for this reason.
    Dropped(Reason),
}

impl Datagrams {
    /// Room for fragments of up to `longest` bytes. `keys` must be keyed: names come from the network.
    pub(crate) fn new(longest: usize, keys: RandomState) -> Self {
        Self {
            // Twice what is needed, so that the map never grows to get rid of what was removed.
            slots: HashMap::with_capacity_and_hasher(2 * MOST, keys),
            datagrams: (0..MOST).map(|_| None).collect(),
            begun: vec![0; MOST].into(),
            latest: 0,
            waiting: Waiting::new(longest),
            earliest: NEVER,
        }
    }

    /// Notes that a fragment has come: of which datagram, and how that goes on, if its first fragment has been here.
    pub(crate) fn meet<O: Output>(
        &mut self,
        name: &Name,
        fragment: &Fragment,
        now: Duration,
        out: &mut O,
    ) -> Result<(Slot, Option<Passage>), Reason> {
        let slot = self.slots.get(name).copied().unwrap_or_else(|| self.vacate(out));
        let datagram = self.datagrams[slot.0].get_or_insert_with(|| {
            self.slots.insert(*name, slot);
            self.latest += 1;
            self.begun[slot.0] = self.latest;
            self.earliest = self.earliest.min(now + PATIENCE);
            Datagram { name: *name, seen: Coverage::default(), fate: Fate::Open, due: now + PATIENCE }
        });
        let passage = match datagram.fate {
            Fate::Open => None,
            Fate::Carried(passage) => Some(passage),
            Fate::Dropped(reason) => return Err(reason),
        };
        match datagram.seen.add(fragment) {
            Ok(()) => Ok((slot, passage)),
            Err(Misfit::Duplicate) => Err(Reason::FragmentOverlap),
            Err(Misfit::Holes) => Err(Reason::FragmentNoRoom),
            Err(Misfit::Overlap) => {
                self.drop_rest(slot, Reason::FragmentOverlap, now, out);
                Err(Reason::FragmentOverlap)
            }
        }
    }

    /// The datagram goes on like this.
    pub(crate) fn carry(&mut self, slot: Slot, passage: Passage, now: Duration) {
        self.settle(slot, Fate::Carried(passage), now);
    }

    /// The datagram is dropped: what waits of it, and what is still to come.
    pub(crate) fn drop_rest<O: Output>(&mut self, slot: Slot, reason: Reason, now: Duration, out: &mut O) {
        self.settle(slot, Fate::Dropped(reason), now);
        self.discard(slot, reason, out);
    }

    /// Keeps a fragment until the first one comes.
    pub(crate) fn keep(&mut self, slot: Slot, fragment: &Fragment, bytes: &[u8]) -> Result<(), Reason> {
        self.waiting.keep(slot.0, fragment, bytes).map_err(|NoRoom| Reason::FragmentNoRoom)
    }

    /// The next fragment that waits, in the order of the datagram.
    pub(crate) fn take_kept(&mut self, slot: Slot) -> Option<Kept> {
        self.waiting.take(slot.0)
    }

    /// Takes a kept fragment's buffer back.
    pub(crate) fn give_back(&mut self, kept: Kept) {
        self.waiting.give_back(kept);
    }

    /// Forgets the datagram if all of it has come.
    pub(crate) fn forget_if_complete(&mut self, slot: Slot) {
        if self.datagrams[slot.0].as_ref().is_some_and(|datagram| datagram.seen.is_complete()) {
            self.remove(slot);
        }
    }

    /// Forgets the datagrams whose time is up.
    pub(crate) fn expire<O: Output>(&mut self, now: Duration, out: &mut O) {
        if now >= self.earliest {
            self.forget(Reason::FragmentTimedOut, |datagram| datagram.due <= now, out);
        }
    }

    /// When [`Datagrams::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        (self.earliest != NEVER).then_some(self.earliest)
    }

    /// Forgets the datagrams of places whose device is gone.
    pub(crate) fn detach<O: Output>(&mut self, is_gone: impl Fn(Place) -> bool, out: &mut O) {
        self.forget(Reason::EgressDown, |datagram| is_gone(datagram.name.place), out);
    }

    fn forget<O: Output>(&mut self, reason: Reason, which: impl Fn(&Datagram) -> bool, out: &mut O) {
        self.earliest = NEVER;
        for slot in (0..MOST).map(Slot) {
            let Some(datagram) = &self.datagrams[slot.0] else { continue };
            if which(datagram) {
                self.remove(slot);
                self.discard(slot, reason, out);
            } else {
                self.earliest = self.earliest.min(datagram.due);
            }
        }
    }

    /// An empty slot: the oldest datagram's, if there is no other.
    fn vacate<O: Output>(&mut self, out: &mut O) -> Slot {
        let slot = Slot((0..MOST).min_by_key(|&slot| self.begun[slot]).unwrap_or(0));
        self.remove(slot);
        self.discard(slot, Reason::FragmentNoRoom, out);
        slot
    }

    fn settle(&mut self, slot: Slot, fate: Fate, now: Duration) {
        if let Some(datagram) = &mut self.datagrams[slot.0] {
            datagram.fate = fate;
            datagram.due = now + if datagram.name.remote.is_v4() { LIFETIME_V4 } else { LIFETIME_V6 };
        }
    }

    fn remove(&mut self, slot: Slot) {
        if let Some(datagram) = self.datagrams[slot.0].take() {
            self.slots.remove(&datagram.name);
            self.begun[slot.0] = 0;
        }
    }

    /// Drops what waits of a datagram, and says so.
    fn discard<O: Output>(&mut self, slot: Slot, reason: Reason, out: &mut O) {
        let count = self.waiting.discard(slot.0);
        if count > 0 {
            out.event(Event::FragmentsDropped { reason, count });
        }
    }
}
