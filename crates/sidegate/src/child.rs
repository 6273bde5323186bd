//! The command that `run -- CMD` runs.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, ExitCode, ExitStatus};

use device::Obstacle;
use rustix::process::{Pid, PidfdFlags, Signal, getpgid, getpgrp, pidfd_open, pidfd_send_signal};
use rustix::termios::tcgetpgrp;

use crate::{Failure, ready};

/// A command that has been started. Dropped before its end, it is killed: nobody would wait for it any more.
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
    pub(crate) fn line(&self) -> Result<Line, Failure> {
        let pid = Pid::from_child(&self.0);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| {
            let error = io::Error::from(errno);
            match Obstacle::of_old_kernel(&error) {
                Some(obstacle) => obstacle.into(),
                None => Failure::system(format_args!("cannot watch the command: {error}")),
            }
        })?;
        Ok(Line { pid, pidfd })
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> io::Result<ExitCode> {
        self.0.wait().map(exit_code)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing is done to one whose end has been seen.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A way to send a command signals.
pub(crate) struct Line {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Line {
    /// Sends a signal. One that comes too late does no harm.
    pub(crate) fn send(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Passes on a signal that came to us, unless it is the terminal's: those come to the command by themselves.
    pub(crate) fn pass_on(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal)
            && !(signal == Signal::INT && self.shares_our_terminal())
        {
            self.send(signal);
        }
    }

    /// Whether what is typed on our terminal, such as Ctrl-C, goes to the command as well as to us.
    fn shares_our_terminal(&self) -> bool {
        let foreground = File::open("/dev/tty").and_then(|terminal| Ok(tcgetpgrp(terminal)?));
        foreground.is_ok_and(|group| group == getpgrp() && getpgid(Some(self.pid)) == Ok(group))
    }
}

/// Its status as shells tell it: 128 and the signal that ended it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let number = status.code().or_else(|| Some(128 + status.signal()?));
    number.and_then(|number| u8::try_from(number).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;
    use rustix::process::test_kill_process;

    use super::*;

    #[test]
    fn a_command_that_nobody_waits_for_is_killed() {
        let start =
            |arguments: [&str; 1]| Child::start(&"sleep".into(), &arguments.map(OsString::from)).unwrap();
        assert_eq!(
            start(["0"]).wait().unwrap(),
            ExitCode::SUCCESS,
            "one that is waited for comes to its end"
        );

        let child = start(["60"]);
        let pid = Pid::from_child(&child.0);
        assert_eq!(test_kill_process(pid), Ok(()), "it runs");
        drop(child);
        assert_eq!(test_kill_process(pid), Err(Errno::SRCH), "it has ended and was waited for");
    }
}
