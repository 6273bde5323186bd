//! Reading the operator's file again: what a running instance does for SIGHUP and for `sidegate reload`.

use std::fmt::{self, Display};
use std::process::ExitCode;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use runtime::{Observer, ReloadError, Reloaded};
use tracing::{info, warn};

use crate::args::ReloadArgs;
use crate::config::Source;
use crate::request::Request;
use crate::run::start_thread;
use crate::{Failure, output, ready, units};

/// What is added to whatever stands in the way of a reload.
const UNCHANGED: &str = "nothing was changed";
/// How many changes the log lists. Whoever asks is told all.
const LOGGED: usize = 20;

/// `sidegate reload`: has the instance do it, and prints what is different.
pub(crate) fn reload(args: &ReloadArgs) -> Result<ExitCode, Failure> {
    let request = Request::Reload {};
    let socket = args.whom.find().map_err(|failure| failure.adding(UNCHANGED))?;
    let reloaded: Reloaded = control::ask(&socket, &request, request.patience())?;
    if args.json {
        output::print_json(&reloaded)?;
    } else {
        output::print(Summary { reloaded: &reloaded, most: usize::MAX })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where reloads are asked for. One is done at a time, and one more may wait: it will read whatever the file says then.
#[derive(Clone)]
pub(crate) struct Reloads(SyncSender<Asker>);

/// Who waits for what becomes of a reload, if anybody does.
type Asker = Option<SyncSender<Result<Reloaded, Failure>>>;

impl Reloads {
    /// Of an instance that has started with this file. A thread of their own does them.
    pub(crate) fn start(source: Source, observer: Observer) -> Result<Self, Failure> {
        let (asking, askers) = sync_channel::<Asker>(1);
        let reloader = Reloader { source, observer };
        start_thread("reloads", move || {
            for asker in askers {
                let outcome = reloader.reload();
                // Who asked may have gone.
                let _ = asker.map(|asker| asker.send(outcome));
            }
        })?;
        Ok(Self(asking))
    }

    /// Has the file read again, soon. Where one waits already, that does it.
    pub(crate) fn ask(&self) {
        let _ = self.0.try_send(None);
    }

    /// Has the file read again, and waits for what becomes of it.
    pub(crate) fn wait_for_one(&self) -> Result<Reloaded, Failure> {
        let (asker, outcome) = sync_channel(1);
        if matches!(self.0.try_send(Some(asker)), Err(TrySendError::Full(_))) {
            return Err(Failure::system("a reload is under way, and another waits; try again"));
        }
        let broken_off = || Failure::system("the reload has broken off; look at the log of that sidegate");
        outcome.recv().map_err(|_| broken_off())?
    }
}

/// A running instance and its file.
struct Reloader {
    source: Source,
    observer: Observer,
}

impl Reloader {
    /// Reads the file, and has the forwarder take it up.
    fn reload(&self) -> Result<Reloaded, Failure> {
        ready::announce_reload();
        let outcome = self.take_up();
        ready::announce(None);
        log(&outcome);
        outcome
    }

    fn take_up(&self) -> Result<Reloaded, Failure> {
        let topology = self.source.read_again().map_err(|failure| self.refused(failure))?;
        self.observer.reload(topology).map_err(|error| match error {
            // Nobody knows what has become of it.
            ReloadError::Silent => error.into(),
            _ => self.refused(error.into()),
        })
    }

    /// A failure that leaves all as it is, also what an earlier reload is yet to bring.
    fn refused(&self, failure: Failure) -> Failure {
        match self.observer.reload_in() {
            None => failure.adding(UNCHANGED),
            Some(left) => {
                let left = units::until(left.as_secs_f64());
                failure.adding(&format!("{UNCHANGED}; the reload before it still takes effect in {left}"))
            }
        }
    }
}

/// Whoever asked, the log has it too.
fn log(outcome: &Result<Reloaded, Failure>) {
    match outcome {
        Ok(reloaded) => {
            Summary { reloaded, most: LOGGED }.to_string().lines().for_each(|line| info!("{line}"));
        }
        Err(failure) => failure.to_string().lines().for_each(|line| warn!("{line}")),
    }
}

/// What a reload has changed: so many lines, and one or two more.
struct Summary<'a> {
    reloaded: &'a Reloaded,
    most: usize,
}

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reloaded { changes, in_effect_after, gives_up } = self.reloaded;
        let when = match in_effect_after {
            0.0 => "in effect now".into(),
            seconds => format!("in effect in {}", units::until(*seconds)),
        };
        match changes.len() {
            0 => writeln!(f, "the file was read again: nothing is different")?,
            1 => writeln!(f, "the file was read again: 1 change, {when}")?,
            many => writeln!(f, "the file was read again: {} changes, {when}", units::count(many as u64))?,
        }
        if *gives_up {
            writeln!(f, "  the reload before it, which had not taken effect yet, is given up")?;
        }
        changes.iter().take(self.most).try_for_each(|change| writeln!(f, "  {change}"))?;
        match changes.len().saturating_sub(self.most) {
            0 => Ok(()),
            more => writeln!(f, "  and {} more", units::count(more as u64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::{Change, ChangeKind};

    use super::*;

    fn changed(how: ChangeKind) -> Change {
        Change { thing: "target".into(), name: "10.2.0.3:8080 of web".into(), how }
    }

    #[test]
    fn a_summary_says_what_and_when() {
        let summary = |changes: &[ChangeKind], in_effect_after| {
            let changes = changes.iter().copied().map(changed).collect();
            Summary { reloaded: &Reloaded { changes, in_effect_after, gives_up: false }, most: usize::MAX }
                .to_string()
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

    #[test]
    fn the_log_lists_only_so_many() {
        let logged = |changes| {
            let changes = vec![changed(ChangeKind::Added); changes];
            let reloaded = &Reloaded { changes, in_effect_after: 0.0, gives_up: false };
            Summary { reloaded, most: LOGGED }.to_string()
        };
        let all = logged(LOGGED);
        assert!(all.lines().count() == 1 + LOGGED && !all.contains("more"), "{all}");
        let some = logged(LOGGED + 1234);
        assert_eq!(some.lines().count(), 1 + LOGGED + 1, "{some}");
        assert!(some.starts_with("the file was read again: 1,254 changes, in effect now\n"), "{some}");
        assert!(some.ends_with("\n  and 1,234 more\n"), "{some}");
    }
}
