//! Rewrite in place: new addresses and ports, TTL - 1. Every change patches the checksums that cover
//! it, incrementally (RFC 1624): payload bytes are never read, so a 64 KB packet costs what a small one costs.

use crate::checksum::{address_sum, fold};
use crate::{Addr, Checksum, Frame, Packet, Protocol};

/// A packet's new tuple. Both families must be the packet's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rewrite {
    /// The new source address.
    pub source: Addr,
    /// The new source port.
    pub source_port: u16,
    /// The new destination address.
    pub destination: Addr,
    /// The new destination port.
    pub destination_port: u16,
}

impl Rewrite {
    /// Gives the packet its new tuple and takes one from its TTL. `packet` must have been parsed from `frame`.
    #[inline]
    pub fn apply(&self, frame: &mut Frame<'_>, packet: &Packet) {
        let checksum = frame.checksum();
        let bytes = &mut *frame.bytes;
        let addresses = self.write_addresses(bytes, packet.source, packet.destination);
        let ports = self.write_ports(bytes, packet);
        let delta = match checksum {
            Checksum::Partial => addresses,
            Checksum::Complete | Checksum::Verified => addresses + ports,
        };
        patch_transport(bytes, packet, checksum, delta);
    }

    /// The tuple of what comes back.
    pub fn reversed(self) -> Self {
        Self {
            source: self.destination,
            source_port: self.destination_port,
            destination: self.source,
            destination_port: self.source_port,
        }
    }

    /// Writes addresses and TTL over those of a packet from `source` to `destination`; returns what that adds to a sum
    /// that covers the addresses.
    #[inline]
    pub(crate) fn write_addresses(&self, bytes: &mut [u8], source: Addr, destination: Addr) -> u64 {
        let delta = negated(address_sum(source))
            + negated(address_sum(destination))
            + address_sum(self.source)
            + address_sum(self.destination);
        if source.is_v4() {
            bytes[12..16].copy_from_slice(&self.source.v4_octets());
            bytes[16..20].copy_from_slice(&self.destination.v4_octets());
            let old_word = u64::from(bytes[8]) << 8;
            bytes[8] = bytes[8].saturating_sub(1);
            let ttl = negated(old_word) + (u64::from(bytes[8]) << 8);
            patch_complemented(bytes, 10, delta + ttl);
        } else {
            bytes[7] = bytes[7].saturating_sub(1);
            bytes[8..24].copy_from_slice(&self.source.octets());
            bytes[24..40].copy_from_slice(&self.destination.octets());
        }
        delta
    }

    #[inline]
    fn write_ports(&self, bytes: &mut [u8], packet: &Packet) -> u64 {
        let at = packet.transport;
        bytes[at..at + 2].copy_from_slice(&self.source_port.to_be_bytes());
        bytes[at + 2..at + 4].copy_from_slice(&self.destination_port.to_be_bytes());
        negated(u64::from(packet.source_port) + u64::from(packet.destination_port))
            + u64::from(self.source_port)
            + u64::from(self.destination_port)
    }
}

/// Adds `delta` to the transport checksum, in the sense that its state asks for.
#[inline]
pub(crate) fn patch_transport(bytes: &mut [u8], packet: &Packet, state: Checksum, delta: u64) {
    let at = packet.transport + packet.protocol.checksum_offset();
    if state == Checksum::Partial {
        let field = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        bytes[at..at + 2].copy_from_slice(&fold(u64::from(field) + delta).to_be_bytes());
        return;
    }
    patch_transport_complete(bytes, at, packet.protocol, delta);
}

/// Adds `delta` to the complete transport checksum at `at`.
#[inline]
pub(crate) fn patch_transport_complete(bytes: &mut [u8], at: usize, protocol: Protocol, delta: u64) {
    let udp = protocol == Protocol::Udp;
    if udp && bytes[at] == 0 && bytes[at + 1] == 0 {
        return; // the sender computed none
    }
    patch_complemented(bytes, at, delta);
    if udp && bytes[at] == 0 && bytes[at + 1] == 0 {
        bytes[at..at + 2].copy_from_slice(&[0xff, 0xff]);
    }
}

/// RFC 1624, equation 3: `HC' = ~(~HC + ~m + m')`, with `delta = ~m + m'`.
#[inline]
pub(crate) fn patch_complemented(bytes: &mut [u8], at: usize, delta: u64) {
    let field = !u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    bytes[at..at + 2].copy_from_slice(&(!fold(u64::from(field) + delta)).to_be_bytes());
}

/// What takes `sum` away again in one's complement arithmetic.
#[inline]
pub(crate) fn negated(sum: u64) -> u64 {
    u64::from(!fold(sum))
}
