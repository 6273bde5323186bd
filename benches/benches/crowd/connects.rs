//! New connections from two consumers to one target that closes first, so that its TIME-WAIT is where source ports come
//! round to: how long each takes, and whether one fails.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::connections::Closer;
use benches::connections::clients::{Habit, Took, keep_going};
use benches::connections::greeter::Greeter;
use benches::connections::way::Ways;
use benches::namespace::Namespace;
use benches::process::Interrupt;
use benches::threads::{both_ends, join, join_all};
use hdrhistogram::Histogram;
use topology::Path;

use crate::figures::{Figures, count, milliseconds, times};
use crate::gate::{BACKLOG, Counters, DOOR, Family, Gate, OPEN_PORT, Plan, Setting, changes, counters};

/// The 99th percentile, in microseconds, stays below.
const GOAL: u64 = 5000;
const CONSUMERS: usize = 2;

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

    fn note(&mut self, outcome: Result<Took>) {
        let micros = |time: Duration| time.as_micros() as u64;
        match outcome {
            Ok(Took { connected, whole }) => {
                self.connected.saturating_record(micros(connected));
                self.whole.saturating_record(micros(whole));
            }
            // All go the same way: only the reason tells one from another.
            Err(error) => *self.failed.entry(error.root_cause().to_string()).or_default() += 1,
        }
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
    let target = SocketAddr::new(family.target(0), OPEN_PORT);
    let (greeter, stop) = gate.provider.inside(|| Greeter::listen(target, Closer::Target, 0, interrupt))?;
    let each = Size { connects: size.connects / CONSUMERS, at_once: size.at_once / CONSUMERS };
    let (tallies, ()) = thread::scope(|scope| {
        let greeting = scope.spawn(|| greeter.greet_everyone());
        let clients = gate.consumers.iter();
        let clients = clients.map(|consumer| scope.spawn(move || keep_connecting(consumer, each, interrupt)));
        let tallies = join_all(clients.collect());
        stop.wake().context("stopping the target")?;
        both_ends(tallies, join(greeting))
    })?;
    tallies.iter().try_fold(Tally::new()?, Tally::add)
}

fn keep_connecting(consumer: &Namespace, size: Size, interrupt: &Interrupt) -> Result<Tally> {
    consumer.enter()?;
    let mut tally = Tally::new()?;
    let habit = Habit { closer: Closer::Target, at_once: size.at_once.min(size.connects), is_timed: true };
    let ways = Ways::new(&[Ipv4Addr::UNSPECIFIED], &[DOOR], OPEN_PORT, 0);
    let mut to_begin = size.connects - habit.at_once;
    keep_going(ways, habit, interrupt, |outcome| {
        tally.note(outcome);
        let goes_on = to_begin > 0;
        to_begin = to_begin.saturating_sub(1);
        Ok(goes_on)
    })?;
    Ok(tally)
}
