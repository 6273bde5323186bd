//! Very many connections that are silent: what each takes in memory, and what is left for a bulk stream beside them. Both ends of all
//! of them are in this process. What sockets take in the kernel is the same for every peer, and in everyone's figure.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use benches::connections::way::{Way, Ways};
use benches::memory::taken;
use benches::patient::Patient;
use benches::process::Interrupt;
use benches::threads::join;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Resource, getrlimit};

use crate::lab::TARGET;
use crate::peer::Session;
use crate::work::bulk;

/// The target's port.
pub(crate) const PORT: u16 = 7003;

/// Who opens them at the same time.
const THREADS: usize = 8;
/// So many are asked again after the stream.
const ASKED: usize = 100;
/// All of them have to be open within this time.
const OPENING: Duration = Duration::from_secs(20);

/// How many there are: 10,000, or as many as the system lets one process have files for. This one has a file for each end of each, as
/// a proxy has, and needs some for other things.
pub(crate) fn connections() -> usize {
    const WANTED: u64 = 10_000;
    const OTHERS: u64 = 1000;
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    (allowed.saturating_sub(OTHERS) / 2).clamp(1, WANTED) as usize
}

/// Bits per second of a stream beside them, and bytes of memory for each of them. The session has to be new: programs keep memory
/// that they have needed once, and a second crowd would seem to need none.
pub(crate) fn run(session: &Session, length: Duration) -> Result<Vec<f64>> {
    let connections = connections();
    let before = session.memory_at_rest()?;
    let crowd = Crowd::open(session, connections)?;
    let memory = taken(session.memory_at_rest()?.since(before).total())?;
    let rate = bulk(session, length, &[])?.rate;
    for number in (0..connections).step_by(connections.div_ceil(ASKED)) {
        crowd.speak(number).with_context(|| format!("idle connection {number}, after the stream"))?;
    }
    Ok(vec![rate, memory / connections as f64])
}

/// The connections: what has the same place at either end is one. The clients' ends go first, and at once.
struct Crowd<'a> {
    clients: Vec<Patient<'a>>,
    targets: Vec<Patient<'a>>,
}

impl<'a> Crowd<'a> {
    /// All of them, each of which has carried something either way; or none, and how many there could have been.
    fn open(session: &'a Session, connections: usize) -> Result<Self> {
        let provider = &session.lab.provider;
        let listen =
            || TcpListener::bind((TARGET, PORT)).with_context(|| format!("listening on {TARGET}:{PORT}"));
        let listener = provider.inside(listen)?;
        let deadline = Instant::now() + OPENING;
        thread::scope(|scope| {
            let target = scope.spawn(|| Ok(greet_everyone(&listener, session.interrupt())));
            let clients: Vec<_> = (0..THREADS)
                .map(|first| {
                    let numbers = (first..connections).step_by(THREADS);
                    scope.spawn(move || connect_some(session, numbers, deadline))
                })
                .collect();
            let clients: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
            shutdown(&listener, Shutdown::Both).context("stopping the target")?;
            let targets = join(target)?;
            let (clients, outcomes): (Vec<_>, Vec<_>) = clients
                .into_iter()
                .map(|client| client.unwrap_or_else(|_| (Vec::new(), Err(anyhow!("a client panicked")))))
                .unzip();
            let clients: Vec<_> = clients.into_iter().flatten().collect();
            let opened = clients.len();
            let outcome: Result<()> = outcomes.into_iter().collect();
            outcome.with_context(|| format!("{opened} of {connections} idle connections could be opened"))?;
            Ok(Self { clients: in_order(clients, connections)?, targets: in_order(targets, connections)? })
        })
    }

    /// A byte to the target, and one back.
    fn speak(&self, number: usize) -> Result<()> {
        let (mut client, mut target) = (&self.clients[number], &self.targets[number]);
        let mut heard = [0];
        client.write_all(b"?")?;
        target.read_exact(&mut heard)?;
        target.write_all(b"!")?;
        client.read_exact(&mut heard)?;
        ensure!(heard == *b"!", "it carried {heard:?}");
        Ok(())
    }
}

/// One end of each, by the numbers: each is there once.
fn in_order<T>(mut ends: Vec<(u32, T)>, connections: usize) -> Result<Vec<T>> {
    ends.sort_by_key(|(number, _)| *number);
    let are_all = ends.iter().map(|(number, _)| *number as usize).eq(0..connections);
    ensure!(are_all, "of {connections} connections, one end has {}", ends.len());
    Ok(ends.into_iter().map(|(_, stream)| stream).collect())
}

/// The target: says back what number each connection has, until the listener is shut down.
fn greet_everyone<'a>(listener: &TcpListener, interrupt: &'a Interrupt) -> Vec<(u32, Patient<'a>)> {
    let mut greeted = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        // A client that went away notices by itself, and reports it.
        greeted.extend(greet(stream, interrupt));
    }
    greeted
}

fn greet(stream: TcpStream, interrupt: &Interrupt) -> io::Result<(u32, Patient<'_>)> {
    let stream = Patient::new(stream, interrupt)?;
    let mut number = [0; size_of::<u32>()];
    (&stream).read_exact(&mut number)?;
    (&stream).write_all(&number)?;
    Ok((u32::from_be_bytes(number), stream))
}

/// What one of the threads has to open; or as many as there could be, and why there are no more.
fn connect_some(
    session: &Session,
    numbers: impl Iterator<Item = usize>,
    deadline: Instant,
) -> (Vec<(u32, Patient<'_>)>, Result<()>) {
    let (clients, doors) = (session.clients(), &session.doors()[..1]);
    let mut streams = Vec::new();
    let outcome = session.lab.consumer.enter().and_then(|()| {
        for number in numbers {
            ensure!(Instant::now() < deadline, "no more of them within {OPENING:?}");
            let way = Ways::new(clients, doors, PORT, number).turn();
            let number = u32::try_from(number)?;
            streams.push((number, connect_one(way, number, session.interrupt())?));
        }
        Ok(())
    });
    (streams, outcome)
}

fn connect_one(way: Way, number: u32, interrupt: &Interrupt) -> Result<Patient<'_>> {
    let stream = way.connect(interrupt)?;
    // Closing it is a RST: nothing of the crowd is left for whoever is measured next.
    set_socket_linger(&stream, Some(Duration::ZERO))?;
    let mut heard = [0; size_of::<u32>()];
    (&stream).write_all(&number.to_be_bytes())?;
    (&stream).read_exact(&mut heard).with_context(|| format!("the first answer {way}"))?;
    ensure!(heard == number.to_be_bytes(), "connection {number} carried {heard:?}");
    Ok(stream)
}
