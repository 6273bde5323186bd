//! Where a quote ends, and of which packets it tells whose they are.

use etherparse::{IpNumber, Ipv6FragmentHeader, Ipv6Header};

use super::*;

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

/// A shorter length says where a quote ends, unless it says that there is hardly a packet.
#[test]
fn a_quote_ends_with_its_packet() {
    for is_v4 in [V4, V6] {
        let bytes = some_body().build(&some_tuple(is_v4));
        let transport = if is_v4 { 20 } else { 40 };
        let end = |len: usize| {
            let mut bytes = bytes.clone();
            let (at, len) = if is_v4 { (2, len) } else { (4, len - transport) };
            bytes[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
            let tuple = some_tuple(is_v4);
            let told = build(IcmpError::Unreachable(3), tuple.destination, tuple.source, &bytes);
            parsed_error(&told).2.unwrap().bytes(&told).len()
        };
        for len in transport + 8..=bytes.len() {
            assert_eq!(end(len), len);
        }
        assert_eq!(end(bytes.len() + 1), bytes.len());
        assert_eq!(end(transport + 7), bytes.len());
    }
}
