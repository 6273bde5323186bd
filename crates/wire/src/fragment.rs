//! Fragments: a datagram of UDP in pieces. Only the first one has ports; what the others are is for whoever follows the
//! datagram to know.
//!
//! Every fragment gets new addresses and a new identification, the first one new ports as well. The UDP checksum is in the
//! first one and covers them all, so it is patched there: what a receiver puts together is right if it was right before.

use etherparse::{Ipv6FragmentHeaderSlice, UdpHeaderSlice};

use crate::parse::{v4_header, v6_addresses, v6_header};
use crate::rewrite::{negated, patch_complemented};
use crate::{Addr, Frame, Packet, Protocol, Rewrite, TcpFlags};

/// The largest packet that there is: what a datagram is, put together.
const LARGEST: usize = 65_535;
/// Where the fragment header stands in an IPv6 packet: no other extension header comes before it.
const V6_HEADER: usize = 40;
/// How an IPv6 header announces it.
const FRAGMENT_HEADER: u8 = 44;

/// One fragment of a UDP datagram. Plain data: it borrows nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Who sends it.
    pub source: Addr,
    /// Whom it is for.
    pub destination: Addr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// What all fragments of the datagram have in common; 16 bits in IPv4.
    pub identification: u32,
    /// Where its bytes begin in the datagram.
    pub start: u16,
    /// Where they end.
    pub end: u16,
    /// Whether the datagram ends there too.
    pub last: bool,
    /// The first fragment as the packet that it begins: it has the ports. `None` for all others.
    pub head: Option<Packet>,
}

/// Why bytes are not a [`Fragment`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfragmented {
    /// Headers that contradict themselves, or the packet's length.
    Malformed,
    /// A fragment of TCP.
    Tcp,
    /// A fragment of anything else, or an IPv6 extension header that the road does not forward.
    OtherProtocol,
}

/// Parses the fragment in `bytes`: exactly one IP packet, in IPv6 with a fragment header as its first extension header. One
/// that is whole is the only fragment of its datagram.
pub fn parse_fragment(bytes: &[u8]) -> Result<Fragment, Unfragmented> {
    let piece = match bytes.first().map(|first| first >> 4) {
        Some(4) => v4_piece(bytes),
        Some(6) => v6_piece(bytes),
        _ => None,
    };
    piece.ok_or(Unfragmented::Malformed)?.into_fragment(bytes)
}

impl Fragment {
    /// The first fragment of a datagram that has no other (RFC 6946), as the packet that it is.
    pub fn whole(&self) -> Option<&Packet> {
        self.head.as_ref().filter(|_| self.last)
    }

    /// Gives the fragment in `bytes`, which it must have been parsed from, its new addresses and identification, takes
    /// one from its TTL and, if it is the first one, gives it its new ports. An IPv4 identification is the low 16 bits.
    pub fn rewrite(&self, bytes: &mut [u8], to: &Rewrite, identification: u32) {
        match &self.head {
            Some(packet) => to.apply(&mut Frame::plain(bytes), packet),
            None => {
                to.write_addresses(bytes, self.source, self.destination);
            }
        }
        if self.source.is_v4() {
            let (old, new) = (self.identification as u16, identification as u16);
            bytes[4..6].copy_from_slice(&new.to_be_bytes());
            patch_complemented(bytes, 10, negated(old.into()) + u64::from(new));
        } else {
            bytes[V6_HEADER + 4..V6_HEADER + 8].copy_from_slice(&identification.to_be_bytes());
        }
    }
}

/// What the network headers say.
struct Piece {
    source: Addr,
    destination: Addr,
    ttl: u8,
    protocol: u8,
    identification: u32,
    offset: u16,
    more: bool,
    /// Where the datagram's bytes begin in the packet.
    data: usize,
    /// Bytes of header that count towards [`LARGEST`].
    counted: usize,
}

fn v4_piece(bytes: &[u8]) -> Option<Piece> {
    let ip = v4_header(bytes)?;
    Some(Piece {
        source: Addr::v4(ip.source()),
        destination: Addr::v4(ip.destination()),
        ttl: ip.ttl(),
        protocol: ip.protocol().0,
        identification: ip.identification().into(),
        offset: ip.fragments_offset().byte_offset(),
        more: ip.more_fragments(),
        data: ip.slice().len(),
        counted: ip.slice().len(),
    })
}

fn v6_piece(bytes: &[u8]) -> Option<Piece> {
    let ip = v6_header(bytes).filter(|ip| ip.next_header().0 == FRAGMENT_HEADER)?;
    let (source, destination) = v6_addresses(&ip)?;
    let header = Ipv6FragmentHeaderSlice::from_slice(bytes.get(V6_HEADER..)?).ok()?;
    Some(Piece {
        source,
        destination,
        ttl: ip.hop_limit(),
        protocol: header.next_header().0,
        identification: header.identification(),
        offset: header.fragment_offset().byte_offset(),
        more: header.more_fragments(),
        data: V6_HEADER + header.slice().len(),
        counted: 0,
    })
}

impl Piece {
    fn into_fragment(self, bytes: &[u8]) -> Result<Fragment, Unfragmented> {
        match self.protocol {
            17 => {}
            6 => return Err(Unfragmented::Tcp),
            _ => return Err(Unfragmented::OtherProtocol),
        }
        let end = self.end(bytes).ok_or(Unfragmented::Malformed)?;
        let head = match self.offset {
            0 => Some(self.head(bytes).ok_or(Unfragmented::Malformed)?),
            _ => None,
        };
        Ok(Fragment {
            source: self.source,
            destination: self.destination,
            ttl: self.ttl,
            identification: self.identification,
            start: self.offset,
            end,
            last: !self.more,
            head,
        })
    }

    /// Where the fragment ends in its datagram: it has bytes, whole units of 8 if more are to come, and they fit.
    fn end(&self, bytes: &[u8]) -> Option<u16> {
        let len = bytes.len().checked_sub(self.data).filter(|len| *len > 0)?;
        if self.more && len % 8 != 0 {
            return None;
        }
        let end = usize::from(self.offset) + len;
        (self.counted + end <= LARGEST).then_some(end as u16)
    }

    /// The first fragment, as the packet that it begins. Its UDP header announces what is to come, and in IPv6 has a
    /// checksum.
    fn head(&self, bytes: &[u8]) -> Option<Packet> {
        let segment = bytes.get(self.data..)?;
        let udp = UdpHeaderSlice::from_slice(segment).ok()?;
        let announced = usize::from(udp.length());
        let plausible = if self.more { announced > segment.len() } else { announced == segment.len() };
        let covered = self.source.is_v4() || udp.checksum() != 0;
        if !plausible || !covered || udp.source_port() == 0 || udp.destination_port() == 0 {
            return None;
        }
        Some(Packet {
            source: self.source,
            destination: self.destination,
            protocol: Protocol::Udp,
            source_port: udp.source_port(),
            destination_port: udp.destination_port(),
            ttl: self.ttl,
            flags: TcpFlags::default(),
            sequence: 0,
            acknowledgement: 0,
            transport: self.data,
            payload: self.data + udp.slice().len(),
            len: bytes.len(),
        })
    }
}
