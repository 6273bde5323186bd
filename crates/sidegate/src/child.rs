//! The command that `run -- CMD` runs.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, ExitCode, ExitStatus};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{Failure, ready};

/// A command that has been started.
pub(crate) struct Child(process::Child);

impl Child {
    /// Starts it, with our own stdin, stdout and stderr.
    pub(crate) fn start(program: &OsString, arguments: &[OsString]) -> Result<Self, Failure> {
        // The service manager is told about us, not about the command.
        Command::new(program).args(arguments).env_remove(ready::NOTIFY_SOCKET).spawn().map(Self).map_err(
            |error| {
                let program = program.display();
                Failure::mistake(format_args!("cannot run {program}: {error}; correct the command after --"))
            },
        )
    }

    /// A way to send it signals, which reaches nobody else once it has ended.
    pub(crate) fn line(&self) -> io::Result<Line> {
        Ok(Line(pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty())?))
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> io::Result<ExitCode> {
        self.0.wait().map(exit_code)
    }
}

/// A way to send a command signals.
pub(crate) struct Line(OwnedFd);

impl Line {
    /// Passes a signal on. One that comes too late does no harm.
    pub(crate) fn send(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            let _ = pidfd_send_signal(&self.0, signal);
        }
    }
}

/// Its status as shells tell it: 128 and the signal that ended it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let number = status.code().or_else(|| Some(128 + status.signal()?));
    number.and_then(|number| u8::try_from(number).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
