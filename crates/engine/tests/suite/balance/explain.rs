//! An explanation says what would happen: the same that does happen.

use std::net::SocketAddr;

use engine::{Eligibility, Explanation, Question};
use wire::Protocol;

use super::*;

fn explain(lab: &Lab, protocol: Protocol, from: &str, to: &str, isn: Option<u32>) -> Explanation {
    let [from, to]: [SocketAddr; 2] = [from, to].map(|text| text.parse().unwrap());
    lab.shared.explain(&Question { device: lab.consumers[0], protocol, from, to, isn })
}

#[test]
fn it_agrees_with_what_happens() {
    let mut setup = Setup::checked(6, "");
    setup.forward = "[{ target_group = \"web\", weight = 3 }, { target_group = \"new\", weight = 1 }]";
    setup.more = "[[target_group]]\nname = \"new\"\nattributes = { \"stickiness.enabled\" = true }
        targets = [{ address = \"10.2.0.7\", port = 8080 }, { address = \"10.2.0.8\", port = 8080 }]";
    let mut lab = setup.lab();
    found(&lab, [1, 2, 3, 4], Standing::HEALTHY, START);
    found(&lab, [5], UNWELL, START);
    let mut numbers = (0..).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20);
    let (mut admitted, mut refused) = (0, 0);
    for port in 1..=1000u16 {
        let number = numbers.next().unwrap();
        let client = ["10.1.0.2", "10.1.7.9", "127.0.0.1", "0.0.0.0"][(number % 16 / 5) as usize];
        let address = if number.is_multiple_of(11) { "10.1.9.51" } else { INTERFACE };
        let door = [NAT, NAT, TERMINATED, 53, 53, 99][(number >> 8) as usize % 6];
        let isn = (number >> 3) as u32;
        let (protocol, packet) = if door == 53 {
            (Protocol::Udp, udp((client, port), (address, door), b"who?"))
        } else {
            (Protocol::Tcp, tcp((client, port), (address, door), SYN, (isn, 0), &[]))
        };
        let (from, to) = (format!("{client}:{port}"), format!("{address}:{door}"));
        let explained = explain(&lab, protocol, &from, &to, Some(isn));
        let said = lab.input(lab.consumers[0], &packet);
        let target = said.events.iter().find_map(|event| match event {
            Event::FlowOpened { target, .. } => Some(*target),
            _ => None,
        });
        assert_eq!(explained.choice, target, "{from} to {to}");
        match explained.refused {
            Some(reason) => assert_eq!(reason, said.verdicts[0].reason),
            None => assert!(explained.choice.is_some() && !explained.is_known),
        }
        if explained.choice.is_some() {
            admitted += 1;
            assert!(explain(&lab, protocol, &from, &to, Some(isn)).is_known);
        } else {
            refused += 1;
        }
        let shares = explained
            .groups
            .iter()
            .map(|group| group.share * group.targets.iter().map(|target| target.share).sum::<f64>());
        let all: f64 = shares.sum();
        assert!(explained.groups.is_empty() || (all - 1.0).abs() < 1e-9, "{all}");
    }
    assert!(admitted > 300 && refused > 100, "{admitted} and {refused}");
}

#[test]
fn without_a_sequence_number_it_says_only_what_does_not_depend_on_it() {
    let mut lab = Setup::plain(3, "").lab();
    let ask = |lab: &Lab, isn| explain(lab, Protocol::Tcp, "10.1.0.2:1", "10.1.9.50:80", isn);
    assert_eq!((ask(&lab, None).choice, ask(&lab, None).refused), (None, None));
    assert!(ask(&lab, Some(1)).choice.is_some());
    lab.reload(&Setup::plain(3, "\"stickiness.enabled\" = true").file(), START);
    let choice = ask(&lab, None).choice;
    assert!(choice.is_some() && (0..50).all(|isn| ask(&lab, Some(isn)).choice == choice), "it sticks");
    lab.reload(&Setup::plain(1, "").file(), START);
    assert_eq!(ask(&lab, None).choice, Some(target(&lab, 1)), "there is no other");
}

#[test]
fn it_says_why_a_target_gets_nothing() {
    let mut setup = Setup::checked(0, "");
    let more = "{ address = \"10.2.0.4\", port = 8080, zone = \"b\" },
        { address = \"fd02::5\", port = 8080 }, { address = \"10.2.0.6\", port = 8080, weight = 0 },";
    let near = |n: u8| format!("{{ address = \"10.2.0.{n}\", port = 8080, zone = \"a\" }},");
    setup.targets = (1..=3).map(near).collect::<String>() + more;
    setup.nodes = "{ zone = \"a\", address = \"10.2.9.1\" }, { zone = \"b\", address = \"10.2.9.2\" }";
    let lab = setup.lab();
    found(&lab, [1, 4, 6], Standing::HEALTHY, START);
    found(&lab, [2], UNWELL, START);
    let ask = || explain(&lab, Protocol::Udp, "10.1.0.2:1", "10.1.9.50:53", None);
    let eligibility = |explained: &Explanation| {
        explained.groups[0].targets.iter().map(|target| target.eligibility).collect::<Vec<_>>()
    };
    use Eligibility::{FailingOpen, InService, OtherFamily, OtherZone, OutOfService, Weightless};
    let explained = ask();
    assert_eq!(
        eligibility(&explained),
        [InService, OutOfService, OutOfService, OtherZone, OtherFamily, Weightless]
    );
    assert_eq!(explained.groups[0].targets[1].standing, UNWELL);
    assert!(!explained.groups[0].is_failing_open);
    found(&lab, [1], UNWELL, START);
    let explained = ask();
    assert_eq!(
        eligibility(&explained),
        [FailingOpen, FailingOpen, FailingOpen, OtherZone, OtherFamily, Weightless]
    );
    assert!(explained.groups[0].is_failing_open);
}
