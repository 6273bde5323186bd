//! Who is chosen.

use super::*;

/// How many of so many clients' datagrams each target gets, by its last digit.
fn spread(lab: &mut Lab, clients: u16) -> [usize; 10] {
    let mut counts = [0; 10];
    for n in 0..clients {
        let client = format!("10.1.{}.{}", n >> 8, n & 0xff | 1);
        counts[usize::from(asks(lab, &client, 1000 + n).unwrap())] += 1;
    }
    counts
}

fn is_about(count: usize, expected: usize) -> bool {
    count.abs_diff(expected) * 100 <= expected * 5
}

#[test]
fn targets_have_their_weights() {
    let mut setup = Setup::plain(0, "");
    let target = |n: u8, weight| format!("{{ address = \"10.2.0.{n}\", port = 8080, weight = {weight} }},");
    setup.targets = [(1, 1), (2, 3), (3, 0)].map(|(n, weight)| target(n, weight)).concat();
    let counts = spread(&mut setup.lab(), 8000);
    assert!(is_about(counts[1], 2000) && is_about(counts[2], 6000), "{counts:?}");
    assert_eq!(counts[3], 0);
}

#[test]
fn groups_have_their_weights_and_within_them_targets_are_even() {
    let mut setup = Setup::plain(2, "");
    setup.forward = "[{ target_group = \"web\", weight = 3 }, { target_group = \"new\", weight = 1 }]";
    setup.more = "[[target_group]]\nname = \"new\"\ntargets = [
        { address = \"10.2.0.3\", port = 8080 }, { address = \"10.2.0.4\", port = 8080 }]";
    let counts = spread(&mut setup.lab(), 8000);
    assert!([1, 2].iter().all(|n| is_about(counts[*n], 3000)), "{counts:?}");
    assert!([3, 4].iter().all(|n| is_about(counts[*n], 1000)), "{counts:?}");
}

#[test]
fn who_is_unwell_or_not_yet_known_gets_nothing_unless_all_are() {
    let mut lab = Setup::checked(3, "").lab();
    assert!(is_about(spread(&mut lab, 3000)[1], 1000), "nothing is known: all are used");
    let mut lab = Setup::checked(3, "").lab();
    found(&lab, [2], Standing::HEALTHY, START);
    assert_eq!(spread(&mut lab, 1000)[2], 1000, "one is in service");
    let mut lab = Setup::checked(3, "").lab();
    found(&lab, [1, 2], Standing::HEALTHY, START);
    found(&lab, [3], UNWELL, START);
    let counts = spread(&mut lab, 2000);
    assert!(is_about(counts[1], 1000) && is_about(counts[2], 1000), "{counts:?}");
    let mut lab = Setup::checked(3, "").lab();
    found(&lab, [1, 2, 3], UNWELL, START);
    assert!(spread(&mut lab, 3000)[1..4].iter().all(|count| is_about(*count, 1000)), "it fails open");
}

#[test]
fn with_fewer_healthy_ones_than_the_minimum_all_are_used() {
    let minimum = "target_group_health.unhealthy_state_routing.minimum_healthy_targets";
    for (attribute, needed) in [("count\" = 2", 2), ("percentage\" = 75", 3)] {
        for healthy in 1..=4 {
            let mut lab = Setup::checked(4, &format!("\"{minimum}.{attribute}")).lab();
            found(&lab, 1..=healthy, Standing::HEALTHY, START);
            found(&lab, healthy + 1..=4, UNWELL, START);
            let used = spread(&mut lab, 500)[1..=4].iter().filter(|count| **count > 0).count();
            assert_eq!(used, if healthy >= needed { healthy.into() } else { 4 }, "{healthy} of {needed}");
        }
    }
}

#[test]
fn a_client_sticks_to_its_target_and_moves_only_when_that_goes() {
    let setup = Setup::checked(5, "\"stickiness.enabled\" = true, \"stickiness.type\" = \"source_ip\"");
    let mut lab = setup.lab();
    found(&lab, 1..=5, Standing::HEALTHY, START);
    let clients: Vec<String> = (1..=200).map(|n| format!("10.1.7.{n}")).collect();
    let first: Vec<u8> = clients.iter().map(|client| asks(&mut lab, client, 1).unwrap()).collect();
    assert!((1..=5).all(|n| first.contains(&n)));
    for port in 2..5 {
        let again = clients.iter().map(|client| asks(&mut lab, client, port).unwrap());
        assert_eq!(again.collect::<Vec<_>>(), first);
    }
    found(&lab, [3], UNWELL, START);
    let then: Vec<u8> = clients.iter().map(|client| asks(&mut lab, client, 9).unwrap()).collect();
    let moved = first.iter().zip(&then).filter(|(before, after)| before != after);
    let strangers = moved.filter(|(before, _)| **before != 3).count();
    assert!(strangers <= 10 && !then.contains(&3), "{strangers} moved that need not have");
    found(&lab, [3], Standing::HEALTHY, START);
    let back: Vec<u8> = clients.iter().map(|client| asks(&mut lab, client, 10).unwrap()).collect();
    assert_eq!(back, first, "and they come back");
}

/// A client that tries again may be sent elsewhere: the sequence number counts.
#[test]
fn a_syn_is_hashed_with_its_sequence_number() {
    let mut lab = Setup::plain(4, "").lab();
    let consumer = lab.consumers[0];
    let mut targets = Vec::new();
    for sequence in 0..40 {
        let syn = tcp((CLIENT, 40_000), (INTERFACE, NAT), SYN, (sequence * 7919, 0), &[]);
        let (_, sent) = lab.carried(consumer, &syn);
        targets.push(last_digit(&sent));
        let refusal = tcp(
            (&format!("10.2.0.{}", last_digit(&sent)), 8080),
            (NODE, sent.source_port),
            RST | ACK,
            (0, sent.sequence + 1),
            &[],
        );
        lab.input(lab.provider, &refusal);
    }
    assert!((1..=4).all(|n| targets.contains(&n)), "{targets:?}");
}

const ZONES: &str = "{ address = \"10.2.0.1\", port = 8080, zone = \"a\" },
    { address = \"10.2.0.2\", port = 8080, zone = \"b\" }, { address = \"10.2.0.3\", port = 8080 }";

#[test]
fn a_node_uses_the_targets_of_its_zone_unless_zones_are_to_be_crossed() {
    for (attributes, targets, used) in [
        ("", ZONES, vec![1, 3]),
        ("\"load_balancing.cross_zone.enabled\" = true", ZONES, vec![1, 2, 3]),
        ("\"load_balancing.cross_zone.enabled\" = false", ZONES, vec![1, 3]),
        ("", "{ address = \"10.2.0.2\", port = 8080, zone = \"b\" }", vec![2]),
        (
            "\"load_balancing.cross_zone.enabled\" = false",
            "{ address = \"10.2.0.2\", port = 8080, zone = \"b\" }",
            vec![],
        ),
    ] {
        let setup = Setup { targets: targets.into(), ..Setup::plain(0, attributes) };
        let mut lab = setup.lab();
        if used.is_empty() {
            assert_eq!(asks(&mut lab, CLIENT, 1), Err(Reason::NoTarget));
            continue;
        }
        let counts = spread(&mut lab, 300);
        let seen: Vec<usize> = (0..10).filter(|n| counts[*n] > 0).collect();
        assert_eq!(seen, used, "{attributes}");
    }
}

#[test]
fn a_node_fails_open_in_its_own_zone() {
    let setup = Setup { targets: ZONES.into(), ..Setup::checked(0, "") };
    let mut lab = setup.lab();
    found(&lab, [1, 3], UNWELL, START);
    found(&lab, [2], Standing::HEALTHY, START);
    let counts = spread(&mut lab, 300);
    assert!(counts[1] > 0 && counts[3] > 0 && counts[2] == 0, "{counts:?}");
}

#[test]
fn an_interface_keeps_the_node_that_it_has_used_as_long_as_there_is_that_node() {
    let near_b = "{ zone = \"b\", address = \"10.1.9.50\" }, { zone = \"c\", address = \"10.1.9.60\" }";
    let before = Setup { interfaces: near_b, ..Setup::plain(1, "") };
    let all = "{ zone = \"a\", address = \"10.2.9.1\" }, { zone = \"b\", address = \"10.2.9.2\" },
        { zone = \"c\", address = \"10.2.9.3\" }";
    let later = Setup { nodes: all, ..before.clone() };
    let last = Setup { nodes: "{ zone = \"b\", address = \"10.2.9.2\" }", ..before.clone() };
    let mut lab = before.lab();
    let node = |lab: &mut Lab, port, interface: &str| {
        let said = lab.input(lab.consumers[0], &udp((CLIENT, port), (interface, 53), b"who?"));
        wire::parse(&said.sent[0].1).unwrap().source
    };
    assert_eq!(node(&mut lab, 1, "10.1.9.50"), addr("10.2.9.1"), "there is no other");
    lab.reload(&later.file(), START);
    assert_eq!(node(&mut lab, 2, "10.1.9.50"), addr("10.2.9.1"));
    assert_eq!(
        node(&mut lab, 3, "10.1.9.60"),
        addr("10.2.9.3"),
        "one that has used none takes that of its zone"
    );
    lab.reload(&last.file(), START);
    for interface in ["10.1.9.50", "10.1.9.60"] {
        assert_eq!(node(&mut lab, 4, interface), addr("10.2.9.2"));
    }
    lab.reload(&later.file(), START);
    assert_eq!(node(&mut lab, 5, "10.1.9.50"), addr("10.2.9.2"), "what is gone is forgotten");
}
