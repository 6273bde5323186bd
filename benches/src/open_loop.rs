//! An open loop: HTTP requests that come at a fixed rate, whether or not earlier ones have been answered, as they do from people who
//! know nothing of each other. Latency counts from the moment at which a request was *due*. A client that waits for an answer before
//! it asks again asks less the slower the answers are, and so leaves out just the requests that would have fared worst.
//!
//! One thread does it all, and sleeps in between: one that spins instead would take half of a small machine from whom it measures.

mod alarm;
mod connection;
mod generator;
mod schedule;

use std::time::Duration;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use self::generator::Generator;
use self::schedule::Schedule;
use crate::connections::way::Way;
use crate::process::Interrupt;

/// Of the rate that was asked for, so much has to be achieved.
const ACHIEVED: f64 = 0.99;
/// How much longer than the stretch the answers to it may take before that counts: the machine's own pauses, where one comes at the
/// end, are not the rate.
const PAUSE: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Whom to ask, and from where.
    pub way: Way,
    /// On how many keep-alive connections. A request goes out on the one that has been free for longest; if none is free, it waits.
    pub connections: usize,
    /// Requests each second.
    pub rate: f64,
    /// What comes first, and does not count.
    pub warm_up: Duration,
    /// What counts.
    pub length: Duration,
    /// How long the last answers may come after the stretch. Of requests that wait for a free connection there may be as many as come
    /// in this time. Beyond, the run has failed.
    pub patience: Duration,
}

/// How long requests took.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// Nanoseconds from when a request was due to its answer.
    answered: Histogram<u64>,
    /// Nanoseconds from when a request was due to when the generator took it up: its own lateness.
    taken_up: Histogram<u64>,
}

impl Load {
    /// Does it, from the namespace that the calling thread is in. It is an error if the rate is not achieved: then there is no
    /// latency at that rate.
    pub fn run(&self, interrupt: &Interrupt) -> Result<Latencies> {
        let schedule = Schedule::new(self.rate, self.warm_up + self.length);
        let (latencies, took) = Generator::connect(self, interrupt)?.go_on(schedule)?;
        let counted = latencies.answered.len() as f64;
        ensure!(counted > 0.0, "at {} requests/s none came within {:?}", self.rate, self.length);
        let asked = counted / self.length.as_secs_f64();
        let achieved = counted / took.saturating_sub(PAUSE).max(self.length).as_secs_f64();
        ensure!(
            achieved >= ACHIEVED * asked,
            "{achieved:.0} requests/s were answered of {asked:.0} that came; the generator was late by {:.0?} at its 99th percentile",
            latencies.late(0.99),
        );
        Ok(latencies)
    }
}

impl Latencies {
    fn new() -> Result<Self> {
        const LONGEST: u64 = 60_000_000_000;
        let empty = Histogram::new_with_bounds(1, LONGEST, 3)?;
        Ok(Self { answered: empty.clone(), taken_up: empty })
    }

    /// The time that this share of the requests stayed within, from when they were due.
    pub fn within(&self, share: f64) -> Duration {
        Duration::from_nanos(self.answered.value_at_quantile(share))
    }

    /// The time that this share of the requests was taken up within, from when they were due: what the generator itself has added.
    pub fn late(&self, share: f64) -> Duration {
        Duration::from_nanos(self.taken_up.value_at_quantile(share))
    }
}

/// A rate that leaves each of those who can do so much at most with half of their time to spare; none if there is nobody.
pub fn slowest_half(maxima: &[f64]) -> Option<f64> {
    maxima.iter().copied().min_by(f64::total_cmp).map(|slowest| slowest / 2.0)
}

#[cfg(test)]
mod tests;
