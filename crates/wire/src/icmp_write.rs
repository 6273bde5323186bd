//! ICMP packets that are sent: an error, ours or translated, and the answer to a ping. Their IP header is fresh, without
//! options, with a TTL of 64.

use crate::icmp::{HEADER, icmp_checksum, protocol};
use crate::segment::write_network;
use crate::{Addr, Icmp, IcmpError, least_mtu};

/// The largest packet that [`IcmpError::write`] writes.
pub const ICMP_ERROR_CAPACITY: usize = 1280;

impl IcmpError {
    /// Writes the packet that says this from `source` to `destination` about the packet that begins with `quote` into
    /// `buffer`, and returns its length. As much is quoted as fits what every path carries.
    pub fn write(
        self,
        source: Addr,
        destination: Addr,
        quote: &[u8],
        buffer: &mut [u8; ICMP_ERROR_CAPACITY],
    ) -> usize {
        let at = network_len(source);
        let quoted = quote.len().min(least_mtu(source) - at - HEADER);
        let len = at + HEADER + quoted;
        let message = &mut buffer[at..len];
        message[..HEADER].copy_from_slice(&self.header(source.is_v4()));
        message[HEADER..].copy_from_slice(&quote[..quoted]);
        finish(&mut buffer[..len], source, destination);
        len
    }
}

/// Turns the ping in `bytes`, which `ping` was parsed from, into its answer, and returns that one's length.
pub fn answer_ping(bytes: &mut [u8], ping: &Icmp) -> usize {
    let at = network_len(ping.source);
    let len = at + bytes.len() - ping.at;
    bytes.copy_within(ping.at.., at);
    bytes[at] = if ping.source.is_v4() { 0 } else { 129 };
    finish(&mut bytes[..len], ping.destination, ping.source);
    len
}

/// Writes the network header and the checksum of a message that is in its place.
fn finish(bytes: &mut [u8], source: Addr, destination: Addr) {
    write_network(source, destination, protocol(source.is_v4()), bytes);
    let message = &mut bytes[network_len(source)..];
    let checksum = icmp_checksum(message, source, destination);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
}

const fn network_len(addr: Addr) -> usize {
    if addr.is_v4() { 20 } else { 40 }
}
