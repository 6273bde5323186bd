//! In whatever order fragments come: all of them arrive, and follow their datagram.

use super::*;

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
    assert!(matches!(said.events[..], [Event::FlowOpened { .. }, Event::FragmentsEnded { .. }]));
    assert_eq!(said.ended(), [(Reason::FragmentForwarded, 5)]);
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
}

#[test]
fn a_datagram_of_one_fragment_is_no_part_of_another() {
    let mut lab = Lab::new(2);
    let consumer = lab.consumers[0];
    let pieces = cut(&client(V6, 5000, &payload(3, 4000)), 77, 1480);
    let alone = cut(&client(V6, 5001, &payload(5, 500)), 77, 1480).remove(0);
    // The worker that follows whatever has this identification.
    let owner = Lab::new(2).input(consumer, &pieces[1]).handed.len();
    let mut carried = |worker, bytes| lab.input_at(worker, consumer, bytes, Duration::ZERO);
    let mut said = Said::default();
    for piece in [&pieces[1], &alone, &pieces[0], &alone, &pieces[2]] {
        said.append(carried(owner, piece));
    }
    use Reason::{FragmentForwarded, FragmentKept};
    assert_eq!(said.reasons(), [&[FragmentKept][..], &[FragmentForwarded; 4]].concat());
    let is_alone = |(_, bytes): &(DeviceId, Vec<u8>)| wire::parse_fragment(bytes).unwrap().whole().is_some();
    assert_eq!(said.sent.iter().map(is_alone).collect::<Vec<_>>(), [true, false, false, true, false]);
    let ids = said.identifications();
    assert!(ids[1] == ids[2] && ids[2] == ids[4] && ids[0] != ids[1] && ids[3] != ids[0], "{ids:?}");
    assert_eq!(carried(1 - owner, &alone).reasons(), [FragmentForwarded], "nor has it an owner");
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
