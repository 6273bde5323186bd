//! What open connections cost that end in our own TCP: memory in the process and in the kernel while they are idle, and time
//! when they speak. Their peers are raw, so that what the kernel holds is sidegate's.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use benches::memory;
use benches::process::Interrupt;
use benches::spread::Spread;
use topology::Path;

use crate::crowd::{Crowd, Heard, Question};
use crate::figures::{Figures, count, mebibytes};
use crate::gate::{BACKLOG, Family, Gate, Plan, Setting};
use crate::memory::lost;

/// Bytes at most, of the process and the kernel together, for every 10,000 connections.
const GOAL: u64 = 300_000_000;
/// `flows.capacity`, as it is when nobody says anything.
const CAPACITY: usize = 262_144;
/// sidegate has given back what it will, once it has given nothing back for so long.
const QUIET: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// So many speak, with all the others open beside them or with none.
const FEW: usize = 10;
/// With the others open, an exchange takes so much of the time that it takes without them, at most.
const TIME_GOAL: f64 = 1.3;
const EXCHANGES: usize = 10_000;
const TURNS: usize = 5;

/// The row for one family, with so many connections.
pub(crate) fn row(setting: &Setting, family: Family, connections: usize) -> Result<Figures> {
    let mut figures = Figures::of(format!("idle, {}", family.as_str()));
    let interrupt = &setting.interrupt;
    // Before there is a device: what the kernel holds for those counts.
    let before = memory::kernel()?;
    let plan = Plan {
        name: "many",
        family,
        path: Path::Terminate,
        consumers: 1,
        capacity: CAPACITY,
        backlog: BACKLOG,
    };
    let gate = Gate::open(setting, plan)?;
    figures.note("the process, empty", mebibytes(gate.memory()?));

    let mut crowd = Crowd::new(family, connections);
    everyone(&mut figures, "established", crowd.ask(&gate, Question::Connect, interrupt)?, connections);
    let what = "that have moved a request and an answer";
    everyone(&mut figures, what, crowd.ask(&gate, Question::Speak, interrupt)?, connections);
    figures.note("the process, just after", mebibytes(gate.memory()?));

    let all = memory_at_rest(&mut figures, &gate, before, interrupt)?;
    let goal = GOAL * connections as u64 / 10_000;
    figures.goal("all of it", mebibytes(all), format!("at most {}", mebibytes(goal)), all <= goal);

    let what = "that move another one after their rest";
    everyone(&mut figures, what, crowd.ask(&gate, Question::Speak, interrupt)?, connections);
    let few = Gate::open(setting, Plan { name: "few", ..plan })?;
    let mut others = Crowd::new(family, FEW);
    everyone(&mut figures, "beside them", others.ask(&few, Question::Connect, interrupt)?, FEW);
    let times = times((&gate, &mut crowd), (&few, &mut others), interrupt)?;
    if let Some(Spread { median, min, max, .. }) = times {
        let is = format!("{median:.2} ({min:.2} – {max:.2})");
        let what = "processor time of an exchange, of what it takes with no others open";
        figures.goal(what, is, format!("at most {TIME_GOAL}"), median <= TIME_GOAL);
    }
    lost(&mut figures, &gate.status()?);
    Ok(figures)
}

/// What the process and the kernel hold; the kernel, since it held so much `before`.
fn memory_at_rest(figures: &mut Figures, gate: &Gate, before: u64, interrupt: &Interrupt) -> Result<u64> {
    let process = at_rest(gate, interrupt)?;
    let page_tables = gate.page_tables()?;
    let kernel = memory::kernel()?.saturating_sub(before) + page_tables;
    figures.note("the process, at rest", mebibytes(process));
    figures.note("the kernel, at rest", mebibytes(kernel));
    figures.note("… of it, the process's page tables", mebibytes(page_tables));
    Ok(process + kernel)
}

/// The processor time of exchanges with many open and with few, measured in turns: the ratios of each pair.
fn times(
    many: (&Gate, &mut Crowd),
    few: (&Gate, &mut Crowd),
    interrupt: &Interrupt,
) -> Result<Option<Spread>> {
    let mut ratios = Vec::new();
    for _ in 0..TURNS {
        let of_many = time(many.0, many.1, interrupt)?;
        let of_few = time(few.0, few.1, interrupt)?;
        eprintln!("an exchange: many open {of_many:.2?}, few open {of_few:.2?}");
        ratios.push(of_many.as_secs_f64() / of_few.as_secs_f64());
    }
    Ok(Spread::of(ratios))
}

/// The processor time of one exchange: a request and an answer, and what acknowledges them. The same few speak all the time.
fn time(gate: &Gate, crowd: &mut Crowd, interrupt: &Interrupt) -> Result<Duration> {
    let before = gate.processor_time()?;
    for _ in 0..EXCHANGES / FEW {
        let heard = crowd.ask_some(gate, 0..FEW, Question::Speak, interrupt)?;
        ensure!(heard.answered == FEW, "{} of {FEW} were answered", heard.answered);
    }
    Ok((gate.processor_time()? - before) / EXCHANGES as u32)
}

fn everyone(figures: &mut Figures, what: &str, heard: Heard, wanted: usize) {
    let (is, goal) = (count(heard.answered as u64), count(wanted as u64));
    figures.goal(format!("connections {what}"), is, goal, heard.answered == wanted);
    figures.note("questions asked again, resets", format!("{}, {}", heard.again, heard.resets));
}

/// What the process holds once it gives nothing back any more.
fn at_rest(gate: &Gate, interrupt: &Interrupt) -> Result<u64> {
    let (mut least, mut since) = (gate.memory()?, Instant::now());
    while since.elapsed() < QUIET {
        interrupt.pause(LOOK_AGAIN)?;
        let now = gate.memory()?;
        if now < least {
            (least, since) = (now, Instant::now());
        }
    }
    Ok(least)
}
