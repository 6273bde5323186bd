//! Hand-over: frames that landed on one worker and belong to another. A bounded ring per receiver, and a pool of
//! buffers, so that nothing is allocated on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use bytes::BytesMut;
use crossbeam::queue::ArrayQueue;
use engine::{HandOverFull, WorkerId};
use mio::Waker;
use topology::DeviceId;
use wire::{FRAME_CAPACITY, Frame, Offload};

/// Frames that may wait for one worker.
const RING: usize = 256;

/// A frame between two workers.
pub(crate) struct Handed {
    pub(crate) device: DeviceId,
    pub(crate) offload: Offload,
    pub(crate) bytes: BytesMut,
}

/// All workers' rings.
pub(crate) struct Rings {
    rings: Box<[Ring]>,
    /// Empty buffers. Their pages are touched when they are first used.
    pool: ArrayQueue<BytesMut>,
}

struct Ring {
    frames: ArrayQueue<Handed>,
    /// Whether the receiver has been woken and has not looked yet.
    notified: AtomicBool,
    waker: Arc<Waker>,
}

impl Rings {
    pub(crate) fn new(wakers: impl Iterator<Item = Arc<Waker>>) -> Self {
        let rings: Box<[Ring]> = wakers
            .map(|waker| Ring { frames: ArrayQueue::new(RING), notified: AtomicBool::new(false), waker })
            .collect();
        let pool = ArrayQueue::new(RING * rings.len());
        // One worker hands nothing over. The pool has room for exactly these.
        if rings.len() > 1 {
            while pool.push(BytesMut::with_capacity(FRAME_CAPACITY)).is_ok() {}
        }
        Self { rings, pool }
    }

    /// Copies a frame into the receiver's ring and wakes it.
    pub(crate) fn hand_over(
        &self,
        to: WorkerId,
        device: DeviceId,
        frame: &Frame<'_>,
    ) -> Result<(), HandOverFull> {
        let ring = &self.rings[to.index()];
        let mut bytes = self.pool.pop().ok_or(HandOverFull)?;
        bytes.extend_from_slice(frame.bytes);
        let handed = Handed { device, offload: frame.offload, bytes };
        if let Err(refused) = ring.frames.push(handed) {
            self.give_back(refused);
            return Err(HandOverFull);
        }
        // Pairs with the fence in `look`: either the receiver finds the frame, or we find that it has to be woken.
        fence(Ordering::SeqCst);
        if !ring.notified.swap(true, Ordering::AcqRel)
            && let Err(error) = ring.waker.wake()
        {
            tracing::error!("a worker could not be woken: {error}");
        }
        Ok(())
    }

    /// The receiver looks how many frames wait for it. Whoever hands over from now on has to wake it again.
    pub(crate) fn look(&self, worker: WorkerId) -> usize {
        let ring = &self.rings[worker.index()];
        ring.notified.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        ring.frames.len()
    }

    /// The next frame for this worker.
    pub(crate) fn take(&self, worker: WorkerId) -> Option<Handed> {
        self.rings[worker.index()].frames.pop()
    }

    /// Puts a frame's buffer back into the pool.
    pub(crate) fn give_back(&self, mut handed: Handed) {
        handed.bytes.clear();
        // There are exactly as many buffers as the pool holds, so there is room.
        drop(self.pool.push(handed.bytes));
    }
}
