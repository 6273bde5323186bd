//! A forwarder between real kernels: namespaces of its own, real devices, the standard library's sockets at both ends.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that fails here has failed

mod carrying;
mod checking;
mod lab;
mod lowering;
mod reloads;
mod silence;

use device::lab::Permit;
use lab::{BACKENDS, Backend};
use libtest_mimic::{Arguments, Failed, Trial};

/// A trial's name and what it does.
type Named = (&'static str, fn());

/// As [`Named`], for each backend.
type OfEach = (&'static str, fn(&Backend));

fn main() {
    let skipped = Permit::obtain("runtime").skips();
    let trial = move |name: String, run: Box<dyn FnOnce() + Send>| {
        let run = move || {
            run();
            Ok::<_, Failed>(())
        };
        Trial::test(name, run).with_ignored_flag(skipped)
    };
    let of_each = [carrying::OF_EACH, reloads::OF_EACH].into_iter().flatten().flat_map(|(name, run)| {
        let of = move |backend: &'static Backend| {
            trial(format!("{}::{name}", backend.name), Box::new(move || run(backend)))
        };
        BACKENDS.iter().map(of)
    });
    let once = [checking::TRIALS, lowering::TRIALS, silence::TRIALS].into_iter().flatten();
    let once = once.map(|(name, run)| trial((*name).into(), Box::new(run)));
    // One at a time: what one of them counts of the process, another would change; and a command that one starts holds the
    // devices of all others between fork and exec.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, of_each.chain(once).collect()).exit();
}
