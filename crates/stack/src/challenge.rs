//! The challenge ACK: what a SYN is told that comes when the connection is under way (RFC 9293 3.10.7.4, RFC 5961 4).
//!
//! A peer that has forgotten the connection answers it with a RST, which ends the connection; its next SYN opens another.
//! To a peer that has not, it is one more duplicate ACK. smoltcp drops such a SYN and keeps its numbers to itself, so the
//! challenge repeats what the packets before it have said.

use std::time::Duration;

use wire::{ANSWER_CAPACITY, Answer, Packet, TcpFlags};

/// The least time between two challenges of a connection, so that forged SYNs do not make us send as much.
const PAUSE: Duration = Duration::from_millis(500);

/// A connection's challenge, ready to be sent.
#[derive(Default)]
pub(crate) struct Challenge {
    /// The ACK that says where the connection stands; `None` until both sides' numbers are known.
    standing: Option<Answer>,
    /// When there may be another.
    due: Duration,
}

impl Challenge {
    /// Takes note of a packet that the connection sends.
    pub(crate) fn note(&mut self, packet: &Packet, bytes: &[u8]) {
        if !packet.flags.ack() || packet.flags.rst() {
            return;
        }
        let end = packet.sequence.wrapping_add(packet.sequence_len());
        // A retransmit does not take back what was sent after it.
        let sequence = match self.standing {
            Some(standing) if (end.wrapping_sub(standing.sequence) as i32) < 0 => standing.sequence,
            _ => end,
        };
        let window = packet.transport + 14;
        self.standing = Some(Answer {
            flags: TcpFlags::new(TcpFlags::ACK),
            sequence,
            acknowledgement: packet.acknowledgement,
            // A SYN's window is not scaled and this will be; but the buffer is as many whole windows as the scale says.
            window: u16::from_be_bytes([bytes[window], bytes[window + 1]]),
        });
    }

    /// Where what the connection has sent so far ends; `None` until both sides' numbers are known.
    pub(crate) fn sent(&self) -> Option<u32> {
        self.standing.map(|standing| standing.sequence)
    }

    /// Whether `syn` is the one that began the connection, as far as nothing has followed it.
    pub(crate) fn knows(&self, syn: &Packet) -> bool {
        self.standing.is_none_or(|standing| standing.acknowledgement == syn.sequence.wrapping_add(1))
    }

    /// Writes the challenge to the sender of `syn` and returns its length; `None` if there was one just now.
    pub(crate) fn write(
        &mut self,
        syn: &Packet,
        now: Duration,
        buffer: &mut [u8; ANSWER_CAPACITY],
    ) -> Option<usize> {
        let standing = self.standing.filter(|_| now >= self.due)?;
        self.due = now + PAUSE;
        Some(standing.write(syn, buffer))
    }
}
