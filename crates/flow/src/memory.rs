//! The table's memory: zeroed, mapped once, in huge pages where the kernel has them, and never given back while the
//! table lives. A look-up at a random flow then misses the cache, but seldom the translation of its address too.

#![expect(unsafe_code, reason = "the mapping is asked of the kernel")]

use std::alloc::{Layout, handle_alloc_error};
use std::ops::Deref;
use std::ptr::{NonNull, null_mut, slice_from_raw_parts};

use bytemuck::Zeroable;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Where huge pages begin to pay: below, one would be mostly empty.
const HUGE: usize = 2 << 20;

/// A slice of `T`, all zero at first. Pages that nobody has written take no memory.
pub(crate) struct Memory<T> {
    start: NonNull<T>,
    count: usize,
}

// SAFETY: it owns its `T`s as a box does.
unsafe impl<T: Send> Send for Memory<T> {}
// SAFETY: it hands out shared references only.
unsafe impl<T: Sync> Sync for Memory<T> {}

impl<T: Zeroable> Memory<T> {
    /// Room for `count` of them, which must be one at least.
    pub(crate) fn zeroed(count: usize) -> Self {
        let size = Self::size(count);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping, at an address of the kernel's choice, overlaps nothing.
        let mapped = unsafe { mmap_anonymous(null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, flags) };
        let Ok(Some(start)) = mapped.map(|start| NonNull::new(start.cast::<T>())) else {
            handle_alloc_error(Layout::new::<T>());
        };
        if size >= HUGE {
            // SAFETY: the range is the mapping that was just made. A kernel without huge pages refuses, and nothing is lost.
            let _ = unsafe { madvise(start.as_ptr().cast(), size, Advice::LinuxHugepage) };
        }
        Self { start, count }
    }
}

impl<T> Memory<T> {
    fn size(count: usize) -> usize {
        count.max(1) * size_of::<T>()
    }
}

impl<T> Deref for Memory<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `count` of them, page-aligned, all zero bytes at first, which `Zeroable` makes valid.
        unsafe { &*slice_from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever drops it holds no reference into it. The `T`s are plain atomics.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), Self::size(self.count)) };
    }
}
