//! When requests are due.
//!
//! A Poisson process: the time from one to the next is random, and owes nothing to those before. That is how many independent users
//! come, in bursts now and then; and who looks at such moments sees an average of all moments (evenly spaced ones could keep step
//! with a timer or a batch of whom they measure). The seed is fixed: every peer has the same bursts in every round.

use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip::SipHasher13;

/// The moments at which requests are due, counted from the start.
pub(super) struct Schedule {
    /// Seconds from one to the next, on average.
    mean: f64,
    end: Duration,
    /// Seconds: when the latest one was due.
    latest: f64,
    drawn: u64,
}

impl Schedule {
    /// So many each second for as long as `length`.
    pub(super) const fn new(rate: f64, length: Duration) -> Self {
        Self { mean: 1.0 / rate, end: length, latest: 0.0, drawn: 0 }
    }

    /// Above 0, and at most 1.
    fn draw(&mut self) -> f64 {
        const DIGITS: u32 = f64::MANTISSA_DIGITS;
        self.drawn += 1;
        let mut chance = SipHasher13::new();
        chance.write_u64(self.drawn);
        ((chance.finish() >> (u64::BITS - DIGITS)) + 1) as f64 / (1_u64 << DIGITS) as f64
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.latest -= self.draw().ln() * self.mean;
        let due = Duration::try_from_secs_f64(self.latest).ok()?;
        (due < self.end).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = 20_000.0;
    const LENGTH: Duration = Duration::from_secs(5);

    fn schedule() -> Schedule {
        Schedule::new(RATE, LENGTH)
    }

    #[test]
    fn it_has_its_rate_and_its_end() {
        let wanted = RATE * LENGTH.as_secs_f64();
        let count = schedule().count() as f64;
        // Four times what chance alone makes of it.
        assert!((count - wanted).abs() < 4.0 * wanted.sqrt(), "{count} of {wanted}");
        let last = schedule().last().unwrap();
        assert!(last < LENGTH && last > LENGTH.mul_f64(0.999), "{last:?}");
    }

    #[test]
    fn it_is_the_same_every_time() {
        assert!(schedule().eq(schedule()));
    }

    #[test]
    fn gaps_are_as_long_as_those_of_a_poisson_process() {
        let due: Vec<f64> = schedule().map(|due| due.as_secs_f64() * RATE).collect();
        let gaps: Vec<f64> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap >= 0.0));
        for longer in [0.1, 1.0, 3.0_f64] {
            let share = gaps.iter().filter(|gap| **gap > longer).count() as f64 / gaps.len() as f64;
            let wanted = (-longer).exp();
            assert!((share - wanted).abs() < 0.01, "{share} of the gaps above {longer}, not {wanted}");
        }
        // One gap says nothing of the next.
        let covariance: f64 = gaps.windows(2).map(|pair| (pair[0] - 1.0) * (pair[1] - 1.0)).sum();
        assert!((covariance / gaps.len() as f64).abs() < 0.02);
    }

    #[test]
    fn a_rate_of_nothing_is_nothing() {
        assert_eq!(Schedule::new(0.0, LENGTH).count(), 0);
    }
}
