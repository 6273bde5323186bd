//! Who asks whom; and a panic within a probe.

use std::sync::Arc;
use std::time::Duration;

use balance::{Reason as Unwell, State};
use flow::Cause;
use topology::{DeviceId, Id, Origin, Topology};
use wire::Frame;

use crate::contract::{Egress, Event, HandOverFull, Message, Output, WorkerId};
use crate::terminate::fence::tests::plant;
use crate::verdict::Verdict;
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
    fn forward(&mut self, _: &mut Frame<'_>, _: Egress) {}

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
            targets = [{{ address = "10.2.0.9", port = 9 }}]
            "#
        )
    };
    let asked = |zone, attributes| -> Vec<(u16, String, String)> {
        let topology = Arc::new(topology(&groups(zone, attributes)));
        let shared = Shared::new(topology, 1, [0; 4]);
        let checks = &shared.plan().checks;
        checks.iter().map(|check| (check.to.port(), check.from.to_string(), check.host.clone())).collect()
    };
    let from = |port, node: &str| (port, node.to_owned(), format!("{node}:53"));
    assert_eq!(asked("a", ""), [from(1, "10.2.9.1"), from(2, "10.2.9.1")]);
    assert_eq!(asked("b", ""), [from(1, "10.2.9.2"), from(2, "10.2.9.1")]);
    assert_eq!(asked("c", ""), [from(2, "10.2.9.1")], "nobody sends anything there");
    let everywhere = r#"attributes = { "load_balancing.cross_zone.enabled" = true }"#;
    assert_eq!(asked("c", everywhere), [from(1, "10.2.9.1"), from(2, "10.2.9.1")]);
}

/// A worker that checks targets at these addresses every five seconds.
fn worker(addresses: &[&str]) -> (Arc<Shared>, Worker) {
    let target = |address: &&str| format!(r#"{{ address = "{address}", port = 1 }}"#);
    let targets: Vec<String> = addresses.iter().map(target).collect();
    let topology = topology(&format!(
        r#"
        [[target_group]]
        name = "g"
        health_check = {{ interval = 5, timeout = 4 }}
        targets = [{}]
        [[target_group]]
        name = "h"
        targets = [{{ address = "10.2.0.9", port = 9 }}]
        "#,
        targets.join(",")
    ));
    let shared = Arc::new(Shared::new(Arc::new(topology), 1, [1, 2, 3, 4]));
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
fn a_panic_is_our_own_mistake() {
    let (shared, mut worker) = worker(&["10.2.0.1"]);
    for second in [1, 9] {
        assert_eq!(at(&mut worker, second).syns, 1);
        plant();
        at(&mut worker, second + 2);
    }
    let standing = shared.health().standing(Id::new(0));
    assert_eq!((standing.state, standing.reason), (State::Unhealthy, Some(Unwell::InternalError)));
}
