//! The built command against the real kernel, in namespaces of the tests' own; without root, in a user namespace. Where
//! there is none to be had, every trial is skipped, loudly, and none counts as passed; with
//! `SIDEGATE_REQUIRE_PRIVILEGES=1` it fails instead.

mod command;
mod demo;
mod hosts;
mod lab;
mod life;
mod privilege;
mod reload;
mod sight;
mod traffic;

use std::process::ExitCode;

use device::lab::Permit;
use libtest_mimic::{Arguments, Failed, Trial};

/// A trial's name and what it does.
type Named = (&'static str, fn() -> Result<(), Failed>);

fn main() -> ExitCode {
    // One at a time: a program that one trial has just copied cannot be run while a command that another trial starts
    // holds it open, between fork and exec.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let permit = Permit::obtain("sidegate");
    let anyones = [
        demo::TRIALS,
        life::TRIALS,
        command::TRIALS,
        sight::TRIALS,
        traffic::TRIALS,
        reload::TRIALS,
        hosts::TRIALS,
    ];
    let anyones = trials(&anyones, permit.skips());
    let roots = trials(&[privilege::TRIALS], permit.skips_those_of_root());
    libtest_mimic::run(&arguments, anyones.chain(roots).collect()).exit_code()
}

fn trials(lists: &[&'static [Named]], skipped: bool) -> impl Iterator<Item = Trial> {
    let trials = lists.concat().into_iter();
    trials.map(move |(name, run)| Trial::test(name, run).with_ignored_flag(skipped))
}
