//! Devices against the real kernel, in namespaces of the tests' own. Without privilege every trial is skipped,
//! loudly, and none counts as passed; with `SIDEGATE_REQUIRE_PRIVILEGES=1` it fails instead.

mod devices;
mod labs;
mod packets;
mod probes;
mod support;

use std::process::ExitCode;

use device::lab;
use libtest_mimic::{Arguments, Failed, Trial};

/// A trial's name and what it does.
type Named = (&'static str, fn() -> Result<(), Failed>);

fn main() -> ExitCode {
    // One at a time: a command that one trial starts holds the queues of all others between fork and exec, so that
    // their devices outlive them.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let skipped = lab::skips_tests_of("device");
    let trials = [devices::TRIALS, labs::TRIALS, packets::TRIALS, probes::TRIALS].concat();
    let trials = trials.into_iter().map(|(name, run)| Trial::test(name, run).with_ignored_flag(skipped));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
