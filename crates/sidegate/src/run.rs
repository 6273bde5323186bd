//! `sidegate run`: one instance, from the operator's file to its end.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use control::{Claim, Request, Server, socket_of};
use device::device_name;
use device::probe::{self, Severity};
use runtime::Forwarder;
use rustix::process::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use topology::{DeviceId, Topology};
use tracing::{info, warn};

use crate::args::RunArgs;
use crate::child::Child;
use crate::ready::{self, ReadyFd};
use crate::{Failure, config, opener, packets};

/// Runs until stopped, or until the command ends.
pub(crate) fn run(args: RunArgs) -> Result<ExitCode, Failure> {
    let ready_fd = args.ready_fd.map(ReadyFd::take).transpose()?;
    let topology = config::load(&args.config)?;
    // From here on a signal does not end the process: it waits for whoever listens.
    let signals = Signals::new([SIGINT, SIGTERM]).map_err(cannot("listen for signals"))?;
    let socket = args.socket.unwrap_or_else(|| socket_of(&topology.run.name));
    let claim = Claim::take(&topology.run.name, &socket)?;
    let instance = Instance::start(topology, claim)?;
    match args.command.split_first() {
        None => instance.run_until_stopped(signals, ready_fd),
        Some((program, arguments)) => instance.run_command(signals, ready_fd, program, arguments),
    }
}

/// A running instance. Dropped in this order: its devices are gone before its name is free.
struct Instance {
    forwarder: Forwarder,
    _server: Server,
}

impl Instance {
    fn start(topology: Topology, claim: Claim) -> Result<Self, Failure> {
        let topology = Arc::new(topology);
        let forwarder = Forwarder::start(Arc::clone(&topology), opener::of(&topology))?;
        warn_of_broken_ways(&topology);
        let observer = forwarder.observer();
        let server = Server::start(claim, move |Request::Status| observer.snapshot())?;
        info!(socket = %server.socket().display(), "packets flow");
        Ok(Self { forwarder, _server: server })
    }

    fn run_until_stopped(self, mut signals: Signals, ready_fd: Option<ReadyFd>) -> Result<ExitCode, Failure> {
        let stopper = self.forwarder.stopper();
        start_thread("signals", move || signals.forever().for_each(|_| stopper.stop()))?;
        ready::announce(ready_fd);
        ready::print_ready()?;
        self.forwarder.wait()?;
        Ok(ExitCode::SUCCESS)
    }

    fn run_command(
        self,
        mut signals: Signals,
        ready_fd: Option<ReadyFd>,
        program: &OsString,
        arguments: &[OsString],
    ) -> Result<ExitCode, Failure> {
        ready::announce(ready_fd);
        let child = Child::start(program, arguments)?;
        let line = Arc::new(child.line()?);
        let signalled = Arc::clone(&line);
        start_thread("signals", move || signals.forever().for_each(|signal| signalled.pass_on(signal)))?;
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
}

/// Asks the kernel what becomes of packets, and warns of all that do not arrive: nothing of it keeps the rest from
/// flowing.
fn warn_of_broken_ways(topology: &Topology) {
    let device = device_name(&topology.run.name);
    for (index, namespace) in topology.namespaces.iter().enumerate() {
        let packets = packets::of(topology, DeviceId(index as u16));
        match probe::routes(&namespace.path, &device, &packets) {
            Ok(findings) => findings
                .iter()
                .filter(|finding| finding.severity() > Severity::Fine)
                .for_each(|finding| warn!("{finding}")),
            Err(error) => warn!("{error}"),
        }
    }
}

/// Starts a thread that, unless it is joined, ends with the process.
fn start_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Failure> {
    thread::Builder::new().name(name.into()).spawn(work).map_err(cannot("start a thread"))
}

fn cannot(what: &str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::system(format_args!("cannot {what}: {error}"))
}
