//! `run -- CMD` and the ways of saying `ready`.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::Named;
use crate::lab::{Lab, Running, ensure, exited};

pub(crate) const TRIALS: &[Named] = &[
    ("command::its_status_is_passed_on", its_status_is_passed_on),
    ("command::it_runs_while_packets_flow", it_runs_while_packets_flow),
    ("command::signals_are_passed_on", signals_are_passed_on),
    ("command::a_terminals_signal_comes_once", a_terminals_signal_comes_once),
    ("command::a_wrong_one_is_a_mistake", a_wrong_one_is_a_mistake),
    ("ready::a_descriptor_is_told_and_closed", a_descriptor_is_told_and_closed),
    ("ready::a_service_manager_is_told", a_service_manager_is_told),
];

fn its_status_is_passed_on() -> Result<(), Failed> {
    let lab = Lab::new()?;
    for (script, status) in [("true", 0), ("exit 7", 7), ("kill -TERM $$", 128 + 15)] {
        let output = lab.sidegate("run").args(["--", "sh", "-c", script]).output()?;
        exited(&output, status, &[])?;
        ensure(output.stdout.is_empty(), || "stdout is the command's".into())?;
        ensure(!lab.has_device()?, || "the device is still there".into())?;
    }
    Ok(())
}

fn it_runs_while_packets_flow() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let mut running =
        Running::start(lab.sidegate("run").args(["--", "sh", "-c", "echo here; exec sleep 60"]))?;
    ensure(running.line()? == "here", || "the command did not speak".into())?;
    ensure(lab.talk()? == "10.2.9.1", || "nothing is forwarded".into())?;
    let status = running.end(Signal::TERM)?;
    ensure(status.code() == Some(128 + 15), || format!("{status}"))
}

fn signals_are_passed_on() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let script = "trap 'echo caught; exit 5' INT; echo here; while :; do sleep 0.05; done";
    let mut running = Running::start(lab.sidegate("run").args(["--", "sh", "-c", script]))?;
    ensure(running.line()? == "here", || "the command did not speak".into())?;
    running.send(Signal::INT)?;
    ensure(running.line()? == "caught", || "the signal did not arrive".into())?;
    let status = running.end(Signal::INT)?;
    ensure(status.code() == Some(5), || format!("{status}"))
}

/// The terminal sends Ctrl-C to the whole group. We are held up until the command has got it, so that one that we passed
/// on would be seen apart from it.
fn a_terminals_signal_comes_once() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let script = "trap 'echo caught' INT; trap 'exit 5' TERM; echo here; while :; do sleep 0.05; done";
    let (mut running, mut keyboard) =
        Running::on_terminal(lab.sidegate("run").args(["--", "sh", "-c", script]))?;
    ensure(running.line()? == "here", || "the command did not speak".into())?;
    running.send(Signal::STOP)?;
    keyboard.write_all(b"\x03")?;
    ensure(running.line()? == "caught", || "the terminal's signal did not arrive".into())?;
    running.send(Signal::CONT)?;
    running.send(Signal::TERM)?;
    let rest = running.rest()?;
    ensure(rest.is_empty(), || format!("it was passed on as well: {rest}"))?;
    let status = running.end(Signal::TERM)?;
    ensure(status.code() == Some(5), || format!("{status}"))
}

fn a_wrong_one_is_a_mistake() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let output = lab.sidegate("run").args(["--", "/no/such/command"]).output()?;
    exited(&output, 1, &["cannot run /no/such/command"])?;
    ensure(!lab.has_device()?, || "the device is still there".into())
}

/// The descriptor is a pipe whose end is seen while the instance runs.
fn a_descriptor_is_told_and_closed() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let run = lab.sidegate("run");
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" --ready-fd 3 3>&1 >/dev/null", "sh"]);
    shell.arg(run.get_program()).args(run.get_args());
    let mut running = Running::start(&mut shell)?;
    ensure(running.rest()? == "ready\n", || "the descriptor was told something else".into())?;
    ensure(lab.talk()? == "10.2.9.1", || "nothing is forwarded".into())?;
    ensure(running.end(Signal::TERM)?.success(), || "it does not end well".into())
}

fn a_service_manager_is_told() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let path = lab.scratch("notify");
    let manager = UnixDatagram::bind(&path)?;
    let running = Running::start(lab.sidegate("run").env("NOTIFY_SOCKET", &path))?;
    let mut buffer = [0; 64];
    let length = manager.recv(&mut buffer)?;
    ensure(&buffer[..length] == b"READY=1", || "the manager was told something else".into())?;
    ensure(lab.talk()? == "10.2.9.1", || "nothing is forwarded".into())?;
    ensure(running.end(Signal::TERM)?.success(), || "it does not end well".into())
}
