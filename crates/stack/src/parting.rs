//! What is left of a connection in TIME-WAIT: enough to answer a peer that has not heard the last acknowledgement.
//!
//! A socket in TIME-WAIT holds buffers for nothing. Its owner drops it, keeps this for as long as it likes, and asks it about the
//! packets that still come. A SYN is the owner's own business: what we begin with is always later than what the last connection
//! has ended with, so that a new one may be opened at once.

use std::time::Duration;

use wire::{Packet, SEGMENT_CAPACITY, Segment, SynOptions, TcpFlags};

use crate::clock;

/// A connection that both sides have closed, we first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parting {
    /// Where what was sent ends, our FIN included.
    pub(crate) sent: u32,
    /// Where what was received ends, the peer's FIN included.
    pub(crate) next: u32,
    pub(crate) timestamps: Option<Timestamps>,
}

/// The timestamps of a connection that carried them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Timestamps {
    /// What ours add to the milliseconds.
    pub(crate) offset: u32,
    /// The peer's last.
    pub(crate) echo: u32,
}

impl Parting {
    /// Writes the answer to a packet of the connection's peer, if it needs one, and returns its length.
    ///
    /// What is sent once more, bytes or a FIN, is acknowledged once more. Nothing else has an answer: an ACK has none, so that two
    /// ends in TIME-WAIT do not talk for ever, and a RST changes nothing (RFC 1337).
    pub fn answer(
        &self,
        packet: &Packet,
        now: Duration,
        buffer: &mut [u8; SEGMENT_CAPACITY],
    ) -> Option<usize> {
        if packet.flags.syn() || packet.flags.rst() || packet.sequence_len() == 0 {
            return None;
        }
        let timestamps = self.timestamps.map(|own| [clock::milliseconds(now, own.offset), own.echo]);
        let acknowledgement = Segment {
            flags: TcpFlags::new(TcpFlags::ACK),
            sequence: self.sent,
            acknowledgement: self.next,
            window: 0, // there is nothing more to come
            options: SynOptions { timestamps, ..SynOptions::default() },
            payload: &[],
        };
        Some(acknowledgement.write(packet, buffer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_small() {
        assert!(size_of::<Option<Parting>>() <= 32);
    }
}
