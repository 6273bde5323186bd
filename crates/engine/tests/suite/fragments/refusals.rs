//! What is refused of a datagram in fragments, and what that means for the rest of it.

use super::*;
use wire::{Checksum, Frame, Offload, Segmentation, SegmentationKind};

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
        assert_eq!(said.ended(), [(Reason::FragmentRefused, 1)]);
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

/// Cut so that all but the last are longer than the path carries.
fn too_long(family: [&str; 4], id: u32) -> Vec<Vec<u8>> {
    let pieces = cut(&client(family, 5000, &payload(3, 20_000)), id, 8488);
    assert_eq!(pieces.len(), 3);
    pieces
}

#[test]
fn a_fragment_as_long_as_the_path_carries_goes_through() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    // And 20 bytes of header.
    let said = input(&mut lab, consumer, &cut(&client(V4, 5000, &payload(3, 20_000)), 77, 8480));
    assert_eq!(received(&said, lab.provider).len(), 1);
}

#[test]
fn a_fragment_that_is_too_long_condemns_its_datagram() {
    use Reason::{FragmentKept, FragmentRefused, OverMtu};
    for family in [V4, V6] {
        for (order, reasons, dropped) in [
            ([0, 1, 2], [OverMtu, OverMtu, FragmentRefused], 0),
            ([2, 0, 1], [FragmentKept, OverMtu, OverMtu], 1),
            ([2, 1, 0], [FragmentKept, OverMtu, OverMtu], 1),
            ([1, 2, 0], [OverMtu, FragmentRefused, OverMtu], 0),
        ] {
            let mut lab = Lab::new(1);
            let consumer = lab.consumers[0];
            let pieces = too_long(family, 77);
            let mut said = input(&mut lab, consumer, &order.map(|n| pieces[n].clone()));
            assert_eq!(said.reasons(), reasons);
            lab.pass(0, 100 * SECOND, &mut said);
            let expected = [(FragmentRefused, dropped)];
            assert_eq!(said.ended(), expected[..dropped], "nothing waits for what was refused here");
            assert!(said.sent.is_empty() && lab.shared.flows().is_empty());
        }
    }
}

#[test]
fn what_is_too_long_takes_no_room_from_others() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    for id in 0..100 {
        input(&mut lab, consumer, &too_long(V4, id));
    }
    let mut pieces = cut(&client(V4, 5000, &payload(3, 4000)), 100, 1480);
    pieces.reverse();
    let said = input(&mut lab, consumer, &pieces);
    assert_eq!(received(&said, lab.provider).len(), 1);
    assert_eq!(said.ended(), [(Reason::FragmentForwarded, 2)]);
}

#[test]
fn a_fragment_whose_hops_are_used_up_condemns_its_datagram() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let pieces = |id| cut(&client(V4, 5000, &payload(3, 4000)), id, 1480);
    let said = lab.input(consumer, &with_ttl(pieces(1)[0].clone(), 2));
    assert_eq!(said.reasons(), [Reason::FragmentForwarded]);
    assert_eq!(lab.refused(consumer, &with_ttl(pieces(1)[1].clone(), 1)), Reason::TtlExpired);
    assert_eq!(lab.refused(consumer, &pieces(1)[2]), Reason::FragmentRefused);

    input(&mut lab, consumer, &pieces(2)[2..]);
    let said = lab.input(consumer, &with_ttl(pieces(2)[0].clone(), 1));
    assert_eq!(said.reasons(), [Reason::TtlExpired]);
    assert_eq!(said.ended(), [(Reason::FragmentRefused, 1)]);
    assert_eq!(lab.refused(consumer, &pieces(2)[1]), Reason::FragmentRefused);
}

#[test]
fn where_nobody_listens_a_first_fragments_hops_are_not_counted() {
    let mut lab = Lab::of(&FILE.replacen("[run]", "[run]\nicmp = \"helpful\"", 1), 1);
    let (consumer, provider) = (lab.consumers[0], lab.provider);
    let first = |from, to, id| with_ttl(cut(&udp(from, to, &payload(3, 4000)), id, 1480).remove(0), 1);
    let closed = first((CLIENT, 5000), (INTERFACE, 54), 1);
    assert_eq!(lab.refused(consumer, &closed), Reason::NoListener);
    let inwards = first((TARGET, 5353), (NODE, 5000), 2);
    assert_eq!(lab.refused(provider, &inwards), Reason::OneWay);
    let open = first((CLIENT, 5000), (INTERFACE, 53), 3);
    let said = lab.input(consumer, &open);
    assert_eq!(said.reasons(), [Reason::TtlExpiredAnswered]);
    assert!(said.events.is_empty() && lab.shared.flows().is_empty(), "it opens nothing");
}

#[test]
fn where_no_port_takes_datagrams_nothing_waits() {
    let without = FILE.replace(r#"  { protocol = "udp", port = 53, forward = "dns" },"#, "");
    for (file, reason) in [(FILE, Reason::FragmentKept), (&without, Reason::NoListener)] {
        let mut lab = Lab::of(file, 1);
        let consumer = lab.consumers[0];
        let pieces = cut(&client(V4, 5000, &payload(3, 4000)), 1, 1480);
        assert_eq!(lab.input(consumer, &pieces[1]).reasons(), [reason]);
    }
}

#[test]
fn a_datagram_in_one_fragment_is_judged_as_a_packet() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let alone = |to, len| cut(&udp((V6[0], 5000), (V6[1], to), &payload(3, len)), 77, 10_000).remove(0);
    assert_eq!(lab.refused(consumer, &alone(53, 8500)), Reason::OverMtu);
    assert_eq!(lab.refused(consumer, &alone(54, 500)), Reason::NoListener);
    let mut last_hop = alone(53, 500);
    last_hop[7] = 1;
    assert_eq!(lab.refused(consumer, &last_hop), Reason::TtlExpired);
    let said = lab.input(consumer, &alone(53, 500));
    assert_eq!(said.reasons(), [Reason::FragmentForwarded], "and none of these condemns another");
}
