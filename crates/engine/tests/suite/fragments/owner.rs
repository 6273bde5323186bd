//! Whose a datagram is: two that look alike are never mixed, and each has one worker.

use super::*;
use engine::Message;

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
        said.ended()
    };
    assert_eq!(tell(&mut lab, Message::Detach(consumer)), [(Reason::EgressDown, 2)]);
    let said = input(&mut lab, other, &pieces[..1]);
    assert_eq!(received(&said, lab.provider).len(), 1, "the other's is not touched");

    let provider = lab.provider;
    let pieces = cut(&client(V4, 5001, &payload(3, 4000)), 78, 1480);
    input(&mut lab, other, &pieces[..1]);
    assert!(tell(&mut lab, Message::Detach(provider)).is_empty());
    assert_eq!(lab.refused(other, &pieces[1]), Reason::EgressDown);
    assert!(tell(&mut lab, Message::Attach(provider)).is_empty());
    assert_eq!(lab.refused(other, &pieces[2]), Reason::FragmentRefused, "the receiver could not use it");
}
