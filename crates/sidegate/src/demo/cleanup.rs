//! `sidegate demo --cleanup`: removes what demos have left that were killed.
//!
//! A demo holds the lock of its instance from before it makes anything until after it has removed everything, and the
//! kernel takes the lock from a process that dies. So who gets the lock may remove what is left, and nobody else may.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

use control::{Claim, ClaimError, DIRECTORY, socket_of};
use device::lab;
use rustix::process::geteuid;

use super::network::{instance, process_of_instance, process_of_namespace};
use crate::{Failure, output};

/// Removes what is left, and says what that was.
pub(super) fn cleanup() -> Result<ExitCode, Failure> {
    let namespaces = lab::names()?;
    let mut demos: BTreeSet<u32> = namespaces.iter().filter_map(|name| process_of_namespace(name)).collect();
    demos.extend(
        instances().map_err(|error| {
            Failure::system(format_args!("cannot look for sockets in {DIRECTORY}: {error}"))
        })?,
    );
    if demos.is_empty() {
        output::print("nothing to remove: no demo has left anything\n")?;
    } else if !geteuid().is_root() {
        return Err(Failure::system(
            "there are demos of root's, and only root can clean up after them; run with sudo",
        ));
    }
    let mut failures = Vec::new();
    for demo in demos {
        let namespaces = namespaces.iter().filter(|name| process_of_namespace(name) == Some(demo));
        clean_up_after(demo, namespaces, &mut failures);
    }
    failures.iter().for_each(output::complain);
    Ok(failures.first().map_or(ExitCode::SUCCESS, Failure::exit_code))
}

/// Removes what the demo of this process has left, if the process is gone. What cannot be removed keeps nothing else.
fn clean_up_after<'n>(demo: u32, namespaces: impl Iterator<Item = &'n String>, failures: &mut Vec<Failure>) {
    let socket = socket_of(&instance(demo));
    let is_there = socket.exists();
    let claim = match Claim::take(&instance(demo), &socket) {
        Ok(claim) => claim,
        Err(ClaimError::Running { .. }) => {
            failures
                .extend(output::print(format_args!("left alone: {}, which runs\n", instance(demo))).err());
            return;
        }
        Err(error) => {
            failures.push(refusal(error));
            return;
        }
    };
    for namespace in namespaces {
        let removed = lab::remove(namespace).map_err(Failure::from);
        let said = removed.and_then(|()| output::print(format_args!("removed namespace {namespace}\n")));
        failures.extend(said.err());
    }
    drop(claim);
    if is_there {
        failures.extend(output::print(format_args!("removed {}\n", socket.display())).err());
    }
}

/// Why a demo's name cannot be had: in the words of this command, which has no `--socket`.
fn refusal(error: ClaimError) -> Failure {
    match error {
        ClaimError::Occupied { path } => Failure::system(format_args!(
            "{} is there, and no demo has left it behind; remove it by hand",
            path.display()
        )),
        error => error.into(),
    }
}

/// The demos that have a socket or a lock, dead or alive.
fn instances() -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(DIRECTORY) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut demos = Vec::new();
    for entry in entries {
        demos.extend(entry?.path().file_stem().and_then(|name| process_of_instance(name.to_str()?)));
    }
    Ok(demos)
}
