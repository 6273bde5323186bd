//! `sidegate run`: one instance, from the operator's file to its end.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use control::{Claim, Server, socket_of};
use runtime::Forwarder;
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use topology::Topology;
use tracing::info;

use crate::answers::Answers;
use crate::args::RunArgs;
use crate::child::Child;
use crate::config::Source;
use crate::ready::{self, ReadyFd};
use crate::reload::Reloads;
use crate::{Failure, opener, ways};

/// Runs until stopped, or until the command ends.
pub(crate) fn run(args: RunArgs) -> Result<ExitCode, Failure> {
    let ready_fd = args.ready_fd.map(ReadyFd::take).transpose()?;
    let source = Source::new(args.config);
    let topology = source.read()?;
    // From here on a signal does not end the process: it waits for whoever listens.
    let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(cannot("listen for signals"))?;
    let socket = args.socket.unwrap_or_else(|| socket_of(&topology.run.name));
    let claim = Claim::take(&topology.run.name, &socket)?;
    let instance = Instance::start(topology, source, claim)?;
    match args.command.split_first() {
        None => instance.run_until_stopped(signals, ready_fd),
        Some((program, arguments)) => instance.run_command(signals, ready_fd, program, arguments),
    }
}

/// A running instance. Dropped in this order: its devices are gone before its name is free.
struct Instance {
    forwarder: Forwarder,
    reloads: Reloads,
    _server: Server,
}

impl Instance {
    fn start(topology: Topology, source: Source, claim: Claim) -> Result<Self, Failure> {
        let topology = Arc::new(topology);
        let forwarder = Forwarder::start(Arc::clone(&topology), opener::of(&topology))?;
        ways::warn_of_broken(&topology, None);
        let successions = forwarder.successions();
        start_thread("ways", move || ways::watch(topology, successions))?;
        let reloads = Reloads::start(source, forwarder.observer())?;
        let answers = Answers::new(forwarder.observer(), Some(reloads.clone()));
        let server = Server::start(claim, move |request| answers.to(request))?;
        info!(socket = %server.socket().display(), "packets flow");
        Ok(Self { forwarder, reloads, _server: server })
    }

    fn run_until_stopped(self, signals: Signals, ready_fd: Option<ReadyFd>) -> Result<ExitCode, Failure> {
        let stopper = self.forwarder.stopper();
        self.obey(signals, move |_| stopper.stop())?;
        ready::announce(ready_fd);
        ready::print_ready()?;
        self.forwarder.wait()?;
        Ok(ExitCode::SUCCESS)
    }

    fn run_command(
        self,
        signals: Signals,
        ready_fd: Option<ReadyFd>,
        program: &OsString,
        arguments: &[OsString],
    ) -> Result<ExitCode, Failure> {
        ready::announce(ready_fd);
        let child = Child::start(program, arguments)?;
        let line = Arc::new(child.line()?);
        let signalled = Arc::clone(&line);
        self.obey(signals, move |signal| signalled.pass_on(signal))?;
        let stopper = self.forwarder.stopper();
        let waiting = start_thread("command", move || {
            let status = child.wait();
            stopper.stop();
            status
        })?;
        let outcome = self.forwarder.wait();
        if outcome.is_err() {
            line.send(Signal::TERM);
        }
        let status = waiting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        outcome?;
        status.map_err(cannot("wait for the command"))
    }

    /// Does from now on what signals ask for: SIGHUP has the file read again, others are `end`'s. That goes for a command's
    /// SIGHUP as well: it is sent to whom the sender started, and nothing else can be meant by it. But where the terminal
    /// is gone that we were started on, it says just that, and ends us as it would end others.
    fn obey(&self, mut signals: Signals, end: impl Fn(i32) + Send + 'static) -> Result<(), Failure> {
        let reloads = self.reloads.clone();
        let had_terminal = io::stdin().is_terminal();
        let obey = move |signal| match signal {
            SIGHUP if !had_terminal || io::stdin().is_terminal() => reloads.ask(),
            _ => end(signal),
        };
        start_thread("signals", move || signals.forever().for_each(obey)).map(drop)
    }
}

/// Starts a thread that, unless it is joined, ends with the process.
pub(crate) fn start_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Failure> {
    thread::Builder::new().name(name.into()).spawn(work).map_err(cannot("start a thread"))
}

fn cannot(what: &str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::system(format_args!("cannot {what}: {error}"))
}
