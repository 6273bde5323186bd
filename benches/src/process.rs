//! The programs that a lab runs: started inside a namespace, awaited without missing a Ctrl-C, ended by their own pid.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process, kill_process_group, pidfd_open,
    setrlimit,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How long a program may take until it serves, and to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a condition is looked at that nothing announces.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The wish of whoever started the benchmark that it stop. Once it has come it stays.
pub struct Interrupt {
    has_come: Arc<AtomicBool>,
    /// Becomes readable when it comes.
    heard: UnixStream,
    said: UnixStream,
}

impl Interrupt {
    /// Turns SIGINT, SIGTERM and SIGHUP into something to wait for.
    pub fn install() -> Result<Arc<Self>> {
        let interrupt = Self::of_nobody()?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: who is woken finds that it has come.
            signal_hook::flag::register(signal, Arc::clone(&interrupt.has_come))?;
            signal_hook::low_level::pipe::register(signal, interrupt.said.try_clone()?)?;
        }
        Ok(Arc::new(interrupt))
    }

    /// One that no signal brings.
    pub(crate) fn of_nobody() -> Result<Self> {
        let (heard, said) = UnixStream::pair()?;
        Ok(Self { has_come: Arc::default(), heard, said })
    }

    /// Fails once the wish has come. It costs next to nothing, so that whoever makes traffic can ask all the time.
    pub fn check(&self) -> Result<()> {
        if self.has_come.load(Ordering::Relaxed) { bail!("interrupted") } else { Ok(()) }
    }

    /// Lets time pass; fails once the wish has come.
    pub fn pause(&self, length: Duration) -> Result<()> {
        if readable([self.as_fd()], length)?[0] { bail!("interrupted") } else { Ok(()) }
    }

    /// Waits for `fd` to become readable: false when `limit` passes first, an error when interrupted.
    pub fn wait(&self, fd: BorrowedFd<'_>, limit: Duration) -> Result<bool> {
        let [interrupted, ready] = readable([self.as_fd(), fd], limit)?;
        if interrupted { bail!("interrupted") } else { Ok(ready) }
    }
}

/// What becomes readable when the wish comes.
impl AsFd for Interrupt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.heard.as_fd()
    }
}

/// A running program. Dropping it ends it.
pub struct Program {
    name: &'static str,
    child: Child,
    /// Becomes readable when the program ends.
    end: OwnedFd,
    stdout: PathBuf,
    stderr: PathBuf,
    interrupt: Arc<Interrupt>,
}

impl Program {
    /// Starts it in the namespace that the calling thread is in; what it prints goes to files in `scratch`. It gets a
    /// process group of its own, so that a Ctrl-C reaches only this process, which then ends everything in order.
    pub fn start(
        name: &'static str,
        mut command: Command,
        scratch: &Path,
        interrupt: Arc<Interrupt>,
    ) -> Result<Self> {
        let (stdout, stderr) = (scratch.join(format!("{name}.out")), scratch.join(format!("{name}.err")));
        command.stdin(Stdio::null()).stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.process_group(0).spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                anyhow!("{program} is not there: build it, or install it with scripts/deps")
            }
            _ => anyhow!("{program}: {error}"),
        })?;
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(end) => Ok(Self { name, child, end, stdout, stderr, interrupt }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error).context("pidfd_open")
            }
        }
    }

    /// Its process id, which is that of its process group too.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it serves, as `ready` finds out.
    pub fn until(&mut self, ready: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !ready(self)? {
            if self.interrupt.wait(self.end.as_fd(), LOOK_AGAIN)? {
                let status = self.child.wait()?;
                bail!("{} ended at once ({status}): {}", self.name, self.last_words());
            }
            if Instant::now() > deadline {
                bail!("{} was not ready within {PATIENCE:?}: {}", self.name, self.last_words());
            }
        }
        Ok(())
    }

    /// Waits for its end, which has to be a success, and gives what it printed.
    pub fn finish(mut self, limit: Duration) -> Result<String> {
        let status = self.status(limit)?;
        if !status.success() {
            bail!("{} failed ({status}): {}", self.name, self.last_words());
        }
        self.printed()
    }

    /// The same for a tool that explains a failure in its output: it may fail, as long as it printed something.
    pub fn finish_even_failed(mut self, limit: Duration) -> Result<String> {
        let status = self.status(limit)?;
        let printed = self.printed()?;
        if !status.success() && printed.trim().is_empty() {
            bail!("{} failed ({status}): {}", self.name, self.last_words());
        }
        Ok(printed)
    }

    /// Waits for its end.
    fn status(&mut self, limit: Duration) -> Result<ExitStatus> {
        if !self.interrupt.wait(self.end.as_fd(), limit)? {
            bail!("{} did not end within {limit:?}: {}", self.name, self.last_words());
        }
        Ok(self.child.wait()?)
    }

    /// What it has printed on stdout so far.
    pub fn printed(&self) -> Result<String> {
        fs::read_to_string(&self.stdout).with_context(|| self.stdout.display().to_string())
    }

    /// The last lines that it wrote on stderr.
    fn last_words(&self) -> String {
        let said = fs::read_to_string(&self.stderr).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(4)..].join("; ")
    }

    /// Asks it to end, and makes it end when it does not.
    fn end(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        // An interrupt that is already pending must not cut this short: so the end alone is waited for.
        if !readable([self.end.as_fd()], PATIENCE)?[0] {
            eprintln!("{} (pid {}) ignores SIGTERM: killed", self.name, self.child.id());
            kill_process_group(pid, Signal::KILL)?;
        }
        self.child.wait().map(drop)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{} (pid {}) could not be ended: {error}", self.name, self.child.id());
        }
    }
}

/// Lets this process and whatever it starts from now on have many files open at once: a connection is one for each of its ends,
/// and a proxy has two more. Where root may not raise its own limit (in some containers), as many as that allows.
pub fn allow_files() -> Result<()> {
    const FILES: u64 = 65_536;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is no limit.
    let raised = |limit: Option<u64>| limit.map(|limit| limit.max(FILES));
    setrlimit(Resource::Nofile, Rlimit { current: raised(current), maximum: raised(maximum) })
        .or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }))
        .context("allowing many open files")
}

/// Waits up to `limit` until one of `fds` is readable, and says which are.
pub fn readable<const N: usize>(fds: [BorrowedFd<'_>; N], limit: Duration) -> io::Result<[bool; N]> {
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    let mut polled = fds.each_ref().map(|fd| PollFd::new(fd, PollFlags::IN));
    rustix::io::retry_on_intr(|| poll(&mut polled, Some(&limit)))?;
    Ok(polled.each_ref().map(|fd| !fd.revents().is_empty()))
}

#[cfg(test)]
impl Interrupt {
    /// The wish comes.
    pub(crate) fn come(&self) {
        self.has_come.store(true, Ordering::Relaxed);
        io::Write::write_all(&mut &self.said, b"!").unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_ends_all_waiting_and_stays() {
        let interrupt = Interrupt::of_nobody().unwrap();
        let (ready, other) = UnixStream::pair().unwrap();
        io::Write::write_all(&mut &other, b"?").unwrap();
        interrupt.check().unwrap();
        interrupt.pause(Duration::ZERO).unwrap();
        assert!(interrupt.wait(ready.as_fd(), PATIENCE).unwrap());
        interrupt.come();
        for _ in 0..2 {
            for outcome in [
                interrupt.check(),
                interrupt.pause(PATIENCE),
                interrupt.wait(ready.as_fd(), PATIENCE).map(drop),
            ] {
                assert_eq!(outcome.unwrap_err().to_string(), "interrupted");
            }
        }
    }

    /// A shell that does this, and has ended by itself: what is made of its end.
    fn finished(script: &str, finish: fn(Program, Duration) -> Result<String>) -> Result<String> {
        let scratch = tempfile::tempdir()?;
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        finish(Program::start("shell", shell, scratch.path(), Arc::new(Interrupt::of_nobody()?))?, PATIENCE)
    }

    #[test]
    fn only_a_tool_that_explains_itself_may_fail() {
        const EXPLAINS: &str = "echo because; exit 1";
        const IS_SILENT: &str = "echo because >&2; exit 1";
        assert_eq!(finished("echo done", Program::finish).unwrap(), "done\n");
        assert_eq!(finished(EXPLAINS, Program::finish_even_failed).unwrap(), "because\n");
        assert!(finished(EXPLAINS, Program::finish).is_err());
        for finish in [Program::finish, Program::finish_even_failed] {
            let error = finished(IS_SILENT, finish).unwrap_err().to_string();
            assert!(error.ends_with("because"), "{error}");
        }
    }
}
