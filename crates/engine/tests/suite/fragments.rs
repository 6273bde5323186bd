//! Datagrams in fragments: whatever the order and whoever else sends, each arrives as it was sent or not at all.

#![allow(clippy::unwrap_used)] // setting up a test cannot fail

use std::time::Duration;

use crate::lab::*;
use engine::{Event, Message, Reason};
use etherparse::defrag::IpDefragPool;
use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, NetSlice, SlicedPacket,
};
use topology::DeviceId;
use wire::{
    Addr, Checksum, Frame, Offload, Packet, Segmentation, SegmentationKind, checksum_is_valid, parse,
};

/// Client, interface, node and target, by family.
const V4: [&str; 4] = [CLIENT, INTERFACE, NODE, TARGET];
const V6: [&str; 4] = ["fd01::2", "fd01::9:50", "fd02::9:1", "fd02::2"];
const SECOND: Duration = Duration::from_secs(1);

/// A packet's fragments of `size` bytes each, as a host's IP layer cuts them.
pub(crate) fn cut(whole: &[u8], identification: u32, size: usize) -> Vec<Vec<u8>> {
    let data = &whole[if whole[0] >> 4 == 4 { 20 } else { 40 }..];
    let starts = (0..data.len()).step_by(size);
    starts
        .map(|start| {
            let end = (start + size).min(data.len());
            fragment(whole, identification, start, &data[start..end], end < data.len())
        })
        .collect()
}

/// One fragment of the packet `whole`, with any place in it and any data.
fn fragment(whole: &[u8], identification: u32, start: usize, data: &[u8], more: bool) -> Vec<u8> {
    let offset = IpFragOffset::try_new(start as u16 / 8).unwrap();
    if whole[0] >> 4 == 4 {
        let mut ip = Ipv4Header::from_slice(whole).unwrap().0;
        ip.total_len = 20 + data.len() as u16;
        ip.identification = identification as u16;
        ip.dont_fragment = false;
        (ip.more_fragments, ip.fragment_offset) = (more, offset);
        ip.header_checksum = ip.calc_header_checksum();
        return [&ip.to_bytes(), data].concat();
    }
    let mut ip = Ipv6Header::from_slice(whole).unwrap().0;
    let header = Ipv6FragmentHeader::new(ip.next_header, offset, more, identification);
    ip.next_header = IpNumber::IPV6_FRAGMENTATION_HEADER;
    ip.payload_length = 8 + data.len() as u16;
    [&ip.to_bytes()[..], &header.to_bytes(), data].concat()
}

/// What a host on `device` receives: the datagrams that can be put together, with right checksums.
fn received(said: &Said, device: DeviceId) -> Vec<(Packet, Vec<u8>)> {
    let mut pool: IpDefragPool = IpDefragPool::new();
    let mut whole = Vec::new();
    for (_, bytes) in said.sent.iter().filter(|(to, _)| *to == device) {
        let sliced = SlicedPacket::from_ip(bytes).unwrap();
        if let Some(NetSlice::Ipv4(ip)) = &sliced.net {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
        }
        let Some(segment) = pool.process_sliced_packet(&sliced, (), ()).unwrap() else { continue };
        let datagram = rebuilt(bytes, &segment.payload);
        let packet = parse(&datagram).unwrap();
        assert!(checksum_is_valid(&datagram, &packet));
        whole.push((packet, datagram[packet.payload..].to_vec()));
    }
    whole
}

/// The packet that a fragment was cut from.
fn rebuilt(piece: &[u8], segment: &[u8]) -> Vec<u8> {
    if piece[0] >> 4 == 4 {
        let mut ip = Ipv4Header::from_slice(piece).unwrap().0;
        ip.total_len = 20 + segment.len() as u16;
        (ip.more_fragments, ip.fragment_offset) = (false, IpFragOffset::ZERO);
        ip.header_checksum = ip.calc_header_checksum();
        return [&ip.to_bytes(), segment].concat();
    }
    let mut ip = Ipv6Header::from_slice(piece).unwrap().0;
    ip.next_header = IpNumber::UDP;
    ip.payload_length = segment.len() as u16;
    [&ip.to_bytes()[..], segment].concat()
}

/// A payload that tells one datagram from another, byte by byte.
fn payload(tag: u8, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 251) as u8 ^ (n as u8).wrapping_mul(tag | 1)).collect()
}

/// Gives worker 0 packets, and says all that became of them.
fn input(lab: &mut Lab, device: DeviceId, packets: &[Vec<u8>]) -> Said {
    input_at(lab, device, packets, Duration::ZERO)
}

fn input_at(lab: &mut Lab, device: DeviceId, packets: &[Vec<u8>], now: Duration) -> Said {
    let mut all = Said::default();
    for bytes in packets {
        all.append(lab.input_at(0, device, bytes, now));
    }
    all
}

impl Said {
    fn append(&mut self, mut more: Said) {
        self.sent.append(&mut more.sent);
        self.handed.append(&mut more.handed);
        self.verdicts.append(&mut more.verdicts);
        self.events.append(&mut more.events);
    }

    fn reasons(&self) -> Vec<Reason> {
        self.verdicts.iter().map(|verdict| verdict.reason).collect()
    }

    /// Kept fragments that were dropped after all.
    fn dropped(&self) -> Vec<(Reason, usize)> {
        let dropped = |event: &Event| match event {
            Event::FragmentsDropped { reason, count } => Some((*reason, *count)),
            _ => None,
        };
        self.events.iter().filter_map(dropped).collect()
    }

    fn identifications(&self) -> Vec<u32> {
        self.sent.iter().map(|(_, bytes)| wire::parse_fragment(bytes).unwrap().identification).collect()
    }
}

/// Numbers that look random, and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for n in (1..items.len()).rev() {
            items.swap(n, self.below(n + 1));
        }
    }
}

fn client(family: [&str; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    udp((family[0], port), (family[1], 53), payload)
}

#[test]
fn a_datagram_arrives_as_it_was_sent_whatever_the_order_both_ways() {
    let mut numbers = Numbers(1);
    for family in [V4, V6] {
        for order in 0..20 {
            let mut lab = Lab::new(1);
            let (consumer, provider) = (lab.consumers[0], lab.provider);
            let question = payload(3, 12_000);
            let mut pieces = cut(&client(family, 5000, &question), 77, 1000);
            match order {
                0 => {}
                1 => pieces.reverse(),
                _ => numbers.shuffle(&mut pieces),
            }
            let said = input(&mut lab, consumer, &pieces);
            let (packet, got) = received(&said, provider).pop().unwrap();
            assert_eq!(got, question);
            assert_eq!((packet.source, packet.destination), (addr(family[2]), addr(family[3])));
            assert_eq!((packet.destination_port, packet.ttl), (5353, 63));
            assert_eq!(said.sent.len(), pieces.len(), "nothing is put together here");
            let ids = said.identifications();
            assert!(ids.iter().all(|id| *id == ids[0]));

            let answer = payload(5, 12_000);
            let whole = udp((family[3], 5353), (family[2], packet.source_port), &answer);
            let mut pieces = cut(&whole, 99, 1000);
            if order > 0 {
                numbers.shuffle(&mut pieces);
            }
            let said = input(&mut lab, provider, &pieces);
            let (packet, got) = received(&said, consumer).pop().unwrap();
            assert_eq!(got, answer);
            assert_eq!((packet.source, packet.source_port), (addr(family[1]), 53));
            assert_eq!((packet.destination, packet.destination_port), (addr(family[0]), 5000));
        }
    }
}

#[test]
fn what_waits_goes_out_after_the_first_and_in_order() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let mut pieces = cut(&client(V4, 5000, &payload(3, 5000)), 77, 1000);
    pieces.reverse();
    let said = input(&mut lab, consumer, &pieces);
    let kept = [Reason::FragmentKept; 5];
    assert_eq!(said.reasons(), [&kept[..], &[Reason::FragmentForwarded]].concat());
    let starts: Vec<u16> =
        said.sent.iter().map(|(_, bytes)| wire::parse_fragment(bytes).unwrap().start).collect();
    assert_eq!(starts, [0, 1000, 2000, 3000, 4000, 5000]);
    let last = said.verdicts.last().unwrap();
    assert!(last.flow.is_some() && last.interface.is_some());
    assert!(matches!(said.events[..], [Event::FlowOpened { .. }]));
}

#[test]
fn two_consumers_with_the_same_addresses_ports_and_identifications_are_never_mixed() {
    for (family, reversed) in [(V4, false), (V4, true), (V6, false), (V6, true)] {
        let mut lab = Lab::new(1);
        let provider = lab.provider;
        let questions = [payload(3, 8000), payload(7, 8000)];
        let mut sets = questions.clone().map(|question| cut(&client(family, 5000, &question), 77, 1480));
        if reversed {
            sets.iter_mut().for_each(|pieces| pieces.reverse());
        }
        let mut said = Said::default();
        for (one, two) in sets[0].iter().zip(&sets[1]) {
            said.append(lab.input(lab.consumers[0], one));
            said.append(lab.input(lab.consumers[1], two));
        }
        let got = received(&said, lab.provider);
        let [first, second] = &got[..] else { panic!("two datagrams, not {}", got.len()) };
        assert_eq!([&first.1, &second.1], [&questions[0], &questions[1]]);
        assert_eq!((first.0.source, first.0.destination), (second.0.source, second.0.destination));
        assert_ne!(first.0.source_port, second.0.source_port);

        // Both are answered by one target, with one identification too: another time, or not within its patience.
        for ((packet, _), answer) in got.iter().zip([payload(9, 8000), payload(11, 8000)]) {
            let whole = udp((family[3], 5353), (family[2], packet.source_port), &answer);
            let said = input(&mut lab, provider, &cut(&whole, 1, 1480));
            let mine = lab.consumers[usize::from(packet.source_port == second.0.source_port)];
            assert_eq!(received(&said, mine)[0].1, answer);
        }
    }
}

/// Two targets, each behind a port of one interface.
const TWO_TARGETS: &str = r#"
[run]
name = "lab"
[[service]]
name = "orders"
namespace = "provider"
nodes = [{ address = "10.2.9.1" }]
listeners = [
  { protocol = "udp", port = 53, forward = "one" },
  { protocol = "udp", port = 54, forward = "two" },
]
[[target_group]]
name = "one"
targets = [{ address = "10.2.0.2", port = 5353 }]
[[target_group]]
name = "two"
targets = [{ address = "10.2.0.3", port = 5353 }]
[[endpoint]]
name = "orders-a"
service = "orders"
namespace = "consumer-a"
interfaces = [{ address = "10.1.9.50" }]
[[endpoint]]
name = "orders-b"
service = "orders"
namespace = "consumer-b"
interfaces = [{ address = "10.1.9.50" }]
"#;

#[test]
fn two_targets_that_answer_one_client_are_never_mixed() {
    let mut lab = Lab::of(TWO_TARGETS, 1);
    let (consumer, provider) = (lab.consumers[0], lab.provider);
    let answers = [("10.2.0.2", 53, payload(3, 8000)), ("10.2.0.3", 54, payload(7, 8000))];
    let sets = answers.clone().map(|(target, port, answer)| {
        let (_, packet) = lab.carried(consumer, &udp((CLIENT, 5000), (INTERFACE, port), b"?"));
        cut(&udp((target, 5353), (NODE, packet.source_port), &answer), 77, 1480)
    });
    let mut said = Said::default();
    for (one, two) in sets[0].iter().zip(&sets[1]) {
        said.append(lab.input(provider, one));
        said.append(lab.input(provider, two));
    }
    let got = received(&said, consumer);
    let by_port: Vec<(u16, &Vec<u8>)> = got.iter().map(|(packet, got)| (packet.source_port, got)).collect();
    assert_eq!(by_port, answers.each_ref().map(|(_, port, answer)| (*port, answer)));
}

#[test]
fn a_datagram_in_pieces_and_a_whole_one_share_a_flow_and_count_in_it() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let (_, whole) = lab.carried(consumer, &client(V4, 5000, b"?"));
    let mut pieces = cut(&client(V4, 5000, &payload(3, 5000)), 77, 1480);
    pieces.reverse();
    let late = 100 * SECOND;
    let said = input_at(&mut lab, consumer, &pieces, late);
    assert_eq!(received(&said, lab.provider)[0].0.source_port, whole.source_port);
    let mut said = Said::default();
    lab.pass(0, 200 * SECOND, &mut said);
    assert!(said.events.is_empty(), "the fragments have kept it awake");
    lab.pass(0, 400 * SECOND, &mut said);
    let [Event::FlowClosed { forward, .. }] = said.events[..] else { panic!("{:?}", said.events) };
    assert_eq!((forward.packets, forward.bytes), (1 + 4, 29 + 5008 + 4 * 20));
}

#[test]
fn a_duplicate_is_dropped_alone() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let question = payload(3, 4000);
    let pieces = cut(&client(V4, 5000, &question), 77, 1480);
    // Twice while it waits, twice when the first has come.
    let order = [2, 2, 0, 0, 1].map(|n| pieces[n].clone());
    let said = input(&mut lab, consumer, &order);
    use Reason::{FragmentForwarded, FragmentKept, FragmentOverlap};
    assert_eq!(
        said.reasons(),
        [FragmentKept, FragmentOverlap, FragmentForwarded, FragmentOverlap, FragmentForwarded]
    );
    assert_eq!(received(&said, lab.provider)[0].1, question);
}

#[test]
fn fragments_that_overlap_condemn_their_datagram_and_no_other() {
    let whole = client(V4, 5000, &payload(3, 4000));
    let data = &whole[20..];
    let piece = |start: usize, end: usize| fragment(&whole, 77, start, &data[start..end], end < data.len());
    let beyond = |start: usize, len: usize, more| fragment(&whole, 77, start, &vec![1; len], more);
    let overlapping = [
        vec![piece(0, 1480), piece(1472, 2960)],
        vec![piece(0, 1480), piece(2960, 4008), piece(1480, 2968)],
        vec![piece(0, 1480), piece(2960, 4008), beyond(4008, 8, true)],
        vec![piece(0, 1480), piece(2960, 4008), beyond(4008, 8, false)],
        vec![piece(0, 1480), piece(2960, 4008), beyond(1480, 8, false)],
    ];
    for pieces in overlapping {
        let mut lab = Lab::new(1);
        let consumer = lab.consumers[0];
        let said = input(&mut lab, consumer, &pieces);
        assert_eq!(said.reasons().last(), Some(&Reason::FragmentOverlap));
        assert_eq!(lab.refused(consumer, &piece(1480, 2960)), Reason::FragmentOverlap, "nor what is left");
        let other = input(&mut lab, consumer, &cut(&whole, 78, 1480));
        assert_eq!(received(&other, lab.provider).len(), 1, "another datagram is none of its business");
    }

    // What waits is dropped too, and the first one then.
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let said = input(&mut lab, consumer, &[piece(1480, 2960), piece(3200, 4008), piece(2952, 3200)]);
    assert_eq!(said.dropped(), [(Reason::FragmentOverlap, 2)]);
    assert_eq!(lab.refused(consumer, &piece(0, 1480)), Reason::FragmentOverlap);
}

#[test]
fn a_datagram_whose_first_fragment_is_refused_is_refused() {
    let mut lab = Lab::new(1);
    let (consumer, provider) = (lab.consumers[0], lab.provider);
    let closed = udp((CLIENT, 5000), (INTERFACE, 54), &payload(3, 4000));
    for (n, (whole, device, reason)) in [
        (closed, consumer, Reason::NoListener),
        (udp(("0.0.0.0", 5000), (INTERFACE, 53), &payload(3, 4000)), consumer, Reason::SourceUnspecified),
        (udp((INTERFACE, 5000), (INTERFACE, 53), &payload(3, 4000)), consumer, Reason::SourceOurs),
        (udp((TARGET, 5353), (NODE, 5000), &payload(3, 4000)), provider, Reason::OneWay),
    ]
    .into_iter()
    .enumerate()
    {
        let pieces = cut(&whole, n as u32, 1480);
        let said = input(&mut lab, device, &[pieces[2].clone(), pieces[0].clone(), pieces[1].clone()]);
        assert_eq!(said.reasons(), [Reason::FragmentKept, reason, Reason::FragmentRefused]);
        assert_eq!(said.dropped(), [(Reason::FragmentRefused, 1)]);
        assert!(said.sent.is_empty());
    }
    let elsewhere = udp((CLIENT, 5000), ("10.1.9.51", 53), &payload(3, 4000));
    assert_eq!(lab.refused(consumer, &cut(&elsewhere, 1, 1480)[0]), Reason::UnknownAddress);
    assert!(lab.shared.flows().is_empty());
}

#[test]
fn only_udp_may_be_fragmented() {
    for (family, protocol_at) in [(V4, 9), (V6, 40)] {
        let mut lab = Lab::new(1);
        let consumer = lab.consumers[0];
        let syn = tcp((family[0], 5000), (family[1], 80), SYN, (1, 0), &[0; 100]);
        for piece in cut(&syn, 77, 64) {
            assert_eq!(lab.refused(consumer, &piece), Reason::FragmentTcp);
        }
        let mut sctp = cut(&client(family, 5000, &[0; 100]), 77, 64).remove(1);
        sctp[protocol_at] = 132;
        if family == V4 {
            let mut header = Ipv4Header::from_slice(&sctp).unwrap().0;
            header.header_checksum = header.calc_header_checksum();
            sctp[..20].copy_from_slice(&header.to_bytes());
        }
        assert_eq!(lab.refused(consumer, &sctp), Reason::OtherProtocol);
        let mut short = cut(&client(family, 5000, &[0; 100]), 77, 64).remove(0);
        short.pop();
        assert_eq!(lab.refused(consumer, &short), Reason::Malformed);
    }
}

#[test]
fn a_fragment_with_work_left_to_the_kernel_makes_no_sense() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let piece = &cut(&client(V4, 5000, &[0; 100]), 77, 64)[0];
    let mut ask = |offload| {
        let mut said = Said::default();
        let mut bytes = piece.clone();
        let frame = Frame { offload, bytes: &mut bytes };
        lab.workers[0].input(consumer, &mut [frame], Duration::ZERO, &mut said);
        said.verdicts[0].reason
    };
    let segmentation = Some(Segmentation { kind: SegmentationKind::Udp, ecn: false, size: 8 });
    let checksum = Checksum::Complete;
    assert_eq!(ask(Offload { checksum, segmentation }), Reason::Malformed);
    assert_eq!(ask(Offload { checksum: Checksum::Partial, segmentation: None }), Reason::Malformed);
    assert_eq!(ask(Offload { checksum: Checksum::Verified, segmentation: None }), Reason::FragmentForwarded);
}

#[test]
fn each_fragment_is_judged_by_its_own_length_and_age() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let whole = client(V4, 5000, &payload(3, 20_000));
    let size = 8480; // and 20 bytes of header: what the path carries
    let said = input(&mut lab, consumer, &cut(&whole, 77, size));
    assert_eq!(received(&said, lab.provider).len(), 1);
    for piece in &cut(&whole, 78, size + 8)[..2] {
        assert_eq!(lab.refused(consumer, piece), Reason::OverMtu);
    }
    let pieces = cut(&whole, 79, size);
    let said = lab.input(consumer, &with_ttl(pieces[0].clone(), 2));
    assert_eq!(said.reasons(), [Reason::FragmentForwarded]);
    assert_eq!(lab.refused(consumer, &with_ttl(pieces[1].clone(), 1)), Reason::TtlExpired);
    let said = input(&mut lab, consumer, &pieces[1..]);
    assert_eq!(said.reasons(), [Reason::FragmentForwarded; 2], "and is not remembered");
}

#[test]
fn a_datagram_of_one_fragment_is_one() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let whole = client(V6, 5000, &payload(3, 500));
    for _ in 0..2 {
        let said = input(&mut lab, consumer, &cut(&whole, 77, 1000));
        assert_eq!(said.reasons(), [Reason::FragmentForwarded], "again too: it was complete, and forgotten");
        let sliced = SlicedPacket::from_ip(&said.sent[0].1).unwrap();
        assert!(sliced.transport.is_some(), "its fragment header is left in place");
    }
    assert_eq!(lab.workers[0].next_deadline(), next_deadline_of_an_idle_worker(&lab));
}

/// What is due without fragments: the sweep for flows.
fn next_deadline_of_an_idle_worker(lab: &Lab) -> Duration {
    if lab.shared.flows().is_quiet() { SECOND } else { Duration::ZERO }
}

#[test]
fn what_waits_is_dropped_after_two_seconds() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let pieces = cut(&client(V4, 5000, &payload(3, 4000)), 77, 1480);
    input(&mut lab, consumer, &pieces[1..]);
    let mut said = Said::default();
    lab.pass(0, 2 * SECOND - Duration::from_millis(1), &mut said);
    assert!(said.dropped().is_empty());
    lab.pass(0, 2 * SECOND, &mut said);
    assert_eq!(said.dropped(), [(Reason::FragmentTimedOut, 2)]);
    let said = input_at(&mut lab, consumer, &pieces, 3 * SECOND);
    assert_eq!(received(&said, lab.provider).len(), 1, "all of it again is another datagram");
}

#[test]
fn a_datagram_is_remembered_as_long_as_a_receiver_waits() {
    for (family, seconds) in [(V4, 30), (V6, 60)] {
        let mut lab = Lab::new(1);
        let consumer = lab.consumers[0];
        let pieces = cut(&client(family, 5000, &payload(3, 4000)), 77, 1480);
        let mut said = Said::default();
        input(&mut lab, consumer, &pieces[..1]);
        lab.pass(0, (seconds - 1) * SECOND, &mut said);
        let said = input_at(&mut lab, consumer, &pieces[1..2], (seconds - 1) * SECOND);
        assert_eq!(said.reasons(), [Reason::FragmentForwarded]);
        lab.pass(0, seconds * SECOND, &mut Said::default());
        let said = input_at(&mut lab, consumer, &pieces[2..], seconds * SECOND);
        assert_eq!(said.reasons(), [Reason::FragmentKept], "of a datagram that nobody knows");
    }
}

#[test]
fn what_may_wait_is_limited() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let pieces = |id| cut(&client(V4, 5000, &payload(3, 4000)), id, 200);
    let no_room = |said: &Said| said.reasons().iter().filter(|r| **r == Reason::FragmentNoRoom).count();
    assert_eq!(no_room(&input(&mut lab, consumer, &pieces(1)[1..17])), 0);
    assert_eq!(no_room(&input(&mut lab, consumer, &pieces(1)[17..])), 4, "16 of a datagram");
    for id in 2..5 {
        assert_eq!(no_room(&input(&mut lab, consumer, &pieces(id)[1..17])), 0);
    }
    assert_eq!(no_room(&input(&mut lab, consumer, &pieces(5)[1..17])), 16, "64 of all");
    let said = input(&mut lab, consumer, &pieces(2)[..1]);
    assert_eq!(said.sent.len(), 17, "its first one makes room");
    assert_eq!(no_room(&input(&mut lab, consumer, &pieces(6)[1..17])), 0);
    let in_holes: Vec<_> = pieces(7).into_iter().step_by(2).collect();
    let in_many = cut(&client(V4, 5000, &payload(3, 4000)), 8, 64);
    let in_many: Vec<_> = in_many.into_iter().step_by(2).collect();
    assert_eq!(no_room(&input(&mut lab, consumer, &in_holes)), 0);
    assert_eq!(no_room(&input(&mut lab, consumer, &in_many)), in_many.len() - 16, "16 stretches");
}

#[test]
fn the_oldest_datagram_makes_room() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let pieces = |id| cut(&client(V4, 5000, &payload(3, 4000)), id, 1480);
    input(&mut lab, consumer, &pieces(0)[2..]);
    for id in 1..512 {
        assert!(input(&mut lab, consumer, &pieces(id)[..1]).dropped().is_empty());
    }
    let said = input(&mut lab, consumer, &pieces(512)[..1]);
    assert_eq!(said.dropped(), [(Reason::FragmentNoRoom, 1)]);
    let said = input(&mut lab, consumer, &pieces(1)[1..]);
    assert_eq!(said.reasons(), [Reason::FragmentForwarded; 2], "the others go on");
    let said = input(&mut lab, consumer, &pieces(0)[1..2]);
    assert_eq!(said.reasons(), [Reason::FragmentKept]);
}

#[test]
fn a_datagram_has_one_owner_whichever_worker_its_fragments_land_on() {
    let mut lab = Lab::new(2);
    let consumer = lab.consumers[0];
    let question = payload(3, 8000);
    let mut owners = [0; 2];
    for id in 0..64 {
        let pieces = cut(&client(V4, 5000, &question), id, 1480);
        let mut said = Said::default();
        let mut owner = None;
        for (n, piece) in pieces.iter().enumerate() {
            let mut one = lab.input_at(n % 2, consumer, piece, Duration::ZERO);
            let by = match one.handed.pop() {
                None => n % 2,
                Some((to, device, bytes)) => {
                    assert_eq!((device, &bytes), (consumer, piece), "untouched");
                    said.append(lab.input_at(to.index(), device, &bytes, Duration::ZERO));
                    to.index()
                }
            };
            said.append(one);
            assert_eq!(*owner.get_or_insert(by), by);
        }
        assert!(said.handed.is_empty(), "its owner knows that it is");
        assert_eq!(received(&said, lab.provider)[0].1, question);
        owners[owner.unwrap()] += 1;
    }
    assert!(owners.iter().all(|datagrams| *datagrams > 16), "they share the work: {owners:?}");
}

#[test]
fn what_waits_for_a_device_that_goes_is_dropped() {
    let mut lab = Lab::new(1);
    let [consumer, other] = lab.consumers;
    let pieces = cut(&client(V4, 5000, &payload(3, 4000)), 77, 1480);
    input(&mut lab, consumer, &pieces[1..]);
    input(&mut lab, other, &pieces[1..]);
    let tell = |lab: &mut Lab, message| {
        let mut said = Said::default();
        lab.workers[0].message(message, Duration::ZERO, &mut said);
        said.dropped()
    };
    assert_eq!(tell(&mut lab, Message::Detach(consumer)), [(Reason::EgressDown, 2)]);
    let said = input(&mut lab, other, &pieces[..1]);
    assert_eq!(received(&said, lab.provider).len(), 1, "the other's is not touched");

    let provider = lab.provider;
    let pieces = cut(&client(V4, 5001, &payload(3, 4000)), 78, 1480);
    input(&mut lab, other, &pieces[..1]);
    assert!(tell(&mut lab, Message::Detach(provider)).is_empty());
    assert_eq!(lab.refused(other, &pieces[1]), Reason::EgressDown);
}

/// Whatever comes, every fragment has one verdict, what is kept is sent or said to be dropped, and no receiver is given
/// anything that overlaps.
#[test]
fn rubbish_is_accounted_for_and_never_overlaps() {
    let mut numbers = Numbers(7);
    let mut lab = Lab::new(1);
    let consumers = lab.consumers;
    let wholes = [V4, V6].map(|family| client(family, 5000, &payload(3, 2000)));
    let (mut said, mut frames) = (Said::default(), 0);
    for round in 0..20_000u64 {
        let whole = &wholes[numbers.below(2)];
        let data = &whole[if whole[0] >> 4 == 4 { 20 } else { 40 }..];
        let start = if numbers.below(4) == 0 { 0 } else { numbers.below(40) * 8 };
        let len = (1 + numbers.below(20)) * 8 - if numbers.below(8) == 0 { 3 } else { 0 };
        let more = numbers.below(8) > 0;
        let id = round as u32 / 16 + numbers.below(2) as u32;
        let piece = fragment(whole, id, start, &data[start..start + len], more);
        let now = Duration::from_millis(round);
        said.append(lab.input_at(0, consumers[numbers.below(2)], &piece, now));
        frames += 1;
        if numbers.below(50) == 0 {
            lab.pass(0, now, &mut said);
        }
    }
    lab.pass(0, 200 * SECOND, &mut said);
    assert_eq!(said.verdicts.len(), frames);
    let count = |reason| said.reasons().iter().filter(|of| **of == reason).count();
    let (kept, forwarded) = (count(Reason::FragmentKept), count(Reason::FragmentForwarded));
    let dropped: usize = said.dropped().iter().map(|(_, count)| count).sum();
    assert!(kept > 1000 && forwarded > 1000 && dropped > 100, "{kept} {forwarded} {dropped}");
    assert_eq!(said.sent.len(), forwarded + kept - dropped);

    let mut seen = std::collections::HashMap::<(Addr, u32), Vec<(u16, u16)>>::new();
    for (_, bytes) in &said.sent {
        let piece = wire::parse_fragment(bytes).unwrap();
        let stretches = seen.entry((piece.source, piece.identification)).or_default();
        assert!(stretches.iter().all(|(start, end)| piece.end <= *start || *end <= piece.start));
        stretches.push((piece.start, piece.end));
    }
}
