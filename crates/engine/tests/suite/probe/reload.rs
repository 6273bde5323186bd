//! What a reload, a device that goes and the fates of flows make of checks.

use super::*;

const TCP: &str = r#"protocol = "tcp""#;

fn one(check: &str) -> String {
    file(&every_ten(check), &["10.2.0.2:8080"])
}

fn silent() -> Manner {
    Manner { accepts_after: seconds(1000), ..Manner::open() }
}

#[test]
fn the_same_check_goes_on_whatever_else_changes() {
    let mut world = World::of(TCP, Manner { accepts_after: seconds(2), ..Manner::open() });
    world.pass(seconds(2));
    assert_eq!(world.worker.probes(), 1);
    let targets = ["10.2.0.2:8080", "10.2.0.3:8080"];
    world.behaves("10.2.0.3:8080", Manner::open());
    world.reload(&file(&every_ten(TCP), &targets));
    world.pass(seconds(2));
    assert_eq!(world.standing(), Standing::HEALTHY, "the probe that was under way has found it");
    assert_eq!(world.shared.health().standing(world.target(targets[1])), Standing::HEALTHY);
    assert_eq!(world.begun().len(), 2);
}

#[test]
fn another_check_keeps_what_was_found_and_drops_what_was_asked() {
    let mut world = World::of(TCP, Manner::open());
    world.pass(seconds(2));
    world.behaves("10.2.0.2:8080", silent());
    world.pass(seconds(15));
    world.reload(&one(r#"protocol = "tcp", port = 9000"#));
    assert_eq!(world.standing(), Standing::HEALTHY);
    world.behaves("10.2.0.2:9000", Manner::open());
    world.pass(seconds(15));
    assert_eq!(world.standing(), Standing::HEALTHY);
    assert_eq!(world.ours().last().unwrap().packet.destination_port, 9000);
    world.assert_clean();
}

#[test]
fn a_target_that_is_removed_is_told_with_a_rst_and_forgotten() {
    let mut world = World::of(r#"protocol = "http""#, Manner::open());
    world.pass(seconds(2));
    assert_eq!(world.worker.probes(), 1, "it has not answered yet");
    world.seen.clear();
    world.reload(&file(&every_ten(TCP), &["10.2.0.3:8080"]));
    assert_eq!(world.flags().iter().map(|flags| flags & RST).collect::<Vec<_>>(), [RST]);
    world.assert_clean();
    world.pass(seconds(30));
    assert!(world.ours().all(|seen| seen.packet.destination != addr(TARGET) || seen.packet.flags.rst()));
    world.behaves("10.2.0.2:8080", Manner::open());
    world.reload(&one(TCP));
    assert_eq!(world.standing().state, State::Initial, "it is as good as new");
    world.pass(seconds(1));
    assert_eq!(world.standing(), Standing::HEALTHY);
}

#[test]
fn a_device_that_is_down_is_not_the_targets_fault() {
    let mut world = World::of(TCP, Manner::open());
    world.pass(seconds(2));
    assert_eq!(world.standing(), Standing::HEALTHY);
    world.tell(Message::Detach(world.provider));
    world.events.clear();
    world.pass(seconds(60));
    assert_eq!(world.standing(), Standing::HEALTHY);
    let target = world.target("10.2.0.2:8080");
    let put_off = Event::CheckPutOff { target, reason: Reason::EgressDown };
    assert!(!world.events.is_empty() && world.events.iter().all(|(_, event)| *event == put_off));
    world.seen.clear();
    world.tell(Message::Attach(world.provider));
    world.pass(seconds(2));
    assert_eq!(world.begun().len(), 1, "and it is asked as soon as it can be");
}

#[test]
fn what_was_being_asked_when_the_device_went_comes_to_nothing() {
    let mut world = World::of(TCP, silent());
    for count in 1..6 {
        world.pass_until_begun(count);
        assert_eq!(world.worker.probes(), 1);
        world.tell(Message::Detach(world.provider));
        world.assert_clean();
        world.tell(Message::Attach(world.provider));
    }
    assert_eq!(world.standing().state, State::Initial);
    world.pass_until_begun(7);
    world.pass(seconds(5));
    assert_eq!(world.standing(), unwell(Unwell::Timeout), "two that were not disturbed");
}

#[test]
fn targets_that_nobody_can_use_are_not_checked() {
    let used = one(TCP);
    let mut world = World::new(&used);
    world.pass(seconds(2));
    assert_eq!(world.begun().len(), 1);
    let unused = used.replace("port = 8080 }", "port = 8080, weight = 0 }");
    assert_ne!(unused, used);
    let mut world = World::new(&unused);
    world.pass(seconds(20));
    assert_eq!(world.begun().len(), 0);
}

#[test]
fn newcomers_that_fail_count_where_that_is_asked_for() {
    for (check, is_heard) in [(TCP, false), (r#"protocol = "tcp", passive = true"#, true)] {
        let mut world = World::of(check, Manner::open());
        world.pass(seconds(16));
        assert_eq!(world.standing(), Standing::HEALTHY);
        let target = world.target("10.2.0.2:8080");
        world.shared.health().overheard(target, true);
        world.pass(seconds(1));
        assert_eq!(world.standing(), Standing::HEALTHY, "one is not enough");
        for _ in 0..2 {
            world.shared.health().overheard(target, true);
        }
        world.events.clear();
        world.pass(millis(1100));
        let expected = if is_heard { unwell(Unwell::FailedHealthChecks) } else { Standing::HEALTHY };
        assert_eq!((world.standing(), !world.events.is_empty()), (expected, is_heard));
    }
}
