//! A TCP segment without payload, in answer to a packet: what is said back where no connection builds it.

use crate::checksum::ipv4_header_checksum;
use crate::{Addr, Packet, Protocol, TcpFlags, transport_checksum};

/// The largest packet that [`Answer::write`] writes: an IPv6 header, and a TCP header with timestamps.
pub const ANSWER_CAPACITY: usize = 72;

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
    /// TSval and TSecr, where a connection carries them.
    pub timestamps: Option<[u32; 2]>,
}

impl Answer {
    /// Writes the packet that says this to the sender of the TCP packet `packet` into `buffer` and returns its length.
    pub fn write(&self, packet: &Packet, buffer: &mut [u8; ANSWER_CAPACITY]) -> usize {
        let from = (packet.destination, packet.destination_port);
        self.write_between(from, (packet.source, packet.source_port), buffer)
    }

    /// Writes the packet by which `from` says this to `to`, whose address is of the same family.
    pub fn write_between(
        &self,
        from: (Addr, u16),
        to: (Addr, u16),
        buffer: &mut [u8; ANSWER_CAPACITY],
    ) -> usize {
        let transport = if from.0.is_v4() { 20 } else { 40 };
        let payload = transport + if self.timestamps.is_some() { 32 } else { 20 };
        let answer = Packet {
            source: from.0,
            destination: to.0,
            source_port: from.1,
            destination_port: to.1,
            ttl: TTL,
            flags: self.flags,
            sequence: self.sequence,
            acknowledgement: self.acknowledgement,
            transport,
            payload,
            len: payload,
            protocol: Protocol::Tcp,
        };
        let bytes = &mut buffer[..answer.len];
        write_network(answer.source, answer.destination, Protocol::Tcp.number(), bytes);
        self.write_transport(&answer, bytes);
        answer.len
    }

    fn write_transport(&self, answer: &Packet, bytes: &mut [u8]) {
        let tcp = &mut bytes[answer.transport..];
        tcp.fill(0);
        tcp[0..2].copy_from_slice(&answer.source_port.to_be_bytes());
        tcp[2..4].copy_from_slice(&answer.destination_port.to_be_bytes());
        tcp[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.acknowledgement.to_be_bytes());
        tcp[12] = (tcp.len() as u8 / 4) << 4;
        tcp[13] = self.flags.bits();
        tcp[14..16].copy_from_slice(&self.window.to_be_bytes());
        if let Some([value, echo]) = self.timestamps {
            tcp[20..24].copy_from_slice(&[1, 1, 8, 10]);
            tcp[24..28].copy_from_slice(&value.to_be_bytes());
            tcp[28..32].copy_from_slice(&echo.to_be_bytes());
        }
        let checksum = transport_checksum(bytes, answer);
        bytes[answer.transport + 16..answer.transport + 18].copy_from_slice(&checksum.to_be_bytes());
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
