//! A TCP segment that we say ourselves, from its first byte to its last: a RST, an acknowledgement, a handshake of our own, the
//! few bytes that only the target gets.

use arrayvec::ArrayVec;

use crate::checksum::ipv4_header_checksum;
use crate::{Addr, PROXY_HEADER_CAPACITY, Packet, Protocol, SynOptions, TcpFlags, transport_checksum};

/// The largest packet that [`Segment::write`] writes: an IPv6 header, a TCP header with all options, a proxy protocol header.
pub const SEGMENT_CAPACITY: usize = 40 + 20 + OPTIONS_CAPACITY + PROXY_HEADER_CAPACITY;

/// The TTL, or hop limit, of what we say ourselves.
const TTL: u8 = 64;
/// Room for every option of [`SynOptions`], and what fills up their last word.
const OPTIONS_CAPACITY: usize = 20;
const NOP: u8 = 1;

/// What a segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment<'a> {
    /// Its flags.
    pub flags: TcpFlags,
    /// Its sequence number.
    pub sequence: u32,
    /// Its acknowledgement number.
    pub acknowledgement: u32,
    /// Its window field.
    pub window: u16,
    /// Its options: what is not in a SYN has timestamps at most.
    pub options: SynOptions,
    /// Its payload: as much as the longest proxy protocol header; what is longer is cut off.
    pub payload: &'a [u8],
}

impl Segment<'_> {
    /// Writes the packet that says this to the sender of the TCP packet `packet` into `buffer` and returns its length.
    pub fn write(&self, packet: &Packet, buffer: &mut [u8; SEGMENT_CAPACITY]) -> usize {
        let from = (packet.destination, packet.destination_port);
        self.write_between(from, (packet.source, packet.source_port), buffer)
    }

    /// Writes the packet by which `from` says this to `to`, whose address is of the same family.
    pub fn write_between(
        &self,
        from: (Addr, u16),
        to: (Addr, u16),
        buffer: &mut [u8; SEGMENT_CAPACITY],
    ) -> usize {
        let options = written(&self.options);
        let said = &self.payload[..self.payload.len().min(PROXY_HEADER_CAPACITY)];
        let transport = if from.0.is_v4() { 20 } else { 40 };
        let payload = transport + 20 + options.len();
        let packet = Packet {
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
            len: payload + said.len(),
            protocol: Protocol::Tcp,
        };
        let bytes = &mut buffer[..packet.len];
        write_network(packet.source, packet.destination, Protocol::Tcp.number(), bytes);
        bytes[transport..transport + 20].copy_from_slice(&self.header(&packet));
        bytes[transport + 20..payload].copy_from_slice(&options);
        bytes[payload..].copy_from_slice(said);
        let checksum = transport_checksum(bytes, &packet);
        bytes[transport + 16..transport + 18].copy_from_slice(&checksum.to_be_bytes());
        packet.len
    }

    /// The TCP header of `packet` up to its options, its checksum left at 0.
    fn header(&self, packet: &Packet) -> [u8; 20] {
        let mut tcp = [0; 20];
        tcp[0..2].copy_from_slice(&packet.source_port.to_be_bytes());
        tcp[2..4].copy_from_slice(&packet.destination_port.to_be_bytes());
        tcp[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.acknowledgement.to_be_bytes());
        tcp[12] = ((packet.payload - packet.transport) as u8 / 4) << 4;
        tcp[13] = self.flags.bits();
        tcp[14..16].copy_from_slice(&self.window.to_be_bytes());
        tcp
    }
}

/// Options in whole words, the timestamps where every sender has them.
fn written(options: &SynOptions) -> ArrayVec<u8, OPTIONS_CAPACITY> {
    let mut bytes = ArrayVec::new();
    if let Some(mss) = options.mss {
        bytes.extend([2, 4]);
        bytes.extend(mss.to_be_bytes());
    }
    if options.sack_permitted {
        bytes.extend([4, 2]);
    }
    if let Some([value, echo]) = options.timestamps {
        if !options.sack_permitted {
            bytes.extend([NOP, NOP]);
        }
        bytes.extend([8, 10]);
        bytes.extend(value.to_be_bytes());
        bytes.extend(echo.to_be_bytes());
    }
    if let Some(scale) = options.window_scale {
        bytes.extend([3, 3, scale]);
    }
    let filling = bytes.len().next_multiple_of(4) - bytes.len();
    bytes.extend(std::iter::repeat_n(NOP, filling));
    bytes
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
