//! A packet on its way: the bytes and what the kernel said about them.

use crate::{Checksum, Offload};

/// Room for the largest packet that a TUN with offloads hands over: 65,535 bytes and its headers, rounded up.
pub const FRAME_CAPACITY: usize = 65_536 + 256;

/// One IP packet, borrowed from whoever holds its buffer, and its offload state.
#[derive(Debug)]
pub struct Frame<'a> {
    /// What the kernel left undone: checksum, segmentation.
    pub offload: Offload,
    /// The packet, from the first byte of its IP header to its last byte.
    pub bytes: &'a mut [u8],
}

impl<'a> Frame<'a> {
    /// A frame with nothing left to offload: its checksum is complete in the packet.
    pub fn plain(bytes: &'a mut [u8]) -> Self {
        Self { offload: Offload::NONE, bytes }
    }

    /// The transport checksum's state.
    #[inline]
    pub fn checksum(&self) -> Checksum {
        self.offload.checksum
    }

    /// The largest IP packet that this frame puts on a wire: its own length, or that of a super-packet's segments.
    /// `headers` is the length of its IP and transport headers.
    #[inline]
    pub fn wire_len(&self, headers: usize) -> usize {
        match self.offload.segmentation {
            Some(segmentation) => self.bytes.len().min(headers + usize::from(segmentation.size)),
            None => self.bytes.len(),
        }
    }
}
