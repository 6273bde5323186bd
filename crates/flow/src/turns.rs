//! When is it safe to re-use what was freed? Each worker works in *turns*: between two turns it holds nothing that it
//! has read from the table. What was unlinked at moment *t* may be re-used once no worker is in a turn begun by *t*.

use crate::sync::{AtomicU64, Ordering, fence};

use crossbeam::utils::CachePadded;

/// One counter per worker: the moment its turn began, or that it is between turns.
pub(crate) struct Turns {
    clock: CachePadded<AtomicU64>,
    workers: Box<[CachePadded<AtomicU64>]>,
}

/// A worker between turns.
const BETWEEN: u64 = u64::MAX;

impl Turns {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            clock: CachePadded::new(AtomicU64::new(0)),
            workers: (0..workers).map(|_| CachePadded::new(AtomicU64::new(BETWEEN))).collect(),
        }
    }

    /// `worker` begins a turn. The fence orders this before everything that the turn reads: either whoever frees
    /// something sees us in our turn, or we no longer find what it has unlinked.
    #[inline]
    pub(crate) fn begin(&self, worker: usize) {
        let now = self.clock.load(Ordering::Acquire);
        self.workers[worker].store(now, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// `worker` holds nothing any more.
    #[inline]
    pub(crate) fn end(&self, worker: usize) {
        self.workers[worker].store(BETWEEN, Ordering::Release);
    }

    /// The stamp of something that has just been unlinked.
    pub(crate) fn retire(&self) -> u64 {
        fence(Ordering::SeqCst);
        self.clock.fetch_add(1, Ordering::AcqRel)
    }

    /// Whether everyone who may have seen what was retired at `stamp` has ended that turn.
    pub(crate) fn passed(&self, stamp: u64) -> bool {
        self.workers.iter().all(|began| began.load(Ordering::Acquire) > stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_freed_waits_for_every_turn_that_may_have_seen_it() {
        let turns = Turns::new(2);
        turns.begin(0);
        turns.begin(1);
        let stamp = turns.retire();
        assert!(!turns.passed(stamp), "both are still in the turn that saw it");
        turns.end(0);
        assert!(!turns.passed(stamp), "one still is");
        turns.begin(0);
        assert!(!turns.passed(stamp), "the other one's new turn changes nothing");
        turns.end(1);
        assert!(turns.passed(stamp));
        turns.begin(1);
        assert!(turns.passed(stamp), "a turn begun after it was unlinked cannot have seen it");
    }
}
