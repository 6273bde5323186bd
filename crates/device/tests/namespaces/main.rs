//! Devices against the real kernel, in namespaces of the tests' own; without root, in a user namespace. Where there is
//! none to be had, every trial is skipped, loudly, and none counts as passed; with `SIDEGATE_REQUIRE_PRIVILEGES=1` it
//! fails instead.

mod devices;
mod holds;
mod labs;
mod packets;
mod probes;
mod proxy;
mod rings;
mod steering;
mod support;

use std::process::ExitCode;

use device::lab::Permit;
use libtest_mimic::{Arguments, Failed, Trial};

use support::{BACKENDS, Backend};

/// A trial's name and what it does.
type Named = (&'static str, fn() -> Result<(), Failed>);

/// As [`Named`], for each backend.
type OfEach = (&'static str, fn(&Backend) -> Result<(), Failed>);

fn main() -> ExitCode {
    // One at a time: a command that one trial starts holds the queues of all others between fork and exec, so that
    // their devices outlive them.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let skipped = Permit::obtain("device").skips();
    let of_each =
        [devices::OF_EACH, holds::OF_EACH, packets::OF_EACH].concat().into_iter().flat_map(|(name, run)| {
            BACKENDS.iter().map(move |backend: &'static Backend| {
                Trial::test(format!("{}::{name}", backend.name), move || run(backend))
            })
        });
    let trials = [
        devices::TRIALS,
        holds::TRIALS,
        labs::TRIALS,
        packets::TRIALS,
        probes::TRIALS,
        proxy::TRIALS,
        steering::TRIALS,
    ];
    let trial = |(name, run)| Trial::test(name, run);
    let trials = trials.concat().into_iter().map(trial).chain(of_each);
    let trials = trials.map(|trial| trial.with_ignored_flag(skipped));
    let steered = [steering::OF_PROGRAMS, holds::OF_PROGRAMS].concat().into_iter().map(trial);
    let skips_programs = skipped || steering::skips_programs();
    let steered = steered.map(|trial| trial.with_ignored_flag(skips_programs));
    let skips_rings = skipped || rings::skips_rings();
    let together = rings::TRIALS.iter().copied().map(trial).map(|trial| trial.with_ignored_flag(skips_rings));
    libtest_mimic::run(&arguments, trials.chain(steered).chain(together).collect()).exit_code()
}
