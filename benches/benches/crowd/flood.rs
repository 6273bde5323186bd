//! A flood of SYNs from one endpoint, whose senders do not exist, at a target that others use too: who is established
//! stays, and who is honest gets in.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use benches::namespace::Namespace;
use benches::process::Interrupt;
use benches::threads::{join, join_all};
use mio::net::TcpListener;
use rustix::net::{Shutdown, listen, shutdown};
use topology::Path;
use wire::{Segment, TcpFlags};

use crate::callers::{Callers, IN_TIME, MOVING, Tally, echo};
use crate::figures::{Figures, count, milliseconds};
use crate::gate::{Family, Gate, OPEN_PORT, Plan, Setting, changes, counters};
use crate::raw::{Mouth, as_if_from};

/// Of the rate that was asked for, the flood must have had so much.
const RATE_GOAL: f64 = 0.95;
/// Of the newcomers of the endpoint that the flood comes through, so many get in.
const SAME_GOAL: f64 = 0.9;
/// How long everyone is watched before the flood begins.
const CALM: Duration = Duration::from_secs(3);
/// Established connections of each consumer.
const REGULARS: usize = 200;
/// Through which of the two the flood comes.
const FLOODED: usize = 0;

/// How much of it.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// SYNs each second.
    pub(crate) rate: u32,
    /// How many half-open connections the target keeps.
    pub(crate) backlog: u16,
    /// How long.
    pub(crate) length: Duration,
}

/// The row.
pub(crate) fn row(setting: &Setting, path: Path, size: Size) -> Result<Figures> {
    let name = if path == Path::Splice { "spliced-flood" } else { "flood" };
    let mut figures = Figures::of(name.into());
    let family = Family::V4;
    let gate = Gate::open(
        setting,
        Plan { name, family, path, consumers: 2, capacity: 262_144, backlog: size.backlog },
    )?;
    let listener = gate.provider.inside(|| {
        let listener = std::net::TcpListener::bind((family.target(0), OPEN_PORT))?;
        listen(&listener, size.backlog.into())?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    })?;
    let servers = TcpListener::from_std(listener.try_clone()?);
    thread::scope(|scope| {
        let server = scope.spawn(move || echo(servers, &setting.interrupt));
        let measured = measure(&gate, path, size, &setting.interrupt, &mut figures);
        shutdown(&listener, Shutdown::Both)?;
        join(server)?;
        measured
    })?;
    Ok(figures)
}

fn measure(gate: &Gate, path: Path, size: Size, interrupt: &Interrupt, figures: &mut Figures) -> Result<()> {
    let family = gate.family;
    let door = family.door();
    let connect = |consumer| Callers::connect(consumer, door, REGULARS, interrupt);
    let mut callers = gate.consumers.iter().map(connect).collect::<Result<Vec<_>>>()?;
    for tally in go_on(gate, &mut callers, CALM)? {
        figures.note("before the flood: newcomers", newcomers(&tally));
    }

    let (before, kernel, overruns) = (counters(&gate.status()?), gate.kernel()?, gate.overruns()?);
    let syns = gate.syns()?;
    let (flood, tallies) = thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&gate.consumers[FLOODED], family, size, interrupt));
        let tallies = go_on(gate, &mut callers, size.length);
        anyhow::Ok((join(flood)?, tallies?))
    })?;
    let (after, kernel_after, overruns_after) = (counters(&gate.status()?), gate.kernel()?, gate.overruns()?);

    let goal = format!("at least {}", count((f64::from(size.rate) * RATE_GOAL) as u64));
    let enough = flood >= f64::from(size.rate) * RATE_GOAL;
    figures.goal("SYNs sent each second", count(flood as u64), goal, enough);
    for (number, tally) in tallies.iter().enumerate() {
        judge(figures, tally, number == FLOODED);
    }
    let (syns, honest) = (gate.syns()? - syns, tallies.iter().map(|tally| tally.came).sum());
    if path == Path::Splice {
        let goal = format!("at most {}: one for each newcomer", count(honest));
        figures.goal("SYNs that the target has had", count(syns), goal, syns <= honest);
    } else {
        figures.note("SYNs that the target has had", count(syns));
    }
    figures.counted("sidegate", changes(&before, after));
    figures.counted("the target's kernel", changes(&kernel, kernel_after));
    let [from_consumers, from_provider] = [0, 1].map(|side| overruns_after[side] - overruns[side]);
    figures.note("lost before sidegate read them: from consumers", count(from_consumers));
    figures.note("lost before sidegate read them: from the provider", count(from_provider));
    Ok(())
}

fn judge(figures: &mut Figures, tally: &Tally, same: bool) {
    let through = if same { "the same endpoint" } else { "another endpoint" };
    let Tally { regulars, alive, moving, longest, came, in_time, .. } = tally;
    figures.goal(
        format!("established through {through}: alive, and heard of in the last {MOVING:?}"),
        format!("{alive}, {moving}"),
        format!("{regulars}, {regulars}"),
        alive == regulars && moving == regulars,
    );
    figures.note(format!("their longest wait for an answer, {through}"), format!("{longest:.2?}"));
    let share = *in_time as f64 / (*came).max(1) as f64;
    let goal = if same { SAME_GOAL } else { 1.0 };
    figures.goal(
        format!("newcomers through {through}, served within {IN_TIME:?}"),
        format!("{:.1} %", share * 100.0),
        format!("at least {:.0} %", goal * 100.0),
        share >= goal,
    );
    figures.note(format!("they were, {through}"), newcomers(tally));
}

fn newcomers(tally: &Tally) -> String {
    let Tally { came, took, refused, .. } = tally;
    let [median, p99] = [0.5, 0.99].map(|quantile| milliseconds(took.value_at_quantile(quantile)));
    let served = took.len();
    format!("{came}, served {served} (median {median}, 99 % {p99}), refused {refused}")
}

/// Everyone goes on for a while.
fn go_on(gate: &Gate, callers: &mut [Callers<'_>], length: Duration) -> Result<Vec<Tally>> {
    thread::scope(|scope| {
        let threads: Vec<_> = callers
            .iter_mut()
            .zip(&gate.consumers)
            .map(|(callers, consumer)| scope.spawn(move || callers.go_on(consumer, length)))
            .collect();
        join_all(threads)
    })
}

/// Sends SYNs at the rate, and says what the rate has been.
fn flood(consumer: &Namespace, family: Family, size: Size, interrupt: &Interrupt) -> Result<f64> {
    const BREATH: Duration = Duration::from_micros(500);
    consumer.enter()?;
    let mouth = Mouth::open(family)?;
    let target = (family.door(), OPEN_PORT);
    let (start, mut sent) = (Instant::now(), 0_u32);
    while start.elapsed() < size.length {
        let due = (start.elapsed().as_secs_f64() * f64::from(size.rate)) as u32;
        for number in sent..due {
            mouth.answer(&as_if_from(target, stranger(family, number)), syn(number))?;
        }
        sent = due;
        interrupt.pause(BREATH)?;
    }
    Ok(f64::from(sent) / start.elapsed().as_secs_f64())
}

/// Another one each time, all over the range.
fn stranger(family: Family, number: u32) -> (IpAddr, u16) {
    let mixed = number.wrapping_mul(0x9e37_79b1);
    (family.nobody(mixed), 1024 + (mixed >> 17) as u16)
}

fn syn(number: u32) -> Segment<'static> {
    let (flags, sequence) = (TcpFlags::new(TcpFlags::SYN), number.wrapping_mul(0x85eb_ca6b));
    Segment { flags, sequence, window: 65_535, ..Segment::default() }
}
