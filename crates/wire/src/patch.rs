//! A patch: several changes to a TCP or UDP packet's transport header, and the checksum put right once for all of them.

use crate::rewrite::{negated, patch_transport};
use crate::{Checksum, Frame, Packet};

/// Changes under way. They are in the packet at once; its checksum is right when [`Patch::finish`] has been called.
pub(crate) struct Patch<'a> {
    bytes: &'a mut [u8],
    packet: Packet,
    checksum: Checksum,
    delta: u64,
}

impl<'a> Patch<'a> {
    /// None yet, to the packet in `frame`.
    #[inline]
    pub(crate) fn begin(frame: &'a mut Frame<'_>, packet: &Packet) -> Self {
        let checksum = frame.checksum();
        Self { bytes: &mut *frame.bytes, packet: *packet, checksum, delta: 0 }
    }

    /// Adds to the number at `at`, and says what it is now.
    #[inline]
    pub(crate) fn add(&mut self, at: usize, difference: u32) -> u32 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| self.bytes[at + i]);
        let number = u32::from_be_bytes([a, b, c, d]).wrapping_add(difference);
        if difference != 0 {
            self.write(at, number.to_be_bytes());
        }
        number
    }

    /// Changes the 16 bits at `at`.
    #[inline]
    pub(crate) fn map_u16(&mut self, at: usize, change: impl FnOnce(u16) -> u16) {
        let field = change(u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]));
        self.write(at, field.to_be_bytes());
    }

    /// Overwrites what is at `at`.
    #[inline]
    pub(crate) fn write<const N: usize>(&mut self, at: usize, new: [u8; N]) {
        let straddles = (at - self.packet.transport) % 2 == 1;
        let place = &mut self.bytes[at..at + N];
        self.delta += negated(sum(place, straddles)) + sum(&new, straddles);
        place.copy_from_slice(&new);
    }

    /// Puts the checksum right. (A partial one covers nothing of the transport header.)
    #[inline]
    pub(crate) fn finish(self) {
        if self.checksum != Checksum::Partial {
            patch_transport(self.bytes, &self.packet, self.checksum, self.delta);
        }
    }
}

/// What bytes add to a sum of 16-bit words, if the first one is a word's second half or its first.
#[inline]
fn sum(bytes: &[u8], straddles: bool) -> u64 {
    let halves = bytes.iter().enumerate();
    let weigh = |(i, byte): (usize, &u8)| u64::from(*byte) << if (i % 2 == 1) == straddles { 8 } else { 0 };
    halves.map(weigh).sum()
}
