//! Who is answered, by whom and with what: with `run.icmp = "helpful"`, and within the rate.

use std::time::Duration;

use super::*;
use wire::{Checksum, Frame, Offload, Segmentation, SegmentationKind};

#[test]
fn nobody_answers_a_ping_unless_that_is_wanted() {
    for ends in [V4, V6] {
        let overhead = if ends.is_v4() { 28 } else { 48 };
        for len in [overhead, overhead + 56, 8500] {
            let data = vec![7; len - overhead];
            for (consumers, from, to) in [(true, ends.client, ends.interface), (false, ends.far, ends.node)] {
                let ping = icmp(ends.ping(), from, to, &data);
                let mut lab = Lab::new(1);
                let device = if consumers { lab.consumers[1] } else { lab.provider };
                assert_eq!(lab.refused(device, &ping), Reason::Ping);

                let said = helpful().input(device, &ping);
                assert_eq!(said.verdicts[0].reason, Reason::PingAnswered);
                let (_, _, rest) = ends.ping();
                let kind = if ends.is_v4() { 0 } else { 129 };
                assert_eq!(said.sent[..], [(device, icmp((kind, 0, rest), to, from, &data))]);
                assert_eq!(said.verdicts[0].interface.is_some(), consumers);
            }
        }
    }
}

#[test]
fn a_ping_that_cannot_be_answered_is_not() {
    let mut lab = helpful();
    let [consumer, _] = lab.consumers;
    let ping = |from| icmp(PING_V4, from, INTERFACE, b"hello");
    assert_eq!(lab.input(consumer, &ping(CLIENT)).verdicts[0].reason, Reason::PingAnswered);
    for (source, reason) in [
        ("0.0.0.0", Reason::SourceUnspecified),
        ("224.0.0.1", Reason::SourceMulticast),
        ("255.255.255.255", Reason::SourceMulticast),
        (INTERFACE, Reason::SourceOurs),
    ] {
        assert_eq!(lab.refused(consumer, &ping(source)), reason);
    }
    let nobody = icmp(PING_V4, CLIENT, "10.1.9.51", b"hello");
    assert_eq!(lab.refused(consumer, &nobody), Reason::UnknownAddress);
    let mut damaged = ping(CLIENT);
    damaged[30] ^= 1;
    assert_eq!(lab.refused(consumer, &damaged), Reason::BadChecksum);
    let answered = (0..2000).filter(|_| !lab.input(consumer, &ping(CLIENT)).sent.is_empty()).count();
    assert_eq!(answered, 999, "a thousand a second");
    assert_eq!(lab.refused(consumer, &ping(CLIENT)), Reason::IcmpLimited);
}

#[test]
fn nobodys_pings_cost_anybody_a_reset() {
    let mut lab = helpful();
    let [consumer, other] = lab.consumers;
    let ping = icmp(PING_V4, CLIENT, INTERFACE, b"hello");
    let stray = tcp((CLIENT, 40_000), (INTERFACE, 80), ACK, (5, 99), &[]);
    let mut reason = |device, packet: &[u8]| lab.input(device, packet).verdicts[0].reason;
    assert!((0..1000).all(|_| reason(consumer, &ping) == Reason::PingAnswered));
    assert_eq!(reason(consumer, &ping), Reason::IcmpLimited);
    assert!((0..1000).all(|_| reason(other, &stray) == Reason::NoFlowReset));
    assert_eq!(reason(other, &stray), Reason::ResetLimited);
}

/// A packet that has been damaged on its way: behind its headers, or in its IPv4 header.
fn damaged(packet: &[u8]) -> Vec<Vec<u8>> {
    let mut places = vec![packet.len() - 1];
    if packet[0] >> 4 == 4 {
        places.push(1);
        places.push(15);
    }
    let damage = |place: usize| {
        let mut bytes = packet.to_vec();
        bytes[place] ^= 4;
        bytes
    };
    places.into_iter().map(damage).collect()
}

#[test]
fn nobody_is_told_about_a_damaged_packet() {
    for ends in [V4, V6] {
        let mut lab = helpful();
        let [consumer, _] = lab.consumers;
        ends.ask(&mut lab, consumer);
        let datagram = |port, len| udp((ends.client, port), (ends.interface, 53), &vec![7; len]);
        let ping = |len| icmp(ends.ping(), ends.client, ends.interface, &vec![7; len]);
        for (packet, answered, otherwise) in [
            (datagram(5000, 8500), Reason::OverMtuAnswered, &[Reason::OverMtu][..]),
            (ping(8500), Reason::OverMtuAnswered, &[Reason::OverMtu]),
            (ping(56), Reason::PingAnswered, &[Reason::BadChecksum]),
            (
                with_ttl(datagram(5000, 34), 1),
                Reason::TtlExpiredAnswered,
                &[Reason::TtlExpired, Reason::BadChecksum],
            ),
            (
                with_ttl(datagram(5001, 34), 1),
                Reason::TtlExpiredAnswered,
                &[Reason::TtlExpired, Reason::BadChecksum],
            ),
        ] {
            assert_eq!(lab.input(consumer, &packet).verdicts[0].reason, answered);
            for bytes in damaged(&packet) {
                let reason = lab.refused(consumer, &bytes);
                assert!(otherwise.contains(&reason), "{reason:?}");
            }
        }
    }
}

/// What the kernel vouches for is not verified again, but nobody vouches for an IPv4 header.
#[test]
fn a_checksum_that_was_verified_is_believed() {
    let mut lab = helpful();
    let [consumer, _] = lab.consumers;
    let last = with_ttl(udp((CLIENT, 5000), (INTERFACE, 53), b"who?"), 1);
    let mut reason = |mut bytes: Vec<u8>| {
        let offload = Offload { checksum: Checksum::Verified, segmentation: None };
        let mut said = Said::default();
        let frame = Frame { offload, bytes: &mut bytes };
        lab.workers[0].input(consumer, &mut [frame], Duration::ZERO, &mut said);
        said.verdicts[0].reason
    };
    let [payload, header, _] = damaged(&last).try_into().unwrap();
    assert_eq!(reason(last), Reason::TtlExpiredAnswered);
    assert_eq!(reason(payload), Reason::TtlExpiredAnswered);
    assert_eq!(reason(header), Reason::TtlExpired);
}

#[test]
fn the_mtu_is_told_only_where_that_is_wanted_and_of_use() {
    for ends in [V4, V6] {
        let overhead = if ends.is_v4() { 28 } else { 48 };
        let datagram = udp((ends.client, 5000), (ends.interface, 53), &vec![7; 8501 - overhead]);
        let ping = icmp(ends.ping(), ends.client, ends.interface, &vec![7; 8501 - overhead]);
        for long in [&datagram, &ping] {
            let mut lab = Lab::new(1);
            let [consumer, _] = lab.consumers;
            assert_eq!(lab.refused(consumer, long), Reason::OverMtu);

            let mut lab = helpful();
            let said = lab.input(consumer, long);
            assert_eq!(said.verdicts[0].reason, Reason::OverMtuAnswered);
            let quote = if ends.is_v4() { &long[..576 - 28] } else { &long[..1280 - 48] };
            let expected = icmp(ends.too_big(8500), ends.interface, ends.client, quote);
            assert_eq!(said.sent[..], [(consumer, expected)]);
        }
    }
    let mut lab = helpful();
    let [consumer, _] = lab.consumers;
    let long = |from| udp((from, 5000), (INTERFACE, 53), &[7; 8501 - 28]);
    let mut may_be_cut = long(CLIENT);
    may_be_cut[6] = 0;
    assert_eq!(lab.refused(consumer, &may_be_cut), Reason::OverMtu, "its sender lets others cut it");
    assert_eq!(lab.refused(consumer, &long("0.0.0.0")), Reason::OverMtu);
    assert_eq!(lab.refused(consumer, &long("224.0.0.1")), Reason::OverMtu);
    let error = icmp(V4.unreachable(), V4.near, INTERFACE, &[7; 8501 - 28]);
    assert_eq!(lab.refused(consumer, &error), Reason::OverMtu, "an error is never answered");
    let answered = (0..2000).filter(|_| !lab.input(consumer, &long(CLIENT)).sent.is_empty()).count();
    assert_eq!(answered, 1000);
    assert_eq!(lab.refused(consumer, &long(CLIENT)), Reason::OverMtu, "nobody is told too often");
}

/// A super-packet is as long as its segments are.
#[test]
fn of_a_super_packet_its_segments_count() {
    let mut lab = helpful();
    let [consumer, _] = lab.consumers;
    lab.carried(consumer, &tcp((CLIENT, 40_000), (INTERFACE, 80), SYN, (1, 0), &[]));
    let mut ask = |size: u16| {
        let mut bytes = tcp((CLIENT, 40_000), (INTERFACE, 80), ACK, (2, 1), &[7; 40_000]);
        let segmentation = Some(Segmentation { kind: SegmentationKind::Tcp4, ecn: false, size });
        let offload = Offload { checksum: Checksum::Complete, segmentation };
        let mut said = Said::default();
        let frame = Frame { offload, bytes: &mut bytes };
        lab.workers[0].input(consumer, &mut [frame], Duration::ZERO, &mut said);
        said
    };
    assert_eq!(ask(8460).verdicts[0].reason, Reason::Forwarded);
    let said = ask(8461);
    assert_eq!(said.verdicts[0].reason, Reason::OverMtuAnswered);
    let quoted = &said.sent[0].1[28..];
    assert_eq!((quoted.len(), &quoted[2..4]), (548, &40_040u16.to_be_bytes()[..]), "quoted as it is");
}

#[test]
fn the_last_hop_is_told_only_where_that_is_wanted() {
    for ends in [V4, V6] {
        let last = with_ttl(udp((ends.client, 5000), (ends.interface, 53), b"who?"), 1);
        let mut lab = Lab::new(1);
        let [consumer, _] = lab.consumers;
        assert_eq!(lab.refused(consumer, &last), Reason::TtlExpired);
        let said = helpful().input(consumer, &last);
        assert_eq!(said.verdicts[0].reason, Reason::TtlExpiredAnswered);
        let expected = icmp(ends.time_exceeded(), ends.interface, ends.client, &last);
        assert_eq!(said.sent[..], [(consumer, expected)]);
    }
}

#[test]
fn on_its_last_hop_nothing_opens() {
    for ends in [V4, V6] {
        let datagram = udp((ends.client, 5000), (ends.interface, 53), b"who?");
        let syn = |port| tcp((ends.client, 40_000), (ends.interface, port), SYN, (1, 0), &[]);
        let faithful = || Lab::new(1);
        for (lab, expired) in
            [(faithful as fn() -> Lab, Reason::TtlExpired), (helpful, Reason::TtlExpiredAnswered)]
        {
            for packet in [&datagram, &syn(80)] {
                let mut lab = lab();
                let [consumer, _] = lab.consumers;
                let said = lab.input(consumer, &with_ttl(packet.clone(), 1));
                assert_eq!((said.verdicts[0].reason, said.events.len()), (expired, 0));
                let flows = lab.shared.flows();
                assert_eq!((flows.len(), flows.lanes().ports_in_use()), (0, 0));
                lab.carried(consumer, &with_ttl(packet.clone(), 2));
            }
            // A terminated connection goes no hop further.
            let mut lab = lab();
            let [consumer, _] = lab.consumers;
            let said = lab.input(consumer, &with_ttl(syn(8443), 1));
            assert_eq!(said.verdicts[0].reason, Reason::Terminated);
        }
    }
}

#[test]
fn on_its_last_hop_nothing_opens_again() {
    let mut lab = Lab::new(1);
    let (provider, [consumer, _]) = (lab.provider, lab.consumers);
    let syn = |ttl| with_ttl(tcp((CLIENT, 40_000), (INTERFACE, 80), SYN, (1000, 0), &[]), ttl);
    let (_, opened) = lab.carried(consumer, &syn(64));
    lab.carried(provider, &tcp((TARGET, 8080), (NODE, opened.source_port), RST | ACK, (0, 1001), &[]));
    let said = lab.input(consumer, &syn(1));
    assert_eq!((said.verdicts[0].reason, said.events.len()), (Reason::TtlExpired, 0), "it stays closed");
    assert_eq!(lab.input(consumer, &syn(2)).events.len(), 2, "one flow closes, one opens");
}
