//! ICMP: what is parsed, translated and written, compared byte for byte with what an independent implementation (etherparse's
//! builders) puts together.

#![allow(clippy::unwrap_used, clippy::panic)] // building a packet for a test cannot fail

mod properties;
mod quotes;

use etherparse::{Ipv4Header, PacketBuilder};
use wire::{
    Addr, ICMP_ERROR_CAPACITY, Icmp, IcmpError, IcmpMessage, NotIcmp, Protocol, Quote, Rewrite, Shift, parse,
    parse_icmp,
};

const V4: bool = true;
const V6: bool = false;

/// A packet that something becomes of, but for its tuple.
#[derive(Clone, Debug)]
struct Body {
    protocol: Protocol,
    numbers: (u32, u32),
    payload: Vec<u8>,
    /// IPv4 options, in words.
    options: Vec<[u8; 4]>,
}

impl Body {
    /// The packet with this tuple, built by etherparse.
    fn build(&self, tuple: &Rewrite) -> Vec<u8> {
        let builder = if tuple.source.is_v4() {
            PacketBuilder::ipv4(tuple.source.v4_octets(), tuple.destination.v4_octets(), 60)
        } else {
            PacketBuilder::ipv6(tuple.source.octets(), tuple.destination.octets(), 60)
        };
        let mut bytes = Vec::new();
        match self.protocol {
            Protocol::Tcp => builder
                .tcp(tuple.source_port, tuple.destination_port, self.numbers.0, 4096)
                .ack(self.numbers.1)
                .write(&mut bytes, &self.payload),
            Protocol::Udp => {
                builder.udp(tuple.source_port, tuple.destination_port).write(&mut bytes, &self.payload)
            }
        }
        .unwrap();
        if tuple.source.is_v4() { with_options(&bytes, &self.options.concat()) } else { bytes }
    }
}

/// As much of `as_sent` as was quoted of `as_left`. The first half of a checksum says nothing, nor does an acknowledgement number
/// without the flags: they are left as they were.
fn quoted(as_sent: &[u8], as_left: &[u8], len: usize) -> Vec<u8> {
    let mut quote = as_sent[..len].to_vec();
    let packet = parse(as_left).unwrap();
    let checksum = packet.transport + packet.protocol.checksum_offset();
    if len == checksum + 1 {
        quote[checksum] = as_left[checksum];
    }
    let acknowledgement = packet.transport + 8..len;
    if packet.protocol == Protocol::Tcp && (1..6).contains(&acknowledgement.len()) {
        quote[acknowledgement.clone()].copy_from_slice(&as_left[acknowledgement]);
    }
    quote
}

fn with_options(bytes: &[u8], options: &[u8]) -> Vec<u8> {
    let mut header = Ipv4Header::from_slice(bytes).unwrap().0;
    header.total_len += options.len() as u16;
    header.options = options.try_into().unwrap();
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], &bytes[20..]].concat()
}

/// The error that etherparse builds; its IP header as a fresh one of ours.
fn build(error: IcmpError, source: Addr, destination: Addr, quote: &[u8]) -> Vec<u8> {
    build_raw(header(error, source.is_v4()), source, destination, quote)
}

fn build_raw((kind, code, rest): (u8, u8, u32), source: Addr, destination: Addr, quote: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let rest = rest.to_be_bytes();
    if source.is_v4() {
        let builder = PacketBuilder::ipv4(source.v4_octets(), destination.v4_octets(), 64);
        builder.icmpv4_raw(kind, code, rest).write(&mut bytes, quote).unwrap();
    } else {
        let builder = PacketBuilder::ipv6(source.octets(), destination.octets(), 64);
        builder.icmpv6_raw(kind, code, rest).write(&mut bytes, quote).unwrap();
    }
    bytes
}

/// Type, code and the rest of the header, as the RFCs have them.
fn header(error: IcmpError, is_v4: bool) -> (u8, u8, u32) {
    match (error, is_v4) {
        (IcmpError::Unreachable(code), V4) => (3, code, 0),
        (IcmpError::TooBig(mtu), V4) => (3, 4, mtu),
        (IcmpError::TimeExceeded(code), V4) => (11, code, 0),
        (IcmpError::Unreachable(code), V6) => (1, code, 0),
        (IcmpError::TooBig(mtu), V6) => (2, 0, mtu),
        (IcmpError::TimeExceeded(code), V6) => (3, code, 0),
    }
}

fn parsed_error(bytes: &[u8]) -> (Icmp, IcmpError, Option<Quote>) {
    let icmp = parse_icmp(bytes).unwrap();
    match icmp.message {
        IcmpMessage::Error(error, quote) => (icmp, error, quote),
        other => panic!("{other:?} is no error"),
    }
}

/// What becomes of an error about what left as `sent` and had come as `original`, told by `from`.
fn translate(bytes: Vec<u8>, sent: &Rewrite, original: &Rewrite, from: Addr) -> Option<Vec<u8>> {
    translate_shifted(bytes, sent, original, from, &Shift::default())
}

/// The same, if its numbers were others, by so much.
fn translate_shifted(
    mut bytes: Vec<u8>,
    sent: &Rewrite,
    original: &Rewrite,
    from: Addr,
    back: &Shift,
) -> Option<Vec<u8>> {
    let (icmp, error, quote) = parsed_error(&bytes);
    assert!(icmp.checksum_is_valid(&bytes));
    let mut quote = quote?;
    assert_eq!((quote.source, quote.source_port), (sent.source, sent.source_port));
    assert_eq!((quote.destination, quote.destination_port), (sent.destination, sent.destination_port));
    quote.rewrite(&mut bytes, original);
    let sequence = quote.sequence.wrapping_add(back.sequence);
    quote.shift(&mut bytes, back);
    assert_eq!(quote.sequence, if quote.protocol == Protocol::Tcp { sequence } else { 0 });
    let mut buffer = [0xaa; ICMP_ERROR_CAPACITY];
    let len = error.write(from, original.source, quote.bytes(&bytes), &mut buffer);
    Some(buffer[..len].to_vec())
}

fn some_tuple(is_v4: bool) -> Rewrite {
    let addr = |last| if is_v4 { Addr::v4([10, 2, 0, last]) } else { Addr::v6([last; 16]) };
    Rewrite { source: addr(1), source_port: 40_000, destination: addr(2), destination_port: 8080 }
}

fn some_body() -> Body {
    Body { protocol: Protocol::Udp, numbers: (1, 2), payload: vec![7; 100], options: Vec::new() }
}

#[test]
fn what_is_not_whole_or_not_icmp_is_told_apart() {
    let tuple = some_tuple(V4);
    let v4 = |edit: fn(&mut Vec<u8>)| {
        let mut bytes = build_raw((8, 0, 1), tuple.source, tuple.destination, &[1, 2, 3]);
        edit(&mut bytes);
        parse_icmp(&bytes).map(|icmp| icmp.message)
    };
    assert_eq!(v4(|_| {}), Ok(IcmpMessage::Ping));
    assert_eq!(v4(|bytes| bytes[20] = 0), Ok(IcmpMessage::Other), "a ping's answer");
    assert_eq!(v4(|bytes| bytes[20] = 5), Ok(IcmpMessage::Other), "a redirect");
    assert_eq!(v4(|bytes| bytes[20] = 12), Ok(IcmpMessage::Other), "a parameter problem");
    assert_eq!(v4(|bytes| bytes[20] = 3), Ok(IcmpMessage::Error(IcmpError::Unreachable(0), None)));
    assert_eq!(v4(|bytes| bytes[9] = 6), Err(NotIcmp::OtherProtocol));
    assert_eq!(v4(|bytes| bytes[6] = 0x20), Err(NotIcmp::OtherProtocol), "a fragment of a ping");
    assert_eq!(v4(|bytes| bytes[3] += 1), Err(NotIcmp::Malformed), "longer than it is");
    assert_eq!(
        v4(|bytes| {
            bytes.truncate(27);
            bytes[3] = 27;
        }),
        Err(NotIcmp::Malformed),
        "half a header"
    );
    assert_eq!(v4(Vec::clear), Err(NotIcmp::Malformed));

    let tuple = some_tuple(V6);
    let v6 = |edit: fn(&mut Vec<u8>)| {
        let mut bytes = build_raw((128, 0, 1), tuple.source, tuple.destination, &[1, 2, 3]);
        edit(&mut bytes);
        parse_icmp(&bytes).map(|icmp| icmp.message)
    };
    assert_eq!(v6(|_| {}), Ok(IcmpMessage::Ping));
    assert_eq!(v6(|bytes| bytes[40] = 4), Ok(IcmpMessage::Other), "a parameter problem");
    assert_eq!(v6(|bytes| bytes[6] = 0), Err(NotIcmp::OtherProtocol), "a hop-by-hop header");
    assert_eq!(v6(|bytes| bytes[5] += 1), Err(NotIcmp::Malformed), "longer than it is");
    let mapped = |bytes: &mut Vec<u8>| bytes[8..24].copy_from_slice(&Addr::v4([10, 0, 0, 1]).octets());
    assert_eq!(v6(mapped), Err(NotIcmp::Malformed), "an IPv4 address in IPv6's clothes");
}
