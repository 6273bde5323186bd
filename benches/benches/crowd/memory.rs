//! What a flow costs in memory, and whether a table full of them still forwards: everything that was established is still
//! there, and a bulk stream hardly notices.

use std::time::Duration;

use anyhow::Result;
use benches::process::Interrupt;
use benches::spread::Spread;
use runtime::Snapshot;
use topology::Path;

use crate::crowd::{Crowd, Question};
use crate::figures::{Figures, count, mebibytes};
use crate::gate::{BACKLOG, Family, Gate, Plan, Setting, TARGETS};

/// Bytes per flow at most.
const GOAL: f64 = 160.0;
/// Of an empty table's bulk stream at least.
const BULK_GOAL: f64 = 0.9;

/// How much of it.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// Flows to establish.
    pub(crate) flows: usize,
    /// `flows.capacity`; without, hardly more than the flows need.
    pub(crate) capacity: Option<usize>,
    /// Bulk streams on each side of the comparison.
    pub(crate) rounds: usize,
    /// How long each of them is.
    pub(crate) length: Duration,
}

/// The row for one family.
pub(crate) fn row(setting: &Setting, family: Family, size: Size) -> Result<Figures> {
    let mut figures = Figures::of(format!("memory, {}", family.as_str()));
    let flows = size.flows;
    // Room beside the crowd, for the bulk streams and what is left of them.
    let capacity = size.capacity.unwrap_or(flows + 1024);
    let plan = Plan { name: "full", family, path: Path::Nat, consumers: 1, capacity, backlog: BACKLOG };
    let full = Gate::open(setting, plan)?;
    let empty = Gate::open(setting, Plan { name: "empty", ..plan })?;

    let before = (full.memory()?, full.status()?);
    let mut crowd = Crowd::new(family, flows);
    let connected = crowd.ask(&full, Question::Connect, &setting.interrupt)?;
    let after = (full.memory()?, full.status()?);
    figures.goal(
        format!("flows to {TARGETS} targets, established"),
        count(connected.answered as u64),
        count(flows as u64),
        connected.answered == flows,
    );
    figures.note("questions asked again, resets", format!("{}, {}", connected.again, connected.resets));
    bytes(&mut figures, before.0, after.0, &after.1);

    let ratios = streams(&full, &empty, size, &setting.interrupt)?;
    if let Some(Spread { median, min, max, .. }) = ratios {
        let goal = format!("at least {BULK_GOAL}");
        let is = format!("{median:.2} ({min:.2} – {max:.2})");
        figures.goal("bulk beside them, of an empty table's", is, goal, median >= BULK_GOAL);
    }

    let spoke = crowd.ask(&full, Question::Speak, &setting.interrupt)?;
    figures.goal(
        "flows that carry a packet both ways afterwards",
        count(spoke.answered as u64),
        count(flows as u64),
        spoke.answered == flows,
    );
    lost(&mut figures, &full.status()?);
    Ok(figures)
}

fn bytes(figures: &mut Figures, before: u64, after: u64, status: &Snapshot) {
    let live = status.flows.live as u64;
    let each = after.saturating_sub(before) as f64 / live.max(1) as f64;
    let goal = format!("at most {GOAL}");
    figures.goal(
        "bytes that the process grows by for each live flow",
        format!("{each:.1}"),
        goal,
        each <= GOAL,
    );
    figures.note("the process, empty and with them", format!("{}, {}", mebibytes(before), mebibytes(after)));
    let capacity = status.flows.capacity as u64;
    figures.note("live, of at most", format!("{}, {}", count(live), count(capacity)));
}

/// Bulk streams through both, in turns; the ratios of each pair.
fn streams(full: &Gate, empty: &Gate, size: Size, interrupt: &Interrupt) -> Result<Option<Spread>> {
    let mut ratios = Vec::new();
    for round in 0..size.rounds {
        interrupt.check()?;
        let (of_full, of_empty) = if round.is_multiple_of(2) {
            let first = full.bulk(size.length)?;
            (first, empty.bulk(size.length)?)
        } else {
            let first = empty.bulk(size.length)?;
            (full.bulk(size.length)?, first)
        };
        eprintln!("bulk: full {:.1} Gb/s, empty {:.1} Gb/s", of_full / 1e9, of_empty / 1e9);
        ratios.push(of_full / of_empty);
    }
    Ok(Spread::of(ratios))
}

/// Flows that ended though neither end had closed or reset them, as the bulk streams' ends do.
pub(crate) fn lost(figures: &mut Figures, status: &Snapshot) {
    const BY_ITS_ENDS: [&str; 2] = ["finished", "reset"];
    let lost = status
        .flows
        .closed
        .iter()
        .filter(|(cause, number)| !BY_ITS_ENDS.contains(&cause.as_str()) && **number > 0);
    let lost: Vec<String> = lost.map(|(cause, number)| format!("{cause} {}", count(*number))).collect();
    let is = if lost.is_empty() { "none".into() } else { lost.join(", ") };
    figures.goal("flows that were crowded out or expired", is, "none", lost.is_empty());
}
