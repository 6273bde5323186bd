//! Tombstones: what is remembered of flows that have expired in silence, so that a later packet of one can be told from a
//! stranger's, with both tuples and how long ago it was. A bounded ring: the oldest is forgotten for the newest.

use crate::sync::{AtomicU32, AtomicU64, Memory, Ordering, fence};

use ahash::RandomState;

use crate::key::Key;
use crate::tick::Tick;

/// How many there can be.
const TOMBS: usize = if cfg!(loom) { 1 } else { 65_536 };
/// Places in the index: two keys each, at a load of a quarter, so that hardly ever eight fall together.
const PLACES: usize = TOMBS * 8;
/// Places that a key may stand in.
const WAYS: usize = if cfg!(loom) { 1 } else { 8 };

/// What is left of an expired flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tomb {
    /// The consumer's side.
    pub original: Key,
    /// The target's side.
    pub reply: Key,
    /// When it was last heard of.
    pub heard: Tick,
}

pub(crate) struct Tombs {
    stones: Memory<Stone>,
    /// Stones, plus one, by the hash of either key.
    index: Memory<AtomicU32>,
    next: AtomicU64,
    hasher: RandomState,
}

/// One tombstone. `serial` is 0 while it is being written: a reader that sees the same serial before and after has read one
/// tomb, whole.
#[cfg_attr(not(loom), derive(bytemuck::Zeroable))]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
struct Stone {
    original: [AtomicU64; 3],
    reply: [AtomicU64; 3],
    serial: AtomicU64,
    heard: AtomicU32,
}

impl Tombs {
    pub(crate) fn new(hasher: RandomState) -> Self {
        let next = AtomicU64::new(1);
        Self { stones: Memory::zeroed(TOMBS), index: Memory::zeroed(PLACES), next, hasher }
    }

    /// Remembers a flow by both its keys, in the place of the oldest.
    pub(crate) fn bury(&self, tomb: &Tomb) {
        let serial = self.next.fetch_add(1, Ordering::Relaxed);
        let place = serial as usize % TOMBS;
        let stone = &self.stones[place];
        if let Some(old) = stone.read() {
            self.change(&old, |entry| *entry == place as u32 + 1, 0);
        }
        stone.serial.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        write(&stone.original, tomb.original);
        write(&stone.reply, tomb.reply);
        stone.heard.store(tomb.heard.0, Ordering::Relaxed);
        stone.serial.store(serial, Ordering::Release);
        self.change(tomb, |entry| *entry == 0, place as u32 + 1);
    }

    /// The expired flow that had this key.
    pub(crate) fn find(&self, key: &Key) -> Option<Tomb> {
        let stones = self.ways(key).iter().filter_map(|place| place.load(Ordering::Acquire).checked_sub(1));
        stones
            .filter_map(|place| self.stones[place as usize].read())
            .find(|tomb| tomb.original == *key || tomb.reply == *key)
    }

    /// Replaces one entry of each of a tomb's keys. Where there is none to replace, the tomb is not found by that key.
    fn change(&self, tomb: &Tomb, which: impl Fn(&u32) -> bool, to: u32) {
        for key in [&tomb.original, &tomb.reply] {
            let place = self.ways(key).iter().find(|place| which(&place.load(Ordering::Relaxed)));
            if let Some(place) = place {
                place.store(to, Ordering::Release);
            }
        }
    }

    fn ways(&self, key: &Key) -> &[AtomicU32] {
        let first = self.hasher.hash_one(key.to_words()) as usize % (PLACES / WAYS) * WAYS;
        &self.index[first..first + WAYS]
    }
}

impl Stone {
    fn read(&self) -> Option<Tomb> {
        let serial = self.serial.load(Ordering::Acquire);
        let read = |words: &[AtomicU64; 3]| {
            Key::from_words([0, 1, 2].map(|n: usize| words[n].load(Ordering::Relaxed)))
        };
        let tomb = Tomb {
            original: read(&self.original),
            reply: read(&self.reply),
            heard: Tick(self.heard.load(Ordering::Relaxed)),
        };
        fence(Ordering::Acquire);
        (serial != 0 && self.serial.load(Ordering::Relaxed) == serial).then_some(tomb)
    }
}

fn write(words: &[AtomicU64; 3], key: Key) {
    for (word, value) in words.iter().zip(key.to_words()) {
        word.store(value, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use topology::Id;
    use wire::{Addr, Protocol};

    use super::*;
    use crate::key::Place;

    fn tomb(n: u32) -> Tomb {
        let key = |place, port| Key {
            place,
            protocol: Protocol::Tcp,
            local_port: port,
            remote: Addr::v4(n.to_be_bytes()),
            remote_port: 1,
        };
        Tomb {
            original: key(Place::Interface(Id::new(0)), 80),
            reply: key(Place::Node(Id::new(0)), 40_000),
            heard: Tick(n),
        }
    }

    #[test]
    fn the_last_ones_are_found_by_either_key() {
        let tombs = Tombs::new(RandomState::with_seeds(1, 2, 3, 4));
        let count = 3 * TOMBS as u32;
        for n in 0..count {
            tombs.bury(&tomb(n));
        }
        let found = |n| {
            let tomb = tomb(n);
            [tomb.original, tomb.reply].iter().all(|key| tombs.find(key) == Some(tomb))
        };
        assert!(!found(0) && !found(count - TOMBS as u32 - 1), "the oldest are forgotten");
        let remembered = (count - TOMBS as u32..count).filter(|n| found(*n)).count();
        assert!(remembered > TOMBS * 99 / 100, "{remembered}");
    }
}
