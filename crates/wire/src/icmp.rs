//! ICMP and ICMPv6 in one vocabulary: what a message says, and which packet it is about.

use crate::checksum::{address_sum, fold, raw_sum};
use crate::parse::{v4_header, v6_addresses, v6_header};
use crate::{Addr, Quote};

/// An ICMP packet's addresses and what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Icmp {
    /// Who sends it.
    pub source: Addr,
    /// Whom it is for.
    pub destination: Addr,
    /// What it says.
    pub message: IcmpMessage,
    /// Where the ICMP header begins.
    pub at: usize,
}

/// What an ICMP packet says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpMessage {
    /// "Are you there?"
    Ping,
    /// Something has become of a packet, which is quoted; `None` if the quote is no use.
    Error(IcmpError, Option<Quote>),
    /// Anything else.
    Other,
}

/// What has become of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpError {
    /// It cannot be delivered, for the reason that this code stands for in its family. (IPv4's code 4 is
    /// [`IcmpError::TooBig`].)
    Unreachable(u8),
    /// It is larger than the next hop takes, which is this many bytes.
    TooBig(u32),
    /// It was on its way for too long: code 0 in transit, 1 as a fragment that waited for the others.
    TimeExceeded(u8),
}

/// Why bytes are not an [`Icmp`] packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotIcmp {
    /// Headers that contradict themselves, or the packet's length.
    Malformed,
    /// Something else, or ICMP in fragments or behind an IPv6 extension header, as no error and no ping comes.
    OtherProtocol,
}

/// Bytes of an ICMP header.
pub(crate) const HEADER: usize = 8;

/// What every path of an address's family has to carry (RFC 791, RFC 8200): the length at which an ICMP error is cut,
/// and the smallest next-hop MTU that is to be believed.
pub const fn least_mtu(addr: Addr) -> usize {
    if addr.is_v4() { 576 } else { 1280 }
}

/// Parses the packet in `bytes`, which must be exactly one IP packet, as ICMP. The checksum is not verified: see
/// [`Icmp::checksum_is_valid`].
pub fn parse_icmp(bytes: &[u8]) -> Result<Icmp, NotIcmp> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => parse_v4(bytes),
        Some(6) => parse_v6(bytes),
        _ => Err(NotIcmp::Malformed),
    }
}

impl Icmp {
    /// Whether the ICMP checksum is right.
    pub fn checksum_is_valid(&self, bytes: &[u8]) -> bool {
        let found = u16::from_be_bytes([bytes[self.at + 2], bytes[self.at + 3]]);
        found == icmp_checksum(&bytes[self.at..], self.source, self.destination)
    }

    fn parse(bytes: &[u8], source: Addr, destination: Addr, at: usize) -> Result<Self, NotIcmp> {
        let header = bytes[at..].first_chunk().ok_or(NotIcmp::Malformed)?;
        let is_v4 = source.is_v4();
        let message = match IcmpError::of(is_v4, header) {
            Some((error, quoted)) => {
                let quote = at + HEADER;
                let end = quoted.map_or(bytes.len(), |len| bytes.len().min(quote + len));
                IcmpMessage::Error(error, Quote::parse(bytes, quote..end, is_v4))
            }
            None if header[0] == ping(is_v4) => IcmpMessage::Ping,
            None => IcmpMessage::Other,
        };
        Ok(Self { source, destination, message, at })
    }
}

fn parse_v4(bytes: &[u8]) -> Result<Icmp, NotIcmp> {
    let ip = v4_header(bytes).ok_or(NotIcmp::Malformed)?;
    if ip.protocol().0 != protocol(true) || ip.is_fragmenting_payload() {
        return Err(NotIcmp::OtherProtocol);
    }
    Icmp::parse(bytes, Addr::v4(ip.source()), Addr::v4(ip.destination()), ip.slice().len())
}

fn parse_v6(bytes: &[u8]) -> Result<Icmp, NotIcmp> {
    let ip = v6_header(bytes).ok_or(NotIcmp::Malformed)?;
    let (source, destination) = v6_addresses(&ip).ok_or(NotIcmp::Malformed)?;
    if ip.next_header().0 != protocol(false) {
        return Err(NotIcmp::OtherProtocol);
    }
    Icmp::parse(bytes, source, destination, ip.slice().len())
}

impl IcmpError {
    /// What an error's header says, and how long the quote is if it says so: what follows are extensions (RFC 4884).
    /// `None` if it is no such error.
    fn of(is_v4: bool, header: &[u8; HEADER]) -> Option<(Self, Option<usize>)> {
        let [kind, code, _, _, rest @ ..] = *header;
        let quoted = |words: u8, word: usize| (words > 0).then(|| usize::from(words) * word);
        if is_v4 {
            let error = match (kind, code) {
                (3, 4) => Self::TooBig(u16::from_be_bytes([rest[2], rest[3]]).into()),
                (3, _) => Self::Unreachable(code),
                (11, _) => Self::TimeExceeded(code),
                _ => return None,
            };
            return Some((error, quoted(rest[1], 4)));
        }
        match kind {
            1 => Some((Self::Unreachable(code), quoted(rest[0], 8))),
            2 => Some((Self::TooBig(u32::from_be_bytes(rest)), None)),
            3 => Some((Self::TimeExceeded(code), quoted(rest[0], 8))),
            _ => None,
        }
    }

    /// The error's header, its checksum and the quote's length left at 0.
    pub(crate) fn header(self, is_v4: bool) -> [u8; HEADER] {
        let (kind, code, rest) = match (self, is_v4) {
            (Self::Unreachable(code), true) => (3, code, 0),
            (Self::TooBig(mtu), true) => (3, 4, mtu.min(u16::MAX.into())),
            (Self::TimeExceeded(code), true) => (11, code, 0),
            (Self::Unreachable(code), false) => (1, code, 0),
            (Self::TooBig(mtu), false) => (2, 0, mtu),
            (Self::TimeExceeded(code), false) => (3, code, 0),
        };
        let mut header = [kind, code, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&rest.to_be_bytes());
        header
    }
}

/// The IP protocol number of a family's ICMP.
pub(crate) const fn protocol(is_v4: bool) -> u8 {
    if is_v4 { 1 } else { 58 }
}

const fn ping(is_v4: bool) -> u8 {
    if is_v4 { 8 } else { 128 }
}

/// The checksum of an ICMP message, its field taken as 0. Over IPv6 it covers the addresses too.
pub(crate) fn icmp_checksum(message: &[u8], source: Addr, destination: Addr) -> u16 {
    let sum = raw_sum(&message[..2]) + raw_sum(&message[4..]);
    if source.is_v4() {
        return !fold(sum);
    }
    let pseudo = address_sum(source) + address_sum(destination) + u64::from(protocol(false));
    !fold(sum + pseudo + message.len() as u64)
}
