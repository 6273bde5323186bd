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
        time_in(&BUSY).map(Self)
    }

    /// How long cores have been busy since then, all of them together.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// What the host of a virtual machine has given to others while there was work here: of all cores together, since they started.
pub fn stolen() -> Result<Duration> {
    time_in(&STOLEN)
}

/// How many threads were at work or waited for it, on average in the last one, five and fifteen minutes.
pub fn load() -> Result<String> {
    let averages = read("/proc/loadavg")?;
    Ok(words(&averages).take(3).collect::<Vec<_>>().join(", "))
}

/// Where the line of all processors has what: user, nice, system, idle, iowait, irq, softirq, steal … What is spent with work of this
/// machine is not idle, not waiting and not stolen. (A guest's time is in its user's.)
const BUSY: [usize; 5] = [0, 1, 2, 5, 6];
const STOLEN: [usize; 1] = [7];

fn time_in(places: &[usize]) -> Result<Duration> {
    const FILE: &str = "/proc/stat";
    let ticks =
        ticks(&read(FILE)?, places).with_context(|| format!("no line of all processors in {FILE}"))?;
    Ok(length(ticks, rustix::param::clock_ticks_per_second()))
}

/// What all processors together have spent in these.
fn ticks(stat: &str, places: &[usize]) -> Option<u64> {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks = words(all).map(|word| word.parse().ok()).collect::<Option<Vec<u64>>>()?;
    places.iter().map(|place| ticks.get(*place)).sum()
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
        assert_eq!(ticks(STAT, &BUSY), Some(1241));
        assert_eq!(ticks(STAT, &STOLEN), Some(7000));
    }

    #[test]
    fn what_is_no_statistic_is_none() {
        assert_eq!(ticks("cpu0 1 2 3 4 5 6 7\n", &BUSY), None);
        assert_eq!(ticks("cpu  1 2 3 4 5 6\n", &BUSY), None);
        assert_eq!(ticks("cpu  1 2 3 4 5 6 x\n", &BUSY), None);
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
