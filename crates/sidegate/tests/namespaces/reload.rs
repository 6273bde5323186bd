//! The operator's file, read again by a running instance: by `reload` and by SIGHUP.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use runtime::{Reloaded, TargetStatus};
use rustix::process::Signal;

use crate::Named;
use crate::lab::{Lab, Running, ensure, eventually, exited, sidegate};

pub(crate) const TRIALS: &[Named] = &[
    ("reload::a_good_file_takes_effect", a_good_file_takes_effect),
    ("reload::a_bad_file_changes_nothing", a_bad_file_changes_nothing),
    ("reload::what_cannot_change_is_refused", what_cannot_change_is_refused),
    ("reload::a_signal_does_the_same", a_signal_does_the_same),
    ("reload::a_command_is_not_disturbed", a_command_is_not_disturbed),
    ("reload::a_service_manager_is_told", a_service_manager_is_told),
    ("reload::a_lost_terminal_is_the_end", a_lost_terminal_is_the_end),
    ("reload::a_link_may_lead_elsewhere", a_link_may_lead_elsewhere),
    ("reload::it_does_not_hold_up_the_end", it_does_not_hold_up_the_end),
    ("reload::many_do_not_keep_others_from_asking", many_do_not_keep_others_from_asking),
    ("reload::a_delayed_one_is_seen_and_warned_of", a_delayed_one_is_seen_and_warned_of),
];

const FIRST: &str = "address = \"10.2.0.2\"";
const SECOND: &str = "address = \"10.2.0.3\"";
const NOWHERE: &str = "address = \"10.2.7.7\"";
/// Sooner than an instance gives up waiting for its service manager.
const SOON: Duration = Duration::from_secs(4);

/// A lab with a second server that the file does not know yet.
fn lab() -> Result<Lab, Failed> {
    let lab = Lab::new()?;
    lab.serve_at([10, 2, 0, 3], "second")?;
    Ok(lab)
}

/// Target and state, of all.
fn states(lab: &Lab) -> Result<Vec<(String, String)>, Failed> {
    let output = sidegate("targets").arg(&lab.instance).arg("--json").output()?;
    exited(&output, 0, &[])?;
    let targets: Vec<TargetStatus> = serde_json::from_slice(&output.stdout)?;
    Ok(targets.into_iter().map(|target| (target.address.to_string(), target.state)).collect())
}

fn has(lab: &Lab, address: &str, state: &str) -> bool {
    states(lab).is_ok_and(|states| states.contains(&(address.into(), state.into())))
}

fn a_good_file_takes_effect() -> Result<(), Failed> {
    let lab = lab()?;
    let _running = lab.start()?;
    ensure(lab.talk()? == "10.2.9.1", || "the first target does not answer".into())?;
    exited(&lab.sidegate("reload").output()?, 0, &["nothing is different"])?;

    lab.rewrite(FIRST, SECOND)?;
    let words = ["changes, in effect now", "10.2.0.2:8080", "removed", "10.2.0.3:8080", "added"];
    exited(&lab.sidegate("reload").output()?, 0, &words)?;
    ensure(lab.talk()? == "second", || "the second target does not answer".into())?;
    ensure(has(&lab, "10.2.0.2", "draining") && has(&lab, "10.2.0.3", "healthy"), || {
        format!("{:?}", states(&lab))
    })?;

    lab.rewrite(SECOND, FIRST)?;
    let output = sidegate("reload").arg(&lab.instance).arg("--json").output()?;
    exited(&output, 0, &[])?;
    let reloaded: Reloaded = serde_json::from_slice(&output.stdout)?;
    ensure(reloaded.changes.len() == 2 && reloaded.in_effect_after == 0.0, || format!("{reloaded:?}"))?;
    ensure(lab.talk()? == "10.2.9.1", || "the first target has not come back".into())
}

/// Each mistake is told as `check` tells it.
fn a_bad_file_changes_nothing() -> Result<(), Failed> {
    let lab = lab()?;
    let _running = lab.start()?;
    let before = states(&lab)?;
    lab.rewrite("port = 80,", "port = 0, colour = \"red\",")?;
    lab.rewrite(FIRST, SECOND)?;
    let check = lab.sidegate("check").output()?;
    exited(&check, 1, &["port", "colour", "has 2 mistakes"])?;
    let reload = sidegate("reload").arg(&lab.instance).output()?;
    exited(&reload, 1, &["has 2 mistakes", "nothing was changed"])?;
    let mistakes = |said: &[u8]| -> Vec<String> {
        String::from_utf8_lossy(said).lines().take(2).map(Into::into).collect()
    };
    ensure(mistakes(&reload.stderr) == mistakes(&check.stderr), || {
        String::from_utf8_lossy(&reload.stderr).into()
    })?;
    ensure(states(&lab)? == before, || "the targets have changed".into())?;
    ensure(lab.talk()? == "10.2.9.1", || "the first target does not answer any more".into())?;

    fs::remove_file(lab.config())?;
    let gone = sidegate("reload").arg(&lab.instance).output()?;
    exited(&gone, 1, &["cannot read", "orders.toml", "nothing was changed"])?;
    ensure(states(&lab)? == before, || "the targets have changed".into())
}

fn what_cannot_change_is_refused() -> Result<(), Failed> {
    let lab = lab()?;
    let _running = lab.start()?;
    lab.rewrite("[run]", "[run]\npropagation_delay = 0")?;
    exited(&lab.sidegate("reload").output()?, 0, &[])?;
    lab.rewrite("[run]", "[run]\nmtu = 1400")?;
    exited(&lab.sidegate("reload").output()?, 1, &["mtu", "restart", "nothing was changed"])?;
    ensure(lab.talk()? == "10.2.9.1", || "nothing is forwarded".into())
}

/// And what is wrong is in the log, as it is at the start.
fn a_signal_does_the_same() -> Result<(), Failed> {
    let lab = lab()?;
    let log = lab.scratch("log");
    let mut running = Running::start(lab.sidegate("run").stderr(File::create(&log)?))?;
    ensure(running.line()? == "ready", || "it is not ready".into())?;
    let logged = |words: &str| fs::read_to_string(&log).is_ok_and(|log| log.contains(words));

    let good = fs::read_to_string(lab.config())?;
    fs::write(lab.config(), good.replace("port = 80,", "port = 0,"))?;
    running.send(Signal::HUP)?;
    eventually("the log says what is wrong", || logged("has 1 mistake") && logged("nothing was changed"))?;
    ensure(lab.talk()? == "10.2.9.1", || "a bad file has changed something".into())?;

    fs::write(lab.config(), good.replace(FIRST, SECOND))?;
    running.send(Signal::HUP)?;
    eventually("the second target is in service", || has(&lab, "10.2.0.3", "healthy"))?;
    ensure(lab.talk()? == "second", || "the second target does not answer".into())?;

    fs::write(lab.config(), good.replace(FIRST, NOWHERE))?;
    running.send(Signal::HUP)?;
    eventually("the log warns of a target that nothing arrives at", || logged("10.2.9.1 -> 10.2.7.7"))?;
    ensure(running.end(Signal::TERM)?.success(), || "it does not end well".into())
}

/// SIGHUP is not passed on to it.
fn a_command_is_not_disturbed() -> Result<(), Failed> {
    let lab = lab()?;
    let script = "trap 'echo hung up' HUP; trap 'exit 5' TERM; echo here; while :; do sleep 0.05; done";
    let mut running = Running::start(lab.sidegate("run").args(["--", "sh", "-c", script]))?;
    ensure(running.line()? == "here", || "the command did not speak".into())?;
    lab.rewrite(FIRST, SECOND)?;
    running.send(Signal::HUP)?;
    eventually("the second target is in service", || has(&lab, "10.2.0.3", "healthy"))?;
    running.send(Signal::TERM)?;
    let rest = running.rest()?;
    ensure(rest.is_empty(), || format!("it was passed on: {rest}"))?;
    let status = running.end(Signal::TERM)?;
    ensure(status.code() == Some(5), || format!("{status}"))
}

fn a_service_manager_is_told() -> Result<(), Failed> {
    let lab = lab()?;
    let path = lab.scratch("notify");
    let manager = UnixDatagram::bind(&path)?;
    let mut running = Running::start(lab.sidegate("run").env("NOTIFY_SOCKET", &path))?;
    ensure(running.line()? == "ready", || "it is not ready".into())?;
    let told = || -> Result<String, Failed> {
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer)?;
        Ok(String::from_utf8(buffer[..length].into())?)
    };
    ensure(told()? == "READY=1", || "it was not told that packets flow".into())?;
    exited(&lab.sidegate("reload").output()?, 0, &[])?;
    let reloading = told()?;
    ensure(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), || reloading)?;
    ensure(told()? == "READY=1", || "it was not told that it is over".into())
}

/// The same signal, but nobody has asked for anything.
fn a_lost_terminal_is_the_end() -> Result<(), Failed> {
    let lab = lab()?;
    let (mut running, keyboard) = Running::on_terminal(&lab.sidegate("run"))?;
    ensure(running.line()? == "ready", || "it is not ready".into())?;
    lab.rewrite(FIRST, SECOND)?;
    running.send(Signal::HUP)?;
    eventually("on a terminal, too, it reads the file again", || has(&lab, "10.2.0.3", "healthy"))?;
    drop(keyboard);
    eventually("it ends with its terminal", || running.ended().is_ok_and(|ended| ended))?;
    ensure(!lab.has_device()?, || "the device is still there".into())
}

/// As where `current` leads to a release: the instance keeps its name, which is the first one's.
fn a_link_may_lead_elsewhere() -> Result<(), Failed> {
    let lab = lab()?;
    lab.rewrite(&format!("name = \"{}\"", lab.instance), "")?;
    let [link, next, socket] = ["current.toml", "next.toml", "control.sock"].map(|name| lab.scratch(name));
    symlink(lab.config(), &link)?;
    let mut running =
        Running::start(sidegate("run").arg("--config").arg(&link).arg("--socket").arg(&socket))?;
    ensure(running.line()? == "ready", || "it is not ready".into())?;
    ensure(lab.talk()? == "10.2.9.1", || "the first target does not answer".into())?;

    fs::write(&next, fs::read_to_string(lab.config())?.replace(FIRST, SECOND))?;
    fs::remove_file(&link)?;
    symlink(&next, &link)?;
    exited(&sidegate("reload").arg("--socket").arg(&socket).output()?, 0, &["2 changes, in effect now"])?;
    ensure(lab.talk()? == "second", || "the second target does not answer".into())
}

/// An instance that waits, in each reload, for its service manager.
fn start_under_a_deaf_manager(lab: &Lab) -> Result<(Running, UnixDatagram), Failed> {
    let path = lab.scratch("notify");
    let manager = UnixDatagram::bind(&path)?;
    let mut running = Running::start(lab.sidegate("run").env("NOTIFY_SOCKET", &path))?;
    ensure(running.line()? == "ready", || "it is not ready".into())?;
    while fill(&path)? {}
    Ok((running, manager))
}

/// Sends there what one socket may. Returns whether that was anything.
fn fill(path: &Path) -> io::Result<bool> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let sent = (0..).take_while(|_| socket.send_to(b"X=1", path).is_ok()).count();
    Ok(sent > 0)
}

fn it_does_not_hold_up_the_end() -> Result<(), Failed> {
    let lab = lab()?;
    let (running, _manager) = start_under_a_deaf_manager(&lab)?;
    let asked = Instant::now();
    running.send(Signal::HUP)?;
    ensure(running.end(Signal::TERM)?.success(), || "it does not end well".into())?;
    ensure(asked.elapsed() < SOON, || format!("that took {:?}", asked.elapsed()))?;
    ensure(!lab.has_device()?, || "the device is still there".into())
}

/// One is done, one waits, and the others are told so at once.
fn many_do_not_keep_others_from_asking() -> Result<(), Failed> {
    let lab = lab()?;
    let (_running, manager) = start_under_a_deaf_manager(&lab)?;
    let (done, outputs) = channel();
    for _ in 0..6 {
        let (mut reload, done) = (sidegate("reload"), done.clone());
        reload.arg(&lab.instance);
        thread::spawn(move || done.send(reload.output()));
    }
    for _ in 0..4 {
        exited(&outputs.recv_timeout(SOON)??, 2, &["a reload is under way", "try again"])?;
    }
    exited(&sidegate("status").arg(&lab.instance).output()?, 0, &["orders-a"])?;
    // It listens again.
    thread::spawn(move || while manager.recv(&mut [0; 64]).is_ok() {});
    let [fifth, sixth] = [outputs.recv()??, outputs.recv()??];
    ensure(fifth.status.success() || sixth.status.success(), || format!("{fifth:?}, {sixth:?}"))
}

/// What will not arrive is told when it takes effect; until then nothing of it is there.
fn a_delayed_one_is_seen_and_warned_of() -> Result<(), Failed> {
    let lab = lab()?;
    lab.rewrite("[run]", "[run]\npropagation_delay = 2")?;
    let log = lab.scratch("log");
    let mut running = Running::start(lab.sidegate("run").stderr(File::create(&log)?))?;
    ensure(running.line()? == "ready", || "it is not ready".into())?;
    let warned = || fs::read_to_string(&log).is_ok_and(|log| log.contains("10.2.9.1 -> 10.2.7.7"));
    let reload = || lab.sidegate("reload").output();

    lab.rewrite(FIRST, NOWHERE)?;
    exited(&reload()?, 0, &["2 changes, in effect in"])?;
    exited(&lab.sidegate("status").output()?, 0, &["a reload takes effect in"])?;
    ensure(!warned(), || "warned of what is not in force".into())?;
    eventually("the log warns of a target that nothing arrives at", warned)?;
    let status = lab.sidegate("status").output()?;
    exited(&status, 0, &[])?;
    ensure(!String::from_utf8_lossy(&status.stdout).contains("takes effect"), || "it has".into())?;

    lab.rewrite(NOWHERE, SECOND)?;
    exited(&reload()?, 0, &["in effect in"])?;
    lab.rewrite("port = 80,", "port = 0,")?;
    let words = ["has 1 mistake", "nothing was changed", "the reload before it still takes effect in"];
    exited(&sidegate("reload").arg(&lab.instance).output()?, 1, &words)?;
    lab.rewrite("port = 0,", "port = 80,")?;
    lab.rewrite(SECOND, NOWHERE)?;
    exited(&reload()?, 0, &["nothing is different", "is given up"])
}
