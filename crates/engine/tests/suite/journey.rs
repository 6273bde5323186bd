//! The journey, packet by packet: what goes through and as what, what is refused and why.

use std::time::Duration;

use crate::lab::*;
use engine::{Event, Message, Reason};
use flow::Cause;

/// Opens a TCP flow on nat and says which source port the target sees.
fn open(lab: &mut Lab, consumer: usize, port: u16) -> u16 {
    let device = lab.consumers[consumer];
    let (_, syn) = lab.carried(device, &tcp((CLIENT, port), (INTERFACE, 80), SYN, (1000, 0), &[]));
    syn.source_port
}

#[test]
fn a_connection_goes_through_and_only_what_must_change_changes() {
    let mut lab = Lab::new(2);
    let [consumer, _] = lab.consumers;
    let bytes = tcp((CLIENT, 40_000), (INTERFACE, 80), SYN, (1000, 0), &[]);
    let said = lab.input(consumer, &bytes);
    assert!(matches!(said.events[..], [Event::FlowOpened { .. }]));
    let (device, out) = &said.sent[0];
    let syn = wire::parse(out).unwrap();
    assert_eq!(*device, lab.provider);
    assert_eq!((syn.source, syn.destination), (addr(NODE), addr(TARGET)));
    assert_eq!(syn.destination_port, 8080);
    assert_eq!((syn.sequence, syn.acknowledgement, syn.flags.bits()), (1000, 0, SYN));
    assert_eq!(syn.ttl, 63);
    assert_eq!(wire::mss_of(out, &syn), Some(8365), "8961 became 8365");
    // IP id, DF and TOS, and the window, are the sender's.
    assert_eq!((out[1], &out[4..8]), (bytes[1], &bytes[4..8]));
    assert_eq!(out[34..36], bytes[34..36]);

    let answer = tcp((TARGET, 8080), (NODE, syn.source_port), SYN | ACK, (7000, 1001), &[]);
    let said = lab.input(lab.provider, &answer);
    let (device, out) = &said.sent[0];
    let back = wire::parse(out).unwrap();
    assert_eq!(*device, consumer);
    assert_eq!((back.source, back.source_port), (addr(INTERFACE), 80));
    assert_eq!((back.destination, back.destination_port), (addr(CLIENT), 40_000));
    assert_eq!((back.sequence, back.acknowledgement), (7000, 1001));
    assert_eq!(wire::mss_of(out, &back), Some(8365), "clamped on the SYN-ACK too");
}

#[test]
fn ipv6_and_udp_go_through_as_well() {
    let mut lab = Lab::new(1);
    let [consumer, _] = lab.consumers;
    let said = lab.input(consumer, &tcp(("fd01::2", 40_000), ("fd01::9:50", 80), SYN, (1, 0), &[]));
    let (_, out) = &said.sent[0];
    let syn = wire::parse(out).unwrap();
    assert_eq!((syn.source, syn.destination), (addr("fd02::9:1"), addr("fd02::2")));
    assert_eq!(wire::mss_of(out, &syn), Some(8345));

    for (client, interface, node, target) in
        [(CLIENT, INTERFACE, NODE, TARGET), ("fd01::2", "fd01::9:50", "fd02::9:1", "fd02::2")]
    {
        let (_, question) = lab.carried(consumer, &udp((client, 5000), (interface, 53), b"who?"));
        assert_eq!((question.source, question.destination_port), (addr(node), 5353));
        let (device, answer) =
            lab.carried(lab.provider, &udp((target, 5353), (node, question.source_port), b"me"));
        assert_eq!(device, consumer);
        assert_eq!((answer.source, answer.source_port), (addr(interface), 53));
    }
}

#[test]
fn two_consumers_with_the_same_addresses_are_two() {
    let mut lab = Lab::new(2);
    let ports = [open(&mut lab, 0, 40_000), open(&mut lab, 1, 40_000)];
    assert_ne!(ports[0], ports[1], "to the target they differ by their port");
    for (consumer, port) in ports.into_iter().enumerate() {
        let answer = tcp((TARGET, 8080), (NODE, port), SYN | ACK, (1, 1001), &[]);
        assert_eq!(lab.carried(lab.provider, &answer).0, lab.consumers[consumer]);
    }
}

#[test]
fn the_path_is_one_way() {
    let mut lab = Lab::new(1);
    let port = open(&mut lab, 0, 40_000);
    let answer = tcp((TARGET, 8080), (NODE, port), SYN | ACK, (1, 1001), &[]);
    lab.carried(lab.provider, &answer); // the target of a live flow is heard …
    let provider = lab.provider;
    lab.carried(lab.consumers[0], &tcp((CLIENT, 40_000), (INTERFACE, 80), ACK, (1001, 2), &[]));
    // … but not from another port of its own, nor to another port, nor to the consumer's own address.
    assert_eq!(lab.refused(provider, &tcp((TARGET, 9999), (NODE, port), SYN, (1, 0), &[])), Reason::OneWay);
    // … and not even from its own port, on the very tuple of the flow: it answers, it opens nothing.
    assert_eq!(lab.refused(provider, &tcp((TARGET, 8080), (NODE, port), SYN, (1, 0), &[])), Reason::OneWay);
    let other = port ^ 1;
    assert_eq!(lab.refused(provider, &tcp((TARGET, 8080), (NODE, other), SYN, (1, 0), &[])), Reason::OneWay);
    assert_eq!(lab.refused(provider, &udp((TARGET, 8080), (NODE, port), b"x")), Reason::OneWay);
    let at_the_consumer = tcp((TARGET, 8080), (CLIENT, 22), SYN, (1, 0), &[]);
    assert_eq!(lab.refused(provider, &at_the_consumer), Reason::UnknownAddress);

    let stray = lab.input(provider, &tcp((TARGET, 9999), (NODE, port), ACK, (5, 77), &[]));
    assert_eq!(stray.verdicts[0].reason, Reason::OneWayReset);
    let (device, reset) = &stray.sent[0];
    let reset = wire::parse(reset).unwrap();
    assert_eq!((*device, reset.flags.bits(), reset.sequence), (provider, RST, 77), "back where it came from");
    assert_eq!(lab.refused(provider, &tcp((TARGET, 9999), (NODE, port), RST, (5, 0), &[])), Reason::NoFlow);
}

#[test]
fn without_a_flow_a_listener_answers_with_a_reset_and_everything_else_is_dropped() {
    let mut lab = Lab::new(1);
    let [consumer, _] = lab.consumers;
    let stray = lab.input(consumer, &tcp((CLIENT, 40_000), (INTERFACE, 80), ACK, (5, 99), b"hello"));
    assert_eq!(stray.verdicts[0].reason, Reason::NoFlowReset);
    let reset = wire::parse(&stray.sent[0].1).unwrap();
    assert_eq!((reset.source, reset.destination), (addr(INTERFACE), addr(CLIENT)));
    assert_eq!((reset.flags.bits(), reset.sequence), (RST, 99));
    let rst = tcp((CLIENT, 40_000), (INTERFACE, 80), RST, (5, 0), &[]);
    assert_eq!(lab.refused(consumer, &rst), Reason::NoFlow);
    let syn = tcp((CLIENT, 40_000), (INTERFACE, 81), SYN, (5, 0), &[]);
    assert_eq!(lab.refused(consumer, &syn), Reason::NoListener);
    let ack = tcp((CLIENT, 40_000), (INTERFACE, 81), ACK, (5, 0), &[]);
    assert_eq!(lab.refused(consumer, &ack), Reason::NoListener, "no RST where nobody listens");
    assert_eq!(lab.refused(consumer, &udp((CLIENT, 1), ("10.1.9.51", 53), b"")), Reason::UnknownAddress);
}

#[test]
fn odd_sources_are_refused_and_told_apart() {
    let mut lab = Lab::new(1);
    let [consumer, _] = lab.consumers;
    let mut ask = |source| {
        let syn = tcp(
            (source, 40_000),
            (if source.contains(':') { "fd01::9:50" } else { INTERFACE }, 80),
            SYN,
            (1, 0),
            &[],
        );
        let said = lab.input(consumer, &syn);
        said.verdicts[0].reason
    };
    assert_eq!(ask(CLIENT), Reason::Forwarded);
    for (source, reason) in [
        ("0.0.0.0", Reason::SourceUnspecified),
        ("::", Reason::SourceUnspecified),
        ("127.0.0.1", Reason::SourceLoopback),
        ("::1", Reason::SourceLoopback),
        ("224.0.0.1", Reason::SourceMulticast),
        ("ff02::1", Reason::SourceMulticast),
        ("255.255.255.255", Reason::SourceMulticast),
        (INTERFACE, Reason::SourceOurs),
    ] {
        assert_eq!(ask(source), reason, "{source}");
        assert!(!reason.remedy().is_empty());
    }
    assert_eq!(ask(NODE), Reason::Forwarded, "a node's address in another network is nobody's business here");
}

#[test]
fn what_is_too_long_or_too_old_disappears() {
    let mut lab = Lab::new(1);
    let [consumer, _] = lab.consumers;
    let of = |len: usize| udp((CLIENT, 1000), (INTERFACE, 53), &vec![0; len - 28]);
    lab.carried(consumer, &of(8500));
    assert_eq!(lab.refused(consumer, &of(8501)), Reason::OverMtu);
    lab.carried(consumer, &with_ttl(of(100), 2));
    assert_eq!(lab.refused(consumer, &with_ttl(of(100), 1)), Reason::TtlExpired);
}

#[test]
fn a_detached_device_takes_nothing() {
    let mut lab = Lab::new(1);
    let port = open(&mut lab, 0, 40_000);
    let answer = tcp((TARGET, 8080), (NODE, port), SYN | ACK, (1, 1001), &[]);
    let (consumer, provider) = (lab.consumers[0], lab.provider);
    lab.carried(provider, &answer);
    let tell = |lab: &mut Lab, message| lab.workers[0].message(message, Duration::ZERO, &mut Said::default());
    tell(&mut lab, Message::Detach(consumer));
    assert_eq!(lab.refused(provider, &answer), Reason::EgressDown);
    tell(&mut lab, Message::Attach(consumer));
    lab.carried(provider, &answer);

    tell(&mut lab, Message::Detach(provider));
    for (port, to) in [(40_001, 80), (40_002, 8443)] {
        let syn = tcp((CLIENT, port), (INTERFACE, to), SYN, (1, 0), &[]);
        assert_eq!(lab.refused(consumer, &syn), Reason::EgressDown, "and nothing is opened towards it");
    }
    assert_eq!(lab.shared.flows().len(), 1);
}

#[test]
fn a_client_keeps_its_port_when_it_comes_again() {
    let mut lab = Lab::new(1);
    let first = open(&mut lab, 0, 40_000);
    let provider = lab.provider;
    lab.carried(provider, &tcp((TARGET, 8080), (NODE, first), RST | ACK, (0, 1001), &[]));
    assert_eq!(open(&mut lab, 0, 40_000), first, "its tuple opens again");
    let mut said = Said::default();
    lab.pass(0, Duration::from_secs(100), &mut said);
    assert!(matches!(said.events[..], [Event::FlowClosed { cause: Cause::Unanswered, .. }]));
    assert!(lab.shared.flows().is_quiet());
    assert_eq!(lab.shared.flows().lanes().ports_in_use(), 0);
    assert_eq!(open(&mut lab, 0, 40_000), first, "and even after it was forgotten");
}

#[test]
fn any_worker_carries_nat_and_its_owner_carries_terminate() {
    let mut lab = Lab::new(2);
    let (consumer, provider) = (lab.consumers[0], lab.provider);
    let port = open(&mut lab, 0, 40_000);
    let answer = tcp((TARGET, 8080), (NODE, port), SYN | ACK, (1, 1001), &[]);
    assert_eq!(lab.input_at(1, provider, &answer, Duration::ZERO).sent[0].0, consumer);

    let syn = tcp((CLIENT, 40_001), (INTERFACE, 8443), SYN, (1, 0), &[]);
    let said = lab.input_at(0, consumer, &syn, Duration::ZERO);
    assert_eq!(said.verdicts[0].reason, Reason::Terminated);
    let (device, dialled) = &said.sent[0];
    let dialled = wire::parse(dialled).unwrap();
    assert_eq!((*device, said.sent.len()), (provider, 1), "the consumer's SYN-ACK waits for the target");
    assert_ne!(dialled.sequence, 1, "it is another connection");
    let acknowledged = dialled.sequence.wrapping_add(1);
    let answer = tcp((TARGET, 8080), (NODE, dialled.source_port), SYN | ACK, (9, acknowledged), &[]);
    let elsewhere = lab.input_at(1, provider, &answer, Duration::ZERO);
    assert!(elsewhere.verdicts.is_empty() && elsewhere.handed[0].0.index() == 0);
    let said = lab.input_at(0, provider, &elsewhere.handed[0].2, Duration::ZERO);
    let to_consumer = said.sent.iter().find(|(device, _)| *device == consumer).unwrap();
    let syn_ack = wire::parse(&to_consumer.1).unwrap();
    assert_eq!((syn_ack.flags.bits(), syn_ack.acknowledgement), (SYN | ACK, 2));
}

#[test]
fn a_target_that_remembers_the_port_is_dialled_again_at_once_and_once() {
    let mut lab = Lab::new(1);
    let (consumer, provider) = (lab.consumers[0], lab.provider);
    let said = lab.input(consumer, &tcp((CLIENT, 40_001), (INTERFACE, 8443), SYN, (1, 0), &[]));
    let dialled = wire::parse(&said.sent[0].1).unwrap();
    let says = |flags, numbers| tcp((TARGET, 8080), (NODE, dialled.source_port), flags, numbers, &[]);
    // In TIME-WAIT from an older connection on the port, it says what it expects there.
    let challenged = lab.input(provider, &says(ACK, (5000, 77)));
    let sent: Vec<_> = challenged.sent.iter().map(|(_, bytes)| wire::parse(bytes).unwrap()).collect();
    let [reset, again] = sent[..] else { panic!("{sent:?}") };
    assert_eq!((reset.flags.rst(), reset.sequence), (true, 77));
    assert_eq!((again.flags.bits(), again.source_port), (SYN, dialled.source_port));
    assert_eq!(lab.input(provider, &says(ACK, (5000, 77))).sent.len(), 1, "a RST, and no SYN any more");
    let said = lab.input(provider, &says(SYN | ACK, (9, again.sequence.wrapping_add(1))));
    assert!(said.sent.iter().any(|(device, _)| *device == consumer), "it listens now");
}

#[test]
fn a_target_that_refuses_makes_a_terminated_listener_refuse() {
    let mut lab = Lab::new(1);
    let (consumer, provider) = (lab.consumers[0], lab.provider);
    let said = lab.input(consumer, &tcp((CLIENT, 40_001), (INTERFACE, 8443), SYN, (1, 0), &[]));
    let dialled = wire::parse(&said.sent[0].1).unwrap();
    let acknowledged = dialled.sequence.wrapping_add(1);
    let refusal = tcp((TARGET, 8080), (NODE, dialled.source_port), RST | ACK, (0, acknowledged), &[]);
    let said = lab.input(provider, &refusal);
    let (device, reset) = &said.sent[0];
    let reset = wire::parse(reset).unwrap();
    assert_eq!((*device, reset.flags.rst(), reset.acknowledgement), (consumer, true, 2));
    assert!(matches!(said.events[..], [Event::FlowClosed { cause: Cause::Reset, .. }]));
    let ports = |lab: &Lab| lab.shared.flows().lanes().ports_in_use();
    assert_eq!(ports(&lab), 1, "its port stays quiet for a while …");
    lab.pass(0, Duration::from_secs(12), &mut Said::default());
    assert_eq!(ports(&lab), 0, "… and nothing is left of it");
}

#[test]
fn only_what_belongs_to_it_keeps_a_terminated_flow_awake() {
    for (flags, remembered) in [(ACK, true), (SYN, false)] {
        let mut lab = Lab::new(1);
        let (consumer, provider) = (lab.consumers[0], lab.provider);
        let (client, interface) = ((CLIENT, 40_001), (INTERFACE, 8443));
        let said = lab.input(consumer, &tcp(client, interface, SYN, (1, 0), &[]));
        let dialled = wire::parse(&said.sent[0].1).unwrap();
        let node = (NODE, dialled.source_port);
        let ours = dialled.sequence.wrapping_add(1);
        let said = lab.input(provider, &tcp((TARGET, 8080), node, SYN | ACK, (9, ours), &[]));
        let syn_ack = said.sent.iter().find(|(device, _)| *device == consumer).unwrap();
        let theirs = wire::parse(&syn_ack.1).unwrap().sequence.wrapping_add(1);
        for second in (0..400).step_by(50) {
            // An acknowledgement is the connection's own; a SYN with another number is a stranger's with its tuple.
            let numbers = if flags == SYN { (77_000, 0) } else { (2, theirs) };
            let now = Duration::from_secs(second);
            lab.input_at(0, consumer, &tcp(client, interface, flags, numbers, &[]), now);
            lab.pass(0, now, &mut Said::default());
        }
        assert_eq!(!lab.shared.flows().is_empty(), remembered, "flags {flags:#x}");
    }
}
