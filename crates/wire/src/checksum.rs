//! The Internet checksum: sums from scratch, for packets that we build and for checking the incremental updates.

use crate::{Addr, Packet, Protocol};

/// The one's complement sum of the pseudo-header, folded and not complemented: what a partial checksum holds.
pub fn pseudo_header(source: Addr, destination: Addr, protocol: Protocol, transport_len: usize) -> u16 {
    let mut sum = address_sum(source) + address_sum(destination);
    sum += u64::from(protocol.number());
    sum += transport_len as u64;
    fold(sum)
}

/// The transport checksum of `packet` in `bytes`, computed from scratch with the checksum field taken as 0. A UDP
/// checksum that comes out 0 is 0xffff, as it has to be sent.
pub fn transport_checksum(bytes: &[u8], packet: &Packet) -> u16 {
    let transport = &bytes[packet.transport..packet.len];
    let at = packet.protocol.checksum_offset();
    let pseudo = pseudo_header(packet.source, packet.destination, packet.protocol, transport.len());
    let total = u64::from(pseudo) + raw_sum(&transport[..at]) + raw_sum(&transport[at + 2..]);
    match (!fold(total), packet.protocol) {
        (0, Protocol::Udp) => 0xffff,
        (checksum, _) => checksum,
    }
}

/// Whether a complete transport checksum is right. An IPv4 UDP checksum of 0 means "none" and is right.
pub fn checksum_is_valid(bytes: &[u8], packet: &Packet) -> bool {
    let at = packet.transport + packet.protocol.checksum_offset();
    let found = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let none = found == 0 && packet.protocol == Protocol::Udp && packet.source.is_v4();
    none || is_equal(found, transport_checksum(bytes, packet))
}

/// Whether the checksum of the IPv4 header that a parsed packet begins with is right. IPv6 has none.
pub fn header_checksum_is_valid(bytes: &[u8]) -> bool {
    let (version, words) = (bytes[0] >> 4, bytes[0] & 15);
    version != 4 || {
        let header = &bytes[..usize::from(words) * 4];
        is_equal(u16::from_be_bytes([header[10], header[11]]), ipv4_header_checksum(header))
    }
}

/// Whether a checksum is what it should be. There are two ways to write zero, and Linux has been seen to use the other one.
fn is_equal(found: u16, computed: u16) -> bool {
    found == computed || (found, computed) == (0xffff, 0)
}

/// The checksum of an IPv4 header, computed from scratch.
pub(crate) fn ipv4_header_checksum(header: &[u8]) -> u16 {
    !fold(raw_sum(&header[..10]) + raw_sum(&header[12..]))
}

/// Adds up 16-bit words; an odd last byte counts as the high half of a word.
pub(crate) fn raw_sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(2);
    let sum: u64 = words.by_ref().map(|word| u64::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    sum + words.remainder().first().map_or(0, |last| u64::from(*last) << 8)
}

/// The sum of an address's words as they stand on the wire.
#[inline]
pub(crate) fn address_sum(addr: Addr) -> u64 {
    if addr.is_v4() {
        let bits = addr.to_bits() as u32;
        u64::from(bits >> 16) + u64::from(bits & 0xffff)
    } else {
        let bits = addr.to_bits();
        // Adding 32-bit words folds to the same 16-bit sum.
        (bits >> 96) as u64
            + (bits >> 64) as u64 % (1 << 32)
            + (bits >> 32) as u64 % (1 << 32)
            + bits as u64 % (1 << 32)
    }
}

/// Folds carries back in until 16 bits are left.
#[inline]
pub(crate) fn fold(mut sum: u64) -> u16 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_may_be_written_both_ways() {
        assert!(is_equal(7, 7) && is_equal(0, 0) && is_equal(0xffff, 0));
        // A datagram's 0 says that there is none: where one is due, it comes out as 0xffff.
        assert!(!is_equal(0, 0xffff) && !is_equal(0xffff, 7));
    }
}
