//! Where slots are between two flows: in a free list that all workers share, and before that in limbo, one list per worker.
//! Both are linked through the slots themselves.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use crate::slab::Slot;
use crate::turns::Turns;

/// Slots that nobody uses: those that came back, and those that were never used.
#[derive(Default)]
pub(crate) struct Free {
    /// `changes (32) | slot + 1 (32)`; the count of changes tells two equal heads apart.
    head: CachePadded<AtomicU64>,
    /// Slots from this one on were never used.
    fresh: CachePadded<AtomicU32>,
}

impl Free {
    pub(crate) fn take(&self, slots: &[Slot]) -> Option<u32> {
        let mut head = self.head.load(Ordering::Acquire);
        while let Some(slot) = (head as u32).checked_sub(1) {
            let next = slots[slot as usize].next.load(Ordering::Relaxed);
            match self.change(head, next) {
                Ok(()) => return Some(slot),
                Err(now) => head = now,
            }
        }
        let count = slots.len() as u32;
        let fresh = |fresh| (fresh < count).then_some(fresh + 1);
        self.fresh.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fresh).ok()
    }

    pub(crate) fn give_back(&self, slots: &[Slot], slot: u32) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            slots[slot as usize].next.store(head as u32, Ordering::Relaxed);
            match self.change(head, slot + 1) {
                Ok(()) => return,
                Err(now) => head = now,
            }
        }
    }

    /// How many slots have ever been used.
    pub(crate) fn high_water(&self) -> usize {
        self.fresh.load(Ordering::Relaxed) as usize
    }

    fn change(&self, head: u64, slot_plus_one: u32) -> Result<(), u64> {
        let next = (head >> 32).wrapping_add(1) << 32 | u64::from(slot_plus_one);
        self.head.compare_exchange_weak(head, next, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }
}

/// A worker's freed slots. They are gathered, then wait together until every turn that may have seen them has ended. Only the
/// worker's own turn touches them.
#[derive(Default)]
pub(crate) struct Limbo {
    gathering: List,
    waiting: List,
    /// When the waiting ones were unlinked, at the latest.
    since: AtomicU64,
}

/// Slots, linked through themselves.
#[derive(Default)]
struct List(AtomicU32);

impl Limbo {
    pub(crate) fn push(&self, slots: &[Slot], slot: u32) {
        self.gathering.push(slots, slot);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.gathering.is_empty() && self.waiting.is_empty()
    }

    /// Takes out a slot that nobody can have seen.
    pub(crate) fn pop(&self, slots: &[Slot], turns: &Turns) -> Option<u32> {
        if self.waiting.is_empty() {
            if self.gathering.is_empty() {
                return None;
            }
            self.since.store(turns.retire(), Ordering::Relaxed);
            self.waiting.0.store(self.gathering.0.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        if turns.passed(self.since.load(Ordering::Relaxed)) { self.waiting.pop(slots) } else { None }
    }
}

impl List {
    fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn push(&self, slots: &[Slot], slot: u32) {
        slots[slot as usize].next.store(self.0.load(Ordering::Relaxed), Ordering::Relaxed);
        self.0.store(slot + 1, Ordering::Relaxed);
    }

    fn pop(&self, slots: &[Slot]) -> Option<u32> {
        let slot = self.0.load(Ordering::Relaxed).checked_sub(1)?;
        self.0.store(slots[slot as usize].next.load(Ordering::Relaxed), Ordering::Relaxed);
        Some(slot)
    }
}
