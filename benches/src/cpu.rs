//! How long the machine's cores have been busy: everybody's time, because half of what a forwarder costs is spent in the kernel, on
//! account of whom it happens to interrupt.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::namespace::{read, words};

/// A moment in the machine's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy(Duration);

impl Busy {
    /// Now.
    pub fn now() -> Result<Self> {
        const FILE: &str = "/proc/stat";
        let ticks =
            busy_ticks(&read(FILE)?).with_context(|| format!("no line of all processors in {FILE}"))?;
        Ok(Self(length(ticks, rustix::param::clock_ticks_per_second())))
    }

    /// How long cores have been busy since then, all of them together.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// What all processors together have spent with work of this machine: not idle, not waiting, and not what the host of a virtual
/// machine has given to others. (A guest's time is in its user's.)
fn busy_ticks(stat: &str) -> Option<u64> {
    // user, nice, system, idle, iowait, irq, softirq, steal …
    const BUSY: [usize; 5] = [0, 1, 2, 5, 6];
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks = words(all).map(|word| word.parse().ok()).collect::<Option<Vec<u64>>>()?;
    BUSY.into_iter().map(|place| ticks.get(place)).sum()
}

fn length(ticks: u64, per_second: u64) -> Duration {
    let part = ticks % per_second * 1_000_000_000 / per_second;
    Duration::from_secs(ticks / per_second) + Duration::from_nanos(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  1000 200 30 5000 400 5 6 7000 0 0
cpu0 500 100 15 2500 200 3 3 3500 0 0
intr 12 0
";

    #[test]
    fn neither_rest_nor_stolen_time_is_work() {
        assert_eq!(busy_ticks(STAT), Some(1241));
    }

    #[test]
    fn what_is_no_statistic_is_none() {
        assert_eq!(busy_ticks("cpu0 1 2 3 4 5 6 7\n"), None);
        assert_eq!(busy_ticks("cpu  1 2 3 4 5 6\n"), None);
        assert_eq!(busy_ticks("cpu  1 2 3 4 5 6 x\n"), None);
    }

    #[test]
    fn ticks_are_time() {
        assert_eq!(length(1241, 100), Duration::from_millis(12_410));
        assert_eq!(length(3, 250), Duration::from_millis(12));
    }

    #[test]
    fn work_shows() {
        let before = Busy::now().unwrap();
        let limit = std::time::Instant::now() + Duration::from_secs(5);
        while Busy::now().unwrap().since(before) < Duration::from_millis(20) {
            assert!(std::time::Instant::now() < limit, "busy for seconds, and no tick of it shows");
        }
        assert_eq!(before.since(Busy::now().unwrap()), Duration::ZERO);
    }
}
