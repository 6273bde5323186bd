//! What docs/NAT-REQUIREMENTS.md says and no other test shows: mappings and ports, time-outs, what is never answered.

#![allow(clippy::unwrap_used)] // building a packet for a test cannot fail

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::lab::*;
use engine::{Event, Reason};
use flow::Cause;
use topology::DeviceId;

#[test]
fn every_test_that_is_named_exists() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(crates.join("../docs/NAT-REQUIREMENTS.md")).unwrap();
    let named: Vec<_> = text.split('`').filter_map(|quoted| quoted.split_once("::")).collect();
    assert!(named.len() > 50);
    for (file, test) in named {
        let file = if file.ends_with(".rs") {
            crates.join(file)
        } else {
            crates.join("engine/tests/suite").join(file).with_extension("rs")
        };
        let source = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            source.contains(&format!("\nfn {test}(")) || source.contains(&format!("    fn {test}(")),
            "{test} is not in {}",
            file.display()
        );
    }
}

const FIN: u8 = 1;
const PUSH: u8 = 8;

/// [`FILE`], and `run.icmp = "helpful"`.
fn helpful() -> String {
    FILE.replacen("[run]", "[run]\nicmp = \"helpful\"", 1)
}

/// The port that the target sees of a client's TCP to the interface's port 80, or another one.
fn mapped(lab: &mut Lab, consumer: usize, client: (&str, u16), to: u16) -> u16 {
    let device = lab.consumers[consumer];
    lab.carried(device, &tcp(client, (INTERFACE, to), SYN, (1000, 0), &[])).1.source_port
}

/// Opens a connection for good: SYN, SYN-ACK, ACK.
fn connect(lab: &mut Lab, client: u16) -> u16 {
    let (consumer, provider) = (lab.consumers[0], lab.provider);
    let port = mapped(lab, 0, (CLIENT, client), 80);
    lab.carried(provider, &tcp((TARGET, 8080), (NODE, port), SYN | ACK, (7000, 1001), &[]));
    lab.carried(consumer, &tcp((CLIENT, client), (INTERFACE, 80), ACK, (1001, 7001), &[]));
    port
}

/// Whether the table still has a flow after so many seconds without a packet.
fn is_remembered(lab: &mut Lab, seconds: u64) -> bool {
    lab.pass(0, Duration::from_secs(seconds), &mut Said::default());
    !lab.shared.flows().is_empty()
}

#[test]
fn a_source_port_has_nothing_to_do_with_the_clients() {
    let mut lab = Lab::new(1);
    let clients = (1..64).chain(5000..5064);
    let ports: Vec<_> = clients.map(|port| (port, mapped(&mut lab, 0, (CLIENT, port), 80))).collect();
    assert!(
        ports.iter().all(|(_, node)| *node >= 1024),
        "well-known ones are not used, not even for their like"
    );
    assert!(ports.iter().any(|(client, node)| client % 2 != node % 2), "parity is not kept");
    assert!(ports.iter().any(|(_, node)| node % 2 == 0) && ports.iter().any(|(_, node)| node % 2 == 1));
    let steps = ports.windows(2).filter(|pair| pair[1].1 == pair[0].1.wrapping_add(1)).count();
    assert!(steps < 3, "nor do they follow each other");
}

/// [`FILE`], with a second nat listener, to another target.
fn with_two_doors() -> Lab {
    let door = "listeners = [\n  { protocol = \"tcp\", port = 81, forward = \"other\" },";
    let group = "\n[[target_group]]\nname = \"other\"\ntargets = [{ address = \"10.2.0.3\", port = 8080 }, { address = \"fd02::3\", port = 8080 }]\n";
    Lab::of(&(FILE.replacen("listeners = [", door, 1) + group), 1)
}

#[test]
fn a_clients_port_is_mapped_anew_for_each_listener() {
    let mut lab = with_two_doors();
    let first = mapped(&mut lab, 0, (CLIENT, 5000), 80);
    assert_ne!(mapped(&mut lab, 0, (CLIENT, 5000), 81), first);
    assert_eq!(mapped(&mut lab, 0, (CLIENT, 5000), 80), first, "and the same for the same");
}

#[test]
fn towards_one_target_no_port_is_shared_and_towards_two_it_may_be() {
    let mut lab = with_two_doors();
    let mut ports = |to| {
        let mut ports: Vec<_> =
            (0..1500).map(|n| mapped(&mut lab, n % 2, (CLIENT, 2000 + n as u16), to)).collect();
        ports.sort_unstable();
        let count = ports.len();
        ports.dedup();
        assert_eq!(ports.len(), count, "shared towards one target");
        ports
    };
    let (one, other) = (ports(80), ports(81));
    assert!(one.iter().any(|port| other.binary_search(port).is_ok()));
}

#[test]
fn either_direction_keeps_a_datagrams_flow_and_two_minutes_of_silence_end_it() {
    for outbound in [true, false] {
        let mut lab = Lab::new(1);
        let (consumer, provider) = (lab.consumers[0], lab.provider);
        let question = udp((CLIENT, 5000), (INTERFACE, 53), b"who?");
        let (_, asked) = lab.carried(consumer, &question);
        let answer = udp((TARGET, 5353), (NODE, asked.source_port), b"me");
        let (device, bytes) = if outbound { (consumer, &question) } else { (provider, &answer) };
        for second in [100, 200, 300] {
            assert!(is_remembered(&mut lab, second));
            let said = lab.input_at(0, device, bytes, Duration::from_secs(second));
            assert_eq!(said.verdicts[0].reason, Reason::Forwarded);
        }
        assert!(is_remembered(&mut lab, 419));
        assert!(!is_remembered(&mut lab, 422));
        let late = lab.input_at(0, provider, &answer, Duration::from_secs(422));
        assert_eq!(late.verdicts[0].reason, Reason::OneWay);
    }
}

#[test]
fn a_silent_connection_is_forgotten_when_its_listener_says_so_and_told_with_a_reset() {
    let patient = FILE.replacen("port = 80, ", "port = 80, idle_timeout = 6000, ", 1);
    for (file, idle) in [(FILE, 350), (&patient, 6000)] {
        let mut lab = Lab::of(file, 1);
        let port = connect(&mut lab, 5000);
        let mut out = Said::default();
        lab.pass(0, Duration::from_secs(idle - 1), &mut out);
        assert!(!lab.shared.flows().is_empty());
        lab.pass(0, Duration::from_secs(idle + 2), &mut out);
        assert!(lab.shared.flows().is_empty());
        assert!(out.sent.is_empty(), "it ends in silence");
        let to_consumer = tcp((CLIENT, 5000), (INTERFACE, 80), ACK | PUSH, (1001, 7001), b"still there?");
        let to_target = tcp((TARGET, 8080), (NODE, port), ACK | PUSH, (7001, 1001), b"still there?");
        for (device, late) in [(lab.consumers[0], to_consumer), (lab.provider, to_target)] {
            let said = lab.input_at(0, device, &late, Duration::from_secs(idle + 3));
            assert_eq!(said.verdicts[0].reason, Reason::ExpiredFlowHit);
            assert_eq!((said.sent[0].0, wire::parse(&said.sent[0].1).unwrap().flags.bits()), (device, RST));
            let [Event::ExpiredFlowHit { original, reply, silent }] = said.events[..] else {
                panic!("{:?}", said.events)
            };
            assert_eq!((original.remote, original.remote_port), (addr(CLIENT), 5000));
            assert_eq!((reply.local_port, reply.remote), (port, addr(TARGET)));
            assert_eq!(silent, Duration::from_secs(idle + 3));
        }
    }
}

#[test]
fn what_opens_has_thirty_seconds_and_what_has_closed_is_remembered_for_a_minute() {
    let mut lab = Lab::new(1);
    mapped(&mut lab, 0, (CLIENT, 5000), 80);
    assert!(is_remembered(&mut lab, 29) && !is_remembered(&mut lab, 32));

    let mut lab = Lab::new(1);
    let port = connect(&mut lab, 5000);
    let (consumer, provider) = (lab.consumers[0], lab.provider);
    lab.carried(consumer, &tcp((CLIENT, 5000), (INTERFACE, 80), FIN | ACK, (1001, 7001), &[]));
    assert!(is_remembered(&mut lab, 300), "half a close is none");
    let now = Duration::from_secs(300);
    let fin = tcp((TARGET, 8080), (NODE, port), FIN | ACK, (7001, 1002), &[]);
    assert_eq!(lab.input_at(0, provider, &fin, now).verdicts[0].reason, Reason::Forwarded);
    let heard = tcp((CLIENT, 5000), (INTERFACE, 80), ACK, (1002, 7002), &[]);
    assert_eq!(lab.input_at(0, consumer, &heard, now).verdicts[0].reason, Reason::Forwarded);
    assert!(is_remembered(&mut lab, 359) && !is_remembered(&mut lab, 362));
}

#[test]
fn a_reset_is_passed_on_and_its_flow_remembered_for_ten_seconds() {
    for from_target in [true, false] {
        let mut lab = Lab::new(1);
        let port = connect(&mut lab, 5000);
        let (consumer, provider) = (lab.consumers[0], lab.provider);
        let (to, reset) = if from_target {
            (consumer, tcp((TARGET, 8080), (NODE, port), RST, (7001, 0), &[]))
        } else {
            (provider, tcp((CLIENT, 5000), (INTERFACE, 80), RST, (1001, 0), &[]))
        };
        let from = if from_target { provider } else { consumer };
        let (device, passed) = lab.carried(from, &reset);
        assert_eq!((device, passed.flags.bits()), (to, RST));
        // Resets go on being passed on, and each one keeps the flow: it is talking.
        assert!(is_remembered(&mut lab, 9));
        let again = lab.input_at(0, from, &reset, Duration::from_secs(9));
        assert_eq!(again.verdicts[0].reason, Reason::Forwarded);
        assert!(is_remembered(&mut lab, 18) && !is_remembered(&mut lab, 21));
    }
}

#[test]
fn both_may_open_at_once_but_only_what_the_consumer_began() {
    let mut lab = Lab::new(1);
    let (consumer, provider) = (lab.consumers[0], lab.provider);
    let port = mapped(&mut lab, 0, (CLIENT, 5000), 80);
    let crossing = tcp((TARGET, 8080), (NODE, port), SYN, (7000, 0), &[]);
    lab.carried(provider, &crossing);
    lab.carried(consumer, &tcp((CLIENT, 5000), (INTERFACE, 80), SYN | ACK, (1000, 7001), &[]));
    lab.carried(provider, &tcp((TARGET, 8080), (NODE, port), SYN | ACK, (7000, 1001), &[]));
    lab.carried(consumer, &tcp((CLIENT, 5000), (INTERFACE, 80), ACK, (1001, 7001), &[]));
    assert_eq!(lab.refused(provider, &crossing), Reason::OneWay, "it stands");
    for (device, last) in [
        (consumer, tcp((CLIENT, 5000), (INTERFACE, 80), FIN | ACK, (1001, 7001), &[])),
        (provider, tcp((TARGET, 8080), (NODE, port), FIN | ACK, (7001, 1002), &[])),
        (consumer, tcp((CLIENT, 5000), (INTERFACE, 80), ACK, (1002, 7002), &[])),
    ] {
        lab.carried(device, &last);
    }
    assert_eq!(lab.refused(provider, &crossing), Reason::OneWay, "it has closed");
}

#[test]
fn an_unsolicited_syn_is_never_answered() {
    for file in [FILE, &helpful()] {
        let mut lab = Lab::of(file, 1);
        let stray = tcp((TARGET, 9999), (NODE, 40_000), ACK, (7000, 1), &[]);
        assert!(!lab.input(lab.provider, &stray).sent.is_empty(), "other segments are …");
        let syn = tcp((TARGET, 9999), (NODE, 40_000), SYN, (7000, 0), &[]);
        assert_eq!(lab.refused(lab.provider, &syn), Reason::OneWay);
        let mut out = Said::default();
        lab.pass(0, Duration::from_secs(60), &mut out);
        assert!(out.sent.is_empty(), "… but not this one, nor later");
    }
}

#[test]
fn nothing_hairpins() {
    let mut lab = Lab::new(1);
    let [consumer, other] = lab.consumers;
    let port = mapped(&mut lab, 0, (CLIENT, 5000), 80);
    let to_mapping = |from| tcp((from, 6000), (NODE, port), SYN, (1, 0), &[]);
    for device in [consumer, other] {
        assert_eq!(lab.refused(device, &to_mapping(CLIENT)), Reason::UnknownAddress);
    }
    assert_eq!(lab.refused(lab.provider, &to_mapping(TARGET)), Reason::OneWay);
    assert_eq!(lab.refused(lab.provider, &to_mapping(NODE)), Reason::OneWay);
    let to_itself = tcp((INTERFACE, 6000), (INTERFACE, 80), SYN, (1, 0), &[]);
    assert_eq!(lab.refused(consumer, &to_itself), Reason::SourceOurs);
}

#[test]
fn no_payload_is_anybodys_business() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let ftp: &[u8] = b"PORT 10,1,0,2,19,136\r\n";
    let sip: &[u8] = b"INVITE sip:me@10.1.9.50 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.0.2:5000\r\n";
    connect(&mut lab, 5000);
    for (packet, payload) in [
        (tcp((CLIENT, 5000), (INTERFACE, 80), ACK | PUSH, (1001, 7001), ftp), ftp),
        (udp((CLIENT, 5000), (INTERFACE, 53), sip), sip),
    ] {
        let said = lab.input(consumer, &packet);
        assert_eq!(said.verdicts[0].reason, Reason::Forwarded);
        assert!(said.sent[0].1.ends_with(payload));
    }
}

#[test]
fn when_the_table_is_full_newcomers_are_dropped_and_no_established_flow_changes() {
    let mut lab = Lab::of(&helpful().replacen("capacity = 4096", "capacity = 1024", 1), 1);
    let consumer = lab.consumers[0];
    let ports: Vec<_> = (0..1023).map(|n| connect(&mut lab, 2000 + n)).collect();
    let half_open = tcp((CLIENT, 60_000), (INTERFACE, 80), SYN, (1, 0), &[]);
    let port = lab.carried(consumer, &half_open).1.source_port;
    let answer = tcp((TARGET, 8080), (NODE, port), SYN | ACK, (7000, 2), &[]);
    lab.carried(lab.provider, &answer);
    // The oldest half-open one makes room, and its target need not wait …
    let said = lab.input(consumer, &tcp((CLIENT, 60_001), (INTERFACE, 80), SYN, (1000, 0), &[]));
    assert_eq!(said.verdicts[0].reason, Reason::Forwarded);
    assert!(matches!(said.events[0], Event::FlowClosed { cause: Cause::CrowdedOut, .. }));
    let (device, reset) = &said.sent[0];
    let reset = wire::parse(reset).unwrap();
    assert_eq!(
        (*device, reset.source_port, reset.flags.bits(), reset.sequence),
        (lab.provider, port, RST, 2)
    );
    connect(&mut lab, 60_001);
    // … and where there is none, the newcomer is refused.
    assert_eq!(lab.refused(consumer, &half_open), Reason::TableFull, "and no ICMP tells");
    let to_target = |n: u16| tcp((CLIENT, 2000 + n), (INTERFACE, 80), ACK, (1001, 7001), b"here");
    let again: Vec<_> = (0..1023).map(|n| lab.carried(consumer, &to_target(n)).1.source_port).collect();
    assert_eq!(again, ports);
}

/// As if its sender had written its IPv4 header like this.
fn with_header(mut bytes: Vec<u8>, change: impl Fn(&mut etherparse::Ipv4Header)) -> Vec<u8> {
    let mut header = etherparse::Ipv4Header::from_slice(&bytes).unwrap().0;
    change(&mut header);
    header.header_checksum = header.calc_header_checksum();
    bytes[..20].copy_from_slice(&header.to_bytes());
    bytes
}

#[test]
fn a_packet_that_is_too_long_is_never_cut() {
    for file in [FILE, &helpful()] {
        let mut lab = Lab::of(file, 1);
        let consumer = lab.consumers[0];
        let of = |len: usize| {
            let datagram = udp((CLIENT, 5000), (INTERFACE, 53), &vec![7; len - 28]);
            with_header(datagram, |header| header.dont_fragment = false)
        };
        lab.carried(consumer, &of(8500));
        assert_eq!(lab.refused(consumer, &of(8501)), Reason::OverMtu);
    }
}

#[test]
fn an_error_has_no_traffic_class_whatever_it_is_about() {
    let mut lab = Lab::new(1);
    let (consumer, provider) = (lab.consumers[0], lab.provider);
    let expedited = with_header(udp((CLIENT, 5000), (INTERFACE, 53), b"now!"), |header| {
        header.dscp = etherparse::IpDscp::try_new(46).unwrap();
    });
    let sent = lab.input(consumer, &expedited).sent;
    assert_eq!(sent[0].1[1], 46 << 2, "the packet keeps its own");
    let error = crate::icmp::icmp((3, 3, 0), "10.2.0.1", NODE, &sent[0].1);
    let told: (DeviceId, Vec<u8>) = lab.input(provider, &error).sent.remove(0);
    assert_eq!((told.0, told.1[1], told.1[28 + 1]), (consumer, 0, 46 << 2));
}

#[test]
fn about_a_later_fragment_nobody_is_told() {
    let mut lab = Lab::of(&helpful(), 1);
    let consumer = lab.consumers[0];
    let piece = |eighths: u16| {
        let mut bytes = udp((CLIENT, 5000), (INTERFACE, 53), &[7; 100]);
        bytes.truncate(20 + 24);
        with_header(bytes, |header| {
            header.total_len = 20 + 24;
            header.time_to_live = 1;
            header.more_fragments = true;
            header.dont_fragment = false;
            header.fragment_offset = eighths.try_into().unwrap();
            header.identification = eighths; // each of a datagram of its own
        })
    };
    assert_eq!(lab.input(consumer, &piece(0)).verdicts[0].reason, Reason::TtlExpiredAnswered);
    assert_eq!(lab.refused(consumer, &piece(3)), Reason::TtlExpired);
}
