//! Reading the operator's file again: what a running instance does for SIGHUP and for `sidegate reload`.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use runtime::{Observer, ReloadError, Reloaded};
use topology::Topology;
use tracing::{info, warn};

use crate::args::ReloadArgs;
use crate::request::Request;
use crate::{Failure, config, output, ready, units, ways};

/// What is added to whatever stands in the way of a reload.
const UNCHANGED: &str = "nothing was changed";

/// `sidegate reload`: has the instance do it, and prints what is different.
pub(crate) fn reload(args: &ReloadArgs) -> Result<ExitCode, Failure> {
    let request = Request::Reload {};
    let socket = args.whom.find().map_err(|failure| failure.adding(UNCHANGED))?;
    let reloaded: Reloaded = control::ask(&socket, &request, request.patience())?;
    if args.json {
        output::print_json(&reloaded)?;
    } else {
        output::print(Summary(&reloaded))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A running instance and its file.
pub(crate) struct Reloader {
    file: PathBuf,
    observer: Observer,
    /// What was taken up last. One reload at a time, so that it is what was read last.
    last: Mutex<Arc<Topology>>,
}

impl Reloader {
    /// An instance that has started with this file, which said this.
    pub(crate) fn new(file: PathBuf, topology: Arc<Topology>, observer: Observer) -> Self {
        Self { file, observer, last: Mutex::new(topology) }
    }

    /// Reads the file, and has the forwarder take it up.
    pub(crate) fn reload(&self) -> Result<Reloaded, Failure> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        ready::announce_reload();
        let outcome = self.take_up(&mut last);
        ready::announce(None);
        log(&outcome);
        outcome
    }

    fn take_up(&self, last: &mut Arc<Topology>) -> Result<Reloaded, Failure> {
        let topology = self.read().map_err(|failure| failure.adding(UNCHANGED))?;
        let reloaded = self.observer.reload(topology.clone()).map_err(|error| match error {
            // Nobody knows what has become of it.
            ReloadError::Silent => error.into(),
            _ => Failure::from(error).adding(UNCHANGED),
        })?;
        // Before that, devices and routes may be missing.
        if reloaded.in_effect_after == 0.0 {
            ways::warn_of_broken(&topology, Some(last));
        }
        *last = Arc::new(topology);
        Ok(reloaded)
    }

    fn read(&self) -> Result<Topology, Failure> {
        let file = self.file.display();
        if !self.file.exists() || self.file.is_file() {
            return config::load(&self.file);
        }
        Err(Failure::mistake(format_args!(
            "{file} cannot be read twice; start sidegate with a file, not with a pipe"
        )))
    }
}

/// Whoever asked, the log has it too.
fn log(outcome: &Result<Reloaded, Failure>) {
    match outcome {
        Ok(reloaded) => Summary(reloaded).to_string().lines().for_each(|line| info!("{line}")),
        Err(failure) => failure.to_string().lines().for_each(|line| warn!("{line}")),
    }
}

/// What a reload has changed, in a few lines.
struct Summary<'a>(&'a Reloaded);

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reloaded { changes, in_effect_after } = self.0;
        let when = match in_effect_after {
            0.0 => "in effect now".into(),
            seconds => format!("in effect in {}", units::age(seconds.ceil() as u64)),
        };
        match changes.len() {
            0 => return writeln!(f, "the file was read again: nothing is different"),
            1 => writeln!(f, "the file was read again: 1 change, {when}")?,
            many => writeln!(f, "the file was read again: {} changes, {when}", units::count(many as u64))?,
        }
        changes.iter().try_for_each(|change| writeln!(f, "  {change}"))
    }
}

#[cfg(test)]
mod tests {
    use runtime::{Change, ChangeKind};

    use super::*;

    #[test]
    fn a_summary_says_what_and_when() {
        let change = |how| Change { thing: "target".into(), name: "10.2.0.3:8080 of web".into(), how };
        let summary = |changes: &[ChangeKind], in_effect_after| {
            let changes = changes.iter().copied().map(change).collect();
            Summary(&Reloaded { changes, in_effect_after }).to_string()
        };
        assert_eq!(summary(&[], 0.0), "the file was read again: nothing is different\n");
        assert_eq!(
            summary(&[ChangeKind::Added], 0.0),
            "the file was read again: 1 change, in effect now\n  target 10.2.0.3:8080 of web added\n"
        );
        let delayed = summary(&[ChangeKind::Removed, ChangeKind::Changed], 89.5);
        assert!(
            delayed.starts_with("the file was read again: 2 changes, in effect in 1 min 30 s\n"),
            "{delayed}"
        );
    }
}
