//! Rewriting the fragments of a datagram equals building them anew: byte for byte what the sender would have sent for the
//! new tuple, and put together by somebody else the datagram is right.

#![allow(clippy::unwrap_used)] // building a packet for a test cannot fail

use etherparse::defrag::IpDefragPool;
use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, SlicedPacket, UdpHeader,
};
use proptest::prelude::*;
use wire::{Addr, Fragment, Rewrite, Unfragmented, Unparsed, parse, parse_fragment};

/// A datagram as a sender builds it.
#[derive(Clone, Debug)]
struct Sent {
    source: Addr,
    destination: Addr,
    ports: (u16, u16),
    ttl: u8,
    identification: u32,
    checksum: bool,
    payload: Vec<u8>,
}

impl Sent {
    /// The UDP header and what follows it, built by etherparse.
    fn segment(&self) -> Vec<u8> {
        let (from, to) = self.ports;
        let payload = &self.payload;
        let header = if !self.checksum {
            UdpHeader::without_ipv4_checksum(from, to, payload.len()).unwrap()
        } else if self.source.is_v4() {
            let (source, destination) = (self.source.v4_octets(), self.destination.v4_octets());
            let ip = Ipv4Header::new(0, 64, IpNumber::UDP, source, destination).unwrap();
            UdpHeader::with_ipv4_checksum(from, to, &ip, payload).unwrap()
        } else {
            let ip = Ipv6Header {
                source: self.source.octets(),
                destination: self.destination.octets(),
                ..Ipv6Header::default()
            };
            UdpHeader::with_ipv6_checksum(from, to, &ip, payload).unwrap()
        };
        [&header.to_bytes(), payload.as_slice()].concat()
    }

    /// All fragments, of so many units of 8 bytes each, in turns.
    fn fragments(&self, units: &[usize]) -> Vec<Vec<u8>> {
        let segment = self.segment();
        let mut fragments = Vec::new();
        let mut at = 0;
        for units in units.iter().cycle() {
            let end = (at + units * 8).min(segment.len());
            fragments.push(self.packet(at, end < segment.len(), &segment[at..end]));
            at = end;
            if at == segment.len() {
                return fragments;
            }
        }
        unreachable!("the units go round")
    }

    /// One packet, its headers built by etherparse.
    fn packet(&self, at: usize, more: bool, data: &[u8]) -> Vec<u8> {
        let fragment_offset = IpFragOffset::try_new(at as u16 / 8).unwrap();
        if self.source.is_v4() {
            let (source, destination) = (self.source.v4_octets(), self.destination.v4_octets());
            let len = data.len() as u16;
            let mut ip = Ipv4Header::new(len, self.ttl, IpNumber::UDP, source, destination).unwrap();
            ip.identification = self.identification as u16;
            ip.dont_fragment = false;
            (ip.more_fragments, ip.fragment_offset) = (more, fragment_offset);
            ip.header_checksum = ip.calc_header_checksum();
            return [&ip.to_bytes(), data].concat();
        }
        let ip = Ipv6Header {
            source: self.source.octets(),
            destination: self.destination.octets(),
            hop_limit: self.ttl,
            payload_length: 8 + data.len() as u16,
            next_header: IpNumber::IPV6_FRAGMENTATION_HEADER,
            ..Ipv6Header::default()
        };
        let fragment =
            Ipv6FragmentHeader::new(IpNumber::UDP, fragment_offset, more, self.identification).to_bytes();
        [&ip.to_bytes()[..], &fragment, data].concat()
    }

    fn rewritten(&self, to: &Rewrite, identification: u32) -> Self {
        Self {
            source: to.source,
            destination: to.destination,
            ports: (to.source_port, to.destination_port),
            ttl: self.ttl - 1,
            identification,
            ..self.clone()
        }
    }
}

fn addr(v4: bool) -> impl Strategy<Value = Addr> {
    any::<[u8; 16]>().prop_map(move |mut octets| {
        octets[0] = 0xfd;
        if v4 { Addr::v4([octets[12], octets[13], octets[14], octets[15]]) } else { Addr::v6(octets) }
    })
}

fn sent() -> impl Strategy<Value = (Sent, Rewrite, u32)> {
    any::<bool>().prop_flat_map(|v4| {
        let addrs = [addr(v4), addr(v4), addr(v4), addr(v4)];
        let ports = prop::array::uniform4(1u16..);
        let payload = prop::collection::vec(any::<u8>(), 0..4000);
        (addrs, ports, 2u8.., any::<u32>(), any::<u32>(), any::<bool>(), payload).prop_map(
            move |(addrs, ports, ttl, identification, other, checksum, payload)| {
                let sent = Sent {
                    source: addrs[0],
                    destination: addrs[1],
                    ports: (ports[0], ports[1]),
                    ttl,
                    identification: if v4 { identification & 0xffff } else { identification },
                    checksum: checksum || !v4,
                    payload,
                };
                let to = Rewrite {
                    source: addrs[2],
                    source_port: ports[2],
                    destination: addrs[3],
                    destination_port: ports[3],
                };
                (sent, to, other)
            },
        )
    })
}

fn units() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..60, 1..5)
}

/// What a receiver makes of these fragments; `None` for a packet that it takes for whole.
fn put_together(fragments: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut pool: IpDefragPool = IpDefragPool::new();
    let mut whole = None;
    for bytes in fragments {
        assert_eq!(whole, None, "nothing comes after the last missing piece");
        let sliced = SlicedPacket::from_ip(bytes).unwrap();
        whole = pool.process_sliced_packet(&sliced, (), ()).unwrap().map(|whole| whole.payload);
    }
    whole
}

proptest! {
    #[test]
    fn rewriting_fragments_is_building_them_anew(
        (sent, to, identification) in sent(), units in units(), reversed: bool,
    ) {
        let expected = sent.rewritten(&to, identification);
        let mut fragments = sent.fragments(&units);
        for (bytes, anew) in fragments.iter_mut().zip(expected.fragments(&units)) {
            let fragment = parse_fragment(bytes).unwrap();
            prop_assert_eq!(fragment.identification, sent.identification);
            prop_assert_eq!(fragment.head.is_some(), fragment.start == 0);
            fragment.rewrite(bytes, &to, identification);
            prop_assert_eq!(&*bytes, &anew[..]);
        }
        if fragments.len() > 1 {
            if reversed {
                fragments.reverse();
            }
            prop_assert_eq!(put_together(&fragments), Some(expected.segment()), "as built, with its checksum");
        }
    }

    /// What fragments say about their place in the datagram leaves no hole.
    #[test]
    fn fragments_are_where_they_were_cut((sent, ..) in sent(), units in units()) {
        let parsed: Vec<Fragment> =
            sent.fragments(&units).iter().map(|bytes| parse_fragment(bytes).unwrap()).collect();
        prop_assert_eq!(parsed[0].start, 0);
        prop_assert!(parsed.windows(2).all(|pair| pair[0].end == pair[1].start && !pair[0].last));
        let last = parsed.last().unwrap();
        prop_assert!(last.last);
        prop_assert_eq!(usize::from(last.end), 8 + sent.payload.len());
    }

    /// Whatever the bytes are, parsing them says something and does not panic; what it accepts can be rewritten.
    #[test]
    fn arbitrary_bytes_do_no_harm(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200), version in 0usize..3, (_, to, id) in sent(),
    ) {
        if let (Some(first), Some(version)) = (bytes.first_mut(), [None, Some(0x45), Some(0x60)][version]) {
            *first = version;
        }
        rewrite_if_it_parses(&mut bytes, &to, id);
    }

    /// Arbitrary damage to a fragment that was right: the same, but it gets past the first checks.
    #[test]
    fn damaged_fragments_do_no_harm(
        (sent, to, id) in sent(),
        units in units(),
        damage in prop::collection::vec((0usize..80, any::<u8>()), 1..8),
        cut in prop::option::of(0usize..80),
    ) {
        for mut bytes in sent.fragments(&units) {
            for (at, value) in &damage {
                if let Some(byte) = bytes.get_mut(*at) {
                    *byte = *value;
                }
            }
            bytes.truncate(cut.unwrap_or(bytes.len()));
            rewrite_if_it_parses(&mut bytes, &to, id);
        }
    }
}

fn rewrite_if_it_parses(bytes: &mut [u8], to: &Rewrite, identification: u32) {
    let Ok(fragment) = parse_fragment(bytes) else { return };
    assert!(fragment.start < fragment.end);
    assert!(fragment.head.is_none_or(|head| head.len == bytes.len() && head.payload <= head.len));
    if fragment.source.is_v4() == to.source.is_v4() {
        fragment.rewrite(bytes, to, identification);
    }
}

fn example(v4: bool) -> Sent {
    let address = |last| {
        if v4 {
            Addr::v4([10, 0, 0, last])
        } else {
            Addr::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last])
        }
    };
    Sent {
        source: address(1),
        destination: address(2),
        ports: (1000, 53),
        ttl: 64,
        identification: 7,
        checksum: true,
        payload: vec![1; 40],
    }
}

#[test]
fn lengths_that_contradict_themselves_are_refused() {
    for v4 in [true, false] {
        let sent = example(v4);
        let segment = sent.segment();
        let refused = |bytes: Vec<u8>| parse_fragment(&bytes).err();
        let later = |at, more, data: &[u8]| refused(sent.packet(at, more, data));
        let malformed = Some(Unfragmented::Malformed);
        assert_eq!(later(16, true, &[1; 16]), None);
        assert_eq!(later(16, true, &[1; 15]), malformed, "more to come, and not a multiple of 8");
        assert_eq!(later(16, false, &[1; 15]), None, "the last may have any length");
        assert_eq!(later(16, true, &[]), malformed);
        assert_eq!(later(16, false, &[]), malformed);
        let (at, room) = if v4 { (65_504, 11) } else { (65_528, 7) };
        assert_eq!(later(at, false, &vec![1; room]), None);
        assert_eq!(later(at, false, &vec![1; room + 1]), malformed, "beyond what a packet can be");

        let first = |data: &[u8], more| refused(sent.packet(0, more, data));
        assert_eq!(first(&segment[..16], true), None);
        assert_eq!(first(&segment[..8], true), None, "a header and nothing else is enough");
        assert_eq!(first(&segment[..4], false), malformed, "less than a header is not");
        assert_eq!(first(&segment, false), None, "a datagram in one piece");
        assert_eq!(first(&segment, true), malformed, "nothing is left to come");
        assert_eq!(first(&segment[..24], false), malformed, "not all of it, and the last");
        let announcing = |len: u16, data: &[u8]| {
            let mut data = data.to_vec();
            data[4..6].copy_from_slice(&len.to_be_bytes());
            first(&data, true)
        };
        assert_eq!(announcing(48, &segment[..16]), None);
        assert_eq!(announcing(15, &segment[..16]), malformed, "it announces less than it brings");
        let mut portless = segment[..16].to_vec();
        portless[2..4].fill(0);
        assert_eq!(first(&portless, true), malformed);
    }
}

#[test]
fn only_ipv4_does_without_a_checksum() {
    for v4 in [true, false] {
        let sent = example(v4);
        let mut first = sent.packet(0, true, &sent.segment()[..16]);
        assert!(parse_fragment(&first).is_ok());
        let checksum = if v4 { 26 } else { 54 };
        first[checksum..checksum + 2].fill(0);
        let expected = if v4 { None } else { Some(Unfragmented::Malformed) };
        assert_eq!(parse_fragment(&first).err(), expected);
    }
}

#[test]
fn a_datagram_in_one_fragment_is_whole() {
    let sent = example(false);
    let segment = sent.segment();
    let whole = |at, more, data: &[u8]| {
        parse_fragment(&sent.packet(at, more, data)).unwrap().whole().map(|packet| packet.destination_port)
    };
    assert_eq!(whole(0, false, &segment), Some(53));
    assert_eq!(whole(0, true, &segment[..16]), None, "the first of several");
    assert_eq!(whole(16, false, &segment[16..]), None, "the last of several");
}

#[test]
fn what_is_no_fragment_of_udp_is_told_apart() {
    for (v4, protocol_at) in [(true, 9), (false, 40)] {
        let sent = example(v4);
        let as_protocol = |number: u8| {
            let mut bytes = sent.packet(16, true, &[1; 16]);
            assert_eq!(parse(&bytes), Err(Unparsed::Fragment));
            bytes[protocol_at] = number;
            parse_fragment(&bytes).map(|fragment| fragment.start)
        };
        assert_eq!(as_protocol(17), Ok(16));
        assert_eq!(as_protocol(6), Err(Unfragmented::Tcp));
        assert_eq!(as_protocol(1), Err(Unfragmented::OtherProtocol));
        assert_eq!(as_protocol(60), Err(Unfragmented::OtherProtocol), "more headers behind the fragment's");
    }
    let mut mapped = example(false).packet(16, true, &[1; 16]);
    mapped[8..24].copy_from_slice(&Addr::v4([10, 0, 0, 1]).octets());
    assert_eq!(parse_fragment(&mapped), Err(Unfragmented::Malformed), "an IPv4 address in IPv6's clothes");
    let mut headless = example(false).packet(16, true, &[1; 16]);
    headless[6] = 17;
    assert_eq!(parse_fragment(&headless), Err(Unfragmented::Malformed), "no fragment header");
}
