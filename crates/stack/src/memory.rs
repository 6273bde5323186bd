//! The account of what all connections of a process keep in memory, and its limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How much memory the buffers of all connections may take together. Clones share one account.
///
/// What is counted is pages that may have been touched, in every [`Stack`](crate::Stack) that was made with it. At the
/// limit a connection gets no more than it has, but what it needs to go on at all: four pages for each of its two buffers
/// are never refused. So at most `limit` bytes, and 32 KiB for each open connection, are ever in use. Beside that, the free
/// places of each stack keep up to [`Stack::SPARE`](crate::Stack::SPARE) for the connections that come next.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: usize,
    used: AtomicUsize,
    refusals: AtomicU64,
}

impl Memory {
    /// An account of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Account { limit, used: AtomicUsize::new(0), refusals: AtomicU64::new(0) }))
    }

    /// The limit, in bytes.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// How many bytes are in use.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// How many times a connection was refused what it wanted.
    pub fn refusals(&self) -> u64 {
        self.0.refusals.load(Ordering::Relaxed)
    }

    /// Whether `bytes` more would be granted.
    pub(crate) fn has(&self, bytes: usize) -> bool {
        self.used().saturating_add(bytes) <= self.limit()
    }

    /// Whether there is so much left that connections may have more than they need: a quarter of the limit.
    pub(crate) fn is_ample(&self) -> bool {
        self.used() < self.limit() - self.limit() / 4
    }

    /// Takes `bytes`, if they are left.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let within = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.0.limit);
        self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    /// Takes `bytes`, whatever is left.
    pub(crate) fn take_anyway(&self, bytes: usize) {
        self.0.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back `bytes` that were taken.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts a refusal.
    pub(crate) fn refuse(&self) {
        self.0.refusals.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_granted_and_no_more() {
        let memory = Memory::new(100);
        let other = memory.clone();
        assert!(memory.take(60) && other.take(40));
        assert!(!memory.has(1) && !memory.take(1));
        other.give_back(30);
        assert_eq!((memory.used(), memory.limit()), (70, 100));
        assert!(memory.has(30) && !memory.has(31) && !memory.has(usize::MAX));
        assert!(!memory.take(usize::MAX));
    }

    #[test]
    fn what_a_connection_cannot_do_without_is_taken_beyond_the_limit() {
        let memory = Memory::new(10);
        memory.take_anyway(15);
        assert_eq!(memory.used(), 15);
        assert!(!memory.take(1) && !memory.has(1));
    }

    #[test]
    fn it_is_ample_up_to_three_quarters() {
        let memory = Memory::new(100);
        assert!(memory.take(74) && memory.is_ample());
        assert!(memory.take(1) && !memory.is_ample());
        assert!(!Memory::new(0).is_ample());
    }
}
