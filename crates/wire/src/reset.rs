//! The RST that answers a TCP packet which belongs to no connection.

use crate::checksum::ipv4_header_checksum;
use crate::{Packet, Protocol, TcpFlags, transport_checksum};

/// The largest packet that [`write_reset`] writes: an IPv6 and a TCP header.
pub const RESET_CAPACITY: usize = 60;

/// Writes the RST that answers `packet` into `buffer` and returns its length; `None` if a RST must not be answered or
/// the packet is not TCP. The numbers are RFC 9293's: inside what the sender will accept, whatever its state.
pub fn write_reset(packet: &Packet, buffer: &mut [u8; RESET_CAPACITY]) -> Option<usize> {
    if packet.protocol != Protocol::Tcp || packet.flags.rst() {
        return None;
    }
    let (flags, sequence, acknowledgement) = if packet.flags.ack() {
        (TcpFlags::RST, packet.acknowledgement, 0)
    } else {
        (TcpFlags::RST | TcpFlags::ACK, 0, packet.sequence.wrapping_add(packet.sequence_len()))
    };
    let reset = Packet {
        source: packet.destination,
        destination: packet.source,
        source_port: packet.destination_port,
        destination_port: packet.source_port,
        ttl: 64,
        flags: TcpFlags::new(flags),
        sequence,
        acknowledgement,
        transport: if packet.source.is_v4() { 20 } else { 40 },
        payload: if packet.source.is_v4() { 40 } else { 60 },
        len: if packet.source.is_v4() { 40 } else { 60 },
        protocol: Protocol::Tcp,
    };
    let bytes = &mut buffer[..reset.len];
    write_network(&reset, bytes);
    write_transport(&reset, bytes);
    Some(reset.len)
}

fn write_network(reset: &Packet, bytes: &mut [u8]) {
    bytes.fill(0);
    if reset.source.is_v4() {
        bytes[0] = 0x45;
        bytes[2..4].copy_from_slice(&(reset.len as u16).to_be_bytes());
        bytes[6] = 0x40; // don't fragment
        bytes[8] = reset.ttl;
        bytes[9] = Protocol::Tcp.number();
        bytes[12..16].copy_from_slice(&reset.source.v4_octets());
        bytes[16..20].copy_from_slice(&reset.destination.v4_octets());
        let checksum = ipv4_header_checksum(&bytes[..20]);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    } else {
        bytes[0] = 0x60;
        bytes[4..6].copy_from_slice(&20u16.to_be_bytes());
        bytes[6] = Protocol::Tcp.number();
        bytes[7] = reset.ttl;
        bytes[8..24].copy_from_slice(&reset.source.octets());
        bytes[24..40].copy_from_slice(&reset.destination.octets());
    }
}

fn write_transport(reset: &Packet, bytes: &mut [u8]) {
    let tcp = &mut bytes[reset.transport..];
    tcp[0..2].copy_from_slice(&reset.source_port.to_be_bytes());
    tcp[2..4].copy_from_slice(&reset.destination_port.to_be_bytes());
    tcp[4..8].copy_from_slice(&reset.sequence.to_be_bytes());
    tcp[8..12].copy_from_slice(&reset.acknowledgement.to_be_bytes());
    tcp[12] = 5 << 4;
    tcp[13] = reset.flags.bits();
    let checksum = transport_checksum(bytes, reset);
    bytes[reset.transport + 16..reset.transport + 18].copy_from_slice(&checksum.to_be_bytes());
}
