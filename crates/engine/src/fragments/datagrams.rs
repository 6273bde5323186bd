//! The datagrams that come in fragments, as one worker knows them: what has come of each, and what is done with the rest.

use std::collections::HashMap;
use std::time::Duration;

use ahash::RandomState;
use flow::{FlowId, Key, Place};
use wire::{Addr, Fragment};

use super::coverage::{Coverage, Misfit};
use super::shares::Shares;
use super::waiting::{Kept, NoRoom, Waiting};
use crate::contract::{Event, Output};
use crate::verdict::Reason;

/// Datagrams that are known at once; the oldest of the place that has most makes room.
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
    /// Beside the datagrams, so that a scan for the oldest is short.
    begun: Box<[Option<Begun>]>,
    latest: u64,
    shares: Shares,
    waiting: Waiting,
    /// Nothing is due before this.
    earliest: Duration,
}

/// In which order datagrams began, and where.
#[derive(Clone, Copy)]
struct Begun {
    number: u64,
    place: Place,
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
            slots: HashMap::with_capacity_and_hasher(2 * MOST, keys.clone()),
            datagrams: (0..MOST).map(|_| None).collect(),
            begun: vec![None; MOST].into(),
            latest: 0,
            shares: Shares::new(MOST, keys.clone()),
            waiting: Waiting::new(longest, keys),
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
    ) -> (Slot, Result<Option<Passage>, Reason>) {
        let slot = self.slots.get(name).copied().unwrap_or_else(|| self.vacate(out));
        let datagram = self.datagrams[slot.0].get_or_insert_with(|| {
            self.slots.insert(*name, slot);
            self.shares.add(name.place);
            self.latest += 1;
            self.begun[slot.0] = Some(Begun { number: self.latest, place: name.place });
            self.earliest = self.earliest.min(now + PATIENCE);
            Datagram { name: *name, seen: Coverage::default(), fate: Fate::Open, due: now + PATIENCE }
        });
        (slot, datagram.meet(fragment))
    }

    /// The datagram goes on like this.
    pub(crate) fn carry(&mut self, slot: Slot, passage: Passage, now: Duration) {
        self.settle(slot, Fate::Carried(passage), now);
    }

    /// The datagram is dropped, if it is not already: what waits of it, and what is still to come.
    pub(crate) fn condemn<O: Output>(&mut self, slot: Slot, reason: Reason, now: Duration, out: &mut O) {
        let fate = self.datagrams[slot.0].as_ref().map(|datagram| datagram.fate);
        if !matches!(fate, Some(Fate::Dropped(_))) {
            self.settle(slot, Fate::Dropped(reason), now);
            self.discard(slot, reason, out);
        }
    }

    /// Keeps a fragment until the first one comes. If there is no room, its own datagram may be the one that has to go.
    pub(crate) fn keep<O: Output>(
        &mut self,
        slot: Slot,
        place: Place,
        fragment: &Fragment,
        bytes: &[u8],
        now: Duration,
        out: &mut O,
    ) -> Result<(), Reason> {
        match self.waiting.makes_room() {
            Some(own) if own == slot.0 => return Err(Reason::FragmentNoRoom),
            Some(other) => self.condemn(Slot(other), Reason::FragmentNoRoom, now, out),
            None => {}
        }
        self.waiting.keep(slot.0, place, fragment, bytes).map_err(|NoRoom| Reason::FragmentNoRoom)
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

    /// An empty slot: if there is none, that of the oldest datagram of the place that has most of them.
    fn vacate<O: Output>(&mut self, out: &mut O) -> Slot {
        if let Some(empty) = self.begun.iter().position(Option::is_none) {
            return Slot(empty);
        }
        let greediest = self.shares.greediest();
        let age = |slot: usize| self.begun[slot].filter(|begun| Some(begun.place) == greediest);
        let theirs = (0..MOST).filter_map(|slot| Some((age(slot)?.number, slot)));
        let slot = Slot(theirs.min().map_or(0, |(_, slot)| slot));
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
            self.shares.remove(datagram.name.place);
            self.begun[slot.0] = None;
        }
    }

    /// Drops what waits of a datagram, and says so.
    fn discard<O: Output>(&mut self, slot: Slot, reason: Reason, out: &mut O) {
        let count = self.waiting.discard(slot.0);
        if count > 0 {
            out.event(Event::FragmentsEnded { reason, count });
        }
    }
}

impl Datagram {
    /// Notes a fragment that has come: how it goes on, if the first one has been here.
    fn meet(&mut self, fragment: &Fragment) -> Result<Option<Passage>, Reason> {
        let passage = match self.fate {
            Fate::Open => None,
            Fate::Carried(passage) => Some(passage),
            Fate::Dropped(reason) => return Err(reason),
        };
        match self.seen.add(fragment) {
            Ok(()) => Ok(passage),
            Err(Misfit::Duplicate) => Err(Reason::FragmentDuplicate),
            Err(Misfit::Holes) => Err(Reason::FragmentNoRoom),
            Err(Misfit::Overlap) => Err(Reason::FragmentOverlap),
        }
    }
}

#[cfg(test)]
mod tests {
    use topology::{DeviceId, InterfaceId};
    use wire::Frame;

    use super::*;
    use crate::contract::{Egress, HandOverFull, WorkerId};
    use crate::verdict::Verdict;

    /// Nothing of what is said matters here.
    struct Deaf;

    impl Output for Deaf {
        fn forward(&mut self, _: usize, _: &mut Frame<'_>, _: Egress) {}
        fn emit(&mut self, _: &mut Frame<'_>, _: Egress) {}
        fn hand_over(&mut self, _: WorkerId, _: DeviceId, _: &Frame<'_>) -> Result<(), HandOverFull> {
            Ok(())
        }
        fn verdict(&mut self, _: usize, _: Verdict) {}
        fn event(&mut self, _: Event) {}
    }

    #[test]
    fn there_is_something_to_do_when_the_earliest_is_due() {
        let mut datagrams = Datagrams::new(1500, RandomState::with_seeds(1, 2, 3, 4));
        assert_eq!(datagrams.next_deadline(), None);
        let addr = Addr::v4([10, 0, 0, 1]);
        let second = Duration::from_secs(1);
        let begin = |datagrams: &mut Datagrams, identification, now| {
            let fragment = Fragment {
                source: addr,
                destination: addr,
                ttl: 64,
                identification,
                start: 8,
                end: 16,
                last: true,
                head: None,
            };
            let name = Name { place: Place::Interface(InterfaceId::new(0)), remote: addr, identification };
            datagrams.meet(&name, &fragment, now, &mut Deaf).0
        };
        let first = begin(&mut datagrams, 1, second);
        begin(&mut datagrams, 2, 2 * second);
        assert_eq!(datagrams.next_deadline(), Some(second + PATIENCE));
        datagrams.condemn(first, Reason::FragmentRefused, second, &mut Deaf);
        datagrams.expire(second + PATIENCE, &mut Deaf);
        assert_eq!(datagrams.next_deadline(), Some(2 * second + PATIENCE), "the first is remembered");
        datagrams.expire(2 * second + PATIENCE, &mut Deaf);
        assert_eq!(datagrams.next_deadline(), Some(second + LIFETIME_V4));
        datagrams.condemn(first, Reason::FragmentRefused, 20 * second, &mut Deaf);
        datagrams.expire(second + LIFETIME_V4, &mut Deaf);
        assert_eq!(datagrams.next_deadline(), None, "once is enough: it was not remembered for longer");
    }
}
