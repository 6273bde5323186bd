//! Another topology in a running forwarder: all of it comes into force, or nothing is different.

use std::time::Instant;

use device::Offloads;
use runtime::{ChangeKind, ReloadError, Reloaded};
use wire::Offload;

use crate::{
    CLIENT, CONSUMER, CONSUMERS, INTERFACE, Lab, OTHER_CONSUMER, PATIENCE, PROVIDER, datagram, topology,
};

/// Namespaces that are in no file at first.
const NEW: &str = "/proc/self/ns/ipc";
const NEWER: &str = "/proc/self/ns/pid";

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
    let deadline = Instant::now() + PATIENCE;
    while lab.machine.is_open(OTHER_CONSUMER) {
        assert!(Instant::now() < deadline, "the device is still there");
        std::thread::yield_now();
    }
    assert!([PROVIDER, CONSUMER, NEW].into_iter().all(|namespace| lab.machine.is_open(namespace)));
    assert_eq!(lab.question_arrives(b"after"), port, "the flow is the same");
    lab.expect_accounts(0);

    lab.reload("", CONSUMERS).unwrap();
    lab.carries_from(OTHER_CONSUMER);
    let openings = [PROVIDER, CONSUMER, NEW, OTHER_CONSUMER].map(|namespace| lab.machine.openings(namespace));
    assert_eq!(openings, [1, 1, 1, 2], "what stays is left alone");
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
