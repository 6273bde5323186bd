//! Where connections keep bytes: one mapping a stack, cut into slots of two rings, in memory page by page as it is used.
//!
//! A slot that was never used takes no memory, and one that comes back is emptied, but for a few whose first pages stay for
//! the connections that come next: opening one then costs neither a mapping nor a page fault. What a ring may have in
//! memory is known block by block (a page each, up to 512 KiB), and that is what is paid for. A block is paid for before a
//! byte is written to it, so the account is never short. The pages of free slots are nobody's, and not in it.
//!
//! Where the kernel refuses so large a mapping (`vm.overcommit_memory = 2`, a limit on address space), there are fewer
//! slots, none if need be: whoever holds a stack can do other things than open connections, and sees how many there are.

#![expect(unsafe_code, reason = "the mapping is asked of the kernel, and lent to smoltcp without a lifetime")]

use std::mem::replace;
use std::ptr::{NonNull, null_mut, slice_from_raw_parts_mut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer};

use crate::Memory;

/// How many free slots keep their first pages, and how much of each ring that is.
const WARM_SLOTS: usize = 512;
const WARM: usize = 8 << 10;

/// What all free slots of an arena keep in memory at most.
pub(crate) const SPARE: usize = 2 * WARM * WARM_SLOTS;

/// How many blocks a ring is never refused: enough for a jumbo segment wherever it lies, so that every connection gets on.
const LEAST: u32 = 4;

/// Which of a slot's two rings.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    /// What the peer has sent.
    Incoming,
    /// What the peer is to be sent.
    Outgoing,
}

/// The slots of a stack.
pub(crate) struct Arena {
    mapping: Mapping,
    shape: Shape,
    slots: u32,
    memory: Memory,
    /// Asked when a connection begins and when it ends, by the one thread that has the stack: nobody waits for it.
    vacancies: Mutex<Vacancies>,
}

/// Which slots are free. The last that came back goes first: its pages are the likeliest to be in the cache.
struct Vacancies {
    warm: Vec<Warm>,
    cold: Vec<u32>,
    /// How many slots were ever used.
    used: u32,
    /// Sets that have memory for a socket, and none in them.
    sets: Vec<SocketSet<'static>>,
}

/// A free slot that has pages in memory.
struct Warm {
    index: u32,
    touched: [u128; 2],
}

impl Arena {
    /// Room for as many of `slots` slots as the kernel allows, with rings of `capacity` bytes.
    pub(crate) fn new(capacity: usize, slots: usize, memory: &Memory) -> Arc<Self> {
        let shape = Shape::new(capacity, rustix::param::page_size());
        let mut slots = slots.min(u32::MAX as usize);
        let mapping = loop {
            match slots.checked_mul(2 * shape.stride).and_then(Mapping::new) {
                Some(mapping) => break mapping,
                None => slots /= 2,
            }
        };
        Arc::new(Self {
            mapping,
            shape,
            slots: slots as u32,
            memory: memory.clone(),
            vacancies: Mutex::new(Vacancies {
                warm: Vec::with_capacity(slots.min(WARM_SLOTS)),
                cold: Vec::with_capacity(slots),
                used: 0,
                sets: Vec::with_capacity(slots.min(WARM_SLOTS)),
            }),
        })
    }

    /// The size of a ring.
    pub(crate) fn capacity(&self) -> usize {
        self.shape.capacity
    }

    /// What slots are paid for with.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// How many slots there are.
    pub(crate) fn slots(&self) -> usize {
        self.slots as usize
    }

    /// How many of them are free.
    pub(crate) fn vacant(&self) -> usize {
        let vacancies = self.vacancies();
        self.slots() - vacancies.used as usize + vacancies.warm.len() + vacancies.cold.len()
    }

    /// What `slots` of them are never refused.
    pub(crate) fn least(&self, slots: usize) -> usize {
        slots * 2 * LEAST as usize * self.shape.block
    }

    /// A socket over the rings of a slot, if there is a free one.
    pub(crate) fn berth(self: &Arc<Self>) -> Option<Berth> {
        let slot = self.slot()?;
        let [incoming, outgoing] = [Side::Incoming, Side::Outgoing].map(|side| {
            let ring = slice_from_raw_parts_mut(slot.ring(side), self.shape.capacity);
            // SAFETY: the ring lies within the mapping, whose bytes are all initialized. It is the slot's alone, and the
            // berth sees to it that it is gone before the slot is.
            SocketBuffer::new(unsafe { &mut *ring })
        });
        let empty = self.vacancies().sets.pop();
        let mut sockets = empty.unwrap_or_else(|| SocketSet::new(Vec::with_capacity(1)));
        let socket = sockets.add(Socket::new(incoming, outgoing));
        Some(Berth { sockets, socket, slot })
    }

    fn slot(self: &Arc<Self>) -> Option<Slot> {
        let mut vacancies = self.vacancies();
        if let Some(Warm { index, touched }) = vacancies.warm.pop() {
            return Some(Slot::warm(self.clone(), index, touched));
        }
        let index = match vacancies.cold.pop() {
            Some(index) => index,
            None if vacancies.used < self.slots => {
                vacancies.used += 1;
                vacancies.used - 1
            }
            None => return None,
        };
        Some(Slot { arena: self.clone(), index, touched: [0; 2] })
    }

    fn vacancies(&self) -> MutexGuard<'_, Vacancies> {
        // It is whole between any two of its operations.
        self.vacancies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket, alone in its set, and the slot that its rings lie in. Nothing takes the socket out of its set before the berth is
/// dropped, and then it goes first: a place is not somebody else's before its user is gone.
pub(crate) struct Berth {
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    pub(crate) slot: Slot,
}

impl Berth {
    pub(crate) fn socket(&self) -> &Socket<'static> {
        self.sockets.get(self.socket)
    }

    pub(crate) fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    pub(crate) fn sockets(&self) -> &SocketSet<'static> {
        &self.sockets
    }

    pub(crate) fn sockets_mut(&mut self) -> &mut SocketSet<'static> {
        &mut self.sockets
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        drop(self.sockets.remove(self.socket));
        let sets = &mut self.slot.arena.vacancies().sets;
        if sets.len() < WARM_SLOTS {
            sets.push(replace(&mut self.sockets, SocketSet::new(Vec::new())));
        }
    }
}

/// A place for one connection's bytes: two rings. Goes back to its arena when it is dropped.
pub(crate) struct Slot {
    arena: Arc<Arena>,
    index: u32,
    /// A bit for every block that may be in memory, of each ring.
    touched: [u128; 2],
}

impl Slot {
    /// One that has pages in memory already. They are worth their price unless memory is short.
    fn warm(arena: Arc<Arena>, index: u32, touched: [u128; 2]) -> Self {
        arena.memory.take_anyway(arena.shape.bytes(touched));
        let is_ample = arena.memory.is_ample();
        let mut slot = Self { arena, index, touched };
        if !is_ample {
            slot.keep(Side::Incoming, 0, 0);
            slot.keep(Side::Outgoing, 0, 0);
        }
        slot
    }

    /// Makes `len` bytes from `at` on, in which all that the ring holds must lie, ready to be written. Returns for how many
    /// of them, from the first, that could be paid. Where more than `most` bytes would be in memory, or memory is short, the
    /// rest is given back.
    pub(crate) fn hold(&mut self, side: Side, at: usize, len: usize, most: usize) -> usize {
        let wanted = self.arena.shape.blocks(at, len);
        let touched = self.touched[side as usize];
        if wanted & !touched == 0 {
            return len;
        }
        if self.arena.shape.bytes([wanted | touched, 0]) > most || !self.arena.memory.is_ample() {
            self.keep(side, at, len);
        }
        let mut held = 0;
        while held < len {
            let (block, left) = self.arena.shape.block_at(at + held);
            if !self.pay(side, block) {
                self.keep(side, at, len);
                if !self.pay(side, block) {
                    self.arena.memory.refuse();
                    break;
                }
            }
            held += left;
        }
        held.min(len)
    }

    /// Gives back whatever the ring has in memory outside of the `len` bytes from `at` on.
    pub(crate) fn keep(&mut self, side: Side, at: usize, len: usize) {
        let Shape { block, .. } = self.arena.shape;
        let mut idle = self.touched[side as usize] & !self.arena.shape.blocks(at, len);
        while idle != 0 {
            let first = idle.trailing_zeros();
            let count = (idle >> first).trailing_ones();
            let run = run(first, count);
            idle &= !run;
            let start = self.ring(side).wrapping_add(first as usize * block).cast();
            let size = count as usize * block;
            // SAFETY: the blocks are this ring's, and hold nothing that will be read before it is written. The one reference
            // to them is at rest in the socket, of which no call is in progress, as the berth is borrowed here; and to the
            // compiler, the system call is code that may write through the pointer which that reference was made from.
            if unsafe { madvise(start, size, Advice::LinuxDontNeed) }.is_ok() {
                self.touched[side as usize] &= !run;
                self.arena.memory.give_back(size);
            }
        }
    }

    /// What it is paid for with.
    pub(crate) fn memory(&self) -> &Memory {
        &self.arena.memory
    }

    /// Whether a block of a ring is paid for, now if it was not before.
    fn pay(&mut self, side: Side, block: u32) -> bool {
        let touched = &mut self.touched[side as usize];
        if *touched & 1 << block != 0 {
            return true;
        }
        let Arena { memory, shape, .. } = &*self.arena;
        if !memory.take(shape.block) {
            if touched.count_ones() >= LEAST {
                return false;
            }
            memory.take_anyway(shape.block);
        }
        *touched |= 1 << block;
        true
    }

    fn ring(&self, side: Side) -> *mut u8 {
        let Arena { mapping, shape, .. } = &*self.arena;
        mapping.start.as_ptr().wrapping_add((self.index as usize * 2 + side as usize) * shape.stride)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let arena = self.arena.clone();
        let mut vacancies = arena.vacancies();
        let stays_warm = vacancies.warm.len() < WARM_SLOTS && arena.memory.is_ample();
        for side in [Side::Incoming, Side::Outgoing] {
            self.keep(side, 0, if stays_warm { WARM } else { 0 });
        }
        arena.memory.give_back(arena.shape.bytes(self.touched));
        if stays_warm {
            vacancies.warm.push(Warm { index: self.index, touched: self.touched });
        } else {
            vacancies.cold.push(self.index);
        }
    }
}

/// How a ring is cut into blocks: 128 at most, whole pages.
#[derive(Clone, Copy)]
struct Shape {
    capacity: usize,
    /// A power of two.
    block: usize,
    /// From one ring to the next.
    stride: usize,
}

impl Shape {
    fn new(capacity: usize, page: usize) -> Self {
        let pages = capacity.div_ceil(page);
        let block = pages.div_ceil(u128::BITS as usize).next_power_of_two() * page;
        Self { capacity, block, stride: capacity.next_multiple_of(block) }
    }

    /// The blocks that the `len` bytes from `at` on lie in, around the ring's end if need be.
    fn blocks(&self, at: usize, len: usize) -> u128 {
        let len = len.min(self.capacity);
        let straight = len.min(self.capacity - at);
        self.span(at, straight) | self.span(0, len - straight)
    }

    fn span(&self, at: usize, len: usize) -> u128 {
        if len == 0 {
            return 0;
        }
        let [first, last] = [at, at + len - 1].map(|at| self.block_of(at));
        run(first, last - first + 1)
    }

    /// The block that a byte lies in, and how many bytes of the ring are in it from there on.
    fn block_at(&self, at: usize) -> (u32, usize) {
        let at = at % self.capacity;
        (self.block_of(at), (self.block - at % self.block).min(self.capacity - at))
    }

    fn block_of(&self, at: usize) -> u32 {
        (at >> self.block.trailing_zeros()) as u32
    }

    /// What blocks of both rings take.
    fn bytes(&self, touched: [u128; 2]) -> usize {
        touched.map(u128::count_ones).iter().sum::<u32>() as usize * self.block
    }
}

/// `count` bits, one at least, from the `first` on.
fn run(first: u32, count: u32) -> u128 {
    (u128::MAX >> (u128::BITS - count)) << first
}

/// Memory that the kernel gives when it is touched, and may be told to take back.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it owns its bytes, as a box does.
unsafe impl Send for Mapping {}
// SAFETY: a shared reference to it tells where it is, and no more.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `None` where the kernel refuses.
    fn new(len: usize) -> Option<Self> {
        if len == 0 {
            return Some(Self { start: NonNull::dangling(), len });
        }
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping, at an address of the kernel's choice, overlaps nothing.
        let mapped = unsafe { mmap_anonymous(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags) };
        let start = mapped.ok()?;
        // SAFETY: the range is the mapping that was just made. A huge page would put whole rings into memory at a touch; a
        // kernel that knows none refuses, and nothing is lost.
        let _ = unsafe { madvise(start, len, Advice::LinuxNoHugepage) };
        NonNull::new(start.cast()).map(|start| Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: the mapping is ours, and every slot, which keeps its arena alive, is gone.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        }
    }
}

#[cfg(test)]
mod tests;
