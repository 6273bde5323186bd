//! Counters: each worker writes its own, on cache lines of its own; anybody may read them.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use engine::Reason;
use flow::Cause;

/// A number that one thread writes. Plain loads and stores: no locked instruction.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One worker's counters.
#[derive(Default)]
pub(crate) struct WorkerCounters {
    pub(crate) frames: Counter,
    pub(crate) batches: Counter,
    pub(crate) wakeups: Counter,
    pub(crate) handed_over: Counter,
    pub(crate) opened: Counter,
    /// How many connections it terminates now.
    pub(crate) terminated: Counter,
    closed: [Counter; Cause::ALL.len()],
    verdicts: Verdicts,
}

/// One worker's counters of one device. They come to the worker with its queue, and outlive it.
pub(crate) type DeviceCounters = CachePadded<DeviceCounts>;

/// What is counted of a device.
#[derive(Default)]
pub(crate) struct DeviceCounts {
    pub(crate) received: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) send_errors: Counter,
    pub(crate) receive_errors: Counter,
}

impl DeviceCounts {
    /// Counts a packet of this length that came in.
    #[inline]
    pub(crate) fn count_in(&self, len: usize) {
        self.received.add(1);
        self.received_bytes.add(len as u64);
    }
}

/// A counter for each reason.
struct Verdicts([Counter; Reason::COUNT]);

impl Default for Verdicts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl WorkerCounters {
    #[inline]
    pub(crate) fn verdict(&self, reason: Reason) -> &Counter {
        &self.verdicts.0[reason.index()]
    }

    pub(crate) fn closed(&self, cause: Cause) -> &Counter {
        &self.closed[cause as usize]
    }
}
