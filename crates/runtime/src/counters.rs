//! Counters: each worker writes its own, on cache lines of its own; anybody may read them.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use engine::Reason;
use flow::Cause;
use topology::DeviceId;

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
pub(crate) struct WorkerCounters {
    pub(crate) frames: Counter,
    pub(crate) batches: Counter,
    pub(crate) wakeups: Counter,
    pub(crate) handed_over: Counter,
    pub(crate) opened: Counter,
    /// How many connections it terminates now.
    pub(crate) terminated: Counter,
    closed: [Counter; Cause::ALL.len()],
    verdicts: [Counter; Reason::COUNT],
    devices: Box<[CachePadded<DeviceCounters>]>,
}

/// One worker's counters of one device.
#[derive(Default)]
pub(crate) struct DeviceCounters {
    pub(crate) received: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) send_errors: Counter,
    pub(crate) receive_errors: Counter,
}

impl WorkerCounters {
    pub(crate) fn new(devices: usize) -> Self {
        Self {
            frames: Counter::default(),
            batches: Counter::default(),
            wakeups: Counter::default(),
            handed_over: Counter::default(),
            opened: Counter::default(),
            terminated: Counter::default(),
            closed: Default::default(),
            verdicts: std::array::from_fn(|_| Counter::default()),
            devices: (0..devices).map(|_| CachePadded::default()).collect(),
        }
    }

    #[inline]
    pub(crate) fn verdict(&self, reason: Reason) -> &Counter {
        &self.verdicts[reason.index()]
    }

    pub(crate) fn closed(&self, cause: Cause) -> &Counter {
        &self.closed[cause as usize]
    }

    #[inline]
    pub(crate) fn device(&self, device: DeviceId) -> &DeviceCounters {
        &self.devices[device.index()]
    }
}
