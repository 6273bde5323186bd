//! The index: from a key's hash to the slot of its flow. 64-byte buckets of eight entries, two buckets per key, and no
//! relocation: an entry never moves, so a look-up needs no version check and no retry.
//!
//! An entry is `tag (31) | direction (1) | slot + 1 (32)`; 0 is empty. It is sized for a load of one half, where two
//! choices of eight practically never fill up; if they do, the new flow is refused.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use bytemuck::Zeroable;

use crate::key::Direction;

const ENTRIES: usize = 8;

#[derive(Zeroable)]
#[repr(C, align(64))]
struct Bucket([AtomicU64; ENTRIES]);

pub(crate) struct Index {
    buckets: Box<[Bucket]>,
    mask: usize,
}

/// Where an entry stands, so that it can be taken out again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry(u64);

impl Entry {
    #[inline]
    fn new(hash: u64, direction: Direction, slot: u32) -> Self {
        let direction = u64::from(direction == Direction::Reply) << 32;
        Self((hash & !0x1_ffff_ffff) | direction | (u64::from(slot) + 1))
    }

    #[inline]
    fn slot(self) -> u32 {
        (self.0 as u32) - 1
    }

    #[inline]
    fn direction(self) -> Direction {
        if self.0 >> 32 & 1 == 0 { Direction::Forward } else { Direction::Reply }
    }
}

impl Index {
    /// An index for `keys` keys.
    pub(crate) fn new(keys: usize) -> Self {
        let buckets = (keys * 2 / ENTRIES).next_power_of_two();
        Self { buckets: bytemuck::zeroed_slice_box(buckets), mask: buckets - 1 }
    }

    /// The first slot and direction under `hash` for which `is_it` says yes.
    #[inline]
    pub(crate) fn find(
        &self,
        hash: u64,
        mut is_it: impl FnMut(u32, Direction) -> bool,
    ) -> Option<(u32, Direction)> {
        for bucket in self.choices(hash) {
            for entry in &bucket.0 {
                let entry = entry.load(Ordering::Acquire);
                if (entry ^ hash) >> 33 == 0 && entry != 0 {
                    let entry = Entry(entry);
                    if is_it(entry.slot(), entry.direction()) {
                        return Some((entry.slot(), entry.direction()));
                    }
                }
            }
        }
        None
    }

    /// Publishes an entry; `None` if both buckets are full. Whatever the slot holds must have been written before.
    pub(crate) fn insert(&self, hash: u64, direction: Direction, slot: u32) -> Option<Entry> {
        let entry = Entry::new(hash, direction, slot);
        let [first, second] = self.choices(hash);
        let emptier_first =
            if second.vacancies() > first.vacancies() { [second, first] } else { [first, second] };
        let taken = emptier_first.into_iter().flat_map(|bucket| &bucket.0).any(|place| {
            place.load(Ordering::Relaxed) == 0
                && place.compare_exchange(0, entry.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        // Whoever inserts looks for a rival next: of two that insert the same key, one at least must see the other.
        fence(Ordering::SeqCst);
        taken.then_some(entry)
    }

    /// Takes out the entry of this slot and direction.
    pub(crate) fn remove(&self, hash: u64, direction: Direction, slot: u32) {
        let entry = Entry::new(hash, direction, slot).0;
        self.choices(hash)
            .into_iter()
            .flat_map(|bucket| &bucket.0)
            .any(|place| place.compare_exchange(entry, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok());
    }

    #[inline]
    fn choices(&self, hash: u64) -> [&Bucket; 2] {
        // The tag is the hash's upper half; the second choice is drawn from all of it.
        let first = hash as usize & self.mask;
        let second = (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & self.mask;
        [&self.buckets[first], &self.buckets[if second == first { first ^ 1 & self.mask } else { second }]]
    }
}

impl Bucket {
    fn vacancies(&self) -> usize {
        self.0.iter().filter(|entry| entry.load(Ordering::Relaxed) == 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes() -> impl Iterator<Item = u64> {
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        (0u64..).map(move |n| hasher.hash_one(n))
    }

    #[test]
    fn what_goes_in_is_found_until_it_is_taken_out() {
        let index = Index::new(1000);
        let keys: Vec<u64> = hashes().take(1000).collect();
        for (slot, &hash) in keys.iter().enumerate() {
            assert!(
                index.insert(hash, Direction::Forward, slot as u32).is_some(),
                "at a load of one half all fit"
            );
        }
        for (slot, &hash) in keys.iter().enumerate() {
            assert_eq!(
                index.find(hash, |found, _| found == slot as u32),
                Some((slot as u32, Direction::Forward))
            );
            index.remove(hash, Direction::Forward, slot as u32);
            assert_eq!(index.find(hash, |found, _| found == slot as u32), None);
        }
    }

    #[test]
    fn a_full_pair_of_buckets_refuses_and_room_made_is_used() {
        let index = Index::new(8);
        let hash = 0x1234_5678_9abc_def0;
        let capacity = (0..).take_while(|&slot| index.insert(hash, Direction::Reply, slot).is_some()).count();
        assert_eq!(capacity, 2 * ENTRIES);
        index.remove(hash, Direction::Reply, 3);
        assert!(index.insert(hash, Direction::Reply, 99).is_some());
    }
}
