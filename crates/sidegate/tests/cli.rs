//! The command as a shell sees it: exit statuses, and what it says where.

#![cfg(test)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

const GOOD: &str = include_str!("orders.toml");

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
    assert!(["run", "check", "demo", "status"].iter().all(|verb| stdout.contains(verb)), "{stdout}");
    exits(0, &["--version"]);
    exits(0, &["run", "--help"]);
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
    ] {
        let (stdout, stderr) = exits(1, wrong);
        assert!(stdout.is_empty() && stderr.contains("--help"), "{wrong:?}: {stdout}{stderr}");
    }
}

#[test]
fn a_missing_file_is_named() {
    for verb in ["run", "check", "status"] {
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
fn status_says_who_does_not_answer() {
    let (_, stderr) = exits(1, &["status", "--socket", "/no/such.sock"]);
    assert!(stderr.starts_with("sidegate: no sidegate answers at /no/such.sock"), "{stderr}");
    let (_, stderr) = exits(1, &["status", "no-such-instance"]);
    assert!(stderr.contains("/run/sidegate/no-such-instance.sock"), "{stderr}");
}

#[test]
fn a_descriptor_that_is_not_open_is_refused() {
    let file = File::with(GOOD);
    let (_, stderr) = exits(1, &["run", "--config", file.name(), "--ready-fd", "77"]);
    assert!(stderr.starts_with("sidegate: cannot write to descriptor 77: No such file"), "{stderr}");
}
