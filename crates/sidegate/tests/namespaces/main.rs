//! The built command against the real kernel, in namespaces of the tests' own. Without privilege every trial is
//! skipped, loudly, and none counts as passed; with `SIDEGATE_REQUIRE_PRIVILEGES=1` it fails instead.

mod command;
mod lab;
mod life;
mod sight;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// A trial's name and what it does.
type Named = (&'static str, fn() -> Result<(), Failed>);

fn main() -> ExitCode {
    // One at a time: a program that one trial has just copied cannot be run while a command that another trial starts
    // holds it open, between fork and exec.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let skipped = device::lab::skips_tests_of("sidegate");
    let trials = [life::TRIALS, command::TRIALS, sight::TRIALS].concat();
    let trials = trials.into_iter().map(|(name, run)| Trial::test(name, run).with_ignored_flag(skipped));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
