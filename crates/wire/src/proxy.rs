//! The proxy protocol's header, version 2: what tells a target who its client is, ahead of the client's first byte.
//!
//! Written as the real load balancers write theirs. AWS' has a checksum, and is filled up with zeroes to 100 bytes, whatever
//! the family.

use arrayvec::ArrayVec;

use crate::Addr;

/// The longest header that is written.
pub const PROXY_HEADER_CAPACITY: usize = 100;

/// What a connection of the load balancer's own begins with, such as a health check: no client is behind it.
pub const PROXY_LOCAL: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A header's bytes.
pub type ProxyBytes = ArrayVec<u8, PROXY_HEADER_CAPACITY>;

/// Who a client is, and through which endpoint it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProxyHeader<'a> {
    /// The client.
    pub source: (Addr, u16),
    /// What it has connected to: an address of the same family.
    pub destination: (Addr, u16),
    /// The endpoint.
    pub endpoint: ProxyEndpoint<'a>,
}

/// An endpoint, in the words of one cloud or another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyEndpoint<'a> {
    /// AWS: the VPC endpoint's id, in 22 bytes at most: what is longer is cut off.
    Aws(&'a str),
    /// GCP: the id of the Private Service Connect connection.
    Gcp(u64),
    /// Azure: the id of the private endpoint's link.
    Azure(u32),
}

const SIGNATURE: usize = 12;
/// Where the fixed part ends, with the length of what follows in its last two bytes.
const FIXED: usize = 16;
const TCP_V4: [u8; 2] = [0x21, 0x11];
const TCP_V6: [u8; 2] = [0x21, 0x21];

const CRC32C: u8 = 0x03;
const NOOP: u8 = 0x04;
const GCP: u8 = 0xe0;
const AWS: u8 = 0xea;
const AZURE: u8 = 0xee;
/// The subtype, AWS' and Azure's, that says that an endpoint's id follows.
const ENDPOINT: u8 = 1;
const LONGEST_VPCE: usize = 22;

impl ProxyHeader<'_> {
    /// The header that a TCP connection begins with.
    pub fn to_bytes(&self) -> ProxyBytes {
        let mut bytes = ProxyBytes::new();
        bytes.extend(PROXY_LOCAL[..SIGNATURE].iter().copied());
        let is_v4 = self.source.0.is_v4();
        bytes.extend(if is_v4 { TCP_V4 } else { TCP_V6 });
        bytes.extend([0; 2]);
        for (address, _) in [self.source, self.destination] {
            if is_v4 { bytes.extend(address.v4_octets()) } else { bytes.extend(address.octets()) }
        }
        for (_, port) in [self.source, self.destination] {
            bytes.extend(port.to_be_bytes());
        }
        match self.endpoint {
            ProxyEndpoint::Aws(id) => return sealed(bytes, id),
            ProxyEndpoint::Gcp(id) => put(&mut bytes, GCP, id.to_be_bytes()),
            ProxyEndpoint::Azure(id) => {
                put(&mut bytes, AZURE, [ENDPOINT].into_iter().chain(id.to_le_bytes()));
            }
        }
        announce_len(&mut bytes);
        bytes
    }
}

/// As AWS ends a header: its checksum, the endpoint, and nothing for the rest of it.
fn sealed(mut bytes: ProxyBytes, id: &str) -> ProxyBytes {
    put(&mut bytes, CRC32C, [0; 4]);
    let checksum = bytes.len() - 4;
    put(&mut bytes, AWS, [ENDPOINT].into_iter().chain(id.bytes().take(LONGEST_VPCE)));
    let filling = PROXY_HEADER_CAPACITY - bytes.len() - 3;
    put(&mut bytes, NOOP, std::iter::repeat_n(0, filling));
    announce_len(&mut bytes);
    let sum = crc32c::crc32c(&bytes);
    bytes[checksum..checksum + 4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Adds a value with its type and length.
fn put(bytes: &mut ProxyBytes, kind: u8, value: impl IntoIterator<Item = u8>) {
    let start = bytes.len();
    bytes.extend([kind, 0, 0]);
    bytes.extend(value);
    let len = (bytes.len() - start - 3) as u16;
    bytes[start + 1..start + 3].copy_from_slice(&len.to_be_bytes());
}

/// Says in the fixed part how much follows it.
fn announce_len(bytes: &mut ProxyBytes) {
    let len = (bytes.len() - FIXED) as u16;
    bytes[FIXED - 2..FIXED].copy_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caught(source: ([u8; 4], u16), destination: ([u8; 4], u16), id: &str) -> ProxyBytes {
        let [source, destination] = [source, destination].map(|(octets, port)| (Addr::v4(octets), port));
        ProxyHeader { source, destination, endpoint: ProxyEndpoint::Aws(id) }.to_bytes()
    }

    /// As published: headers that were caught between a load balancer and its target.
    #[test]
    fn the_header_is_the_real_one_byte_for_byte() {
        let real = [
            &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x54"[..],
            &[172, 31, 7, 113, 172, 31, 10, 31, 0xc8, 0xf2, 0, 80],
            &[3, 0, 4, 0xe8, 0xd6, 0x89, 0x2d],
            b"\xea\0\x17\x01vpce-08d2bf15fac5001c9",
            b"\x04\0\x24",
            &[0; 36],
        ];
        let ours = caught(([172, 31, 7, 113], 0xc8f2), ([172, 31, 10, 31], 80), "vpce-08d2bf15fac5001c9");
        assert_eq!(ours[..], real.concat());
        let ours = caught(([192, 168, 44, 10], 52_286), ([192, 168, 44, 7], 9243), "vpce-00eafc458ec97b833");
        assert_eq!(ours[31..35], [0xb9, 0x28, 0x6f, 0xa6], "the checksum, which covers all the rest");
    }
}
