//! The RST that answers a TCP packet which belongs to no connection.

use crate::{Packet, Protocol, SEGMENT_CAPACITY, Segment, TcpFlags};

/// Writes the RST that answers `packet` into `buffer` and returns its length; `None` if a RST must not be answered or
/// the packet is not TCP. The numbers are RFC 9293's: inside what the sender will accept, whatever its state.
pub fn write_reset(packet: &Packet, buffer: &mut [u8; SEGMENT_CAPACITY]) -> Option<usize> {
    if packet.protocol != Protocol::Tcp || packet.flags.rst() {
        return None;
    }
    let (flags, sequence, acknowledgement) = if packet.flags.ack() {
        (TcpFlags::RST, packet.acknowledgement, 0)
    } else {
        (TcpFlags::RST | TcpFlags::ACK, 0, packet.sequence.wrapping_add(packet.sequence_len()))
    };
    let flags = TcpFlags::new(flags);
    let reset = Segment { flags, sequence, acknowledgement, ..Segment::default() };
    Some(reset.write(packet, buffer))
}
