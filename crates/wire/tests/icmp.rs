//! A translated error equals the one that a router would have sent about the packet as its sender built it: compared, byte
//! for byte, with what an independent implementation (etherparse's builders) puts together.

#![allow(clippy::unwrap_used, clippy::panic)] // building a packet for a test cannot fail

use etherparse::{IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, PacketBuilder};
use proptest::prelude::*;
use wire::{
    Addr, ICMP_ERROR_CAPACITY, Icmp, IcmpError, IcmpMessage, Protocol, Quote, Rewrite, Unparsed, answer_ping,
    least_mtu, parse, parse_icmp,
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

/// As much of `as_sent` as was quoted of `as_left`. The first half of a checksum says nothing: it is left as it was.
fn quoted(as_sent: &[u8], as_left: &[u8], len: usize) -> Vec<u8> {
    let mut quote = as_sent[..len].to_vec();
    let packet = parse(as_left).unwrap();
    let checksum = packet.transport + packet.protocol.checksum_offset();
    if len == checksum + 1 {
        quote[checksum] = as_left[checksum];
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
fn translate(mut bytes: Vec<u8>, sent: &Rewrite, original: &Rewrite, from: Addr) -> Option<Vec<u8>> {
    let (icmp, error, quote) = parsed_error(&bytes);
    assert!(icmp.checksum_is_valid(&bytes));
    let quote = quote?;
    assert_eq!((quote.source, quote.source_port), (sent.source, sent.source_port));
    assert_eq!((quote.destination, quote.destination_port), (sent.destination, sent.destination_port));
    quote.rewrite(&mut bytes, original);
    let mut buffer = [0xaa; ICMP_ERROR_CAPACITY];
    let len = error.write(from, original.source, quote.bytes(&bytes), &mut buffer);
    Some(buffer[..len].to_vec())
}

fn addr(is_v4: bool) -> impl Strategy<Value = Addr> {
    any::<[u8; 16]>().prop_map(move |octets| {
        if is_v4 {
            Addr::v4([octets[0], octets[1], octets[2], octets[3]])
        } else {
            Addr::v6([&[0xfd], &octets[1..]].concat().try_into().unwrap())
        }
    })
}

fn tuple(is_v4: bool) -> impl Strategy<Value = Rewrite> {
    let ports = (1u16.., 1u16..);
    (addr(is_v4), addr(is_v4), ports).prop_map(|(source, destination, (source_port, destination_port))| {
        Rewrite { source, source_port, destination, destination_port }
    })
}

fn error() -> impl Strategy<Value = IcmpError> {
    prop_oneof![
        any::<u8>().prop_filter("that is too-big", |code| *code != 4).prop_map(IcmpError::Unreachable),
        any::<u16>().prop_map(|mtu| IcmpError::TooBig(mtu.into())),
        any::<u8>().prop_map(IcmpError::TimeExceeded),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    let payload = prop::collection::vec(any::<u8>(), 0..1600);
    let options = prop::collection::vec(any::<[u8; 4]>(), 0..=10);
    (any::<bool>(), any::<(u32, u32)>(), payload, options).prop_map(|(udp, numbers, payload, options)| Body {
        protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
        numbers,
        payload,
        options,
    })
}

/// A body, the tuple that it was sent with, the one that it left with, and who tells about it.
fn told() -> impl Strategy<Value = (Body, Rewrite, Rewrite, Addr, IcmpError)> {
    any::<bool>().prop_flat_map(|is_v4| (body(), tuple(is_v4), tuple(is_v4), addr(is_v4), error()))
}

proptest! {
    /// Whoever is told gets, byte for byte, the error about the packet that it has sent, as far as that was quoted.
    #[test]
    fn a_translation_is_a_full_recomputation(
        (body, original, sent, router, error) in told(),
        cut in prop::option::of(0usize..1700),
        outer_options in prop::collection::vec(any::<[u8; 4]>(), 0..=10),
    ) {
        let (as_sent, as_left) = (body.build(&original), body.build(&sent));
        let len = cut.unwrap_or(as_left.len()).min(as_left.len());
        let mut told = build(error, router, sent.source, &as_left[..len]);
        if router.is_v4() {
            told = with_options(&told, &outer_options.concat());
        }
        let network = if router.is_v4() { 20 + body.options.len() * 4 } else { 40 };
        let translated = translate(told, &sent, &original, original.destination);
        prop_assert_eq!(translated.is_some(), len >= network + 8, "eight bytes tell whose it is");
        if let Some(translated) = translated {
            let outer = if router.is_v4() { 28 } else { 48 };
            let quote = quoted(&as_sent, &as_left, len.min(least_mtu(router) - outer));
            let expected = build(error, original.destination, original.source, &quote);
            prop_assert_eq!(translated, expected);
        }
    }

    /// What a sender got wrong, or left to be completed, stays as wrong: nothing in a quote is repaired.
    #[test]
    fn a_wrong_checksum_stays_wrong((mut body, original, sent, router, error) in told(), by in 1u16..0xffff) {
        body.payload.truncate(400);
        let wrong = |tuple: &Rewrite| {
            let mut bytes = body.build(tuple);
            let network = if router.is_v4() { 20 + body.options.len() * 4 } else { 40 };
            let at = network + body.protocol.checksum_offset();
            // In one's complement arithmetic, as the checksum itself.
            let sum = u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]])) + u32::from(by);
            let field = (sum as u16) + (sum >> 16) as u16;
            bytes[at..at + 2].copy_from_slice(&field.to_be_bytes());
            (bytes, field)
        };
        let ((as_sent, right), (as_left, left)) = (wrong(&original), wrong(&sent));
        // 0 and 0xffff are one number; and of UDP 0 says "none".
        prop_assume!(![0, 0xffff].contains(&right) && ![0, 0xffff].contains(&left));
        let told = build(error, router, sent.source, &as_left);
        let translated = translate(told, &sent, &original, original.destination).unwrap();
        prop_assert_eq!(translated, build(error, original.destination, original.source, &as_sent));
    }

    /// A UDP sender that computes no checksum is quoted with none.
    #[test]
    fn no_udp_checksum_stays_none((mut body, original, sent, router, error) in told()) {
        body.protocol = Protocol::Udp;
        body.options.clear();
        body.payload.truncate(400);
        let none = |tuple| {
            let mut bytes = body.build(tuple);
            let at = if router.is_v4() { 26 } else { 46 };
            bytes[at..at + 2].fill(0);
            bytes
        };
        let told = build(error, router, sent.source, &none(&sent));
        let translated = translate(told, &sent, &original, original.destination).unwrap();
        prop_assert_eq!(translated, build(error, original.destination, original.source, &none(&original)));
    }

    /// The length of a quote says where extensions begin. They may name the provider's addresses: they are left out.
    #[test]
    fn extensions_are_left_out((mut body, original, sent, router, error) in told(), extensions in prop::collection::vec(any::<u8>(), 1..100)) {
        let is_v4 = router.is_v4();
        if !is_v4 && matches!(error, IcmpError::TooBig(_)) {
            return Ok(()); // has no room for a length
        }
        body.options.clear();
        body.payload.resize(128, 7);
        let len = 128;
        let (kind, code, rest) = header(error, is_v4);
        let length = if is_v4 { (len / 4) << 16 } else { (len / 8) << 24 };
        let mut quote = body.build(&sent)[..len as usize].to_vec();
        quote.extend(&extensions);
        let told = build_raw((kind, code, rest | length), router, sent.source, &quote);
        let translated = translate(told, &sent, &original, original.destination).unwrap();
        let as_sent = &body.build(&original)[..len as usize];
        prop_assert_eq!(translated, build(error, original.destination, original.source, as_sent));
    }

    /// A ping comes back with the same identifier, number and data, behind a fresh header.
    #[test]
    fn a_ping_is_answered(
        is_v4: bool, rest: u32, data in prop::collection::vec(any::<u8>(), 0..3000),
        options in prop::collection::vec(any::<[u8; 4]>(), 0..=10), octets in any::<[u8; 15]>(),
    ) {
        let near = if is_v4 { Addr::v4([10, 0, 0, octets[0]]) } else { Addr::v6([0xfd; 16]) };
        let far = if is_v4 { Addr::v4([10, 1, octets[1], 2]) } else { Addr::v6([0xfe; 16]) };
        let (ask, answer) = if is_v4 { (8, 0) } else { (128, 129) };
        let mut bytes = build_raw((ask, 0, rest), far, near, &data);
        if is_v4 {
            bytes = with_options(&bytes, &options.concat());
        }
        let ping = parse_icmp(&bytes).unwrap();
        prop_assert_eq!(ping.message, IcmpMessage::Ping);
        prop_assert!(ping.checksum_is_valid(&bytes));
        let len = answer_ping(&mut bytes, &ping);
        prop_assert_eq!(&bytes[..len], &build_raw((answer, 0, rest), near, far, &data));
    }

    /// One wrong bit is noticed.
    #[test]
    fn damage_is_noticed((body, _, sent, router, error) in told(), at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = build(error, router, sent.source, &body.build(&sent));
        let icmp = parse_icmp(&bytes).unwrap();
        prop_assert!(icmp.checksum_is_valid(&bytes));
        let at = icmp.at + at.index(bytes.len() - icmp.at);
        bytes[at] ^= 1 << bit;
        prop_assert!(!icmp.checksum_is_valid(&bytes));
    }

    /// Whatever the bytes are, parsing them says something and does not panic; what it accepts can be worked with.
    #[test]
    fn arbitrary_bytes_do_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..200), v4 in tuple(V4), v6 in tuple(V6)) {
        use_as_icmp(&mut bytes, &v4, &v6);
    }

    /// Arbitrary damage to an error that was right: the same, but it gets past the first checks.
    #[test]
    fn damaged_errors_do_no_harm(
        (body, _, sent, router, error) in told(),
        damage in prop::collection::vec((0usize..120, any::<u8>()), 1..8),
        cut in prop::option::of(0usize..120),
        v4 in tuple(V4), v6 in tuple(V6),
    ) {
        let mut bytes = build(error, router, sent.source, &body.build(&sent));
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(cut.unwrap_or(bytes.len()));
        // With the length that its header has to have, so that it gets further.
        let len = bytes.len() as u16;
        if let Some(field) = bytes.get_mut(2..4).filter(|_| router.is_v4()) {
            field.copy_from_slice(&len.to_be_bytes());
        }
        use_as_icmp(&mut bytes, &v4, &v6);
    }
}

fn use_as_icmp(bytes: &mut [u8], v4: &Rewrite, v6: &Rewrite) {
    let Ok(icmp) = parse_icmp(bytes) else { return };
    icmp.checksum_is_valid(bytes);
    let other = if icmp.source.is_v4() { v4 } else { v6 };
    if let IcmpMessage::Error(error, Some(quote)) = icmp.message {
        quote.rewrite(bytes, other);
        let mut buffer = [0; ICMP_ERROR_CAPACITY];
        let len = error.write(other.destination, other.source, quote.bytes(bytes), &mut buffer);
        let written = parse_icmp(&buffer[..len]).unwrap();
        assert!(written.checksum_is_valid(&buffer[..len]) && len <= least_mtu(other.source));
    }
    answer_ping(bytes, &icmp);
}

fn some_tuple(is_v4: bool) -> Rewrite {
    let addr = |last| if is_v4 { Addr::v4([10, 2, 0, last]) } else { Addr::v6([last; 16]) };
    Rewrite { source: addr(1), source_port: 40_000, destination: addr(2), destination_port: 8080 }
}

fn some_body() -> Body {
    Body { protocol: Protocol::Udp, numbers: (1, 2), payload: vec![7; 100], options: Vec::new() }
}

fn quote_of(bytes: &[u8], is_v4: bool) -> Option<Quote> {
    let tuple = some_tuple(is_v4);
    parsed_error(&build(IcmpError::Unreachable(3), tuple.destination, tuple.source, bytes)).2
}

#[test]
fn a_quote_may_end_anywhere() {
    for (is_v4, network) in [(V4, 20), (V6, 40)] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let body = Body { protocol, ..some_body() };
            let (sent, error) = (some_tuple(is_v4), IcmpError::Unreachable(3));
            let original = Rewrite { source_port: 5000, destination_port: 80, ..sent.reversed() };
            let (as_left, as_sent) = (body.build(&sent), body.build(&original));
            for len in 0..=as_left.len() {
                let told = build(error, sent.destination, sent.source, &as_left[..len]);
                let translated = translate(told, &sent, &original, original.destination);
                let quote = quoted(&as_sent, &as_left, len);
                let expected = build(error, original.destination, original.source, &quote);
                let is_told = len >= network + 8;
                assert_eq!(translated, is_told.then_some(expected), "{len} bytes");
            }
        }
    }
}

#[test]
fn only_a_first_fragment_tells_whose_it_is() {
    let whole = some_body().build(&some_tuple(V4));
    let v4 = |flags: u8, offset: u8| {
        let mut bytes = whole.clone();
        (bytes[6], bytes[7]) = (flags, offset);
        quote_of(&bytes, V4)
    };
    assert_eq!(v4(0x20, 0).map(|quote| quote.source_port), Some(40_000), "a first one");
    assert_eq!(v4(0x20, 1), None);
    assert_eq!(v4(0, 1), None, "a last one");

    let whole = some_body().build(&some_tuple(V6));
    let v6 = |next: u8, offset: u16| {
        let mut ip = Ipv6Header::from_slice(&whole).unwrap().0;
        ip.next_header = IpNumber::IPV6_FRAGMENTATION_HEADER;
        ip.payload_length += 8;
        let fragment = Ipv6FragmentHeader::new(IpNumber(next), offset.try_into().unwrap(), true, 0x1234_5678);
        let bytes = [&ip.to_bytes()[..], &fragment.to_bytes(), &whole[40..]].concat();
        assert_eq!(quote_of(&bytes[..40 + 8 + 7], V6), None, "seven bytes of a datagram are too few");
        assert_eq!(quote_of(&bytes[..44], V6), None, "half a fragment header");
        let quote = quote_of(&bytes, V6)?;
        let tuple = some_tuple(V6).reversed();
        let mut told = build(IcmpError::TooBig(1400), tuple.source, tuple.destination, &bytes);
        let (_, _, parsed) = parsed_error(&told);
        parsed.unwrap().rewrite(&mut told, &tuple);
        // Behind the fragment header stands what the sender would have put there.
        assert_eq!(told[96..], some_body().build(&tuple)[40..]);
        Some(quote.source_port)
    };
    assert_eq!(v6(17, 0), Some(40_000));
    assert_eq!(v6(17, 1), None);
    assert_eq!(v6(60, 0), None, "options for the destination: no flow has them");
}

#[test]
fn a_quote_of_something_else_is_no_use() {
    let edited = |is_v4, at: usize, value: u8| {
        let mut bytes = some_body().build(&some_tuple(is_v4));
        bytes[at] = value;
        quote_of(&bytes, is_v4)
    };
    assert!(edited(V4, 1, 7).is_some(), "any type of service");
    assert_eq!(edited(V4, 0, 0x65), None, "the other family");
    assert_eq!(edited(V4, 0, 0x44), None, "a header of four words");
    assert_eq!(edited(V4, 9, 1), None, "an error about an error");
    assert!(edited(V6, 1, 7).is_some());
    assert_eq!(edited(V6, 0, 0x40), None);
    assert_eq!(edited(V6, 6, 58), None);
    assert_eq!(edited(V6, 6, 0), None, "a hop-by-hop header");
}

/// The lengths that a super-packet's quote has say nothing: the kernel quotes what it had in its hands.
#[test]
fn a_super_packet_is_quoted_with_its_own_length() {
    let mut bytes = some_body().build(&some_tuple(V4));
    bytes[2..4].copy_from_slice(&40_000u16.to_be_bytes());
    bytes[24..26].copy_from_slice(&39_980u16.to_be_bytes());
    assert!(quote_of(&bytes, V4).is_some());
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
    assert_eq!(v4(|bytes| bytes[9] = 6), Err(Unparsed::OtherProtocol));
    assert_eq!(v4(|bytes| bytes[6] = 0x20), Err(Unparsed::OtherProtocol), "a fragment of a ping");
    assert_eq!(v4(|bytes| bytes[3] += 1), Err(Unparsed::Malformed), "longer than it is");
    assert_eq!(
        v4(|bytes| {
            bytes.truncate(27);
            bytes[3] = 27;
        }),
        Err(Unparsed::Malformed),
        "half a header"
    );
    assert_eq!(v4(Vec::clear), Err(Unparsed::Malformed));

    let tuple = some_tuple(V6);
    let v6 = |edit: fn(&mut Vec<u8>)| {
        let mut bytes = build_raw((128, 0, 1), tuple.source, tuple.destination, &[1, 2, 3]);
        edit(&mut bytes);
        parse_icmp(&bytes).map(|icmp| icmp.message)
    };
    assert_eq!(v6(|_| {}), Ok(IcmpMessage::Ping));
    assert_eq!(v6(|bytes| bytes[40] = 4), Ok(IcmpMessage::Other), "a parameter problem");
    assert_eq!(v6(|bytes| bytes[6] = 0), Err(Unparsed::OtherProtocol), "a hop-by-hop header");
    assert_eq!(v6(|bytes| bytes[5] += 1), Err(Unparsed::Malformed), "longer than it is");
    let mapped = |bytes: &mut Vec<u8>| bytes[8..24].copy_from_slice(&Addr::v4([10, 0, 0, 1]).octets());
    assert_eq!(v6(mapped), Err(Unparsed::Malformed), "an IPv4 address in IPv6's clothes");
}
