//! The demo's end, whatever ends it; and the one that stays to be played with.

use std::path::Path;
use std::process::{self, Command};

use device::lab::Namespace;
use libtest_mimic::Failed;
use rustix::process::Signal;
use tempfile::Builder;

use crate::Named;
use crate::lab::{Running, ensure, exited, sidegate};

pub(crate) const TRIALS: &[Named] = &[
    ("demo::it_cleans_up_when_interrupted", it_cleans_up_when_interrupted),
    ("demo::a_kept_one_is_there_to_play_with", a_kept_one_is_there_to_play_with),
    ("demo::what_a_killed_one_has_left_is_removed", what_a_killed_one_has_left_is_removed),
    ("demo::what_cannot_be_removed_keeps_nothing_else", what_cannot_be_removed_keeps_nothing_else),
    ("demo::what_is_not_a_demos_is_not_removed", what_is_not_a_demos_is_not_removed),
];

/// A demo at work.
pub(crate) struct Demo {
    running: Running,
    namespaces: Vec<String>,
    /// The commands to play with, of one that is kept.
    pub(crate) commands: Vec<String>,
}

impl Demo {
    /// Reads what it says until it measures.
    fn measuring(running: Running) -> Result<Self, Failed> {
        let mut demo = Self { running, namespaces: Vec::new(), commands: Vec::new() };
        while !demo.heed_line()?.starts_with("measuring") {}
        Ok(demo)
    }

    /// Reads what one says that is kept.
    pub(crate) fn kept(running: Running) -> Result<Self, Failed> {
        let mut demo = Self { running, namespaces: Vec::new(), commands: Vec::new() };
        while !demo.heed_line()?.starts_with("keep") {}
        loop {
            match demo.running.line()?.trim() {
                "" => return Ok(demo),
                purpose if purpose.starts_with('#') => {
                    let command = demo.running.line()?.trim().to_owned();
                    demo.commands.push(command);
                }
                _ => {}
            }
        }
    }

    fn heed_line(&mut self) -> Result<String, Failed> {
        let line = self.running.line()?;
        let words = line.split([' ', ',', ';']).filter(|word| word.starts_with("sg-demo-"));
        self.namespaces.extend(words.map(str::to_owned));
        Ok(line)
    }

    /// The command to play with that has this in it.
    pub(crate) fn command(&self, part: &str) -> Result<&str, Failed> {
        let command = self.commands.iter().find(|command| command.contains(part));
        Ok(command.ok_or_else(|| format!("no {part} is in {:?}", self.commands))?)
    }

    /// Sends a signal, waits for the end, and fails unless it has this status and leaves nothing.
    pub(crate) fn end(self, signal: Signal, status: i32) -> Result<(), Failed> {
        let ended = self.running.end(signal)?;
        ensure(ended.code() == Some(status), || format!("{signal:?}: {ended}"))?;
        ensure(count(&self.namespaces) == 0, || format!("{:?} are still there", self.namespaces))
    }
}

fn start(arguments: &[&str]) -> Result<Running, Failed> {
    Running::start(sidegate("demo").args(arguments))
}

/// How many of these namespaces there are.
fn count(namespaces: &[String]) -> usize {
    namespaces.iter().filter(|name| Path::new("/run/netns").join(name).exists()).count()
}

fn it_cleans_up_when_interrupted() -> Result<(), Failed> {
    for signal in [Signal::INT, Signal::HUP] {
        let demo = Demo::measuring(start(&[])?)?;
        ensure(count(&demo.namespaces) == 3, || format!("{:?} are not there", demo.namespaces))?;
        demo.end(signal, 130)?;
    }
    Ok(())
}

/// With the very commands that it prints.
fn a_kept_one_is_there_to_play_with() -> Result<(), Failed> {
    let demo = Demo::kept(start(&["--keep"])?)?;
    ensure(count(&demo.namespaces) == 3, || format!("{:?} are not there", demo.namespaces))?;
    for (part, says) in [
        ("/hello/a", "a 10.2.9.1:"),
        ("/hello/b", "b 10.2.9.1:"),
        ("echo hello", "hello"),
        ("status", "terminated"),
    ] {
        exited(&Command::new("sh").args(["-c", demo.command(part)?]).output()?, 0, &[says])?;
    }
    for in_vain in ["10.1.0.2 22", "10.2.9.1 40000"] {
        let output = Command::new("sh").args(["-c", demo.command(in_vain)?]).output()?;
        exited(&output, 1, &["nc: connect to"])?;
    }
    demo.end(Signal::INT, 0)
}

fn what_a_killed_one_has_left_is_removed() -> Result<(), Failed> {
    let killed = Demo::kept(start(&["--keep"])?)?;
    let alive = Demo::kept(start(&["--keep"])?)?;
    let socket = socket(&killed)?;
    let Demo { running, namespaces: left, .. } = killed;
    running.end(Signal::KILL)?;
    ensure(count(&left) == 3 && Path::new(&socket).exists(), || "a killed process cannot clean up".into())?;

    let cleanup = || sidegate("demo").arg("--cleanup").output();
    let removed = [&left[0], &left[1], &left[2], &socket].map(String::as_str);
    exited(&cleanup()?, 0, &removed)?;
    ensure(count(&left) == 0 && !Path::new(&socket).exists(), || format!("{left:?} are still there"))?;
    exited(&cleanup()?, 0, &["left alone: demo-"])?;

    let ask = alive.command("/hello/a")?;
    exited(&Command::new("sh").args(["-c", ask]).output()?, 0, &["a 10.2.9.1:"])?;
    alive.end(Signal::TERM, 0)
}

/// The first of two dead demos has something else than a socket at its socket's place.
fn what_cannot_be_removed_keeps_nothing_else() -> Result<(), Failed> {
    let (odd, other) = (no_process(4_000_000_000), no_process(4_100_000_000));
    let socket = control::socket_of(&format!("demo-{odd}"));
    let folder = socket.parent().ok_or("no folder")?;
    std::fs::create_dir_all(folder)?;
    let file =
        Builder::new().prefix(&format!("demo-{odd}")).suffix(".sock").rand_bytes(0).tempfile_in(folder)?;
    let leftovers = [odd, other].map(|demo| Namespace::create(&format!("sg-demo-a-{demo}-0")));
    let [in_the_way, removable] = leftovers;
    let (in_the_way, removable) = (in_the_way?, removable?);

    let output = sidegate("demo").arg("--cleanup").output()?;
    let said = [&file.path().display().to_string(), "remove it by hand", removable.name()];
    exited(&output, 2, &said)?;
    ensure(in_the_way.path().exists() && file.path().exists(), || "what was in the way is gone".into())?;
    ensure(!removable.path().exists(), || "the other is still there".into())?;
    drop(file);
    exited(&sidegate("demo").arg("--cleanup").output()?, 0, &[in_the_way.name()])
}

fn what_is_not_a_demos_is_not_removed() -> Result<(), Failed> {
    let nobody = no_process(4_200_000_000);
    let left = Namespace::create(&format!("sg-demo-a-{nobody}-0"))?;
    let others = [format!("sg-demo-test-{nobody}"), format!("sg-demolition-eu-{nobody}")];
    let others = others.map(|name| Namespace::create(&name));
    exited(&sidegate("demo").arg("--cleanup").output()?, 0, &[left.name()])?;
    ensure(!left.path().exists(), || "a demo's is still there".into())?;
    for other in others {
        let other = other?;
        ensure(other.path().exists(), || format!("{} is gone", other.name()))?;
    }
    Ok(())
}

/// A number that no process has, and no other run of these trials uses.
fn no_process(base: u32) -> u32 {
    base + process::id()
}

/// The socket that a kept demo answers on.
fn socket(demo: &Demo) -> Result<String, Failed> {
    let instance = demo.command("status")?.rsplit(' ').next().ok_or("no instance")?;
    Ok(control::socket_of(instance).display().to_string())
}
