//! ICMP and ICMPv6 as the virtual hosts and routers speak it: built here and read here, by other code than the forwarder's.

use std::net::{IpAddr, SocketAddr};

use wire::Protocol;

use crate::header::{self, Header, ICMP_V4, ICMP_V6, fold, pseudo_sum, sum, v4_header_is_right};
use crate::packet::{OwnedFrame, Route, Talk};

/// How much of a packet hosts quote, so that the error fits wherever there is IPv4.
pub const MOST_QUOTED: usize = 548;
const HEADER: usize = 8;
/// The least of a transport header that tells whose packet it was: ports, and TCP's sequence number.
const TELLING: usize = 8;

/// What is wrong with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// It is longer than the next link's MTU.
    TooBig(usize),
    /// Nobody listens at its port.
    PortUnreachable,
    /// Its host cannot be reached at the moment: no connection ends for that.
    HostUnreachable,
}

/// An ICMP message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Who sends it.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The rest of its header.
    pub rest: [u8; 4],
    /// What follows: in an error, the packet that it is about, or its beginning.
    pub body: &'a [u8],
}

impl Message<'_> {
    /// The frame.
    pub fn build(&self) -> OwnedFrame {
        let Self { source, destination, kind, code, rest, body } = *self;
        let mut bytes = header::build(source, destination, number(source), HEADER + body.len());
        let start = bytes.len();
        bytes.extend([kind, code, 0, 0]);
        bytes.extend(rest);
        bytes.extend(body);
        let checksum = !fold(own_sum(source, destination, &bytes[start..]));
        bytes[start + 2..start + 4].copy_from_slice(&checksum.to_be_bytes());
        OwnedFrame::plain(bytes)
    }

    /// What it says, if it is an error that somebody should heed.
    pub fn trouble(&self) -> Option<Trouble> {
        let [.., b2, b3] = self.rest;
        match (self.source.is_ipv4(), self.kind, self.code) {
            (true, 3, 4) => Some(Trouble::TooBig(usize::from(u16::from_be_bytes([b2, b3])))),
            (false, 2, 0) => Some(Trouble::TooBig(u32::from_be_bytes(self.rest) as usize)),
            (true, 3, 3) | (false, 1, 4) => Some(Trouble::PortUnreachable),
            (true, 3, 1) | (false, 1, 3) => Some(Trouble::HostUnreachable),
            _ => None,
        }
    }

    /// Whether it is an error, which quotes a packet.
    pub fn is_error(&self) -> bool {
        if self.source.is_ipv4() { matches!(self.kind, 3 | 4 | 5 | 11 | 12) } else { self.kind < 128 }
    }
}

/// The error that says what is wrong with a packet, which it quotes.
pub fn error(from: IpAddr, to: IpAddr, trouble: Trouble, quote: &[u8]) -> OwnedFrame {
    let (kind, code, rest) = match (from.is_ipv4(), trouble) {
        (true, Trouble::TooBig(mtu)) => (3, 4, mtu as u32),
        (true, Trouble::PortUnreachable) => (3, 3, 0),
        (false, Trouble::TooBig(mtu)) => (2, 0, mtu as u32),
        (false, Trouble::PortUnreachable) => (1, 4, 0),
        (true, Trouble::HostUnreachable) => (3, 1, 0),
        (false, Trouble::HostUnreachable) => (1, 3, 0),
    };
    Message { source: from, destination: to, kind, code, rest: rest.to_be_bytes(), body: quote }.build()
}

/// The message in a packet; `None` for one without, or one whose checksums or lengths are wrong.
pub fn read(bytes: &[u8]) -> Option<Message<'_>> {
    let header = Header::read(bytes)?;
    let Header { source, destination, .. } = header;
    let is_icmp = header.number == number(source) && header.len == bytes.len() && !header.is_fragment();
    let message = bytes.get(header.payload..)?;
    let [kind, code, _, _, rest @ ..] = *message.first_chunk::<HEADER>()?;
    let is_right = fold(own_sum(source, destination, message)) == 0xffff && v4_header_is_right(bytes);
    let body = &message[HEADER..];
    (is_icmp && is_right).then_some(Message { source, destination, kind, code, rest, body })
}

/// A packet in an error's body: as much of it as is there.
#[derive(Clone, Copy, Debug)]
pub struct Quote<'a> {
    /// Its network header.
    pub header: Header,
    /// Who speaks in it, and to whom.
    pub talk: Talk,
    /// TCP's sequence number; nothing of meaning for UDP.
    pub sequence: u32,
    /// Its bytes, from the network header on.
    pub bytes: &'a [u8],
}

/// The packet that an error quotes, if it can be told whose it was.
pub fn quote(bytes: &[u8]) -> Option<Quote<'_>> {
    let header = Header::read(bytes)?;
    let protocol = match header.number {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        _ => return None,
    };
    let [s0, s1, d0, d1, sequence @ ..] = *bytes.get(header.payload..)?.first_chunk::<TELLING>()?;
    let route = Route {
        source: SocketAddr::new(header.source, u16::from_be_bytes([s0, s1])),
        destination: SocketAddr::new(header.destination, u16::from_be_bytes([d0, d1])),
    };
    let sequence = u32::from_be_bytes(sequence);
    (header.offset == 0).then_some(Quote { header, talk: Talk { protocol, route }, sequence, bytes })
}

fn number(address: IpAddr) -> u8 {
    if address.is_ipv4() { ICMP_V4 } else { ICMP_V6 }
}

fn own_sum(source: IpAddr, destination: IpAddr, message: &[u8]) -> u32 {
    let pseudo = if source.is_ipv4() { 0 } else { pseudo_sum(source, destination, ICMP_V6, message.len()) };
    pseudo + sum(message)
}
