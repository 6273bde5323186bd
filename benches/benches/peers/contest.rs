//! The runs: everyone has a lab of its own, which stands as long as its MTU is measured, and they take turns. A run that wants a new
//! peer gets one in another lab, beside the one that stands.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::report::{Fact, Outcome, Run};

use crate::latency;
use crate::peer::{Peer, Purpose, Session, Setting};
use crate::preset::{Plan, Turn, about};
use crate::work::{Ask, Work};

/// What has been measured so far, and what has to be known of it.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) facts: Vec<Fact>,
    pub(crate) runs: Vec<Run>,
    /// How many turns these runs were.
    pub(crate) turns: usize,
}

/// Does all that is planned at this MTU, which is the setting's. What is recorded stays so, whatever becomes of the rest.
pub(crate) fn at_one_mtu(plan: &Plan, setting: &Setting, record: &mut Record) -> Result<()> {
    let mut contestants: Vec<Contestant> = plan.peers().into_iter().map(Contestant::new).collect();
    let mut ask = Ask { length: plan.length, rate: None };
    let mut maxima = Vec::new();
    for peer in plan.peers_at(Work::Latency) {
        let maximum = who(&mut contestants, peer)?.maximum(plan.length, setting);
        setting.interrupt.check()?;
        match maximum {
            Ok(rate) => maxima.push((peer, rate)),
            Err(error) => {
                let is = format!(
                    "of {} at an MTU of {}: {error:#}; it is not heeded in latency's fixed rate",
                    peer.as_str(),
                    setting.mtu
                );
                say(&mut record.facts, Fact { what: "failed maximum", is });
            }
        }
    }
    if let Some((fact, rate)) = fixed_rate(setting.mtu, &maxima) {
        say(&mut record.facts, fact);
        ask.rate = Some(rate);
    }

    let turns = plan.turns();
    let mut clock = Clock::start(turns.iter().map(|turn| plan.time_of(turn.work)).sum());
    for (number, turn) in turns.iter().enumerate() {
        let result = who(&mut contestants, turn.peer)?.run(turn.work, &ask, setting);
        setting.interrupt.check()?;
        let of_it = runs_of(setting.mtu, *turn, result);
        clock.passed(plan.time_of(turn.work));
        eprintln!(
            "[{} of {}, {} left] {}",
            number + 1,
            turns.len(),
            about(clock.left()),
            progress(*turn, &of_it)
        );
        record.runs.extend(of_it);
        record.turns += 1;
    }
    Ok(())
}

fn say(facts: &mut Vec<Fact>, fact: Fact) {
    eprintln!("{}: {}", fact.what, fact.is);
    facts.push(fact);
}

fn who(contestants: &mut [Contestant], peer: Peer) -> Result<&mut Contestant> {
    let found = contestants.iter_mut().find(|contestant| contestant.peer == peer);
    found.with_context(|| format!("{} takes no part", peer.as_str()))
}

/// A peer, and its session once it has begun. After a failure it gets a new one: what went wrong once may not spoil the
/// rest.
struct Contestant {
    peer: Peer,
    session: Option<Session>,
}

impl Contestant {
    const fn new(peer: Peer) -> Self {
        Self { peer, session: None }
    }

    fn run(&mut self, work: Work, ask: &Ask, setting: &Setting) -> Result<Vec<f64>> {
        if work.wants_new_session() {
            let session = self.peer.open(setting, Purpose::Single)?;
            return work.run(&session, ask);
        }
        self.measure(setting, |session| work.run(session, ask))
    }

    fn maximum(&mut self, length: Duration, setting: &Setting) -> Result<f64> {
        self.measure(setting, |session| latency::maximum(session, length))
    }

    fn measure<T>(&mut self, setting: &Setting, work: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.peer.open(setting, Purpose::Standing)?,
        };
        let measured = work(&session)?;
        self.session = Some(session);
        Ok(measured)
    }
}

/// The rate that everyone can keep up with.
fn fixed_rate(mtu: u16, maxima: &[(Peer, f64)]) -> Option<(Fact, f64)> {
    let rates: Vec<f64> = maxima.iter().map(|(_, rate)| *rate).collect();
    let rate = latency::slowest_half(&rates)?;
    let listed = maxima.iter().map(|(peer, rate)| format!("{} {:.1}", peer.as_str(), rate / 1e3));
    let listed = listed.collect::<Vec<_>>().join(", ");
    let is = format!(
        "{rate:.0} requests/s at an MTU of {mtu}: half of the slowest one's maximum (in thousands: {listed})"
    );
    Some((Fact { what: "latency's fixed rate", is }, rate))
}

/// A run for each figure; what has failed, has failed for all of them.
fn runs_of(mtu: u16, Turn { round, work, peer }: Turn, result: Result<Vec<f64>>) -> Vec<Run> {
    let outcomes = match result {
        Ok(values) => values.into_iter().map(Outcome::Value).collect(),
        Err(error) => vec![Outcome::Error(format!("{error:#}")); work.figures().len()],
    };
    let (work, figures, peer) = (work.as_str(), work.figures().iter(), peer.as_str());
    figures.zip(outcomes).map(|(&figure, outcome)| Run { mtu, round, work, figure, peer, outcome }).collect()
}

fn progress(turn: Turn, runs: &[Run]) -> String {
    let said = |run: &Run| match &run.outcome {
        Outcome::Value(value) => {
            format!("{} {} {}", run.figure.name, run.figure.unit.show(*value), run.figure.unit)
        }
        Outcome::Error(error) => format!("{} failed: {error}", run.work),
    };
    let mut said: Vec<String> = runs.iter().map(said).collect();
    // A failure is the same one for every figure.
    said.dedup();
    format!("round {}, {}: {}", turn.round + 1, turn.peer.as_str(), said.join("; "))
}

/// How much is left, by how long it was to take and how long it has taken so far.
struct Clock {
    started: Instant,
    all: Duration,
    done: Duration,
}

impl Clock {
    fn start(all: Duration) -> Self {
        Self { started: Instant::now(), all, done: Duration::ZERO }
    }

    fn passed(&mut self, planned: Duration) {
        self.done += planned;
    }

    fn left(&self) -> Duration {
        let left = self.all.saturating_sub(self.done);
        if self.done.is_zero() {
            return left;
        }
        left.mul_f64(self.started.elapsed().as_secs_f64() / self.done.as_secs_f64())
    }
}
