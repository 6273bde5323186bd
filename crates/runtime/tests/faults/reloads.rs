//! Another topology in a running forwarder: all of it comes into force, or nothing is different.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use device::Offloads;
use runtime::{ChangeKind, ReloadError, Reloaded};
use topology::Topology;
use wire::Offload;

use crate::{
    CLIENT, CONSUMER, CONSUMERS, INTERFACE, Lab, OTHER_CONSUMER, PATIENCE, PROVIDER, datagram, topology,
};

/// Namespaces that are in no file at first.
const NEW: &str = "/proc/self/ns/ipc";
const NEWER: &str = "/proc/self/ns/pid";

/// A symbolic link to a namespace, for as long as a test.
struct Link {
    directory: PathBuf,
    path: String,
}

impl Link {
    fn to(namespace: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("sidegate-faults-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("current").to_str().unwrap().into();
        let link = Self { directory, path };
        link.lead_to(namespace);
        link
    }

    /// It leads there from now on; at no time is it not there.
    fn lead_to(&self, namespace: &str) {
        let next = self.directory.join("next");
        symlink(namespace, &next).unwrap();
        fs::rename(next, &self.path).unwrap();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

impl Lab {
    /// Reloads with endpoints in these namespaces.
    fn reload(&self, run: &str, consumers: &[&str]) -> Result<Reloaded, ReloadError> {
        self.forwarder.observer().reload(topology(run, consumers))
    }

    /// A question from the namespace comes out at the target.
    fn carries_from(&mut self, namespace: &str) {
        self.sent += 1;
        let question = datagram((CLIENT, 4001), (INTERFACE, 53), namespace.as_bytes());
        self.machine.send(namespace, Offload::NONE, &question);
        assert_eq!(self.machine.receive(PROVIDER)[28..], *namespace.as_bytes());
    }

    fn await_closing(&self, namespace: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.machine.is_open(namespace) {
            assert!(Instant::now() < deadline, "the device is still there");
            std::thread::yield_now();
        }
    }

    fn endpoints(&self) -> Vec<String> {
        self.snapshot().endpoints.into_iter().map(|endpoint| endpoint.name).collect()
    }
}

#[test]
fn what_is_new_is_attached_and_what_is_gone_let_go_of() {
    let mut lab = Lab::new();
    let port = lab.question_arrives(b"before");
    let reloaded = lab.reload("", &[NEW, CONSUMER]).unwrap();
    let changes: Vec<_> = reloaded.changes.iter().map(|change| (change.to_string(), change.how)).collect();
    let expected = [
        ("endpoint dns-ipc added".to_owned(), ChangeKind::Added),
        ("endpoint dns-mnt removed".to_owned(), ChangeKind::Removed),
    ];
    assert_eq!((changes.as_slice(), reloaded.in_effect_after), (&expected[..], 0.0));
    assert_eq!(lab.endpoints(), ["dns-ipc", "dns-uts"], "in the order of the file");
    lab.carries_from(NEW);
    lab.answer_arrives(port, b"an answer to the flow that was there");
    lab.await_closing(OTHER_CONSUMER);
    assert!([PROVIDER, CONSUMER, NEW].into_iter().all(|namespace| lab.machine.is_open(namespace)));
    assert_eq!(lab.question_arrives(b"after"), port, "the flow is the same");
    lab.expect_accounts(0);

    lab.reload("", CONSUMERS).unwrap();
    lab.carries_from(OTHER_CONSUMER);
    let openings = [PROVIDER, CONSUMER, NEW, OTHER_CONSUMER].map(|namespace| lab.machine.openings(namespace));
    assert_eq!(openings, [1, 1, 1, 2], "what stays is left alone");
}

/// However lately another reload was.
#[test]
fn what_is_gone_has_its_time_before_it_is_let_go_of() {
    let mut lab = Lab::new();
    lab.reload("", &[CONSUMER, OTHER_CONSUMER, NEW]).unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        lab.carries_from(NEW);
    }
    let removed = Instant::now();
    lab.reload("", &[CONSUMER, NEW]).unwrap();
    lab.await_closing(OTHER_CONSUMER);
    assert!(removed.elapsed() >= Duration::from_secs(2), "after {:?}", removed.elapsed());
}

#[test]
fn a_refused_reload_leaves_what_is_going_its_time() {
    let mut lab = Lab::new();
    lab.reload("", &[CONSUMER]).unwrap();
    lab.machine.refuse(NEW, 1);
    lab.reload("", &[CONSUMER, NEW]).unwrap_err();
    assert!(lab.machine.is_open(OTHER_CONSUMER));
    lab.carries_from(CONSUMER);
    lab.await_closing(OTHER_CONSUMER);
}

#[test]
fn a_device_that_is_wanted_again_before_it_is_gone_stays() {
    let mut lab = Lab::new();
    lab.reload("", &[CONSUMER]).unwrap();
    lab.reload("", CONSUMERS).unwrap();
    lab.carries_from(OTHER_CONSUMER);
    assert_eq!(lab.machine.openings(OTHER_CONSUMER), 1);
    lab.expect_accounts(0);
}

/// By itself within a second, and before anything else if there is a reload.
#[test]
fn where_a_link_leads_to_another_namespace_that_one_is_attached() {
    let link = Link::to(NEW);
    let mut lab = Lab::new();
    lab.reload("", &[CONSUMER, &link.path]).unwrap();
    lab.carries_from(&link.path);
    link.lead_to(NEWER);
    lab.await_state("the new device", |_| lab.machine.openings(&link.path) == 2);
    lab.carries_from(&link.path);
    link.lead_to(NEW);
    lab.reload("", &[CONSUMER, OTHER_CONSUMER, &link.path]).unwrap();
    assert_eq!(lab.machine.openings(&link.path), 3, "the reload finds it attached");
    lab.carries_from(&link.path);
}

#[test]
fn a_device_that_cannot_be_opened_leaves_everything_as_it_was() {
    let mut lab = Lab::new();
    lab.machine.refuse(NEWER, 1);
    let before = lab.snapshot().devices;
    let refused = lab.reload("", &[NEW, NEWER]).unwrap_err();
    assert!(matches!(refused, ReloadError::Device(_)) && refused.to_string().contains(NEWER), "{refused}");
    assert_eq!(lab.machine.openings(NEW), 1, "it was open");
    assert!(!lab.machine.is_open(NEW));
    assert_eq!(lab.snapshot().devices, before);
    lab.carries_from(OTHER_CONSUMER);
    lab.expect_accounts(0);

    lab.reload("", &[NEW, NEWER]).unwrap();
    lab.carries_from(NEW);
    lab.carries_from(NEWER);
}

#[test]
fn what_cannot_change_is_refused_and_said() {
    let lab = Lab::new();
    let refused = lab.reload("mtu = 1500\npin = true", &[CONSUMER]).unwrap_err();
    let sentence = refused.to_string();
    assert!(matches!(refused, ReloadError::Unchangeable(_)), "{sentence}");
    for part in ["run.mtu is 8500, and would become 1500", "run.pin", "restart"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    assert_eq!(lab.endpoints(), ["dns-uts", "dns-mnt"]);
    lab.reload("propagation_delay = 3600", &[CONSUMER]).unwrap();
    assert_eq!(lab.endpoints(), ["dns-uts", "dns-mnt"], "accepted, and not in force");
    assert_eq!(lab.reload("", &[CONSUMER]).unwrap().in_effect_after, 0.0);
    assert_eq!(lab.endpoints(), ["dns-uts"]);
}

#[test]
fn what_is_to_come_takes_effect_after_the_delay_unless_a_newer_one_does() {
    let mut lab = Lab::new();
    let delayed = "propagation_delay = 1";
    assert_eq!(lab.reload(delayed, &[CONSUMER, NEW]).unwrap().in_effect_after, 1.0);
    lab.reload(delayed, &[CONSUMER, NEWER]).unwrap();
    assert_eq!((lab.machine.openings(NEW), lab.machine.openings(NEWER)), (0, 0));
    lab.carries_from(OTHER_CONSUMER);
    lab.await_state("the newer one", |snapshot| snapshot.endpoints.iter().any(|own| own.name == "dns-pid"));
    assert_eq!(lab.endpoints(), ["dns-uts", "dns-pid"]);
    assert_eq!(lab.machine.openings(NEW), 0, "its time would have come before");
    lab.carries_from(NEWER);
}

#[test]
fn who_asks_again_for_the_same_does_not_wait_longer() {
    let lab = Lab::new();
    let delayed = "propagation_delay = 3600";
    assert_eq!(lab.snapshot().reload_in, None);
    let first = lab.reload(delayed, &[CONSUMER]).unwrap();
    assert_eq!((first.in_effect_after, first.gives_up), (3600.0, false));
    for _ in 0..3 {
        let before = lab.snapshot().reload_in.unwrap();
        let again = lab.reload(delayed, &[CONSUMER]).unwrap();
        assert!(again.in_effect_after <= before && before < 3600.0, "{again:?} after {before}");
        assert_eq!((again.changes, again.gives_up), (first.changes.clone(), false));
    }
    let other = lab.reload(delayed, &[CONSUMER, NEW]).unwrap();
    assert_eq!((other.in_effect_after, other.gives_up), (3600.0, true), "another one waits its own time");
}

#[test]
fn what_is_to_come_is_given_up_for_what_is_there_and_for_nothing_less() {
    let delayed = "propagation_delay = 3600";
    let lab = Lab::with(delayed);
    lab.reload(delayed, &[CONSUMER]).unwrap();
    lab.reload("propagation_delay = 3600\nmtu = 1500", CONSUMERS).unwrap_err();
    lab.machine.refuse(NEW, 1);
    lab.reload("", &[NEW]).unwrap_err();
    assert!(lab.snapshot().reload_in.is_some(), "it is still to come");
    let back = lab.reload(delayed, CONSUMERS).unwrap();
    assert_eq!((back.changes.as_slice(), back.in_effect_after, back.gives_up), (&[][..], 0.0, true));
    assert_eq!((lab.snapshot().reload_in, lab.endpoints().len()), (None, 2));
}

#[test]
fn each_topology_that_comes_into_force_is_told() {
    let lab = Lab::new();
    let mut successions = lab.forwarder.successions();
    lab.machine.refuse(NEW, 1);
    lab.reload("", &[NEW]).unwrap_err();
    lab.reload("propagation_delay = 1", &[CONSUMER]).unwrap();
    let endpoints = |topology: Option<Arc<Topology>>| topology.map(|own| own.endpoints.len());
    assert_eq!(endpoints(successions.next()), Some(1), "not before it is in force");
    assert_eq!(lab.endpoints(), ["dns-uts"]);
    lab.reload("", &[CONSUMER, OTHER_CONSUMER, NEW]).unwrap();
    lab.reload("", CONSUMERS).unwrap();
    assert_eq!(endpoints(successions.next()), Some(2), "the latest");
    lab.forwarder.stop();
    assert!(successions.next().is_none());
}

#[test]
fn what_is_to_come_and_cannot_changes_nothing() {
    let mut lab = Lab::new();
    lab.machine.refuse(NEW, 1);
    lab.reload("propagation_delay = 1", &[NEW]).unwrap();
    lab.await_state("the attempt", |_| lab.machine.refusals(NEW) == 0);
    lab.carries_from(OTHER_CONSUMER);
    assert_eq!(lab.endpoints(), ["dns-uts", "dns-mnt"]);
    lab.reload("", &[NEW]).unwrap();
    lab.carries_from(NEW);
}

/// Whether it is opened before or after another new one.
#[test]
fn a_new_device_that_lacks_offloads_lowers_all() {
    for lacking in [NEW, NEWER] {
        let mut lab = Lab::new();
        lab.machine.grant(lacking, Offloads::TCP);
        lab.reload("", &[CONSUMER, NEW, NEWER]).unwrap();
        for namespace in [PROVIDER, CONSUMER, NEW, NEWER].into_iter().filter(|own| *own != lacking) {
            assert_eq!(lab.machine.asked(namespace).last(), Some(&Offloads::TCP), "{namespace}");
        }
        let shown = lab.snapshot().devices;
        assert!(shown.iter().all(|device| device.offloads.starts_with("csum tso4 tso6 ecn (lowered")));
        lab.carries_from(NEW);
    }
}
