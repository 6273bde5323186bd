//! A TCP segment of a peer's own making, whatever it says.

use std::net::{IpAddr, SocketAddr};

/// What it says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segment {
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) window: u16,
    /// Filled up to whole words with zeros.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    /// The packet that carries it. There is no TCP checksum in it.
    pub(crate) fn packet(&self, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
        let options = self.options.len().next_multiple_of(4);
        let header = 20 + options;
        let mut bytes = network(from.ip(), to.ip(), header + self.payload.len());
        bytes.extend(from.port().to_be_bytes());
        bytes.extend(to.port().to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgement.to_be_bytes());
        bytes.extend([((header / 4) << 4) as u8, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        // Half of them an urgent pointer, which is for nobody.
        bytes.extend([0, 0, 0, 7]);
        bytes.extend(&self.options);
        bytes.resize(bytes.len() + options - self.options.len(), 0);
        bytes.extend(&self.payload);
        bytes
    }
}

/// A network header in front of `len` bytes of TCP.
fn network(from: IpAddr, to: IpAddr, len: usize) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0];
            bytes[2..4].copy_from_slice(&((len + 20) as u16).to_be_bytes());
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            let words = bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
            let sum: u32 = words.sum();
            let checksum = !((sum >> 16) + (sum & 0xffff)) as u16;
            bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
            bytes
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut bytes = vec![0x60, 0, 0, 0, 0, 0, 6, 64];
            bytes[4..6].copy_from_slice(&(len as u16).to_be_bytes());
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            bytes
        }
        _ => panic!("{from} and {to} are of two families"),
    }
}
