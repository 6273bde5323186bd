//! Room for a packet. Where its bytes lie decides how fast they are copied.
//!
//! Processors copy fastest between places that lie alike in their cache lines. Not all are equally hurt by others: AMD's Zen 3 takes
//! fifteen times as long where the destination is 1 to 31 bytes further into its page than the source, with the instruction that
//! the kernel copies with (`docs/PERFORMANCE.md`). The kernel keeps the payload of a long packet apart from its headers, and
//! mostly from a line's beginning on: so that is where it should lie here, too.

use crate::{FRAME_CAPACITY, Offload};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Room for a packet, and for an offload header in front of it. (A vector: unlike a box it may be moved while somebody writes to its
/// bytes through a pointer, as the kernel does.)
#[derive(Debug)]
pub struct Room(Vec<u8>);

impl Room {
    /// Its length in bytes.
    pub const LEN: usize = Offload::LEN + LINE + FRAME_CAPACITY;

    /// One that is empty. Memory that the system has just given, and that is zero already, is not touched: a room that no packet has
    /// been in yet costs nothing. (It does not give such memory aligned: where lines begin is looked up.)
    pub fn empty() -> Self {
        Self(vec![0; Self::LEN])
    }

    /// Where a packet begins whose headers are this long, so that its payload begins with a cache line.
    #[inline]
    pub fn start(&self, headers: usize) -> usize {
        let least = Offload::LEN + headers;
        least + (self.0.as_ptr().addr() + least).wrapping_neg() % LINE - headers
    }

    /// All of it.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// All of it, to be written to.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_begins_with_a_line_whatever_the_headers_are() {
        // The allocator places each elsewhere.
        for room in std::array::from_fn::<_, 8, _>(|_| Room::empty()) {
            for headers in 0..=usize::from(u16::MAX) {
                let start = room.start(headers);
                assert!(start >= Offload::LEN && start + FRAME_CAPACITY <= Room::LEN);
                assert_eq!((room.bytes().as_ptr().addr() + start + headers) % LINE, 0);
            }
        }
    }
}
