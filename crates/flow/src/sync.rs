//! Atomics, and memory for them: the real ones, or those of loom, which tries every order in which threads may see them.

#[cfg(not(loom))]
pub(crate) use real::*;
#[cfg(loom)]
pub(crate) use tried::*;

#[cfg(not(loom))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

    pub(crate) use crate::memory::Memory;
}

#[cfg(loom)]
mod tried {
    use std::ops::Deref;

    pub(crate) use loom::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

    /// Stands for the table's mapping.
    pub(crate) struct Memory<T>(Vec<T>);

    impl<T: Default> Memory<T> {
        pub(crate) fn zeroed(count: usize) -> Self {
            Self((0..count).map(|_| T::default()).collect())
        }
    }

    impl<T> Deref for Memory<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            &self.0
        }
    }
}
