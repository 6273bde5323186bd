//! The buffers that are lent to the kernel: it puts each packet that comes into the one that was lent first.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use arrayvec::ArrayVec;
use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use wire::{Offload, Room};

use super::packet::{Packet, USUAL_HEADERS};

/// The name of the buffers, for the reads that are to take them.
pub(super) const GROUP: u16 = 0;
/// How many are lent at once: a power of two.
const ENTRIES: usize = 32;

/// The kernel has this page as long as the ring lives that it was registered with. Aligned for kernels with pages of any size.
const PAGE: Layout = match Layout::from_size_align(4096, 65_536) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

/// What is lent, and the page where the kernel finds it.
pub(super) struct Lending {
    page: NonNull<BufRingEntry>,
    /// How many were ever lent.
    tail: u16,
    lent: [Option<Lent>; ENTRIES],
    /// The names that no buffer has.
    free: ArrayVec<u16, ENTRIES>,
    /// The length of the headers that the next packets are believed to have.
    headers: usize,
}

/// A buffer that is the kernel's, and where a packet is to begin there.
struct Lent {
    room: Room,
    start: usize,
}

// SAFETY: the page is owned, as a box owns what is in it.
unsafe impl Send for Lending {}

impl Lending {
    pub(super) fn new() -> Self {
        // SAFETY: the layout is not empty.
        let page = unsafe { alloc_zeroed(PAGE) };
        let Some(page) = NonNull::new(page.cast()) else { handle_alloc_error(PAGE) };
        let names = 0..ENTRIES as u16;
        Self {
            page,
            tail: 0,
            lent: [const { None }; ENTRIES],
            free: names.rev().collect(),
            headers: USUAL_HEADERS,
        }
    }

    /// Shows the page to the kernel.
    pub(super) fn register(&self, to: &Submitter<'_>) -> io::Result<()> {
        // SAFETY: the page is aligned as a page and as long as the entries, is of no other use, and outlives the ring: see `Ring`'s `drop`.
        unsafe { to.register_buf_ring_with_flags(self.page.as_ptr() as u64, ENTRIES as u16, GROUP, 0) }
    }

    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether the kernel has none.
    pub(super) fn is_empty(&self) -> bool {
        self.free.is_full()
    }

    /// Lends a packet's buffer; there must be room.
    pub(super) fn lend(&mut self, packet: Packet) {
        let Some(name) = self.free.pop() else { return };
        let mut room = packet.into_room();
        let start = room.start(self.headers);
        let landing = &mut room.bytes_mut()[start - Offload::LEN..];
        let (address, len) = (landing.as_mut_ptr().expose_provenance(), landing.len());
        self.lent[usize::from(name)] = Some(Lent { room, start });
        let place = usize::from(self.tail) % ENTRIES;
        // SAFETY: the place is within the page, whose bytes are initialized and, beyond the tail, not looked at by the kernel. (The tail
        // itself lies in a field of the first entry that none of these calls touches.)
        let entry = unsafe { &mut *self.page.as_ptr().wrapping_add(place) };
        entry.set_addr(address as u64);
        entry.set_len(len as u32);
        entry.set_bid(name);
        self.tail = self.tail.wrapping_add(1);
        self.shared_tail().store(self.tail, Ordering::Release);
    }

    /// The next packets will have headers of this length, or so it seems.
    #[inline]
    pub(super) fn expect(&mut self, headers: usize) {
        self.headers = headers;
    }

    /// The buffer of this name is the worker's again: the kernel has said that it is done with it.
    pub(super) fn take_back(&mut self, name: u16) -> Option<Packet> {
        let Lent { room, start } = self.lent.get_mut(usize::from(name))?.take()?;
        self.free.push(name);
        Some(Packet::within(room, start))
    }

    fn shared_tail(&self) -> &AtomicU16 {
        // SAFETY: the pointer is the page's first entry, which is initialized.
        let tail = unsafe { BufRingEntry::tail(self.page.as_ptr()) };
        // SAFETY: it is aligned, lives as long as the page, and is written by nothing else; the kernel reads it.
        unsafe { AtomicU16::from_ptr(tail.cast_mut()) }
    }
}

impl Drop for Lending {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and the ring that knew it is gone.
        unsafe { dealloc(self.page.as_ptr().cast(), PAGE) };
    }
}
