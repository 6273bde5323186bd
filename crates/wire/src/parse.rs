//! Parse once: an IP packet's bytes become a [`Packet`] of everything that the road asks for later, or a reason why
//! the road has no use for them. etherparse validates the headers; the offsets are kept.

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice, UdpHeaderSlice};

use crate::{Addr, Protocol};

/// A TCP or UDP packet's header fields and offsets. Plain data: it borrows nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Who sends it.
    pub source: Addr,
    /// Whom it is for.
    pub destination: Addr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TCP's flags (none for UDP).
    pub flags: TcpFlags,
    /// TCP's sequence number (0 for UDP).
    pub sequence: u32,
    /// TCP's acknowledgement number (0 for UDP).
    pub acknowledgement: u32,
    /// Where the transport header begins.
    pub transport: usize,
    /// Where the payload begins.
    pub payload: usize,
    /// Bytes of the whole packet.
    pub len: usize,
}

impl Packet {
    /// Bytes of payload.
    pub const fn payload_len(&self) -> usize {
        self.len - self.payload
    }

    /// How much sequence space a TCP packet takes: its payload, plus one each for SYN and FIN.
    pub fn sequence_len(&self) -> u32 {
        self.payload_len() as u32 + u32::from(self.flags.syn()) + u32::from(self.flags.fin())
    }
}

/// TCP's flags byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpFlags(u8);

impl TcpFlags {
    /// The FIN bit.
    pub const FIN: u8 = 0x01;
    /// The SYN bit.
    pub const SYN: u8 = 0x02;
    /// The RST bit.
    pub const RST: u8 = 0x04;
    /// The PSH bit.
    pub const PSH: u8 = 0x08;
    /// The ACK bit.
    pub const ACK: u8 = 0x10;

    /// These bits.
    pub const fn new(bits: u8) -> Self {
        Self(bits)
    }

    /// The byte as it stands in the header.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether FIN is set.
    pub const fn fin(self) -> bool {
        self.0 & Self::FIN != 0
    }

    /// Whether SYN is set.
    pub const fn syn(self) -> bool {
        self.0 & Self::SYN != 0
    }

    /// Whether RST is set.
    pub const fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }

    /// Whether ACK is set.
    pub const fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }

    /// A SYN without an ACK: somebody opens a connection.
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }
}

/// Why bytes are not a [`Packet`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unparsed {
    /// Headers that contradict themselves, or the packet's length.
    Malformed,
    /// A fragment of a larger packet.
    Fragment,
    /// ICMP or ICMPv6, other than [`Unparsed::Housekeeping`].
    Icmp,
    /// The kernel's own chatter on a new link (neighbour and router discovery, multicast listener reports, IGMP):
    /// ignored, not a drop.
    Housekeeping,
    /// A transport protocol or an IPv6 extension header that the road does not forward.
    OtherProtocol,
}

/// Parses the packet in `bytes`, which must be exactly one IP packet.
#[inline]
pub fn parse(bytes: &[u8]) -> Result<Packet, Unparsed> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => parse_v4(bytes),
        Some(6) => parse_v6(bytes),
        _ => Err(Unparsed::Malformed),
    }
}

#[inline]
fn parse_v4(bytes: &[u8]) -> Result<Packet, Unparsed> {
    let ip = v4_header(bytes).ok_or(Unparsed::Malformed)?;
    let protocol = match ip.protocol().0 {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        1 => return Err(Unparsed::Icmp),
        2 => return Err(Unparsed::Housekeeping),
        _ => return Err(Unparsed::OtherProtocol),
    };
    if ip.is_fragmenting_payload() {
        return Err(Unparsed::Fragment);
    }
    let network = Network {
        source: Addr::v4(ip.source()),
        destination: Addr::v4(ip.destination()),
        protocol,
        ttl: ip.ttl(),
        transport: ip.slice().len(),
    };
    network.with_transport(bytes)
}

#[inline]
fn parse_v6(bytes: &[u8]) -> Result<Packet, Unparsed> {
    let ip = v6_header(bytes).ok_or(Unparsed::Malformed)?;
    let transport = ip.slice().len();
    let protocol = match ip.next_header().0 {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        44 => return Err(Unparsed::Fragment),
        58 => return Err(icmp_v6(bytes.get(transport))),
        // A hop-by-hop header is how multicast listener reports come.
        0 if bytes.get(transport) == Some(&58) => return Err(icmp_v6(bytes.get(transport + 8))),
        _ => return Err(Unparsed::OtherProtocol),
    };
    let (source, destination) = v6_addresses(&ip).ok_or(Unparsed::Malformed)?;
    Network { source, destination, protocol, ttl: ip.hop_limit(), transport }.with_transport(bytes)
}

/// The IPv4 header of `bytes`, if they are one packet of the length that it says.
#[inline]
pub(crate) fn v4_header(bytes: &[u8]) -> Option<Ipv4HeaderSlice<'_>> {
    let ip = Ipv4HeaderSlice::from_slice(bytes).ok()?;
    (usize::from(ip.total_len()) == bytes.len()).then_some(ip)
}

/// The IPv6 header of `bytes`, if they are one packet of the length that it says.
#[inline]
pub(crate) fn v6_header(bytes: &[u8]) -> Option<Ipv6HeaderSlice<'_>> {
    let ip = Ipv6HeaderSlice::from_slice(bytes).ok()?;
    (usize::from(ip.payload_length()) + ip.slice().len() == bytes.len()).then_some(ip)
}

/// Source and destination. On the wire a v4-mapped address is nobody's; here it would alias an IPv4 flow.
#[inline]
pub(crate) fn v6_addresses(ip: &Ipv6HeaderSlice<'_>) -> Option<(Addr, Addr)> {
    let (source, destination) = (Addr::v6(ip.source()), Addr::v6(ip.destination()));
    (!source.is_v4() && !destination.is_v4()).then_some((source, destination))
}

fn icmp_v6(kind: Option<&u8>) -> Unparsed {
    match kind {
        Some(130..=137 | 143) => Unparsed::Housekeeping,
        Some(_) => Unparsed::Icmp,
        None => Unparsed::Malformed,
    }
}

/// The network header's part of a [`Packet`].
struct Network {
    source: Addr,
    destination: Addr,
    protocol: Protocol,
    ttl: u8,
    transport: usize,
}

impl Network {
    #[inline]
    fn with_transport(self, bytes: &[u8]) -> Result<Packet, Unparsed> {
        let segment = bytes.get(self.transport..).ok_or(Unparsed::Malformed)?;
        let mut packet = Packet {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            source_port: 0,
            destination_port: 0,
            ttl: self.ttl,
            flags: TcpFlags::default(),
            sequence: 0,
            acknowledgement: 0,
            transport: self.transport,
            payload: 0,
            len: bytes.len(),
        };
        match self.protocol {
            Protocol::Tcp => {
                let tcp = TcpHeaderSlice::from_slice(segment).map_err(|_| Unparsed::Malformed)?;
                packet.source_port = tcp.source_port();
                packet.destination_port = tcp.destination_port();
                packet.flags = TcpFlags::new(tcp.slice()[13]);
                packet.sequence = tcp.sequence_number();
                packet.acknowledgement = tcp.acknowledgment_number();
                packet.payload = self.transport + tcp.slice().len();
            }
            Protocol::Udp => {
                let udp = UdpHeaderSlice::from_slice(segment).map_err(|_| Unparsed::Malformed)?;
                if usize::from(udp.length()) != segment.len() {
                    return Err(Unparsed::Malformed);
                }
                packet.source_port = udp.source_port();
                packet.destination_port = udp.destination_port();
                packet.payload = self.transport + udp.slice().len();
            }
        }
        if packet.source_port == 0 || packet.destination_port == 0 {
            return Err(Unparsed::Malformed);
        }
        Ok(packet)
    }
}
