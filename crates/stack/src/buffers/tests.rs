//! What a ring has in memory, by our account and by the kernel's.

use std::fs::File;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::*;

const CAPACITY: usize = 65_535 << 3;
const PAGE: usize = 4096;

impl Slot {
    /// The blocks of a ring that the kernel has in memory.
    fn resident(&self, side: Side) -> u128 {
        let pages = self.arena.shape.stride / PAGE;
        let mut entries = vec![0; pages * 8];
        let map = File::open("/proc/self/pagemap").unwrap();
        map.read_exact_at(&mut entries, (self.ring(side) as usize / PAGE * 8) as u64).unwrap();
        let is_present = |entry: &[u8]| entry[7] & 0x80 != 0;
        let present = entries.chunks(8).enumerate().filter(|(_, entry)| is_present(entry));
        present.fold(0, |blocks, (page, _)| blocks | 1 << (page * PAGE / self.arena.shape.block))
    }

    /// What it is charged for.
    pub(crate) fn charged(&self) -> usize {
        self.arena.shape.bytes(self.touched)
    }

    /// Whether nothing is in memory that it is not charged for.
    pub(crate) fn is_paid_for(&self) -> bool {
        [Side::Incoming, Side::Outgoing]
            .into_iter()
            .all(|side| self.resident(side) & !self.touched[side as usize] == 0)
    }
}

fn arena(slots: usize, limit: usize) -> (Arc<Arena>, Memory) {
    let memory = Memory::new(limit);
    (Arena::new(CAPACITY, slots, &memory), memory)
}

#[test]
fn a_ring_is_in_memory_where_it_was_written() {
    let (arena, memory) = arena(1, 1 << 20);
    let mut berth = arena.berth().unwrap();
    assert_eq!(berth.slot.resident(Side::Outgoing), 0);
    assert_eq!(berth.slot.hold(Side::Outgoing, 5000, 5000, CAPACITY), 5000);
    assert_eq!((berth.slot.touched, memory.used()), ([0, 0b110], 2 * PAGE));
    // SAFETY: the bytes are in the ring, which nobody uses.
    unsafe { berth.slot.ring(Side::Outgoing).wrapping_add(5000).write_bytes(7, 5000) };
    assert_eq!(berth.slot.resident(Side::Outgoing), 0b110);
    berth.slot.keep(Side::Outgoing, 8192, 1);
    assert_eq!((berth.slot.resident(Side::Outgoing), memory.used()), (0b100, PAGE));
    assert!(berth.slot.is_paid_for());
}

#[test]
fn what_is_behind_is_given_back_where_there_would_be_too_much() {
    let (arena, memory) = arena(1, 1 << 20);
    let mut slot = arena.slot().unwrap();
    for at in (0..10 * CAPACITY).step_by(1000) {
        assert_eq!(slot.hold(Side::Incoming, at % CAPACITY, 1000, 64 << 10), 1000);
        assert!(memory.used() <= 64 << 10);
    }
    assert_eq!(
        slot.hold(Side::Incoming, 400_000, 200_000, 64 << 10),
        200_000,
        "what is wanted is not too much"
    );
}

#[test]
fn at_the_limit_the_least_is_held_and_no_more() {
    let (arena, memory) = arena(2, 8 * PAGE);
    let [mut one, mut other] = [(); 2].map(|()| arena.slot().unwrap());
    assert_eq!(one.hold(Side::Incoming, 100, 100_000, CAPACITY), 8 * PAGE - 100);
    assert_eq!(memory.refusals(), 1);
    for side in [Side::Incoming, Side::Outgoing] {
        assert_eq!(other.hold(side, 100, 100_000, CAPACITY), 4 * PAGE - 100);
    }
    assert_eq!((memory.used(), memory.refusals()), (16 * PAGE, 3));
    // Further on, it makes room for itself.
    assert_eq!(other.hold(Side::Incoming, 300_000, 100_000, CAPACITY), 74 * PAGE - 300_000 + 3 * PAGE);
    assert_eq!(memory.used(), 16 * PAGE);
    drop((one, other));
    assert_eq!(memory.used(), 0);
}

#[test]
fn slots_come_back_and_few_stay_warm() {
    const SLOTS: usize = WARM_SLOTS + 36;
    let (arena, memory) = arena(SLOTS, 1 << 30);
    let mut slots: Vec<_> = std::iter::from_fn(|| arena.slot()).collect();
    assert_eq!((slots.len(), arena.vacant()), (SLOTS, 0));
    for slot in &mut slots {
        assert_eq!(slot.hold(Side::Incoming, 0, 200_000, CAPACITY), 200_000);
    }
    slots.drain(..);
    assert_eq!(arena.vacant(), SLOTS);
    assert_eq!(memory.used(), 0, "free slots have nothing to pay");
    // Whoever comes and goes gets one of the warm, again and again.
    for _ in 0..200 {
        let mut slot = arena.slot().unwrap();
        assert_eq!((slot.charged(), memory.used()), (WARM, WARM));
        assert!(slot.is_paid_for());
        assert_eq!(slot.hold(Side::Incoming, 0, WARM, CAPACITY), WARM);
        assert_eq!(memory.used(), WARM);
    }
    let slots: Vec<_> = std::iter::from_fn(|| arena.slot()).collect();
    assert_eq!(slots.len(), SLOTS);
    assert_eq!(memory.used(), WARM_SLOTS * WARM);
}

#[test]
fn where_memory_is_short_nothing_stays_warm() {
    let (arena, memory) = arena(2, 1 << 20);
    let mut slot = arena.slot().unwrap();
    slot.hold(Side::Incoming, 0, 1000, CAPACITY);
    drop(slot);
    memory.take_anyway(900_000);
    let mut slot = arena.slot().unwrap();
    assert_eq!((slot.charged(), memory.used()), (0, 900_000), "what was warm is emptied");
    slot.hold(Side::Incoming, 0, 1000, CAPACITY);
    drop(slot);
    assert_eq!(arena.slot().unwrap().charged(), 0, "and what comes back, too");
}

#[test]
fn where_the_kernel_refuses_there_are_fewer_slots() {
    // More than any address space of 47 bits holds.
    let memory = Memory::new(0);
    let arena = Arena::new(65_535 << 14, 1 << 17, &memory);
    assert!((1..1 << 17).contains(&arena.slots()), "{}", arena.slots());
    assert!(arena.slot().is_some());
    assert!(Arena::new(1, 0, &memory).slot().is_none());
}

proptest! {
    #[test]
    fn blocks_are_those_that_the_bytes_lie_in(capacity in 1usize..700_000, at: prop::sample::Index, len in 0usize..700_000) {
        let shape = Shape::new(capacity, PAGE);
        let (at, len) = (at.index(capacity), len.min(capacity));
        let expected = (0..len).fold(0, |blocks, i| blocks | 1u128 << ((at + i) % capacity / shape.block));
        prop_assert_eq!(shape.blocks(at, len), expected);
        prop_assert!(shape.stride >= capacity && shape.stride.is_multiple_of(shape.block) && shape.stride / shape.block <= 128);
    }

    #[test]
    fn a_walk_over_blocks_ends_where_the_bytes_do(capacity in 1usize..600_000, at: prop::sample::Index) {
        let shape = Shape::new(capacity, PAGE);
        let at = at.index(capacity);
        let (mut walked, mut blocks) = (0, 0);
        while walked < capacity {
            let (block, left) = shape.block_at(at + walked);
            blocks |= 1 << block;
            walked += left;
        }
        prop_assert_eq!(blocks, shape.blocks(at, capacity));
        prop_assert!(walked - capacity < shape.block);
    }
}
