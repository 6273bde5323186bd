//! Errors about a flow: whose reach whom, and as what.

use std::time::Duration;

use super::*;
use engine::Message;
use wire::{Checksum, Frame, Offload};

/// The packet one hop later.
fn one_hop_later(bytes: Vec<u8>) -> Vec<u8> {
    with_ttl(bytes, 63)
}

/// What became of a packet, at some time.
fn reason_at(lab: &mut Lab, device: DeviceId, bytes: &[u8], millis: u64) -> Reason {
    lab.input_at(0, device, bytes, Duration::from_millis(millis)).verdicts[0].reason
}

#[test]
fn an_error_reaches_the_sender_from_the_only_address_that_it_knows() {
    for ends in [V4, V6] {
        let Ends { client, interface, node, target, near, far, .. } = ends;
        let mut lab = Lab::new(1);
        let (provider, [first, second]) = (lab.provider, lab.consumers);
        ends.ask(&mut lab, first);
        let (sent, left) = ends.ask(&mut lab, second);
        let node_port = wire::parse(&left).unwrap().source_port;

        // From a router beyond the target, or the target itself: the consumer learns of neither.
        for from in [far, target] {
            let said = lab.input(provider, &icmp(ends.unreachable(), from, node, &left));
            let verdict = said.verdicts[0];
            assert_eq!((verdict.reason, said.sent.len()), (Reason::IcmpForwarded, 1));
            assert!(verdict.flow.is_some() && verdict.interface.is_some());
            let expected = icmp(ends.unreachable(), interface, client, &one_hop_later(sent.clone()));
            assert_eq!(said.sent[0], (second, expected), "to the consumer whose packet it was");
        }

        // And back: the provider hears of a consumer's network from its node alone.
        let answer = udp((target, 5353), (node, node_port), b"me");
        let said = lab.input(provider, &answer);
        let error = icmp(ends.too_big(1400), near, interface, &said.sent[0].1);
        let said = lab.input(second, &error);
        let verdict = said.verdicts[0];
        assert_eq!(verdict.reason, Reason::IcmpForwarded);
        assert!(verdict.flow.is_some() && verdict.interface.is_some());
        let expected = icmp(ends.too_big(1400), node, target, &one_hop_later(answer));
        assert_eq!(said.sent[0], (provider, expected));
    }
}

#[test]
fn a_tcp_flow_survives_its_errors_and_its_numbers_are_its_own() {
    for ends in [V4, V6] {
        let mut lab = Lab::new(1);
        let (provider, [consumer, _]) = (lab.provider, lab.consumers);
        let (client, interface) = ((ends.client, 40_000), (ends.interface, 80));
        lab.carried(consumer, &tcp(client, interface, SYN, (1000, 0), &[]));
        let data = tcp(client, interface, ACK, (1001, 7001), &[7; 700]);
        let left = lab.input(consumer, &data).sent[0].1.clone();
        // Eight bytes of TCP have ports and sequence number, but no checksum.
        let (header, outer) = if ends.is_v4() { (20, 28) } else { (40, 48) };
        let said = lab.input(provider, &ends.error(ends.unreachable(), &left[..header + 8]));
        assert_eq!(said.verdicts[0].reason, Reason::IcmpForwarded);
        let told = &said.sent[0].1;
        assert_eq!(told[outer..], one_hop_later(data.clone())[..header + 8]);
        lab.carried(consumer, &data);
        assert_eq!(lab.shared.flows().len(), 1, "an error never ends a flow");
    }
}

#[test]
fn destination_unreachable_and_packet_too_big_are_carried_and_nothing_else() {
    for ends in [V4, V6] {
        for (mut lab, is_helpful) in [(Lab::new(1), false), (helpful(), true)] {
            let (provider, [consumer, _]) = (lab.provider, lab.consumers);
            let (_, left) = ends.ask(&mut lab, consumer);
            let mut ask = |kind, code, rest, second: u64| {
                reason_at(&mut lab, provider, &ends.error((kind, code, rest), &left), second * 1000)
            };
            let (unreachable, time_exceeded) = if ends.is_v4() { (3, 11) } else { (1, 3) };
            for code in 0..16 {
                assert_eq!(ask(unreachable, code, 1400, code.into()), Reason::IcmpForwarded, "code {code}");
            }
            let expected = if is_helpful { Reason::IcmpForwarded } else { Reason::IcmpKind };
            assert_eq!(ask(time_exceeded, 0, 0, 20), expected);
            let others: &[u8] =
                if ends.is_v4() { &[0, 4, 5, 9, 10, 12, 13, 14, 17, 40, 255] } else { &[4, 100, 129, 160] };
            for &kind in others {
                assert_eq!(ask(kind, 0, 0, 30), Reason::IcmpKind, "type {kind}");
            }
        }
    }
}

#[test]
fn an_error_about_nobodys_packet_goes_nowhere() {
    for ends in [V4, V6] {
        let mut lab = Lab::new(1);
        let (provider, [consumer, other]) = (lab.provider, lab.consumers);
        let (sent, left) = ends.ask(&mut lab, consumer);
        let node_port = wire::parse(&left).unwrap().source_port;
        let about = |quote: &[u8]| ends.error(ends.unreachable(), quote);
        assert_eq!(lab.input(provider, &about(&left)).verdicts[0].reason, Reason::IcmpForwarded);

        let node = (ends.node, node_port);
        assert_eq!(lab.refused(provider, &about(&udp(node, (ends.target, 5354), b""))), Reason::IcmpNoFlow);
        assert_eq!(lab.refused(provider, &about(&udp(node, (ends.far, 5353), b""))), Reason::IcmpNoFlow);
        let elsewhere = (ends.node, node_port ^ 1);
        assert_eq!(
            lab.refused(provider, &about(&udp(elsewhere, (ends.target, 5353), b""))),
            Reason::IcmpNoFlow
        );
        assert_eq!(
            lab.refused(provider, &about(&tcp(node, (ends.target, 5353), ACK, (1, 1), &[]))),
            Reason::IcmpNoFlow,
            "TCP is not UDP"
        );
        let foreign = udp((ends.far, node_port), (ends.target, 5353), b"");
        assert_eq!(
            lab.refused(provider, &about(&foreign)),
            Reason::IcmpNoFlow,
            "our address did not send it"
        );
        assert_eq!(
            lab.refused(provider, &about(&left[..20])),
            Reason::IcmpNoFlow,
            "it ends before the ports"
        );
        let header = if ends.is_v4() { 20 } else { 40 };
        assert_eq!(lab.refused(provider, &about(&left[..header + 7])), Reason::IcmpNoFlow);

        // The same packet is somebody else's in another network, and what the client has sent nobody has from us.
        let at_the_interface = |quote: &[u8]| icmp(ends.unreachable(), ends.near, ends.interface, quote);
        let back = udp((ends.interface, 53), (ends.client, 5000), b"me");
        assert_eq!(lab.refused(other, &at_the_interface(&back)), Reason::IcmpNoFlow);
        assert_eq!(lab.refused(consumer, &at_the_interface(&sent)), Reason::IcmpNoFlow);
        assert_eq!(lab.input(consumer, &at_the_interface(&back)).verdicts[0].reason, Reason::IcmpForwarded);
    }
}

/// A fragment with the identification of another one.
fn with_identification_of(mut bytes: Vec<u8>, other: &[u8]) -> Vec<u8> {
    let place = if bytes[0] >> 4 == 4 { 4..6 } else { 44..48 };
    bytes[place.clone()].copy_from_slice(&other[place]);
    let ttl = bytes[if bytes[0] >> 4 == 4 { 8 } else { 7 }];
    with_ttl(bytes, ttl) // completes the header
}

#[test]
fn a_fragments_error_is_known_by_the_first_fragment_only() {
    for (ends, least) in [(V4, 576 - 28), (V6, 1280 - 48)] {
        let mut lab = Lab::new(1);
        let (provider, [consumer, _]) = (lab.provider, lab.consumers);
        let datagram = udp((ends.client, 5000), (ends.interface, 53), &[7; 3000]);
        let sent = crate::fragments::cut(&datagram, 0x1234, 1440);
        let left: Vec<_> = sent.iter().map(|piece| lab.input(consumer, piece).sent.remove(0).1).collect();
        let about = |quote: &[u8]| ends.error(ends.unreachable(), quote);

        let said = lab.input(provider, &about(&left[0]));
        assert_eq!(said.verdicts[0].reason, Reason::IcmpForwarded);
        // As it was sent, but for what nobody remembers.
        let as_sent = with_identification_of(one_hop_later(sent[0].clone()), &left[0]);
        let expected = icmp(ends.unreachable(), ends.interface, ends.client, &as_sent[..least]);
        assert_eq!(said.sent[0], (consumer, expected));
        for later in &left[1..] {
            assert_eq!(lab.refused(provider, &about(later)), Reason::IcmpNoFlow);
        }
    }
}

#[test]
fn an_error_must_come_from_somebody_and_undamaged() {
    for (ends, odd) in [
        (
            V4,
            &[
                ("0.0.0.0", Reason::SourceUnspecified),
                ("127.0.0.1", Reason::SourceLoopback),
                ("224.0.0.1", Reason::SourceMulticast),
                ("255.255.255.255", Reason::SourceMulticast),
                (NODE, Reason::SourceOurs),
            ][..],
        ),
        (
            V6,
            &[
                ("::", Reason::SourceUnspecified),
                ("::1", Reason::SourceLoopback),
                ("ff02::1", Reason::SourceMulticast),
                ("fd02::9:1", Reason::SourceOurs),
            ][..],
        ),
    ] {
        let mut lab = Lab::new(1);
        let (provider, [consumer, _]) = (lab.provider, lab.consumers);
        let (_, left) = ends.ask(&mut lab, consumer);
        let error = ends.error(ends.unreachable(), &left);
        assert_eq!(lab.input(provider, &error).verdicts[0].reason, Reason::IcmpForwarded);
        for &(source, reason) in odd {
            let error = icmp(ends.unreachable(), source, ends.node, &left);
            assert_eq!(lab.refused(provider, &error), reason, "{source}");
        }
        let elsewhere = icmp(ends.unreachable(), ends.far, ends.target, &left);
        assert_eq!(lab.refused(provider, &elsewhere), Reason::UnknownAddress);

        let mut damaged = error;
        if ends.is_v4() {
            damaged[1] ^= 4;
            assert_eq!(lab.refused(provider, &damaged), Reason::BadChecksum, "in the header in front");
            damaged[1] ^= 4;
        }
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(lab.refused(provider, &damaged), Reason::BadChecksum);
        let offload = Offload { checksum: Checksum::Verified, segmentation: None };
        let mut said = Said::default();
        let frame = Frame { offload, bytes: &mut damaged };
        lab.workers[0].input(provider, &mut [frame], Duration::ZERO, &mut said);
        assert_eq!(said.verdicts[0].reason, Reason::IcmpForwarded, "unless the kernel vouches for it");
    }
}

#[test]
fn an_mtu_is_passed_on_within_reason() {
    for (ends, least) in [(V4, 576), (V6, 1280)] {
        let mut lab = Lab::new(1);
        let (provider, [consumer, _]) = (lab.provider, lab.consumers);
        let (_, left) = ends.ask(&mut lab, consumer);
        for (mtu, told) in [(least, least), (1400, 1400), (8500, 8500), (8501, 8500), (65_535, 8500)] {
            let said = lab.input(provider, &ends.error(ends.too_big(mtu), &left));
            assert_eq!(said.verdicts[0].reason, Reason::IcmpForwarded);
            let at = if ends.is_v4() { 24 } else { 44 };
            assert_eq!(said.sent[0].1[at..at + 4], told.to_be_bytes());
        }
        for mtu in [0, 68, least - 1] {
            let error = ends.error(ends.too_big(mtu), &left);
            assert_eq!(lab.refused(provider, &error), Reason::IcmpSmallMtu, "{mtu}");
        }
    }
}

#[test]
fn an_error_is_no_longer_than_every_path_carries() {
    for (ends, most) in [(V4, 576), (V6, 1280)] {
        let mut lab = Lab::new(1);
        let (provider, [consumer, _]) = (lab.provider, lab.consumers);
        let long = udp((ends.client, 5000), (ends.interface, 53), &[7; 3000]);
        let mut left = lab.input(consumer, &long).sent.remove(0).1;
        let said = lab.input(provider, &ends.error(ends.unreachable(), &left));
        assert_eq!(said.sent[0].1.len(), most);
        left.resize(9000, 7);
        assert_eq!(lab.refused(provider, &ends.error(ends.unreachable(), &left)), Reason::OverMtu);
    }
}

#[test]
fn errors_about_a_flow_are_rationed() {
    let mut lab = Lab::new(1);
    let (provider, [first, second]) = (lab.provider, lab.consumers);
    let [(_, left), (_, other)] = [V4.ask(&mut lab, first), V4.ask(&mut lab, second)];
    let [error, other] = [left, other].map(|quote| V4.error(V4.too_big(1400), &quote));
    for _ in 0..10 {
        assert_eq!(reason_at(&mut lab, provider, &error, 0), Reason::IcmpForwarded);
    }
    assert_eq!(reason_at(&mut lab, provider, &error, 0), Reason::IcmpLimited);
    assert_eq!(
        reason_at(&mut lab, provider, &other, 0),
        Reason::IcmpForwarded,
        "each flow has its own ration"
    );
    assert_eq!(reason_at(&mut lab, provider, &error, 100), Reason::IcmpForwarded);
    assert_eq!(reason_at(&mut lab, provider, &error, 100), Reason::IcmpLimited);
}

#[test]
fn an_error_does_not_keep_a_flow_awake() {
    for (packets, remembered) in [(true, true), (false, false)] {
        let mut lab = Lab::new(1);
        let (provider, [consumer, _]) = (lab.provider, lab.consumers);
        let (question, left) = V4.ask(&mut lab, consumer);
        let error = V4.error(V4.unreachable(), &left);
        for second in (0..=200).step_by(50) {
            lab.pass(0, Duration::from_secs(second), &mut Said::default());
            let (device, bytes) = if packets { (consumer, &question) } else { (provider, &error) };
            lab.input_at(0, device, bytes, Duration::from_secs(second));
        }
        assert_eq!(!lab.shared.flows().is_empty(), remembered);
    }
}

#[test]
fn an_error_for_a_network_that_is_gone_is_dropped() {
    let mut lab = Lab::new(1);
    let (provider, [consumer, _]) = (lab.provider, lab.consumers);
    let (_, left) = V4.ask(&mut lab, consumer);
    let error = V4.error(V4.unreachable(), &left);
    lab.workers[0].message(Message::Detach(consumer), Duration::ZERO, &mut Said::default());
    for _ in 0..20 {
        assert_eq!(lab.refused(provider, &error), Reason::EgressDown);
    }
    lab.workers[0].message(Message::Attach(consumer), Duration::ZERO, &mut Said::default());
    assert_eq!(lab.input(provider, &error).verdicts[0].reason, Reason::IcmpForwarded);
}
