//! New connections from two consumers to one target that closes first, so that its TIME-WAIT is where source ports come
//! round to: how long each takes, and whether one fails.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::namespace::Namespace;
use benches::process::Interrupt;
use benches::threads::join_all;
use benches::watch::Watch;
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Token};
use rustix::net::{Shutdown, listen, shutdown};
use topology::Path;

use crate::figures::{Figures, count, milliseconds, times};
use crate::gate::{BACKLOG, Counters, Family, Gate, OPEN_PORT, Plan, Setting, changes, counters};

/// The 99th percentile, in microseconds, stays below.
const GOAL: u64 = 5000;
const CONSUMERS: usize = 2;
/// When nothing has happened for so long on any of them, the connections in progress have failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the target says before it closes.
const GREETING: &[u8] = b"!";

/// How much of it.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// Connections, of all consumers together.
    pub(crate) connects: usize,
    /// In progress at once, of all consumers together.
    pub(crate) at_once: usize,
}

/// The row.
pub(crate) fn row(setting: &Setting, size: Size) -> Result<Figures> {
    let mut figures = Figures::of("connects".into());
    let family = Family::V4;
    let plan = Plan {
        name: "connects",
        family,
        path: Path::Nat,
        consumers: CONSUMERS,
        capacity: 262_144,
        backlog: BACKLOG,
    };
    let gate = Gate::open(setting, plan)?;
    let before = counters(&gate.status()?);
    let start = Instant::now();
    let tally = connect(&gate, family, size, &setting.interrupt)?;
    let took = start.elapsed();

    let made = count(tally.whole.len());
    figures.note("connections, from two consumers to one target", &made);
    let failed: u64 = tally.failed.values().sum();
    figures.goal("of them, failed", count(failed), "none", failed == 0);
    figures.counted("the clients", tally.failed);
    let at = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile);
    let p99 = at(&tally.connected, 0.99);
    figures.note("time to connect, median", milliseconds(at(&tally.connected, 0.5)));
    let goal = format!("below {}", milliseconds(GOAL));
    figures.goal("time to connect, 99th percentile", milliseconds(p99), goal, p99 < GOAL);
    figures.note("time to connect, longest", milliseconds(tally.connected.max()));
    let (median, p99) = (at(&tally.whole, 0.5), at(&tally.whole, 0.99));
    figures.note(
        "until the target's FIN, median and 99th percentile",
        format!("{}, {}", milliseconds(median), milliseconds(p99)),
    );
    let rate = tally.whole.len() as f64 / took.as_secs_f64();
    figures.note("connections each second", count(rate as u64));
    figures.counted("sidegate", changes(&before, counters(&gate.status()?)));
    Ok(figures)
}

/// What the clients have seen, in microseconds.
struct Tally {
    /// Until the connection was established.
    connected: Histogram<u64>,
    /// Until the target had greeted and closed.
    whole: Histogram<u64>,
    /// Those that failed, by how.
    failed: Counters,
}

impl Tally {
    fn new() -> Result<Self> {
        Ok(Self { connected: times()?, whole: times()?, failed: Counters::new() })
    }

    fn fail(&mut self, how: &str) {
        *self.failed.entry(how.to_owned()).or_default() += 1;
    }

    fn add(mut self, other: &Self) -> Result<Self> {
        self.connected.add(&other.connected)?;
        self.whole.add(&other.whole)?;
        for (how, number) in &other.failed {
            *self.failed.entry(how.clone()).or_default() += number;
        }
        Ok(self)
    }
}

fn connect(gate: &Gate, family: Family, size: Size, interrupt: &Interrupt) -> Result<Tally> {
    let listener = gate.provider.inside(|| open(family.target(0)))?;
    let each = Size { connects: size.connects / CONSUMERS, at_once: size.at_once / CONSUMERS };
    thread::scope(|scope| {
        scope.spawn(|| greet_everyone(&listener));
        let clients: Vec<_> = gate
            .consumers
            .iter()
            .map(|consumer| scope.spawn(move || keep_connecting(consumer, family.door(), each, interrupt)))
            .collect();
        let tallies = join_all(clients);
        shutdown(&listener, Shutdown::Both).context("stopping the server")?;
        tallies?.iter().try_fold(Tally::new()?, Tally::add)
    })
}

/// A listener with room for everyone.
fn open(target: IpAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind((target, OPEN_PORT))?;
    listen(&listener, BACKLOG.into())?;
    Ok(listener)
}

/// The server: until its listener is shut down.
fn greet_everyone(listener: &TcpListener) {
    while let Ok((mut stream, _)) = listener.accept() {
        // A client that went away notices by itself, and reports it.
        let _ = stream.write_all(GREETING);
    }
}

fn keep_connecting(consumer: &Namespace, door: IpAddr, size: Size, interrupt: &Interrupt) -> Result<Tally> {
    consumer.enter()?;
    let mut client = Client {
        watch: Watch::new(interrupt)?,
        door: SocketAddr::new(door, OPEN_PORT),
        to_start: size.connects,
        attempts: Vec::new(),
        tally: Tally::new()?,
    };
    client.attempts.resize_with(size.at_once, || None);
    (0..size.at_once).for_each(|place| client.start(place));
    let mut events = Events::with_capacity(size.at_once);
    while client.attempts.iter().any(Option::is_some) {
        client.watch.wait(&mut events, Some(PATIENCE))?;
        if events.is_empty() {
            client.attempts.iter().flatten().for_each(|_| client.tally.fail("no answer"));
            break;
        }
        for event in &events {
            client.look(event.token().0, event.is_writable());
        }
    }
    Ok(client.tally)
}

/// Many connections in progress, and one thread.
struct Client<'a> {
    watch: Watch<'a>,
    door: SocketAddr,
    to_start: usize,
    attempts: Vec<Option<Attempt>>,
    tally: Tally,
}

/// One connection in progress. Dropping it closes it.
struct Attempt {
    stream: TcpStream,
    start: Instant,
    connected: Option<Duration>,
    said: Vec<u8>,
}

impl Client<'_> {
    /// Begins the next connection in this place, if one is left to be made.
    fn start(&mut self, place: usize) {
        self.attempts[place] = None;
        while self.to_start > 0 && self.attempts[place].is_none() {
            self.to_start -= 1;
            match Attempt::start(&self.watch, self.door, Token(place)) {
                Ok(attempt) => self.attempts[place] = Some(attempt),
                Err(error) => self.tally.fail(&error.to_string()),
            }
        }
    }

    fn look(&mut self, place: usize, is_writable: bool) {
        let Some(attempt) = &mut self.attempts[place] else { return };
        if is_writable && attempt.connected.is_none() {
            attempt.connected = Some(attempt.start.elapsed());
        }
        match attempt.is_done() {
            Ok(false) => return,
            Err(error) => self.tally.fail(&error.to_string()),
            Ok(true) => {
                let whole = attempt.start.elapsed();
                let micros = |time: Duration| time.as_micros() as u64;
                self.tally.whole.saturating_record(micros(whole));
                self.tally.connected.saturating_record(micros(attempt.connected.unwrap_or(whole)));
            }
        }
        self.start(place);
    }
}

impl Attempt {
    fn start(watch: &Watch<'_>, door: SocketAddr, token: Token) -> io::Result<Self> {
        let start = Instant::now();
        let mut stream = TcpStream::connect(door)?;
        watch.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, start, connected: None, said: Vec::with_capacity(2 * GREETING.len()) })
    }

    /// Reads what has come. Done is: the greeting, and then the target's FIN.
    fn is_done(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) if self.said == GREETING => return Ok(true),
                Ok(0) => return Err(io::Error::other("no greeting")),
                Ok(len) => self.said.extend_from_slice(&buffer[..len]),
                // Not connected yet, or nothing more yet.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
