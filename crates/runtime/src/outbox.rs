//! What waits until the worker has said everything, to be written in one system call: the frames among its words, but for long ones
//! that it has built.

use std::io::{self, ErrorKind};
use std::mem;
use std::ops::Range;
use std::time::Duration;

use arrayvec::ArrayVec;
use device::{Leaving, Packet, Ring, Told};
use topology::DeviceId;
use wire::{Frame, Offload};

use crate::desk::BATCH;
use crate::outlet::Access;

/// Bytes of built frames that wait at most.
const COPIES: usize = 32 * 1024;
/// A built frame that is longer is written at once: a copy would cost more than the system call that it saves.
const LONGEST_COPY: usize = 4096;
/// Where so many wait, no built one is added: there is always room for all frames of a batch.
const FULL: usize = Ring::CAPACITY - BATCH;

/// A worker's frames that wait.
pub(crate) struct Outbox {
    waiting: ArrayVec<Waiting, { Ring::CAPACITY }>,
    /// The bytes of those that the worker has built.
    copies: Vec<u8>,
    /// Packets that have left, for the room in them.
    spare: Vec<Packet>,
}

/// A frame that waits, and the device that it leaves by.
struct Waiting {
    device: DeviceId,
    what: What,
}

enum What {
    /// The frame at this slot of the batch that the worker has in hand.
    Said(usize),
    /// One of an earlier batch.
    Forwarded(Packet),
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
    pub(crate) fn new() -> Self {
        Self { waiting: ArrayVec::new(), copies: Vec::with_capacity(COPIES), spare: Vec::new() }
    }

    /// Room for a packet; where there is any, that of the one that has left last.
    #[inline]
    pub(crate) fn room(&mut self) -> Packet {
        self.spare.pop().unwrap_or_else(Packet::room)
    }

    /// Takes a packet that is of no use any more.
    #[inline]
    pub(crate) fn discard(&mut self, packet: Packet) {
        self.spare.push(packet);
    }

    /// How many packets are of no use at present.
    #[cfg(test)]
    pub(crate) fn spare(&self) -> usize {
        self.spare.len()
    }

    /// The frame at `slot` of the batch waits.
    #[inline]
    pub(crate) fn forward(&mut self, device: DeviceId, slot: usize) {
        self.waiting.push(Waiting { device, what: What::Said(slot) });
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

    /// The worker has said all that it has to say about this batch: of its packets, those wait from now on that go out.
    #[inline]
    pub(crate) fn take_in(&mut self, packets: ArrayVec<Packet, BATCH>) {
        let mut packets: ArrayVec<_, BATCH> = packets.into_iter().map(Some).collect();
        for Waiting { what, .. } in &mut self.waiting {
            if let What::Said(slot) = *what
                && let Some(packet) = packets.get_mut(slot).and_then(Option::take)
            {
                *what = What::Forwarded(packet);
            }
        }
        self.spare.extend(packets.into_iter().flatten());
    }

    /// Whether all that a batch may be answered by finds room.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() + BATCH <= FULL
    }

    /// Writes all that waits, in order, and tells of each how that ended.
    pub(crate) fn write(&mut self, devices: &mut [Access], mut tell: impl FnMut(&Access, Written<'_>)) {
        for Waiting { device, what } in self.waiting.drain(..) {
            // The engine sends nothing to a device that the worker was never given.
            let Some(access) = devices.get_mut(device.index()) else { continue };
            match what {
                What::Forwarded(mut packet) => {
                    access.write(device, &packet.frame(), &mut tell);
                    self.spare.push(packet);
                }
                What::Built(offload, place) => {
                    let bytes = &mut self.copies[place];
                    access.write(device, &Frame { offload, bytes }, &mut tell);
                }
                What::Said(_) => {}
            }
        }
        self.copies.clear();
    }

    /// Writes all but what the worker has in hand, which waits on.
    pub(crate) fn write_earlier(&mut self, devices: &mut [Access], tell: impl FnMut(&Access, Written<'_>)) {
        let is_in_hand = |waiting: &Waiting| matches!(waiting.what, What::Said(_));
        let (in_hand, earlier) = mem::take(&mut self.waiting).into_iter().partition(is_in_hand);
        self.waiting = earlier;
        self.write(devices, tell);
        self.waiting = in_hand;
    }

    /// Has the ring write all that waits, and tell how that ended and what else there is, for which it has this patience. After an error,
    /// what it has not written still waits.
    #[inline]
    pub(crate) fn turn(
        &mut self,
        ring: &mut Ring,
        devices: &mut [Access],
        patience: Duration,
        mut tell: impl FnMut(&Access, Written<'_>),
        mut hear: impl FnMut(&[Access], Told),
    ) -> io::Result<()> {
        if self.waiting.iter().any(|waiting| waiting.leaving(devices, &self.copies).is_none()) {
            self.write(devices, &mut tell);
        }
        let Self { waiting, copies, spare } = self;
        let leaving: ArrayVec<_, { Ring::CAPACITY }> =
            waiting.iter().filter_map(|waiting| waiting.leaving(devices, copies)).collect();
        let mut left = [false; Ring::CAPACITY];
        let turned = ring.turn(&leaving, patience, |told| match told {
            Told::Written(place, result) => {
                let (device, Leaving { offload, bytes, .. }) = (waiting[place].device, leaving[place]);
                left[place] = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unsupported);
                if !left[place] {
                    tell(&devices[device.index()], Written { device, offload, bytes, result });
                }
            }
            told => hear(devices, told),
        });
        drop(leaving);
        if turned.is_err() {
            let mut left = left.into_iter();
            waiting.retain(|_| left.next().unwrap_or_default());
            return turned;
        }
        for Waiting { what, .. } in waiting.drain(..) {
            if let What::Forwarded(packet) = what {
                spare.push(packet);
            }
        }
        copies.clear();
        turned
    }
}

impl Waiting {
    /// As the ring wants to have it, if its queue goes along.
    #[inline]
    fn leaving<'a>(&'a self, devices: &'a [Access], copies: &'a [u8]) -> Option<Leaving<'a>> {
        let to = devices.get(self.device.index())?.queue.as_ref()?.file()?;
        let (offload, bytes) = match &self.what {
            What::Said(_) => return None,
            What::Forwarded(packet) => (packet.offload(), packet.bytes()),
            What::Built(offload, place) => (*offload, &copies[place.clone()]),
        };
        Some(Leaving { to, offload, bytes })
    }
}
