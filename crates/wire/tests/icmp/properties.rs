//! A translated error equals the one that a router would have sent about the packet as its sender built it, whatever the
//! packet; and nothing panics, whatever the bytes.

use etherparse::checksum::Sum16BitWords;
use proptest::prelude::*;
use wire::{answer_ping, header_checksum_is_valid, least_mtu};

use super::*;

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
    // None that looks like extensions: their first byte begins with a 2.
    let payload = prop::collection::vec(any::<u8>().prop_map(|byte| byte | 0x10), 0..1600);
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
        cut in prop::option::of(prop_oneof![20usize..100, 0usize..1700]),
        outer_options in prop::collection::vec(any::<[u8; 4]>(), 0..=10),
        (sequence, acknowledgement) in any::<(u32, u32)>(),
    ) {
        let mut left = body.clone();
        left.numbers.0 = left.numbers.0.wrapping_sub(sequence);
        left.numbers.1 = left.numbers.1.wrapping_sub(acknowledgement);
        let back = Shift { sequence, acknowledgement, ..Shift::default() };
        let (as_sent, as_left) = (body.build(&original), left.build(&sent));
        let len = cut.unwrap_or(as_left.len()).min(as_left.len());
        let mut told = build(error, router, sent.source, &as_left[..len]);
        if router.is_v4() {
            told = with_options(&told, &outer_options.concat());
        }
        let network = if router.is_v4() { 20 + body.options.len() * 4 } else { 40 };
        let translated = translate_shifted(told, &sent, &original, original.destination, &back);
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

    /// Nor do they go on where no length announces them: they follow 128 bytes, of the packet or else of padding.
    #[test]
    fn unannounced_extensions_are_left_out(
        (mut body, original, sent, router, error) in told(),
        len in 0usize..300,
        objects in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        body.options.clear();
        body.payload.resize(len, 7);
        let mut quote = body.build(&sent);
        let quoted = quote.len().min(128);
        quote.resize(128, 0);
        quote.extend(extensions(&objects));
        let told = build(error, router, sent.source, &quote);
        let translated = translate(told, &sent, &original, original.destination).unwrap();
        let as_sent = &body.build(&original)[..quoted];
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

    /// One wrong bit is noticed, in the message and in an IPv4 header in front of it.
    #[test]
    fn damage_is_noticed((body, _, sent, router, error) in told(), at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = build(error, router, sent.source, &body.build(&sent));
        let icmp = parse_icmp(&bytes).unwrap();
        prop_assert!(icmp.checksum_is_valid(&bytes) && header_checksum_is_valid(&bytes));
        let in_message = icmp.at + at.index(bytes.len() - icmp.at);
        bytes[in_message] ^= 1 << bit;
        prop_assert!(!icmp.checksum_is_valid(&bytes) && header_checksum_is_valid(&bytes));
        // The first byte says what the others are.
        bytes[1 + at.index(icmp.at - 1)] ^= 1 << bit;
        prop_assert_eq!(header_checksum_is_valid(&bytes), !router.is_v4());
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

/// An extension structure with these objects.
fn extensions(objects: &[u8]) -> Vec<u8> {
    let sum = Sum16BitWords::new().add_2bytes([0x20, 0]).add_slice(objects);
    [&[0x20, 0][..], &sum.ones_complement().to_ne_bytes(), objects].concat()
}

fn use_as_icmp(bytes: &mut [u8], v4: &Rewrite, v6: &Rewrite) {
    let Ok(icmp) = parse_icmp(bytes) else { return };
    icmp.checksum_is_valid(bytes);
    let other = if icmp.source.is_v4() { v4 } else { v6 };
    if let IcmpMessage::Error(error, Some(mut quote)) = icmp.message {
        quote.rewrite(bytes, other);
        quote.shift(bytes, &Shift { sequence: 100, acknowledgement: 7, ..Shift::default() });
        let mut buffer = [0; ICMP_ERROR_CAPACITY];
        let len = error.write(other.destination, other.source, quote.bytes(bytes), &mut buffer);
        let written = parse_icmp(&buffer[..len]).unwrap();
        assert!(written.checksum_is_valid(&buffer[..len]) && len <= least_mtu(other.source));
    }
    answer_ping(bytes, &icmp);
}
