//! The index: from a key's hash to the slot of its flow. 64-byte buckets of eight entries, two buckets per key, and no
//! relocation: an entry never moves, so a look-up needs no version check and no retry.
//!
//! An entry is `tag (31) | direction (1) | slot + 1 (32)`; 0 is empty. It is sized for a load of 0.55, where two choices of
//! eight practically never fill up; if they do, the new flow is refused.

use crate::sync::{AtomicU64, Memory, Ordering, fence};

use crate::key::Direction;
use crate::prefetch::prefetch;

const ENTRIES: usize = if cfg!(loom) { 2 } else { 8 };
/// A second bucket is looked for from this many entries on: so most keys are found in their first.
const CROWDED: usize = ENTRIES * 3 / 4;

#[cfg_attr(not(loom), derive(bytemuck::Zeroable))]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
struct Bucket([AtomicU64; ENTRIES]);

pub(crate) struct Index {
    buckets: Memory<Bucket>,
}

#[inline]
fn entry(hash: u64, direction: Direction, slot: u32) -> u64 {
    let direction = u64::from(direction == Direction::Reply) << 32;
    (hash & !0x1_ffff_ffff) | direction | (u64::from(slot) + 1)
}

/// `None` for an empty one.
#[inline]
fn place(entry: u64) -> Option<(u32, Direction)> {
    let direction = if entry >> 32 & 1 == 0 { Direction::Forward } else { Direction::Reply };
    Some(((entry as u32).checked_sub(1)?, direction))
}

#[inline]
fn has_tag(entry: u64, hash: u64) -> bool {
    (entry ^ hash) >> 33 == 0
}

impl Index {
    /// An index for `keys` keys.
    pub(crate) fn new(keys: usize) -> Self {
        Self { buckets: Memory::zeroed((keys * 20).div_ceil(11 * ENTRIES).max(2)) }
    }

    /// The first slot and direction under `hash` for which `is_it` says yes.
    #[inline]
    pub(crate) fn find(
        &self,
        hash: u64,
        mut is_it: impl FnMut(u32, Direction) -> bool,
    ) -> Option<(u32, Direction)> {
        let mut among =
            |bucket: &Bucket| bucket.tagged(hash).find(|&(slot, direction)| is_it(slot, direction));
        among(self.first(hash)).or_else(|| among(self.second(hash)))
    }

    /// Brings the bucket of `hash` near.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        prefetch(self.first(hash));
    }

    /// The slot that `hash` probably leads to, by its first bucket and tag alone.
    #[inline]
    pub(crate) fn guess(&self, hash: u64) -> Option<u32> {
        self.first(hash).tagged(hash).next().map(|(slot, _)| slot)
    }

    /// Publishes an entry; `None` if both buckets are full. Whatever the slot holds must have been written before.
    pub(crate) fn insert(&self, hash: u64, direction: Direction, slot: u32) -> Option<()> {
        let (first, second) = (self.first(hash), self.second(hash));
        let crowd = first.entries();
        let order =
            if crowd >= CROWDED && second.entries() < crowd { [second, first] } else { [first, second] };
        let taken = order.into_iter().flat_map(|bucket| &bucket.0).any(|place| {
            let entry = entry(hash, direction, slot);
            place.load(Ordering::Relaxed) == 0
                && place.compare_exchange(0, entry, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        // Whoever inserts looks for a rival next: of two that insert the same key, one at least must see the other.
        fence(Ordering::SeqCst);
        taken.then_some(())
    }

    /// Takes out the entry of this slot and direction.
    pub(crate) fn remove(&self, hash: u64, direction: Direction, slot: u32) {
        let entry = entry(hash, direction, slot);
        [self.first(hash), self.second(hash)]
            .into_iter()
            .flat_map(|bucket| &bucket.0)
            .any(|place| place.compare_exchange(entry, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok());
    }

    /// Chosen by the hash's lower half; the tag is the upper one.
    #[inline]
    fn first(&self, hash: u64) -> &Bucket {
        &self.buckets[self.share(hash as u32)]
    }

    /// Drawn from all of the hash.
    #[inline]
    fn second(&self, hash: u64) -> &Bucket {
        let first = self.share(hash as u32);
        let second = self.share((hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32);
        &self.buckets[if second == first { (first + 1) % self.buckets.len() } else { second }]
    }

    /// Maps 32 bits evenly onto the buckets.
    #[inline]
    fn share(&self, bits: u32) -> usize {
        ((u64::from(bits) * self.buckets.len() as u64) >> 32) as usize
    }
}

impl Bucket {
    /// The entries that have the tag of `hash`. All eight are compared before any is looked at: where in a bucket an entry
    /// stands cannot be predicted, so a branch for each would cost more than the comparisons.
    #[inline]
    fn tagged(&self, hash: u64) -> impl Iterator<Item = (u32, Direction)> {
        let tagged = |n: usize| has_tag(self.0[n].load(Ordering::Relaxed), hash);
        let mut matches = (0..ENTRIES).fold(0u32, |bits, n| bits | u32::from(tagged(n)) << n);
        let next = move || {
            let n = (matches != 0).then(|| matches.trailing_zeros() as usize)?;
            matches &= matches - 1;
            Some(self.0[n].load(Ordering::Acquire))
        };
        // What has changed in between is somebody else's, or nobody's.
        std::iter::from_fn(next).filter(move |entry| has_tag(*entry, hash)).filter_map(place)
    }

    fn entries(&self) -> usize {
        self.0.iter().filter(|entry| entry.load(Ordering::Relaxed) != 0).count()
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
        const KEYS: usize = 1_000_000;
        let index = Index::new(KEYS);
        let keys: Vec<u64> = hashes().take(KEYS).collect();
        for (slot, &hash) in keys.iter().enumerate() {
            assert!(index.insert(hash, Direction::Forward, slot as u32).is_some(), "as many as promised fit");
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
