//! Checks that only connect.

use super::*;

const FIN: u8 = TcpFlags::FIN;

#[test]
fn a_target_that_accepts_is_well_and_is_left_with_a_fin() {
    let mut world = World::of(r#"protocol = "tcp""#, Manner::open());
    assert_eq!(world.standing().state, State::Initial);
    world.pass(seconds(1));
    assert_eq!(world.standing(), Standing::HEALTHY);
    assert_eq!(world.flags(), [SYN, ACK, FIN | ACK, ACK], "never a RST");
    assert!(world.reasons.iter().all(|reason| *reason == Reason::HealthCheck));
    let syn = &world.ours().next().unwrap().packet;
    assert_eq!((syn.source, syn.destination, syn.destination_port), (addr(NODE), addr(TARGET), 8080));
    world.assert_clean();
    let target = world.target("10.2.0.2:8080");
    let events: Vec<Event> = world.events.iter().map(|(_, event)| *event).collect();
    assert_eq!(events, [Event::HealthChanged { target }; 2], "first being checked, then well");
}

#[test]
fn a_banner_is_acknowledged() {
    let banner = b"220 ready\r\n".repeat(100);
    let mut world = World::of(r#"protocol = "tcp""#, Manner { banner, ..Manner::open() });
    world.pass(seconds(1));
    assert_eq!(world.standing(), Standing::HEALTHY);
    let theirs = world.seen.iter().rfind(|seen| !seen.is_ours).unwrap().packet;
    let end = theirs.sequence.wrapping_add(theirs.sequence_len());
    assert_eq!(world.ours().last().unwrap().packet.acknowledgement, end, "all of it, and the FIN");
    assert!(world.flags().iter().all(|flags| flags & RST == 0));
    world.assert_clean();
}

#[test]
fn one_that_refuses_is_unwell_after_the_threshold() {
    let mut world = World::of(r#"protocol = "tcp""#, Manner { refuses: true, ..Manner::open() });
    world.pass_until_begun(1);
    assert_eq!(world.standing().state, State::Initial, "after one");
    world.pass_until_begun(2);
    assert_eq!(world.standing(), unwell(Unwell::FailedHealthChecks));
    assert_eq!(world.flags(), [SYN, SYN]);
    world.assert_clean();
    world.behaves("10.2.0.2:8080", Manner::open());
    world.pass_until_begun(3);
    assert_eq!(world.standing(), unwell(Unwell::FailedHealthChecks), "one success is not two");
    world.pass_until_begun(4);
    assert_eq!(world.standing(), Standing::HEALTHY);
}

#[test]
fn one_that_is_silent_times_out_and_its_late_answer_does_not_count() {
    let silent = Manner { accepts_after: seconds(100), ..Manner::open() };
    let mut world = World::of(r#"protocol = "tcp""#, silent);
    world.pass(seconds(20));
    assert_eq!(world.standing(), unwell(Unwell::Timeout));
    let late = |after| Manner { accepts_after: after, ..Manner::open() };
    let mut world = World::of(r#"protocol = "tcp""#, late(millis(3900)));
    world.pass(seconds(6));
    assert_eq!(world.standing(), Standing::HEALTHY, "in time");
    let mut world = World::of(r#"protocol = "tcp""#, late(millis(4100)));
    world.pass(seconds(25));
    assert_eq!(world.standing(), unwell(Unwell::Timeout));
    world.assert_clean();
}

#[test]
fn one_that_never_closes_is_waited_for_and_then_reset() {
    let mut world = World::of(r#"protocol = "tcp""#, Manner { clings: true, ..Manner::open() });
    world.pass(seconds(2));
    assert_eq!((world.standing(), world.worker.probes()), (Standing::HEALTHY, 1));
    assert_eq!(world.flags(), [SYN, ACK, FIN | ACK]);
    world.pass(seconds(20));
    let first = world.ours().next().unwrap().packet.source_port;
    let its: Vec<&Seen> = world.ours().filter(|seen| seen.packet.source_port == first).collect();
    assert!(its.len() == 4 && its[3].packet.flags.rst());
    assert!((its[3].at - its[2].at).abs_diff(seconds(5)) <= TICK);
}

#[test]
fn a_closed_probes_last_acknowledgement_can_be_had_again() {
    let mut world = World::of(r#"protocol = "tcp""#, Manner::open());
    world.pass(seconds(1));
    let is_fin = |seen: &&Seen| !seen.is_ours && seen.packet.flags.fin();
    let fin = world.seen.iter().find(is_fin).unwrap().bytes.clone();
    world.seen.clear();
    world.reasons.clear();
    world.reach_worker(fin);
    assert_eq!((world.flags(), world.reasons.clone()), (vec![ACK], vec![Reason::TimeWait]));
}

#[test]
fn checks_follow_the_interval_and_each_has_another_port() {
    let mut world = World::of(r#"protocol = "tcp""#, Manner::open());
    world.pass(seconds(100));
    let begun = world.begun();
    assert!((9..=11).contains(&begun.len()), "{begun:?}");
    assert!(begun[0] <= seconds(101), "the first comes at once");
    let gaps: Vec<Duration> = begun[1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| gap.abs_diff(seconds(10)) <= TICK), "{gaps:?}");
}

#[test]
fn targets_of_both_families_are_checked_from_nodes_of_theirs() {
    let targets = ["10.2.0.2:8080", "[fd02::2]:8080"];
    let mut world = World::new(&file(&every_ten(r#"protocol = "tcp", port = 9000"#), &targets));
    for target in ["10.2.0.2:9000", "[fd02::2]:9000"] {
        world.behaves(target, Manner::open());
    }
    world.pass(seconds(1));
    for target in targets {
        assert_eq!(world.shared.health().standing(world.target(target)), Standing::HEALTHY);
    }
    let mut ways: Vec<_> =
        world.ours().map(|seen| (seen.packet.source, seen.packet.destination_port)).collect();
    ways.dedup();
    ways.sort();
    ways.dedup();
    let mut nodes = [addr(NODE), addr("fd02::9:1")];
    nodes.sort();
    assert_eq!(ways, nodes.map(|node| (node, 9000)));
    world.assert_clean();
}

#[test]
fn many_targets_are_spread_over_the_interval_after_the_first_second() {
    let targets: Vec<String> = (0..200).map(|n| format!("10.2.1.{n}:80")).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let mut world = World::new(&file(&every_ten(r#"protocol = "tcp""#), &targets));
    targets.iter().for_each(|target| world.behaves(target, Manner::open()));
    world.pass(seconds(1) + TICK);
    assert_eq!(world.begun().len(), 200);
    world.pass(seconds(20));
    world.seen.clear();
    let since = world.now;
    world.pass(seconds(10));
    let mut each_second = [0; 10];
    world.begun().iter().for_each(|at| each_second[((*at - since).as_secs() as usize).min(9)] += 1);
    assert!(each_second.iter().all(|count| (8..=35).contains(count)), "{each_second:?}");
}
