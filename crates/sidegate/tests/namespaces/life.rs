//! An instance's life: starting, stopping, dying, being started twice, and a namespace that is replaced.

use device::lab::Namespace;
use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::Named;
use crate::lab::{Lab, ensure, eventually, exited};

pub(crate) const TRIALS: &[Named] = &[
    ("life::a_signal_ends_it_and_leaves_nothing", a_signal_ends_it_and_leaves_nothing),
    ("life::it_runs_once", it_runs_once),
    ("life::after_sigkill_it_starts_again", after_sigkill_it_starts_again),
    ("life::a_replaced_namespace_is_attached", a_replaced_namespace_is_attached),
    ("life::a_missing_namespace_is_named", a_missing_namespace_is_named),
];

fn a_signal_ends_it_and_leaves_nothing() -> Result<(), Failed> {
    let lab = Lab::new()?;
    for signal in [Signal::TERM, Signal::INT] {
        let running = lab.start()?;
        ensure(lab.talk()? == "10.2.9.1", || "the provider does not see the node".into())?;
        ensure(lab.has_device()?, || "where is the device?".into())?;
        let status = running.end(signal)?;
        ensure(status.success(), || format!("{signal:?}: {status}"))?;
        ensure(!lab.has_device()?, || "the device is still there".into())?;
        exited(&lab.sidegate("status").output()?, 1, &["no sidegate answers"])?;
        let left = control::socket_of(&lab.instance);
        ensure(!left.exists() && !left.with_extension("lock").exists(), || "files are left".into())?;
    }
    Ok(())
}

fn it_runs_once() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let mut first = lab.start()?;
    exited(&lab.sidegate("run").output()?, 2, &["already running (pid ", &lab.instance])?;
    // Another socket is another claim, but the devices' names are the same.
    let elsewhere = lab.scratch("other.sock");
    let second = lab.sidegate("run").arg("--socket").arg(&elsewhere).output()?;
    exited(&second, 2, &["another sidegate instance of the same name"])?;
    ensure(!elsewhere.exists(), || "the second has left its socket".into())?;
    ensure(!first.ended()?, || "the first has ended".into())?;
    ensure(lab.talk()? == "10.2.9.1", || "the first is disturbed".into())?;
    exited(&lab.sidegate("status").output()?, 0, &[&lab.instance])
}

fn after_sigkill_it_starts_again() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let first = lab.start()?;
    lab.talk()?;
    first.end(Signal::KILL)?;
    ensure(control::socket_of(&lab.instance).exists(), || "a killed process cannot clean up".into())?;
    let second = lab.start()?;
    ensure(lab.talk()? == "10.2.9.1", || "the second does not forward".into())?;
    ensure(second.end(Signal::TERM)?.success(), || "the second does not end well".into())
}

fn a_replaced_namespace_is_attached() -> Result<(), Failed> {
    let mut lab = Lab::new()?;
    let running = lab.start()?;
    lab.talk()?;
    let name = lab.consumer.name().to_owned();
    // The old one has to go before the new one of the same name can come.
    drop(std::mem::replace(&mut lab.consumer, Namespace::unique("sg-cli-other")?));
    eventually("status says that it is down", || {
        lab.sidegate("status")
            .output()
            .is_ok_and(|output| exited(&output, 0, &["down", "the namespace is gone"]).is_ok())
    })?;
    lab.consumer = Namespace::create(&name)?;
    lab.consumer.address(&[([10, 1, 0, 2].into(), 32)])?;
    eventually("the new namespace is attached", || lab.talk().is_ok_and(|answer| answer == "10.2.9.1"))?;
    ensure(running.end(Signal::TERM)?.success(), || "it does not end well".into())?;
    ensure(!lab.has_device()?, || "the device is still there".into())
}

fn a_missing_namespace_is_named() -> Result<(), Failed> {
    let lab = Lab::new()?;
    drop(lab.start()?);
    std::fs::write(lab.config(), lab.operators_file("no-such-namespace"))?;
    exited(&lab.sidegate("run").output()?, 2, &["no-such-namespace", "ip netns add"])?;
    exited(&lab.sidegate("check").output()?, 0, &["no-such-namespace"])?;
    let live = lab.sidegate("check").arg("--live").output()?;
    exited(&live, 2, &["broken", "no-such-namespace", "ip netns add", "10.2.9.1 -> 10.2.0.2"])
}
