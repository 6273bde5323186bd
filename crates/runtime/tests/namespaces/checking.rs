//! Targets that are checked through the real kernel, and what is done about what is found.

use std::time::{Duration, Instant};

use crate::Named;
use crate::lab::{BACKENDS, Lab, NAT, echoes};

pub(crate) const TRIALS: &[Named] =
    &[("only_targets_that_answer_their_checks_are_used", only_targets_that_answer_their_checks_are_used)];

/// A target with an echo server, and one on whose port nobody listens.
const INTERFACE: &str = "10.1.9.60";

/// Both come with a reload, since checks begin in a process that runs.
fn only_targets_that_answer_their_checks_are_used() {
    let backend = &BACKENDS[0];
    let lab = Lab::new(backend);
    let more = format!(
        r#"
        [[service]]
        name = "checked"
        namespace = "{provider}"
        nodes = [{{ address = "10.2.9.2" }}]
        listeners = [{{ protocol = "tcp", port = {NAT}, forward = "checked" }}]
        [[target_group]]
        name = "checked"
        health_check = {{ protocol = "tcp", interval = 5, timeout = 2, unhealthy_threshold = 2 }}
        targets = [{{ address = "10.2.0.2", port = 7 }}, {{ address = "10.2.0.2", port = 9 }}]
        [[endpoint]]
        name = "checked-a"
        service = "checked"
        namespace = "{consumer}"
        interfaces = [{{ address = "{INTERFACE}" }}]
        "#,
        provider = lab.provider.name(),
        consumer = lab.consumer.name(),
    );
    lab.reload(backend, &more).unwrap();
    await_states(&lab, ["healthy", "initial"]);
    await_states(&lab, ["healthy", "unhealthy"]);
    for _ in 0..20 {
        assert!(echoes(&mut lab.connect(INTERFACE, NAT).unwrap(), b"hello"));
    }
    let targets = lab.forwarder.observer().targets();
    let refusing = targets.iter().find(|target| target.group == "checked" && target.port == 9).unwrap();
    assert_eq!(refusing.reason.as_deref(), Some("Target.FailedHealthChecks"));
    assert_eq!((refusing.checked_from, refusing.flows), ("10.2.9.2".parse().ok(), 0));
    let services = lab.forwarder.observer().services();
    let forward = &services.iter().find(|service| service.name == "checked").unwrap().listeners[0].forward[0];
    assert_eq!((forward.healthy, forward.targets), (1, 2));
}

/// Waits until the two targets are in these states. Two checks take as long as their interval.
fn await_states(lab: &Lab, wanted: [&str; 2]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let targets = lab.forwarder.observer().targets();
        let checked = targets.iter().filter(|target| target.group == "checked");
        let states: Vec<&str> = checked.map(|target| target.state.as_str()).collect();
        if states == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "the targets are {states:?}, not {wanted:?}");
        std::thread::yield_now();
    }
}
