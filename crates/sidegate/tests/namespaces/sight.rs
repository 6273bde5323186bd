//! What a running instance and the machine show: `status` and `check --live`.

use std::fs::{self, File};

use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::Named;
use crate::lab::{Lab, Running, ensure, exited, sidegate};

pub(crate) const TRIALS: &[Named] = &[
    ("sight::status_tells_what_goes_on", status_tells_what_goes_on),
    ("sight::status_is_for_scripts_too", status_is_for_scripts_too),
    ("sight::check_judges_the_machine", check_judges_the_machine),
    ("sight::check_and_run_agree_about_a_consumer", check_and_run_agree_about_a_consumer),
    ("sight::run_warns_of_what_will_not_arrive", run_warns_of_what_will_not_arrive),
    ("sight::plain_devices_are_said_to_be_plain", plain_devices_are_said_to_be_plain),
];

fn status_tells_what_goes_on() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let _running = lab.start()?;
    lab.talk()?;
    for mut status in [lab.sidegate("status"), by_name(&lab)] {
        let output = status.output()?;
        exited(&output, 0, &["orders-a", "forwarded", lab.consumer.name(), lab.provider.name(), "up"])?;
        let shown = String::from_utf8_lossy(&output.stdout);
        ensure(!shown.contains("over_mtu"), || format!("what never happened is shown: {shown}"))?;
    }
    exited(&by_name(&lab).arg("--all").output()?, 0, &["over_mtu"])
}

fn by_name(lab: &Lab) -> std::process::Command {
    let mut status = sidegate("status");
    status.arg(&lab.instance);
    status
}

fn status_is_for_scripts_too() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let _running = lab.start()?;
    lab.talk()?;
    let output = lab.sidegate("status").arg("--json").output()?;
    let snapshot: runtime::Snapshot = serde_json::from_slice(&output.stdout)?;
    ensure(snapshot.instance == lab.instance, || format!("{} answers", snapshot.instance))?;
    let forwarded = snapshot.verdicts.iter().find(|verdict| verdict.reason == "forwarded");
    ensure(forwarded.is_some_and(|verdict| verdict.count > 0), || "nothing was counted".into())
}

/// With and without an instance that has the routes already.
fn check_judges_the_machine() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let fine = ["10.2.9.1 -> 10.2.0.2", "delivered there", "orders.toml: ok"];
    exited(&lab.sidegate("check").arg("--live").output()?, 0, &fine)?;
    ensure(!lab.has_device()?, || "a device is left".into())?;
    let _running = lab.start()?;
    exited(&lab.sidegate("check").arg("--live").output()?, 0, &fine)?;
    ensure(lab.talk()? == "10.2.9.1", || "the running instance is disturbed".into())
}

fn check_and_run_agree_about_a_consumer() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let check = || lab.sidegate("check").arg("--live").output();
    exited(&check()?, 0, &["can be entered, and its addresses routed", "orders.toml: ok"])?;
    lab.consumer.address(&[([10, 1, 9, 50].into(), 32)])?;
    let remedy = ["10.1.9.50 is assigned to an interface of that namespace", "remove it there"];
    exited(&check()?, 2, &remedy)?;
    exited(&lab.sidegate("run").output()?, 2, &remedy)
}

/// As `check --live` would; and it starts all the same.
fn run_warns_of_what_will_not_arrive() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let log = lab.scratch("log");
    let started = || -> Result<String, Failed> {
        let mut running = Running::start(lab.sidegate("run").stderr(File::create(&log)?))?;
        ensure(running.line()? == "ready", || "it is not ready".into())?;
        ensure(running.end(Signal::TERM)?.success(), || "it does not end well".into())?;
        Ok(fs::read_to_string(&log)?)
    };
    let quiet = started()?;
    ensure(!quiet.contains("WARN"), || format!("nothing is wrong, and yet: {quiet}"))?;

    let file = fs::read_to_string(lab.config())?;
    fs::write(lab.config(), file.replace("10.2.0.2", "10.2.7.7"))?;
    let told = started()?;
    let warning = "10.2.9.1 -> 10.2.7.7 in namespace";
    ensure(told.contains("WARN") && told.contains(warning) && told.contains("ip_forward=1"), || told.clone())
}

/// In `check`, in the log, in `status`. As to who may have the device's name, they are devices like others.
fn plain_devices_are_said_to_be_plain() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let file = fs::read_to_string(lab.config())?;
    let many = file.replace("[run]", "[run]\ndevice = \"plain\"\nworkers = 2");
    fs::write(lab.config(), many)?;
    exited(&lab.sidegate("run").output()?, 1, &["run.workers", "cannot share the one queue"])?;

    fs::write(lab.config(), file.replace("[run]", "[run]\ndevice = \"plain\""))?;
    let check = lab.sidegate("check").arg("--live").output()?;
    exited(&check, 0, &["workers      1", "device       plain", "orders.toml: ok"])?;
    let log = lab.scratch("log");
    let mut running = Running::start(lab.sidegate("run").stderr(File::create(&log)?))?;
    ensure(running.line()? == "ready", || "it is not ready".into())?;
    ensure(lab.talk()? == "10.2.9.1", || "nothing is forwarded".into())?;
    exited(&lab.sidegate("status").output()?, 0, &["offloads: none (plain)"])?;
    exited(&lab.sidegate("status").arg("--json").output()?, 0, &[r#""offloads": "none (plain)""#])?;
    let said = fs::read_to_string(&log)?;
    ensure(said.contains("offloads none (plain)"), || said)?;

    for other in [&file, &fs::read_to_string(lab.config())?] {
        fs::write(lab.config(), other)?;
        let second = lab.sidegate("run").arg("--socket").arg(lab.scratch("other.sock")).output()?;
        exited(&second, 2, &["another sidegate instance of the same name"])?;
    }
    ensure(lab.talk()? == "10.2.9.1", || "the first is disturbed".into())?;
    ensure(running.end(Signal::TERM)?.success(), || "it does not end well".into())?;
    ensure(!lab.has_device()?, || "the device is still there".into())
}
