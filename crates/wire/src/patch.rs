//! A patch: several changes to a TCP or UDP packet's transport header, and the checksum put right once for all of them.

use std::ops::Range;

use crate::options::u32_at;
use crate::rewrite::patch_transport;
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
        let number = u32_at(self.bytes, at).wrapping_add(difference);
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

    /// Overwrites what is at `at`: 4 bytes at most.
    #[inline]
    pub(crate) fn write<const N: usize>(&mut self, at: usize, new: [u8; N]) {
        let place = &mut self.bytes[at..at + N];
        // A sum of 32-bit words folds to that of 16-bit words. What ends with a word's first half counts 8 bits more.
        let weight = (at - self.packet.transport + N) % 2 * 8;
        self.delta += (u64::from(!number(place)) + u64::from(number(&new))) << weight;
        place.copy_from_slice(&new);
    }

    /// Overwrites a part of the options with NOPs.
    pub(crate) fn blank(&mut self, part: Range<usize>) {
        part.for_each(|at| self.write(at, [1]));
    }

    /// The packet as it is by now.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// Puts the checksum right. (A partial one covers nothing of the transport header.)
    #[inline]
    pub(crate) fn finish(self) {
        if self.checksum != Checksum::Partial {
            patch_transport(self.bytes, &self.packet, self.checksum, self.delta);
        }
    }
}

/// Bytes as the number that they write.
#[inline]
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
