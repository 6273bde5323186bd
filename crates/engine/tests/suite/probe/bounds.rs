//! What is bounded: checks at once, ports, flows.

use std::net::IpAddr;

use super::*;

/// One worker's probes at once.
const CAPACITY: usize = 1024;

/// Whose checks have been put off for this reason.
fn put_off(world: &World, reason: Reason) -> Vec<TargetId> {
    let of_this = |(_, event): &(Duration, Event)| match event {
        Event::CheckPutOff { target, reason: why } if *why == reason => Some(*target),
        _ => None,
    };
    world.events.iter().filter_map(of_this).collect()
}

#[test]
fn beyond_the_cap_checks_wait_their_turn_and_each_has_one() {
    let count = 2 * CAPACITY;
    let targets: Vec<String> =
        (0..count).map(|n| format!("10.2.{}.{}:80", 10 + n / 250, n % 250 + 1)).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let mut world = World::new(&file(&every_ten(r#"protocol = "tcp""#), &targets));
    world.pass(seconds(2));
    assert_eq!((world.worker.probes(), world.begun().len()), (CAPACITY, CAPACITY));
    let waited = put_off(&world, Reason::ChecksFull);
    assert_eq!(waited.len(), count - CAPACITY, "each is told of once");
    world.pass(seconds(4));
    assert_eq!(world.begun().len(), count, "when those before them have timed out");
    let mut asked = HashSet::new();
    let destinations = world.ours().map(|seen| seen.packet.destination.ip());
    let turns: Vec<IpAddr> = destinations.filter(|destination| asked.insert(*destination)).collect();
    let topology = world.shared.topology();
    let waited: Vec<IpAddr> = waited.iter().map(|target| topology.targets[*target].address).collect();
    assert_eq!(turns[CAPACITY..], waited, "who has waited for longest is first");
    let unwell = |world: &World| {
        let standings = targets.iter().map(|target| world.shared.health().standing(world.target(target)));
        standings.filter(|standing| standing.state == State::Unhealthy).count()
    };
    assert_eq!(unwell(&world), 0, "nobody is unwell for having waited");
    world.pass(seconds(30));
    assert_eq!(unwell(&world), count);
}

#[test]
fn without_a_source_port_a_check_is_put_off() {
    let with_ports = |ports| {
        let check = "health_check = { interval = 5, timeout = 4 }";
        let mut world = World::new(&format!("[flows]\nports = {ports}\n{}", file(check, &["10.2.0.2:8080"])));
        // So that a port is in use for longer than an interval.
        world.behaves("10.2.0.2:8080", Manner { clings: true, ..Manner::open() });
        world.pass(seconds(60));
        assert_eq!(world.standing(), Standing::HEALTHY);
        (world.begun().len(), put_off(&world, Reason::PortsExhausted).len())
    };
    assert!(matches!(with_ports(1000), (12.., 0)));
    let (begun, put_off) = with_ports(1);
    assert!((5..11).contains(&begun) && put_off > 0, "{begun} begun, {put_off} put off");
}
