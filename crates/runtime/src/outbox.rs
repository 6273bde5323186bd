//! What waits until the worker has said everything, to be written in one system call: the frames among its words, but for long ones
//! that it has built.

use std::io::{self, ErrorKind};
use std::mem;
use std::ops::Range;

use arrayvec::ArrayVec;
use device::{Leaving, Ring};
use topology::DeviceId;
use wire::{Frame, Offload};

use crate::loops::BATCH;
use crate::outlet::Access;

/// Bytes of built frames that wait at most.
const COPIES: usize = 32 * 1024;
/// A built frame that is longer is written at once: a copy would cost more than the system call that it saves.
const LONGEST_COPY: usize = 4096;
/// Where so many wait, no built one is added: there is always room for all frames of a batch.
const FULL: usize = Ring::CAPACITY - BATCH;

/// A worker's frames that wait.
pub(crate) struct Outbox {
    /// What writes several in one system call; none where the kernel lends no ring.
    ring: Option<Ring>,
    waiting: ArrayVec<Waiting, { Ring::CAPACITY }>,
    /// The bytes of those that the worker has built.
    copies: Vec<u8>,
}

/// A frame that waits, and the device that it leaves by.
struct Waiting {
    device: DeviceId,
    what: What,
}

enum What {
    /// The batch's frame at this slot.
    Forwarded(usize),
    /// One that the worker has built, and where its copy is.
    Built(Offload, Range<usize>),
}

/// How the writing of a frame has ended.
pub(crate) struct Written<'a> {
    pub(crate) device: DeviceId,
    pub(crate) offload: Offload,
    pub(crate) bytes: &'a [u8],
    pub(crate) result: io::Result<()>,
}

impl Outbox {
    pub(crate) fn new(ring: Option<Ring>) -> Self {
        Self { ring, waiting: ArrayVec::new(), copies: Vec::with_capacity(COPIES) }
    }

    /// The frame at `slot` of the batch waits.
    #[inline]
    pub(crate) fn forward(&mut self, device: DeviceId, slot: usize) {
        self.waiting.push(Waiting { device, what: What::Forwarded(slot) });
    }

    /// A copy of a frame that the worker has built waits, if there is room for it.
    pub(crate) fn keep(&mut self, device: DeviceId, frame: &Frame<'_>) -> bool {
        let start = self.copies.len();
        let fits = frame.bytes.len() <= LONGEST_COPY.min(COPIES - start);
        if !fits || self.waiting.len() >= FULL {
            return false;
        }
        self.copies.extend_from_slice(frame.bytes);
        let place = start..self.copies.len();
        self.waiting.push(Waiting { device, what: What::Built(frame.offload, place) });
        true
    }

    /// Writes all that waits, in order, and tells of each how that ended; `frames` is the batch.
    #[inline]
    pub(crate) fn send(
        &mut self,
        devices: &mut [Access],
        frames: &[Frame<'_>],
        mut tell: impl FnMut(&Access, Written<'_>),
    ) {
        // A lone frame is written faster by a system call of its own.
        if self.waiting.len() > 1 {
            self.write_together(devices, frames, &mut tell);
        }
        self.write_one_by_one(devices, frames, &mut tell);
        self.copies.clear();
    }

    /// Writes those that the worker has built, and leaves the batch's own.
    pub(crate) fn send_built(&mut self, devices: &mut [Access], tell: impl FnMut(&Access, Written<'_>)) {
        if self.copies.is_empty() {
            return;
        }
        let is_built = |waiting: &Waiting| matches!(waiting.what, What::Built(..));
        let (built, forwarded) = mem::take(&mut self.waiting).into_iter().partition(is_built);
        self.waiting = built;
        self.send(devices, &[], tell);
        self.waiting = forwarded;
    }

    /// Writes by the ring what it takes; the rest still waits. That is all if there is no ring, or a queue does not go along.
    fn write_together(
        &mut self,
        devices: &[Access],
        frames: &[Frame<'_>],
        tell: &mut impl FnMut(&Access, Written<'_>),
    ) {
        let Self { ring: Some(ring), waiting, copies } = self else { return };
        let mut leaving = ArrayVec::<_, { Ring::CAPACITY }>::new();
        for Waiting { device, what } in &*waiting {
            let queue = devices.get(device.index()).and_then(|access| access.queue.as_ref());
            let Some(to) = queue.and_then(|queue| queue.file()) else { return };
            let (offload, bytes) = match what {
                What::Forwarded(slot) => (frames[*slot].offload, &*frames[*slot].bytes),
                What::Built(offload, place) => (*offload, &copies[place.clone()]),
            };
            leaving.push(Leaving { to, offload, bytes });
        }
        let mut left = [false; Ring::CAPACITY];
        let written = ring.write(&leaving, |place, result| {
            let (device, Leaving { offload, bytes, .. }) = (waiting[place].device, leaving[place]);
            left[place] = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unsupported);
            if !left[place] {
                tell(&devices[device.index()], Written { device, offload, bytes, result });
            }
        });
        let Err(error) = written else {
            waiting.clear();
            return;
        };
        tracing::info!("io_uring is of no use here, so packets are written one by one: {error}");
        self.ring = None;
        let mut left = left.into_iter();
        waiting.retain(|_| left.next().unwrap_or_default());
    }

    fn write_one_by_one(
        &mut self,
        devices: &mut [Access],
        frames: &[Frame<'_>],
        tell: &mut impl FnMut(&Access, Written<'_>),
    ) {
        for Waiting { device, what } in self.waiting.drain(..) {
            // The engine sends nothing to a device that the worker was never given.
            let Some(access) = devices.get_mut(device.index()) else { continue };
            match what {
                What::Forwarded(slot) => access.write(device, &frames[slot], tell),
                What::Built(offload, place) => {
                    let bytes = &mut self.copies[place];
                    access.write(device, &Frame { offload, bytes }, tell);
                }
            }
        }
    }
}
