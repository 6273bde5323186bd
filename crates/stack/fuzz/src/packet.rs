//! Segments as a peer builds them, by other code than the stack's.

use std::net::{IpAddr, SocketAddr};

const TCP: u8 = 6;

/// What a segment says.
pub(crate) struct Header<'a> {
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: &'a [u8],
}

/// A packet, with a complete checksum or the pseudo-header's alone.
pub(crate) fn build(
    from: SocketAddr,
    to: SocketAddr,
    header: &Header<'_>,
    payload: &[u8],
    complete: bool,
) -> Vec<u8> {
    let mut segment = Vec::with_capacity(60 + payload.len());
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend(header.sequence.to_be_bytes());
    segment.extend(header.acknowledgement.to_be_bytes());
    let options = header.options.len().next_multiple_of(4);
    segment.extend([((20 + options) as u8) << 2, header.flags]);
    segment.extend(header.window.to_be_bytes());
    segment.extend([0; 4]);
    segment.extend(header.options);
    segment.resize(20 + options, 0);
    segment.extend(payload);
    let addresses = octets(from.ip(), to.ip());
    let pseudo = sum(&addresses) + u64::from(TCP) + segment.len() as u64;
    let checksum = if complete { !fold(pseudo + sum(&segment)) } else { fold(pseudo) };
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    let mut packet = network_header(from.ip(), to.ip(), segment.len());
    packet.extend(segment);
    packet
}

/// The most payload that a packet has room for.
pub(crate) const MOST_PAYLOAD: usize = 65_535 - 20 - 60;

fn network_header(from: IpAddr, to: IpAddr, len: usize) -> Vec<u8> {
    if from.is_ipv6() {
        let mut header = vec![0x60, 0, 0, 0, (len >> 8) as u8, len as u8, TCP, 64];
        header.extend(octets(from, to));
        return header;
    }
    let total = len + 20;
    let mut header = vec![0x45, 0, (total >> 8) as u8, total as u8, 0, 0, 0x40, 0, 64, TCP, 0, 0];
    header.extend(octets(from, to));
    let checksum = !fold(sum(&header));
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn octets(from: IpAddr, to: IpAddr) -> Vec<u8> {
    [from, to]
        .into_iter()
        .flat_map(|address| match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        })
        .collect()
}

fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u64::from);
    bytes.chunks(2).map(word).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
