//! The packet that an ICMP error quotes: whose it is, and how to make it the one that its sender knows.
//!
//! A quote is what some router had in its hands: cut anywhere, its length that of a super-packet, its transport checksum
//! perhaps a partial one. So only what tells whose packet it is has to be there, and no length or checksum is believed: a
//! length that is less than what is there says at most where the packet ends and extensions begin.

use std::ops::Range;

use etherparse::{Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice};

use crate::checksum::{address_sum, fold, raw_sum};
use crate::options::u32_at;
use crate::parse::v6_addresses;
use crate::rewrite::{negated, patch_complemented, patch_transport_complete};
use crate::{Addr, Protocol, Rewrite, Shift, TcpFlags};

/// Where the flags stand in a TCP header.
const FLAGS: usize = 13;
/// Every error quotes 64 bits of transport header at least.
const LEAST: usize = 8;
/// How much a router quotes that announces no length, and yet lets extensions follow (RFC 4884, section 5.5).
const BEFORE_OLD_EXTENSIONS: usize = 128;

/// A quoted packet's tuple, and where it stands. Plain data: it borrows nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quote {
    /// Who sent it.
    pub source: Addr,
    /// Whom it was for.
    pub destination: Addr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// TCP's sequence number (0 for UDP).
    pub sequence: u32,
    /// Where in the ICMP packet it begins.
    start: usize,
    /// Where in the ICMP packet its transport header begins.
    transport: usize,
    /// Where in the ICMP packet it ends.
    end: usize,
}

impl Quote {
    /// The packet that `bytes` quote at `place`; `None` if it is not TCP or UDP, or its ports are not there.
    pub(crate) fn parse(bytes: &[u8], place: Range<usize>, is_v4: bool) -> Option<Self> {
        let quoted = &bytes[place.clone()];
        let network = if is_v4 { network_v4(quoted)? } else { network_v6(quoted)? };
        let protocol = match network.protocol {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return None,
        };
        let &[s0, s1, d0, d1, rest @ ..] = quoted.get(network.transport..)?.first_chunk::<LEAST>()?;
        Some(Self {
            source: network.source,
            destination: network.destination,
            protocol,
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            sequence: if protocol == Protocol::Tcp { u32::from_be_bytes(rest) } else { 0 },
            start: place.start,
            transport: place.start + network.transport,
            end: place.start + network.end(quoted),
        })
    }

    /// The quote's own bytes; `bytes` are those of the ICMP packet that it was parsed from.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start..self.end]
    }

    /// Gives the quoted packet another tuple, of the same family. The checksums that are there, whole, are patched: what was
    /// right is right, what was wrong stays wrong. The identification stays as well: it is the one that the packet left with,
    /// which only fragments get anew, and nothing remembers what it was. `bytes` are those of the ICMP packet that it was
    /// parsed from.
    pub fn rewrite(&self, bytes: &mut [u8], to: &Rewrite) {
        let addresses = negated(address_sum(self.source))
            + negated(address_sum(self.destination))
            + address_sum(to.source)
            + address_sum(to.destination);
        let ports = negated(u64::from(self.source_port) + u64::from(self.destination_port))
            + u64::from(to.source_port)
            + u64::from(to.destination_port);
        let network = &mut bytes[self.start..self.end];
        if self.source.is_v4() {
            network[12..16].copy_from_slice(&to.source.v4_octets());
            network[16..20].copy_from_slice(&to.destination.v4_octets());
            patch_complemented(network, 10, addresses);
        } else {
            network[8..24].copy_from_slice(&to.source.octets());
            network[24..40].copy_from_slice(&to.destination.octets());
        }
        let transport = &mut bytes[self.transport..self.end];
        transport[..2].copy_from_slice(&to.source_port.to_be_bytes());
        transport[2..4].copy_from_slice(&to.destination_port.to_be_bytes());
        let checksum = self.protocol.checksum_offset();
        if checksum + 2 <= transport.len() {
            patch_transport_complete(transport, checksum, self.protocol, addresses + ports);
        }
    }

    /// Gives the quoted TCP packet the numbers that its sender knows it by: its sequence number and, if it is there and means
    /// something, its acknowledgement number. (Nobody asks a quote for more.) A checksum that is there, whole, is patched.
    pub fn shift(&mut self, bytes: &mut [u8], shift: &Shift) {
        if self.protocol != Protocol::Tcp {
            return;
        }
        let transport = &mut bytes[self.transport..self.end];
        let is_ack = transport.get(FLAGS).is_some_and(|flags| flags & TcpFlags::ACK != 0);
        let mut delta = add(transport, 4, shift.sequence);
        if is_ack {
            delta += add(transport, 8, shift.acknowledgement);
        }
        self.sequence = u32_at(transport, 4);
        let checksum = self.protocol.checksum_offset();
        if checksum + 2 <= transport.len() {
            patch_transport_complete(transport, checksum, self.protocol, delta);
        }
    }
}

/// Adds to the number at `at`, an even place; returns what that adds to the sum of 16-bit words.
fn add(transport: &mut [u8], at: usize, difference: u32) -> u64 {
    let new = u32_at(transport, at).wrapping_add(difference).to_be_bytes();
    let place = &mut transport[at..at + 4];
    let delta = negated(raw_sum(place)) + raw_sum(&new);
    place.copy_from_slice(&new);
    delta
}

/// What a quoted network header tells.
struct Network {
    source: Addr,
    destination: Addr,
    protocol: u8,
    transport: usize,
    /// How long the whole packet is, as it says.
    len: usize,
}

impl Network {
    /// Where in `quoted` the quote ends: with the packet itself, or where extensions begin that nothing has announced.
    fn end(&self, quoted: &[u8]) -> usize {
        let own = if self.len < self.transport + LEAST { quoted.len() } else { self.len };
        let old = if has_old_extensions(quoted) { BEFORE_OLD_EXTENSIONS } else { quoted.len() };
        quoted.len().min(own).min(old)
    }
}

/// Whether extensions follow as they did before RFC 4884: of their version, with a right checksum. Payload that looks so by
/// chance costs the quote its end, and nobody needs that.
fn has_old_extensions(quoted: &[u8]) -> bool {
    let extensions = quoted.get(BEFORE_OLD_EXTENSIONS..).unwrap_or_default();
    extensions.first().is_some_and(|first| first >> 4 == 2) && fold(raw_sum(extensions)) == 0xffff
}

fn network_v4(quoted: &[u8]) -> Option<Network> {
    let ip = Ipv4HeaderSlice::from_slice(quoted).ok()?;
    // Only a first fragment has ports.
    (ip.fragments_offset().value() == 0).then(|| Network {
        source: Addr::v4(ip.source()),
        destination: Addr::v4(ip.destination()),
        protocol: ip.protocol().0,
        transport: ip.slice().len(),
        len: ip.total_len().into(),
    })
}

fn network_v6(quoted: &[u8]) -> Option<Network> {
    let ip = Ipv6HeaderSlice::from_slice(quoted).ok()?;
    let (source, destination) = v6_addresses(&ip)?;
    let transport = ip.slice().len();
    let len = transport + usize::from(ip.payload_length());
    let network = Network { source, destination, protocol: ip.next_header().0, transport, len };
    if network.protocol != 44 {
        return Some(network);
    }
    let fragment = Ipv6FragmentHeaderSlice::from_slice(&quoted[network.transport..]).ok()?;
    (fragment.fragment_offset().value() == 0).then(|| Network {
        protocol: fragment.next_header().0,
        transport: network.transport + fragment.slice().len(),
        ..network
    })
}
