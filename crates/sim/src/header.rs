//! IP headers as the virtual hosts write and read them, and the sums that checksums are made of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::Addr;

/// What every host sends with.
pub const TTL: u8 = 64;
/// The number of ICMP in an IPv4 header.
pub const ICMP_V4: u8 = 1;
/// The number of ICMPv6 in an IPv6 header.
pub const ICMP_V6: u8 = 58;
/// The number of an IPv6 fragment header.
pub const FRAGMENT: u8 = 44;

/// The header of a packet, or of the beginning of one, over either family.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Who sends it.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// Which protocol it carries.
    pub number: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// How long it says that the whole packet is.
    pub len: usize,
    /// Where the payload begins.
    pub payload: usize,
    /// The datagram that this is a fragment of.
    pub identifier: u32,
    /// Where the payload lies in that datagram.
    pub offset: usize,
    /// Whether more of it follows.
    pub more: bool,
    /// Whether no router may cut it.
    pub whole: bool,
}

impl Header {
    /// Reads it. No extension header but that of a fragment is understood.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 if bytes.len() >= 20 => Some(Self::read_v4(bytes)),
            6 if bytes.len() >= 40 => Self::read_v6(bytes),
            _ => None,
        }
    }

    /// Whether it is a fragment.
    pub fn is_fragment(&self) -> bool {
        self.more || self.offset > 0
    }

    fn read_v4(bytes: &[u8]) -> Self {
        let address = |i| Ipv4Addr::new(bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]).into();
        let place = word(bytes, 6);
        Self {
            source: address(12),
            destination: address(16),
            number: bytes[9],
            ttl: bytes[8],
            len: word(bytes, 2).into(),
            payload: usize::from(bytes[0] & 15) * 4,
            identifier: word(bytes, 4).into(),
            offset: usize::from(place & 0x1fff) * 8,
            more: place & 0x2000 != 0,
            whole: place & 0x4000 != 0,
        }
    }

    fn read_v6(bytes: &[u8]) -> Option<Self> {
        let address = |i| bytes[i..].first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into());
        let header = Self {
            source: address(8)?,
            destination: address(24)?,
            number: bytes[6],
            ttl: bytes[7],
            len: 40 + usize::from(word(bytes, 4)),
            payload: 40,
            identifier: 0,
            offset: 0,
            more: false,
            whole: true,
        };
        if header.number != FRAGMENT {
            return Some(header);
        }
        let [number, _, p0, p1, identifier @ ..] = *bytes[40..].first_chunk::<8>()?;
        let place = u16::from_be_bytes([p0, p1]);
        Some(Self {
            number,
            payload: 48,
            identifier: u32::from_be_bytes(identifier),
            offset: usize::from(place & 0xfff8),
            more: place & 1 != 0,
            ..header
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The header in front of `len` bytes of the protocol `number`. Over IPv4 the packet must not be fragmented.
pub fn build(source: IpAddr, destination: IpAddr, number: u8, len: usize) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let [high, low] = (20 + len as u16).to_be_bytes();
            let mut header = vec![0x45, 0, high, low, 0, 0, 0x40, 0, TTL, number, 0, 0];
            header.extend(source.octets());
            header.extend(destination.octets());
            complete_v4_header(&mut header);
            header
        }
        (source, destination) => {
            let [high, low] = (len as u16).to_be_bytes();
            let mut header = vec![0x60, 0, 0, 0, high, low, number, TTL];
            header.extend(Addr::from(source).octets());
            header.extend(Addr::from(destination).octets());
            header
        }
    }
}

/// Writes the checksum of the IPv4 header that a packet begins with.
pub fn complete_v4_header(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let checksum = !fold(sum(&packet[..20]));
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Gives a packet another TTL or hop limit.
pub fn set_ttl(packet: &mut [u8], ttl: u8) {
    if packet[0] >> 4 == 4 {
        packet[8] = ttl;
        complete_v4_header(packet);
    } else {
        packet[7] = ttl;
    }
}

/// Whether the checksum of the IPv4 header that a packet begins with is right; IPv6 has none.
pub fn v4_header_is_right(packet: &[u8]) -> bool {
    packet[0] >> 4 != 4 || packet.get(..20).is_some_and(|header| fold(sum(header)) == 0xffff)
}

/// The sum of the pseudo-header in front of `len` bytes of the protocol `number`.
pub fn pseudo_sum(source: IpAddr, destination: IpAddr, number: u8, len: usize) -> u32 {
    address_sum(source) + address_sum(destination) + u32::from(number) + len as u32
}

fn address_sum(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(v4) => sum(&v4.octets()),
        IpAddr::V6(v6) => sum(&v6.octets()),
    }
}

/// The sum of 16-bit words, not yet folded.
pub fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low))).sum()
}

/// A sum's carries, folded back in.
pub fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
