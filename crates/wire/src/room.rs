//! Room for a packet. Where its bytes lie decides how fast they are copied.
//!
//! Processors copy fastest between places that lie alike in their cache lines. Not all are equally hurt by others: AMD's Zen 3 takes
//! fifteen times as long where the destination is 1 to 31 bytes further into its page than the source, with the instruction that
//! the kernel copies with (`docs/PERFORMANCE.md`). The kernel keeps the payload of a long packet apart from its headers, and
//! mostly from a line's beginning on: so that is where it should lie here, too.

use crate::{FRAME_CAPACITY, Offload};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Room for a packet, and for an offload header in front of it.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Room([u8; Room::LEN]);

impl Room {
    /// Its length in bytes.
    pub const LEN: usize = Offload::LEN + LINE + FRAME_CAPACITY;

    /// An empty one.
    pub fn new() -> Box<Self> {
        Box::new(Self([0; _]))
    }

    /// Where a packet begins whose headers are this long, so that its payload begins with a cache line.
    #[inline]
    pub fn start(headers: usize) -> usize {
        (Offload::LEN + headers).next_multiple_of(LINE) - headers
    }

    /// All of it.
    #[inline]
    pub fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// All of it, to be written to.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8; Self::LEN] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_begins_with_a_line_whatever_the_headers_are() {
        let room = Room::new();
        for headers in 0..=usize::from(u16::MAX) {
            let start = Room::start(headers);
            assert!(start >= Offload::LEN && start + FRAME_CAPACITY <= Room::LEN);
            assert_eq!((room.bytes().as_ptr() as usize + start + headers) % LINE, 0);
        }
    }
}
