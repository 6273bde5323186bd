//! The forwarder as its owner sees it: start, look, wait, stop.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use device::{DeviceError, Opener};
use engine::{Shared, Worker, WorkerId};
use mio::{Poll, Waker};
use thiserror::Error;
use topology::{Listener, Path, Topology};

use crate::board::Board;
use crate::command::{Command, Line};
use crate::desk::{Desk, WAKE};
use crate::fleet::Fleet;
use crate::loops::Loop;
use crate::observer::{Observer, Successions};
use crate::outlet::Ties;
use crate::pin::stay_on_core;
use crate::report::{Report, Reporter, mailbox};
use crate::rings::Rings;
use crate::snapshot::Snapshot;
use crate::watch::Watch;

/// A running forwarder. Dropping it stops it.
pub struct Forwarder {
    board: Arc<Board>,
    lines: Vec<Line>,
    threads: Vec<JoinHandle<()>>,
    reporter: Reporter,
    successions: Receiver<()>,
    ends: Receiver<End>,
    end: Sender<End>,
}

/// Why a forwarder could not be started, or ended by itself.
#[derive(Debug, Error)]
pub enum RunError {
    /// A device could not be made.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The system refused something that every program needs.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A thread ended that should not have.
    #[error("{0}; this is a bug in sidegate: please report it with the lines above")]
    Died(String),
}

/// Asks a forwarder to stop, from any thread.
#[derive(Clone)]
pub struct Stopper(Sender<End>);

impl Stopper {
    /// Makes [`Forwarder::wait`] return.
    pub fn stop(&self) {
        // A full mailbox means that an end is on its way already.
        drop(self.0.try_send(End::Asked));
    }
}

/// As many as the operator's file may ask for.
const MOST_WORKERS: usize = 64;

/// Why [`Forwarder::wait`] returns.
enum End {
    Asked,
    Died(String),
}

impl Forwarder {
    /// Opens every device and starts the workers. When it returns, packets flow.
    pub fn start(topology: Arc<Topology>, opener: Arc<dyn Opener>) -> Result<Self, RunError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS);
        let workers = topology.run.workers.unwrap_or(cores);
        let seed = random_seed()?;
        let shared = Arc::new(Shared::new(Arc::clone(&topology), workers, seed));
        let (reporter, mailbox) = mailbox();
        let board = Arc::new(Board::new(Arc::clone(&shared), workers));
        let (end, ends) = bounded(workers + 2);
        let (bell, successions) = bounded(1);
        let (lines, threads) = (Vec::new(), Vec::new());
        let mut forwarder =
            Self { board: Arc::clone(&board), lines, threads, reporter, successions, ends, end };
        forwarder.start_workers(&shared, workers, [seed[0], seed[3]])?;
        let mut fleet = Fleet::new(Arc::clone(&board), opener, forwarder.lines.clone());
        fleet.open_all()?;
        let watch = Watch::new(board, fleet, mailbox, bell);
        forwarder.spawn("watch".into(), move || {
            watch.run();
            Ok(())
        })?;
        Ok(forwarder)
    }

    /// How it looks now.
    pub fn snapshot(&self) -> Snapshot {
        self.board.snapshot()
    }

    /// For threads that want to look, to ask, or to give it another topology.
    pub fn observer(&self) -> Observer {
        Observer { board: Arc::clone(&self.board), reporter: self.reporter.clone() }
    }

    /// For the thread that wants to know when another topology has come into force: one thread, for each is told once.
    pub fn successions(&self) -> Successions {
        Successions { board: Arc::clone(&self.board), bell: self.successions.clone() }
    }

    /// For threads that want to stop it.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.end.clone())
    }

    /// Blocks until somebody asks it to stop, or one of its threads has died.
    pub fn wait(&self) -> Result<(), RunError> {
        match self.ends.recv() {
            Ok(End::Died(who)) => Err(RunError::Died(who)),
            Ok(End::Asked) | Err(_) => Ok(()),
        }
    }

    /// Stops and joins every thread. When it returns, devices and routes are gone.
    pub fn stop(self) {
        drop(self);
    }

    fn start_workers(
        &mut self,
        shared: &Arc<Shared>,
        workers: usize,
        seed: [u64; 2],
    ) -> Result<(), RunError> {
        let polls: Vec<Poll> =
            (0..workers).map(|_| Poll::new()).collect::<Result<_, _>>().map_err(system("epoll"))?;
        let wakers: Vec<Arc<Waker>> = polls
            .iter()
            .map(|poll| Waker::new(poll.registry(), WAKE).map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(system("eventfd"))?;
        let rings = Arc::new(Rings::new(wakers.iter().cloned()));
        let topology = self.board.topology();
        let origin = self.board.started;
        let mut places = Worker::MOST_TERMINATED;
        for (index, (poll, waker)) in polls.into_iter().zip(wakers).enumerate() {
            let id = WorkerId(index as u8);
            // One order at a time, and a Stop; this kind of channel lets go of what a worker that has ended did not take, and the
            // watch waits for that.
            let (sender, commands) = unbounded();
            self.lines.push(Line { commands: sender, waker });
            let worker = Worker::new(Arc::clone(shared), id, seed);
            places = places.min(worker.most_terminated());
            let this = Loop {
                id,
                worker,
                commands,
                ties: Ties {
                    counters: Arc::clone(&self.board.workers[index]),
                    rings: Arc::clone(&rings),
                    reporter: self.reporter.clone(),
                },
                origin,
                desk: Desk::new(poll),
            };
            let is_pinned = topology.run.pin;
            self.spawn(format!("worker-{index}"), move || {
                if is_pinned {
                    stay_on_core(index)?;
                }
                this.run()
            })?;
        }
        // One that splices may have to.
        let terminates = |(_, listener): (_, &Listener)| listener.path != Path::Nat;
        if places < Worker::MOST_TERMINATED && topology.listeners.iter().any(terminates) {
            let wanted = Worker::MOST_TERMINATED;
            tracing::warn!(
                "a worker can terminate {places} connections, not {wanted}: the kernel refuses addresses for their buffers"
            );
        }
        Ok(())
    }

    /// Starts a thread whose death, by error or by panic, ends the forwarder.
    fn spawn(
        &mut self,
        name: String,
        body: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), RunError> {
        let guard = Guard { name: name.clone(), end: self.end.clone() };
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                if let Err(error) = body() {
                    guard.died(&format!("ended: {error}"));
                }
            })
            .map_err(system("starting a thread"))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        // The watch first, so that it opens nothing any more.
        self.reporter.tell(Report::Stop);
        for line in &self.lines {
            line.tell(Command::Stop);
        }
        for thread in self.threads.drain(..) {
            // A panic has been reported by the thread's guard.
            drop(thread.join());
        }
    }
}

/// Tells the forwarder when its thread panics.
struct Guard {
    name: String,
    end: Sender<End>,
}

impl Guard {
    fn died(&self, how: &str) {
        drop(self.end.try_send(End::Died(format!("thread {} {how}", self.name))));
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.died("panicked");
        }
    }
}

fn system(what: &'static str) -> impl Fn(io::Error) -> RunError {
    move |source| RunError::System { what, source }
}

fn random_seed() -> Result<[u64; 4], RunError> {
    let mut bytes = [0u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| system("drawing random numbers")(errno.into()))?;
    let mut words = bytes.chunks_exact(8).map(|word| word.iter().fold(0, |sum, b| sum << 8 | u64::from(*b)));
    Ok(std::array::from_fn(|_| words.next().unwrap_or_default()))
}
