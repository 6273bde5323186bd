//! Where slots are between two flows: in a free list that all workers share, and before that in limbo, one list per worker.
//! Both are linked through the slots themselves.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use crate::slab::Slot;

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

/// A worker's freed slots, oldest first. Only that worker's turn touches it.
#[derive(Default)]
pub(crate) struct Limbo {
    first: AtomicU32,
    last: AtomicU32,
}

impl Limbo {
    pub(crate) fn push(&self, slots: &[Slot], slot: u32) {
        slots[slot as usize].next.store(0, Ordering::Relaxed);
        match self.last.load(Ordering::Relaxed).checked_sub(1) {
            None => self.first.store(slot + 1, Ordering::Relaxed),
            Some(last) => slots[last as usize].next.store(slot + 1, Ordering::Relaxed),
        }
        self.last.store(slot + 1, Ordering::Relaxed);
    }

    /// The slot that has waited longest.
    pub(crate) fn front(&self) -> Option<u32> {
        self.first.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Takes out the [`Limbo::front`], which must be `slot`.
    pub(crate) fn pop(&self, slots: &[Slot], slot: u32) {
        let next = slots[slot as usize].next.load(Ordering::Relaxed);
        self.first.store(next, Ordering::Relaxed);
        if next == 0 {
            self.last.store(0, Ordering::Relaxed);
        }
    }
}
