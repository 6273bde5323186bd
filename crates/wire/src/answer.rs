//! A TCP segment without payload, in answer to a packet: what is said back where no connection builds it.

use crate::checksum::ipv4_header_checksum;
use crate::{Addr, Packet, Protocol, TcpFlags, transport_checksum};

/// The largest packet that [`Answer::write`] writes: an IPv6 and a TCP header.
pub const ANSWER_CAPACITY: usize = 60;

/// The TTL, or hop limit, of what we say ourselves.
const TTL: u8 = 64;

/// What an answer says. The rest follows from the packet that it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Its flags.
    pub flags: TcpFlags,
    /// Its sequence number.
    pub sequence: u32,
    /// Its acknowledgement number.
    pub acknowledgement: u32,
    /// Its window field.
    pub window: u16,
}

impl Answer {
    /// Writes the packet that says this to the sender of the TCP packet `packet` into `buffer` and returns its length.
    pub fn write(&self, packet: &Packet, buffer: &mut [u8; ANSWER_CAPACITY]) -> usize {
        let transport = if packet.source.is_v4() { 20 } else { 40 };
        let answer = Packet {
            source: packet.destination,
            destination: packet.source,
            source_port: packet.destination_port,
            destination_port: packet.source_port,
            ttl: TTL,
            flags: self.flags,
            sequence: self.sequence,
            acknowledgement: self.acknowledgement,
            transport,
            payload: transport + 20,
            len: transport + 20,
            protocol: Protocol::Tcp,
        };
        let bytes = &mut buffer[..answer.len];
        write_network(answer.source, answer.destination, Protocol::Tcp.number(), bytes);
        write_transport(&answer, self.window, bytes);
        answer.len
    }
}

/// Writes a fresh network header in front of the `protocol`'s message that fills the rest of `bytes`.
pub(crate) fn write_network(source: Addr, destination: Addr, protocol: u8, bytes: &mut [u8]) {
    let len = bytes.len();
    if source.is_v4() {
        bytes[..20].fill(0);
        bytes[0] = 0x45;
        bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        bytes[6] = 0x40; // don't fragment
        bytes[8] = TTL;
        bytes[9] = protocol;
        bytes[12..16].copy_from_slice(&source.v4_octets());
        bytes[16..20].copy_from_slice(&destination.v4_octets());
        let checksum = ipv4_header_checksum(&bytes[..20]);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    } else {
        bytes[..40].fill(0);
        bytes[0] = 0x60;
        bytes[4..6].copy_from_slice(&(len as u16 - 40).to_be_bytes());
        bytes[6] = protocol;
        bytes[7] = TTL;
        bytes[8..24].copy_from_slice(&source.octets());
        bytes[24..40].copy_from_slice(&destination.octets());
    }
}

fn write_transport(answer: &Packet, window: u16, bytes: &mut [u8]) {
    let tcp = &mut bytes[answer.transport..];
    tcp.fill(0);
    tcp[0..2].copy_from_slice(&answer.source_port.to_be_bytes());
    tcp[2..4].copy_from_slice(&answer.destination_port.to_be_bytes());
    tcp[4..8].copy_from_slice(&answer.sequence.to_be_bytes());
    tcp[8..12].copy_from_slice(&answer.acknowledgement.to_be_bytes());
    tcp[12] = 5 << 4;
    tcp[13] = answer.flags.bits();
    tcp[14..16].copy_from_slice(&window.to_be_bytes());
    let checksum = transport_checksum(bytes, answer);
    bytes[answer.transport + 16..answer.transport + 18].copy_from_slice(&checksum.to_be_bytes());
}
