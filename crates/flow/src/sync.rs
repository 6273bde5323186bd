//! Atomics, and memory for them: the real ones, or those of loom, which tries every order in which threads may see them.

#[cfg(not(loom))]
pub(crate) use real::*;
#[cfg(loom)]
pub(crate) use tried::*;

#[cfg(not(loom))]
mod real {
    pub(crate) use std::sync::atomic::{
        AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use std::sync::{Mutex, MutexGuard};

    pub(crate) use bytemuck::zeroed_slice_box as zeroed;

    pub(crate) use crate::memory::Memory;
}

#[cfg(loom)]
mod tried {
    use std::ops::Deref;

    pub(crate) use loom::sync::atomic::{
        AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use loom::sync::{Mutex, MutexGuard};

    /// Stands for the table's mapping.
    pub(crate) struct Memory<T>(Box<[T]>);

    impl<T: Default> Memory<T> {
        pub(crate) fn zeroed(count: usize) -> Self {
            Self(zeroed(count))
        }
    }

    /// A slice of them.
    pub(crate) fn zeroed<T: Default>(count: usize) -> Box<[T]> {
        (0..count).map(|_| T::default()).collect()
    }

    impl<T> Deref for Memory<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            &self.0
        }
    }
}
