//! What a proxy protocol header says, read by somebody else: the addresses, the endpoint in each cloud's words, the checksum.

#![allow(clippy::unwrap_used)] // building a packet for a test cannot fail

use std::net::SocketAddr;

use proptest::prelude::*;
use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader as Read, Tlv};
use wire::{Addr, PROXY_HEADER_CAPACITY, PROXY_LOCAL, ProxyEndpoint, ProxyHeader};

/// An endpoint, owned.
#[derive(Clone, Debug)]
enum Endpoint {
    Aws(String),
    Gcp(u64),
    Azure(u32),
}

impl Endpoint {
    fn borrowed(&self) -> ProxyEndpoint<'_> {
        match self {
            Self::Aws(id) => ProxyEndpoint::Aws(id),
            Self::Gcp(id) => ProxyEndpoint::Gcp(*id),
            Self::Azure(id) => ProxyEndpoint::Azure(*id),
        }
    }

    /// What a reader finds behind the addresses of a header of so many bytes with this checksum.
    fn expected(&self, len: usize, sum: u32) -> Vec<Tlv<'static>> {
        match self {
            Self::Aws(id) => {
                let value = [b"\x01", id.as_bytes()].concat();
                let filling = 100 - len - 7 - (3 + value.len()) - 3;
                vec![Tlv::Crc32c(sum), Tlv::Custom(0xea, value.into()), Tlv::Noop(filling)]
            }
            Self::Gcp(id) => vec![Tlv::Custom(0xe0, id.to_be_bytes().to_vec().into())],
            Self::Azure(id) => vec![Tlv::Custom(0xee, [&[1], &id.to_le_bytes()[..]].concat().into())],
        }
    }
}

/// CRC32C as RFC 4960 has it, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

fn end(is_v4: bool) -> impl Strategy<Value = SocketAddr> {
    let v6 = (any::<[u8; 15]>(), any::<u16>())
        .prop_map(|(octets, port)| ([&[0xfd], &octets[..]].concat().try_into().unwrap(), port))
        .prop_map(|(octets, port): ([u8; 16], u16)| (octets, port).into());
    let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
    if is_v4 { v4.boxed() } else { v6.boxed() }
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    prop_oneof![
        "vpce-[0-9a-f]{17}".prop_map(Endpoint::Aws),
        "[ -~]{0,22}".prop_map(Endpoint::Aws),
        any::<u64>().prop_map(Endpoint::Gcp),
        any::<u32>().prop_map(Endpoint::Azure),
    ]
}

fn ours(end: SocketAddr) -> (Addr, u16) {
    (end.ip().into(), end.port())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_header_is_read_as_it_was_meant(
        (source, destination) in any::<bool>().prop_flat_map(|is_v4| (end(is_v4), end(is_v4))),
        endpoint in endpoint(),
    ) {
        let header = ProxyHeader {
            source: ours(source),
            destination: ours(destination),
            endpoint: endpoint.borrowed(),
        };
        let mut bytes = header.to_bytes();
        let addresses = if source.is_ipv4() { 28 } else { 52 };
        prop_assert_eq!(bytes.len() == PROXY_HEADER_CAPACITY, matches!(endpoint, Endpoint::Aws(_)));

        let (read, consumed) = Read::parse(&bytes, ParseConfig::default()).unwrap();
        prop_assert_eq!(consumed, bytes.len());
        prop_assert_eq!(read.proxied_address(), Some(&ProxiedAddress::stream(source, destination)));
        let said: Vec<_> = read.tlvs().collect::<Result<_, _>>().unwrap();
        let sum = read.crc32c().unwrap_or_default();
        if let Some(Tlv::Noop(filling)) = said.last() {
            prop_assert!(bytes[bytes.len() - filling..].iter().all(|byte| *byte == 0));
        }
        prop_assert_eq!(said, endpoint.expected(addresses, sum));

        if matches!(endpoint, Endpoint::Aws(_)) {
            bytes[addresses + 3..addresses + 7].fill(0);
            prop_assert_eq!(sum, crc32c(&bytes));
        }
    }
}

#[test]
fn a_connection_of_our_own_says_so() {
    let (read, consumed) = Read::parse(&PROXY_LOCAL, ParseConfig::default()).unwrap();
    assert_eq!((read.proxied_address(), read.tlvs().count(), consumed), (None, 0, 16));
    assert_eq!(PROXY_LOCAL[12..], [0x20, 0, 0, 0], "version 2, LOCAL, no addresses, nothing that follows");
}

#[test]
fn an_id_that_is_too_long_is_cut_off() {
    let ends = ("10.0.0.1:1000".parse().unwrap(), "10.0.0.2:80".parse().unwrap());
    let header = |id| {
        let endpoint = ProxyEndpoint::Aws(id);
        ProxyHeader { source: ours(ends.0), destination: ours(ends.1), endpoint }.to_bytes()
    };
    let fits = "vpce-0123456789abcdef0";
    assert_eq!(header(&format!("{fits}123")), header(fits));
}
