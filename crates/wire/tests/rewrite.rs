//! Any rewrite equals a full recomputation: every checksum that covers something we change is compared, field by field,
//! with what an independent implementation (etherparse's builders, or a sum from scratch) puts there.

#![allow(clippy::unwrap_used)] // building a packet for a test cannot fail

use etherparse::{PacketBuilder, TcpOptionElement};
use proptest::prelude::*;
use wire::{
    Addr, Checksum, Frame, Offload, Packet, Protocol, Rewrite, checksum_is_valid, clamp_mss, mss_of, parse,
    pseudo_header, transport_checksum,
};

/// A packet as a sender builds it.
#[derive(Clone, Debug)]
struct Sent {
    source: Addr,
    destination: Addr,
    protocol: Protocol,
    source_port: u16,
    destination_port: u16,
    ttl: u8,
    numbers: (u32, u32),
    syn: bool,
    mss: Option<u16>,
    /// NOPs in front of the MSS option, so that it begins at odd and even offsets.
    padding: usize,
    payload: Vec<u8>,
}

impl Sent {
    /// The packet with complete checksums, built by etherparse.
    fn build(&self) -> Vec<u8> {
        let ttl = self.ttl;
        let builder = if self.source.is_v4() {
            PacketBuilder::ipv4(self.source.v4_octets(), self.destination.v4_octets(), ttl)
        } else {
            PacketBuilder::ipv6(self.source.octets(), self.destination.octets(), ttl)
        };
        let mut bytes = Vec::new();
        match self.protocol {
            Protocol::Tcp => {
                let tcp = builder.tcp(self.source_port, self.destination_port, self.numbers.0, 4096);
                let tcp = if self.syn { tcp.syn() } else { tcp.ack(self.numbers.1).psh() };
                let mut options = vec![TcpOptionElement::Noop; self.padding];
                options.extend(self.mss.map(TcpOptionElement::MaximumSegmentSize));
                tcp.options(&options).unwrap().write(&mut bytes, &self.payload).unwrap();
            }
            Protocol::Udp => {
                builder
                    .udp(self.source_port, self.destination_port)
                    .write(&mut bytes, &self.payload)
                    .unwrap();
            }
        }
        bytes
    }

    /// The same packet, its transport checksum in the given state.
    fn build_with(&self, checksum: Checksum) -> Vec<u8> {
        let mut bytes = self.build();
        if checksum == Checksum::Partial {
            let packet = parse(&bytes).unwrap();
            let len = packet.len - packet.transport;
            let partial = pseudo_header(packet.source, packet.destination, packet.protocol, len);
            put_checksum(&mut bytes, &packet, partial);
        }
        bytes
    }
}

fn put_checksum(bytes: &mut [u8], packet: &Packet, checksum: u16) {
    let at = packet.transport + packet.protocol.checksum_offset();
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn transport_field(bytes: &[u8], packet: &Packet) -> u16 {
    let at = packet.transport + packet.protocol.checksum_offset();
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn addr(v4: bool) -> impl Strategy<Value = Addr> {
    any::<[u8; 16]>().prop_map(move |octets| {
        if v4 {
            Addr::v4([octets[0], octets[1], octets[2], octets[3]])
        } else {
            Addr::v6([
                0xfd, octets[1], octets[2], octets[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, octets[14], octets[15],
            ])
        }
    })
}

fn sent() -> impl Strategy<Value = (Sent, Rewrite)> {
    any::<bool>().prop_flat_map(|v4| {
        let addrs = [addr(v4), addr(v4), addr(v4), addr(v4)];
        let ports = prop::array::uniform4(1u16..);
        let tcp = (any::<(u32, u32)>(), any::<bool>(), prop::option::of(any::<u16>()), 0usize..4);
        let payload = prop::collection::vec(any::<u8>(), 0..1600);
        (addrs, ports, any::<bool>(), 2u8.., tcp, payload).prop_map(
            |(addrs, ports, udp, ttl, tcp, payload)| {
                let sent = Sent {
                    source: addrs[0],
                    destination: addrs[1],
                    protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
                    source_port: ports[0],
                    destination_port: ports[1],
                    ttl,
                    numbers: tcp.0,
                    syn: tcp.1,
                    mss: tcp.2,
                    padding: tcp.3,
                    payload,
                };
                let rewrite = Rewrite {
                    source: addrs[2],
                    source_port: ports[2],
                    destination: addrs[3],
                    destination_port: ports[3],
                };
                (sent, rewrite)
            },
        )
    })
}

fn checksum() -> impl Strategy<Value = Checksum> {
    prop_oneof![Just(Checksum::Complete), Just(Checksum::Verified), Just(Checksum::Partial)]
}

proptest! {
    /// What comes out is, byte for byte, what the sender would have built for the new tuple.
    #[test]
    fn a_rewrite_is_a_full_recomputation((sent, rewrite) in sent(), checksum in checksum(), ceiling in 500u16..9000) {
        let mut bytes = sent.build_with(checksum);
        let packet = parse(&bytes).unwrap();
        let mut frame = Frame { offload: Offload { checksum, segmentation: None }, bytes: &mut bytes };
        clamp_mss(&mut frame, &packet, ceiling);
        rewrite.apply(&mut frame, &packet);

        let expected = Sent {
            source: rewrite.source,
            destination: rewrite.destination,
            source_port: rewrite.source_port,
            destination_port: rewrite.destination_port,
            ttl: sent.ttl - 1,
            mss: sent.mss.map(|mss| mss.min(ceiling)),
            ..sent
        };
        prop_assert_eq!(bytes, expected.build_with(checksum));
    }

    /// IPv4 options, and TCP options that nobody knows, are carried along.
    #[test]
    fn options_survive((sent, rewrite) in sent(), options in prop::collection::vec(any::<u8>(), 4)) {
        prop_assume!(sent.source.is_v4());
        let built = sent.build();
        let mut bytes = [&built[..20], &options, &built[20..]].concat();
        bytes[0] = 0x46;
        let total = (bytes.len() as u16).to_be_bytes();
        bytes[2..4].copy_from_slice(&total);
        bytes[10..12].copy_from_slice(&[0, 0]);
        let header = etherparse::Ipv4Header::from_slice(&bytes).unwrap().0;
        bytes[10..12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());

        let packet = parse(&bytes).unwrap();
        rewrite.apply(&mut Frame::plain(&mut bytes), &packet);
        let header = etherparse::Ipv4Header::from_slice(&bytes).unwrap().0;
        prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
        prop_assert_eq!(&bytes[20..24], &options[..]);
        prop_assert!(checksum_is_valid(&bytes, &parse(&bytes).unwrap()));
    }

    /// Damage stays damage: an incremental update never repairs a checksum that was wrong.
    #[test]
    fn a_wrong_checksum_stays_wrong((sent, rewrite) in sent(), by in 1u16..0xffff) {
        let mut bytes = sent.build();
        let packet = parse(&bytes).unwrap();
        let wrong = transport_field(&bytes, &packet).wrapping_add(by);
        prop_assume!(wrong != 0 && wrong != 0xffff && wrong != transport_checksum(&bytes, &packet));
        put_checksum(&mut bytes, &packet, wrong);
        rewrite.apply(&mut Frame::plain(&mut bytes), &packet);
        prop_assert!(!checksum_is_valid(&bytes, &parse(&bytes).unwrap()));
    }

    /// A UDP sender that computes no checksum keeps none.
    #[test]
    fn no_udp_checksum_stays_none((mut sent, rewrite) in sent()) {
        sent.protocol = Protocol::Udp;
        let mut bytes = sent.build();
        let packet = parse(&bytes).unwrap();
        put_checksum(&mut bytes, &packet, 0);
        rewrite.apply(&mut Frame::plain(&mut bytes), &packet);
        prop_assert_eq!(transport_field(&bytes, &packet), 0);
    }

    /// The RST that answers a packet is well-formed and goes where the packet came from.
    #[test]
    fn a_reset_answers((mut sent, _) in sent()) {
        sent.protocol = Protocol::Tcp;
        let bytes = sent.build();
        let packet = parse(&bytes).unwrap();
        let mut buffer = [0; wire::SEGMENT_CAPACITY];
        let len = wire::write_reset(&packet, &mut buffer).unwrap();
        let reset = parse(&buffer[..len]).unwrap();
        prop_assert!(checksum_is_valid(&buffer[..len], &reset));
        prop_assert_eq!((reset.source, reset.source_port), (packet.destination, packet.destination_port));
        prop_assert_eq!((reset.destination, reset.destination_port), (packet.source, packet.source_port));
        prop_assert!(reset.flags.rst());
        if sent.syn {
            let taken = packet.sequence.wrapping_add(1 + sent.payload.len() as u32);
            prop_assert_eq!(reset.acknowledgement, taken);
        } else {
            prop_assert_eq!(reset.sequence, sent.numbers.1);
        }
        prop_assert_eq!(wire::write_reset(&reset, &mut buffer), None, "a RST is not answered");
    }

    #[test]
    fn the_mss_is_found_wherever_it_stands((mut sent, _) in sent()) {
        sent.protocol = Protocol::Tcp;
        let bytes = sent.build();
        prop_assert_eq!(mss_of(&bytes, &parse(&bytes).unwrap()), sent.mss);
    }

    /// Whatever the bytes are, parsing them says something and does not panic; what it accepts can be rewritten.
    #[test]
    fn arbitrary_bytes_do_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..200), (_, rewrite) in sent()) {
        if let Ok(packet) = parse(&bytes) {
            let same_family = packet.source.is_v4() == rewrite.source.is_v4();
            let mut frame = Frame::plain(&mut bytes);
            clamp_mss(&mut frame, &packet, 1000);
            if same_family {
                rewrite.apply(&mut frame, &packet);
            }
        }
    }

    /// Arbitrary damage to a packet that was right: the same, but it gets past the first checks.
    #[test]
    fn damaged_packets_do_no_harm(
        (sent, rewrite) in sent(),
        damage in prop::collection::vec((0usize..80, any::<u8>()), 1..8),
        cut in prop::option::of(0usize..80),
    ) {
        let mut bytes = sent.build();
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(cut.unwrap_or(bytes.len()));
        let _ = Offload::NONE.encode(&bytes);
        if let Ok(packet) = parse(&bytes) {
            prop_assert!(packet.payload <= packet.len && packet.len == bytes.len());
            let mut buffer = [0; wire::SEGMENT_CAPACITY];
            let _ = wire::write_reset(&packet, &mut buffer);
            let mut frame = Frame::plain(&mut bytes);
            clamp_mss(&mut frame, &packet, 1000);
            if packet.source.is_v4() == rewrite.source.is_v4() {
                rewrite.apply(&mut frame, &packet);
            }
        }
    }
}

#[test]
fn what_the_road_has_no_use_for_is_told_apart() {
    use wire::Unparsed;
    let udp = |edit: fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(1, 2)
            .write(&mut bytes, &[1, 2, 3])
            .unwrap();
        edit(&mut bytes);
        parse(&bytes).map(|packet| packet.payload_len())
    };
    assert_eq!(udp(|_| {}), Ok(3), "as it stands it parses");
    assert_eq!(udp(|bytes| bytes[6] = 0x20), Err(Unparsed::Fragment));
    assert_eq!(udp(|bytes| bytes[7] = 1), Err(Unparsed::Fragment));
    assert_eq!(udp(|bytes| bytes[9] = 1), Err(Unparsed::Icmp));
    assert_eq!(udp(|bytes| bytes[9] = 2), Err(Unparsed::Housekeeping));
    assert_eq!(udp(|bytes| bytes[9] = 132), Err(Unparsed::OtherProtocol));
    assert_eq!(udp(|bytes| bytes[3] += 1), Err(Unparsed::Malformed), "longer than it is");
    assert_eq!(udp(|bytes| bytes[25] += 1), Err(Unparsed::Malformed), "its datagram is");
    assert_eq!(udp(|bytes| bytes[21] = 0), Err(Unparsed::Malformed), "port 0");
    assert_eq!(udp(|bytes| bytes[0] = 0x55), Err(Unparsed::Malformed), "IP version 5");
    assert_eq!(udp(Vec::clear), Err(Unparsed::Malformed));

    let v6 = |edit: fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        PacketBuilder::ipv6([0xfd; 16], [0xfe; 16], 64).udp(1, 2).write(&mut bytes, &[1, 2, 3]).unwrap();
        edit(&mut bytes);
        parse(&bytes).map(|packet| packet.payload_len())
    };
    assert_eq!(v6(|_| {}), Ok(3));
    assert_eq!(v6(|bytes| bytes[6] = 44), Err(Unparsed::Fragment));
    assert_eq!(v6(|bytes| (bytes[6], bytes[40]) = (58, 128)), Err(Unparsed::Icmp), "a ping");
    assert_eq!(
        v6(|bytes| (bytes[6], bytes[40]) = (58, 135)),
        Err(Unparsed::Housekeeping),
        "a neighbour solicitation"
    );
    let mapped = |bytes: &mut Vec<u8>| bytes[8..24].copy_from_slice(&Addr::v4([10, 0, 0, 1]).octets());
    assert_eq!(v6(mapped), Err(Unparsed::Malformed), "an IPv4 address in IPv6's clothes");
}
