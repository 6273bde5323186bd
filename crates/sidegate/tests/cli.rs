//! The command as a shell sees it: exit statuses, and what it says where.

#![cfg(test)]

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const GOOD: &str = include_str!("orders.toml");
const VERBS: [&str; 10] =
    ["run", "check", "demo", "status", "reload", "targets", "services", "endpoints", "flows", "explain"];
/// What `explain` cannot do without.
const TUPLE: [&str; 4] = ["--from", "10.1.0.2:40000", "--to", "10.1.9.50:80"];

fn sidegate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sidegate")).args(arguments).output().unwrap()
}

/// Runs it, checks its status, and returns what it said on stdout and stderr.
fn exits(status: i32, arguments: &[&str]) -> (String, String) {
    let output = sidegate(arguments);
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

struct File {
    _directory: TempDir,
    path: PathBuf,
}

impl File {
    fn with(text: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("orders.toml");
        fs::write(&path, text).unwrap();
        Self { _directory: directory, path }
    }

    fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

#[test]
fn help_is_no_mistake() {
    let (stdout, _) = exits(0, &["--help"]);
    exits(0, &["--version"]);
    for verb in VERBS {
        assert!(stdout.contains(&format!("\n  {verb} ")), "{verb} is not in\n{stdout}");
        exits(0, &[verb, "--help"]);
    }
}

#[test]
fn usage_errors_exit_with_1() {
    for wrong in [
        &[][..],
        &["fly"],
        &["run"],
        &["check"],
        &["demo", "now"],
        &["run", "--config", "f", "--ready-fd", "1"],
        &["status", "orders", "--socket", "s"],
        &["status", "--json", "--all"],
        &["reload", "orders", "--config", "f"],
        &["targets", "--group"],
        &["services", "--watch", "--watch"],
        &["flows", "--sort", "colour"],
        &["flows", "--protocol", "icmp"],
        &["explain"],
    ] {
        let (stdout, stderr) = exits(1, wrong);
        assert!(stdout.is_empty() && stderr.contains("--help"), "{wrong:?}: {stdout}{stderr}");
    }
}

/// A value that cannot be meant is met with one that can.
#[test]
fn wrong_values_are_met_with_right_ones() {
    for (wrong, words) in [
        (&["flows", "--target", "web"][..], "10.2.0.2:8080"),
        (&["flows", "--limit", "0"], "1 to 10000"),
        (&["targets", "--watch=soon"], "such as 2 or 0.5"),
        (&["targets", "--watch=0"], "0.1 to 3600 seconds"),
        (&["explain", "--from", "10.1.0.2", "--to", "10.1.9.50:80"], "add it (any"),
        (&["explain", "--from", "10.1.0.2:40000", "--to", "10.1.9.50"], "10.1.9.50:80"),
        (&["explain", "--from", "10.1.0.2:40000", "--to", "fd01::50"], "[fd01::50]:80"),
        (&["explain", "--from", "10.1.0.2:0", "--to", "10.1.9.50:80"], "port 0"),
        (&["explain", "--from", "me", "--to", "10.1.9.50:80"], "expected an address and a port"),
    ] {
        let (stdout, stderr) = exits(1, wrong);
        assert!(stdout.is_empty() && stderr.contains(words), "{wrong:?}: {stdout}{stderr}");
    }
}

#[test]
fn a_datagram_has_no_sequence_number() {
    let numbered =
        |more: &[&'static str]| [&["explain", "--socket", "/no/such.sock"], &TUPLE[..], more].concat();
    let (_, stderr) = exits(1, &numbered(&["--isn", "7"]));
    assert!(stderr.contains("no sidegate answers"), "{stderr}");
    let (_, stderr) = exits(1, &numbered(&["--isn", "7", "--udp"]));
    assert!(stderr.contains("cannot be used with"), "{stderr}");
}

#[test]
fn a_missing_file_is_named() {
    for verb in ["run", "check", "status", "reload", "targets", "services", "endpoints", "flows"] {
        let (_, stderr) = exits(1, &[verb, "--config", "/no/such/file.toml"]);
        assert!(stderr.starts_with("sidegate: cannot read /no/such/file.toml: No such file"), "{stderr}");
    }
}

#[test]
fn check_prints_what_it_understood() {
    let file = File::with(GOOD);
    let (stdout, stderr) = exits(0, &["check", "--config", file.name()]);
    for word in
        ["service orders", "10.2.9.1", "terminate", "target group dns", "endpoint orders-a", "consumer-a"]
    {
        assert!(stdout.contains(word), "{word} is not in\n{stdout}");
    }
    assert!(stdout.ends_with("orders.toml: ok\n"), "{stdout}");
    assert!(stdout.lines().all(|line| line.chars().count() <= 100), "{stdout}");
    assert!(stderr.is_empty(), "{stderr}");
}

#[test]
fn every_mistake_is_listed_with_its_place() {
    let broken = GOOD.replace("port = 8443", "port = 0").replace("\"dns\" }", "\"dsn\" }");
    let broken = broken.replace("[[endpoint]]\n", "[[endpoint]]\ncolour = \"red\"\n");
    let file = File::with(&broken);
    for verb in ["check", "run"] {
        let (stdout, stderr) = exits(1, &[verb, "--config", file.name()]);
        assert!(stdout.is_empty(), "{stdout}");
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), 4, "{stderr}");
        assert!(lines[..3].iter().all(|line| line.starts_with(&format!("{}:", file.name()))), "{stderr}");
        assert!(
            lines[0].contains("port") && lines[1].contains("dsn") && lines[2].contains("colour"),
            "{stderr}"
        );
        assert_eq!(
            lines[3],
            format!("sidegate: {} has 3 mistakes; correct what is listed above", file.name())
        );
    }
}

#[test]
fn who_does_not_answer_is_named() {
    for verb in ["status", "reload", "targets", "services", "endpoints", "flows"] {
        let (_, stderr) = exits(1, &[verb, "--socket", "/no/such.sock"]);
        assert!(stderr.starts_with("sidegate: no sidegate answers at /no/such.sock"), "{stderr}");
    }
    let (_, stderr) = exits(1, &["status", "no-such-instance"]);
    assert!(stderr.contains("/run/sidegate/no-such-instance.sock"), "{stderr}");
}

#[test]
fn a_descriptor_that_is_not_open_is_refused() {
    let file = File::with(GOOD);
    let (_, stderr) = exits(1, &["run", "--config", file.name(), "--ready-fd", "77"]);
    assert!(stderr.starts_with("sidegate: cannot write to descriptor 77: No such file"), "{stderr}");
}

/// Ctrl-C waits for the answer, which may be long in coming; the second does not.
#[test]
fn a_watch_can_be_ended_while_nobody_answers() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("silent.sock");
    let silent = UnixListener::bind(&socket).unwrap();
    let mut watch = Command::new(env!("CARGO_BIN_EXE_sidegate"));
    let mut watch = watch.args(["flows", "--watch", "--socket"]).arg(&socket).spawn().unwrap();
    let (mut asking, _) = silent.accept().unwrap();
    asking.read_exact(&mut [0; 1]).unwrap();

    let asked = Instant::now();
    let status = loop {
        kill_process(Pid::from_child(&watch), Signal::INT).unwrap();
        thread::sleep(Duration::from_millis(20));
        if let Some(status) = watch.try_wait().unwrap() {
            break status;
        }
    };
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()));
    assert!(asked.elapsed() < Duration::from_secs(10), "that took {:?}", asked.elapsed());
}
