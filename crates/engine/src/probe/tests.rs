//! Who asks whom, and when; and what is our own mistake.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use balance::{Reason as Unwell, Standing, State};
use flow::{Cause, Lane, LaneUser, Lanes, PoolKey};
use topology::{DeviceId, Id, Origin, TargetId, Topology};
use wire::{Frame, Protocol};

use super::patient::Patient;
use super::{Ground, Prober};
use crate::attached::Attached;
use crate::contract::{Egress, Event, HandOverFull, Message, Output, WorkerId};
use crate::homes::Homes;
use crate::plan::Plan;
use crate::terminate::fence::tests::plant;
use crate::terminate::partings::Partings;
use crate::verdict::{Reason, Verdict};
use crate::{Shared, Worker};

const SERVICES: &str = r#"
[[service]]
name = "s"
namespace = "p"
nodes = [{ zone = "a", address = "10.2.9.1" }, { zone = "b", address = "10.2.9.2" }]
listeners = [
  { protocol = "udp", port = 53, forward = "g" },
  { protocol = "tcp", port = 80, forward = [{ target_group = "h", weight = 1 }, { target_group = "g", weight = 0 }] },
]
"#;

fn topology(groups: &str) -> Topology {
    Topology::parse(&format!("{SERVICES}{groups}"), &Origin::new("/s.toml")).unwrap()
}

#[derive(Default)]
struct Said {
    syns: usize,
    events: Vec<Event>,
}

impl Output for Said {
    fn forward(&mut self, _: usize, _: &mut Frame<'_>, _: Egress) {}

    fn emit(&mut self, frame: &mut Frame<'_>, _: Egress) {
        let flags = wire::parse(frame.bytes).unwrap().flags;
        self.syns += usize::from(flags.opens());
    }

    fn hand_over(&mut self, _: WorkerId, _: DeviceId, _: &Frame<'_>) -> Result<(), HandOverFull> {
        Ok(())
    }

    fn verdict(&mut self, _: usize, _: Verdict) {}

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

#[test]
fn a_target_is_asked_from_its_own_zone_or_else_from_the_first_that_may() {
    let groups = |zone: &str, attributes: &str| {
        let targets = format!(
            r#"{{ address = "10.2.0.1", port = 1, zone = "{zone}" }}, {{ address = "10.2.0.2", port = 2 }}"#
        );
        format!(
            r#"
            [[target_group]]
            name = "g"
            health_check = {{}}
            targets = [{targets}]
            {attributes}
            [[target_group]]
            name = "h"
            health_check = {{}}
            targets = [{{ address = "10.2.0.9", port = 9, weight = 0 }}]
            "#
        )
    };
    let asked = |zone, attributes| -> Vec<(u16, String, String)> {
        let topology = Arc::new(topology(&groups(zone, attributes)));
        let shared = Shared::new(Arc::clone(&topology), 1, [0; 4]);
        let checks = &shared.plan().checks;
        let is_used = |id: &TargetId| shared.register(|register| register.is_eligible_when_failing_open(*id));
        let used: Vec<TargetId> = topology.targets.iter().map(|(id, _)| id).filter(is_used).collect();
        let checked: Vec<TargetId> = checks.iter().map(|check| check.target).collect();
        assert_eq!(checked, used, "the register means the same targets");
        checks.iter().map(|check| (check.to.port(), check.from.to_string(), check.host.clone())).collect()
    };
    let from = |port, node: &str| (port, node.to_owned(), format!("{node}:53"));
    assert_eq!(asked("a", ""), [from(1, "10.2.9.1"), from(2, "10.2.9.1")]);
    assert_eq!(asked("b", ""), [from(1, "10.2.9.2"), from(2, "10.2.9.1")]);
    assert_eq!(asked("c", ""), [from(2, "10.2.9.1")], "nobody sends anything there");
    let everywhere = r#"attributes = { "load_balancing.cross_zone.enabled" = true }"#;
    assert_eq!(asked("c", everywhere), [from(1, "10.2.9.1"), from(2, "10.2.9.1")]);
}

/// What workers share who check targets at these addresses every five seconds.
fn shared(check: &str, addresses: &[&str]) -> Arc<Shared> {
    Arc::new(Shared::new(Arc::new(checked(check, addresses)), 1, [1, 2, 3, 4]))
}

fn checked(check: &str, addresses: &[&str]) -> Topology {
    let target = |address: &&str| format!(r#"{{ address = "{address}", port = 1 }}"#);
    let targets: Vec<String> = addresses.iter().map(target).collect();
    topology(&format!(
        r#"
        [[target_group]]
        name = "g"
        health_check = {{ interval = 5, timeout = 4, {check} }}
        targets = [{}]
        [[target_group]]
        name = "h"
        targets = [{{ address = "10.2.0.9", port = 9 }}]
        [[endpoint]]
        name = "e"
        service = "s"
        namespace = "c"
        interfaces = [{{ zone = "a", address = "10.1.9.1" }}]
        "#,
        targets.join(",")
    ))
}

/// A worker that checks these with TCP.
fn worker(addresses: &[&str]) -> (Arc<Shared>, Worker) {
    let shared = shared("", addresses);
    let mut worker = Worker::new(Arc::clone(&shared), WorkerId(0), [5, 6]);
    worker.message(Message::Attach(DeviceId(0)), Duration::ZERO, &mut Said::default());
    (shared, worker)
}

fn at(worker: &mut Worker, second: u64) -> Said {
    let mut said = Said::default();
    worker.expire(Duration::from_secs(second), 100, &mut said);
    said
}

#[test]
fn a_panic_ends_one_probe_and_leaves_the_others_alone() {
    let (shared, mut worker) = worker(&["10.2.0.1", "10.2.0.2"]);
    assert_eq!(at(&mut worker, 1).syns, 2);
    assert_eq!((worker.probes(), shared.flows().live()), (2, 2));
    plant();
    let said = at(&mut worker, 3);
    assert_eq!(said.syns, 1, "the other one asks again");
    assert_eq!((worker.probes(), shared.flows().live()), (1, 1));
    let is_counted = |event: &&Event| matches!(event, Event::FlowClosed { cause: Cause::Panicked, .. });
    assert_eq!(said.events.iter().filter(is_counted).count(), 1);
}

#[test]
fn a_panic_is_not_held_against_the_target() {
    let (shared, mut worker) = worker(&["10.2.0.1"]);
    for second in [1, 9] {
        assert_eq!(at(&mut worker, second).syns, 1);
        plant();
        at(&mut worker, second + 2);
    }
    let standing = || shared.health().standing(Id::new(0));
    assert_eq!(standing(), Standing::of(State::Initial, Unwell::InitialHealthChecking));
    (12..30).for_each(|second| drop(at(&mut worker, second)));
    assert_eq!(standing(), Standing::of(State::Unhealthy, Unwell::Timeout), "what it does itself is");
}

#[test]
fn what_is_to_be_asked_over_tls_is_not_asked_without() {
    let shared = shared(r#"protocol = "https""#, &["10.2.0.1"]);
    let (plan, second) = (shared.plan(), Duration::from_secs(1));
    let mut attached = Attached::default();
    attached.set(DeviceId(0), true);
    let asked = |has_tls| {
        let mut prober = Prober::new(&shared, WorkerId(0), [5, 6]);
        prober.tls = prober.tls.filter(|_| has_tls);
        prober.take_up(&plan.checks, Duration::ZERO);
        let (turn, mut partings) = (shared.flows.turn(0), Partings::new([7, 8]));
        let (turn, partings) = (&turn, &mut partings);
        let mut ground = Ground { shared: &shared, plan: &plan, turn, attached: &attached, partings };
        let mut said = Said::default();
        prober.expire(&mut ground, second, &mut said);
        (said.syns, said.events)
    };
    let put_off = Event::CheckPutOff { target: Id::new(0), reason: Reason::TlsUnavailable };
    assert_eq!(asked(false), (0, vec![put_off]));
    assert_eq!(shared.health().standing(Id::new(0)), Standing::default());
    assert_eq!(asked(true).0, 1);
}

#[test]
fn later_checks_begin_on_the_beat_and_are_spread_all_the_same() {
    let shared = shared("", &["10.2.0.1"]);
    let (check, now) = (&shared.plan().checks[0], Duration::from_millis(1234));
    let mut turns: Vec<u128> = (0..1000)
        .map(|hash| {
            let mut patient = Patient::new(check, hash, Duration::ZERO);
            patient.begin(0, now, &shared.health, &mut Said::default());
            patient.next_look(now).as_nanos()
        })
        .collect();
    turns.sort_unstable();
    turns.dedup();
    assert!(turns.iter().all(|turn| turn % 100_000_000 == 0));
    assert_eq!(turns.len(), 50, "of five seconds");
}

/// As many as there can be, but for so many.
fn lanes(left: usize) -> Lanes {
    const MOST: usize = 1 << 20;
    let lanes = Lanes::new(1, 1);
    let target = IpAddr::from([10, 2, 0, 99]).into();
    let pool = PoolKey { protocol: Protocol::Tcp, node: Id::new(9), target, target_port: 1 };
    for index in 0..MOST - left {
        let lane = Lane { user: LaneUser::HealthCheck, target: Id::new(index), pool };
        lanes.intern(&lane, Duration::ZERO).unwrap();
    }
    lanes
}

#[test]
fn the_last_lanes_are_for_checks() {
    let topology = Arc::new(checked("", &["10.2.0.1", "10.2.0.2"]));
    let found = |left| {
        let plan = Plan::new(Arc::clone(&topology), &lanes(left), &Homes::default(), None);
        (plan.checks.len(), plan.missing_lanes())
    };
    // Both listeners lead to both targets, and one to another.
    let doors = 2 + 2 + 1;
    assert_eq!(found(2 + doors), (2, 0));
    assert_eq!(found(2), (2, doors));
    assert_eq!(found(1), (1, doors + 1), "who is not checked is counted");
}
