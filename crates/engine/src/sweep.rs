//! The sweep for flows whose time is up: each worker looks at every so-many-th slot, all of them once a second, in ten
//! steps. It costs no memory per flow.

use std::time::Duration;

use crate::contract::WorkerId;

const STEPS: usize = 10;
const STEP: Duration = Duration::from_millis(100);

/// Where a worker's sweep stands.
#[derive(Default)]
pub(crate) struct Sweep {
    /// When the next step is due.
    pub(crate) due: Duration,
    next: usize,
    left: usize,
}

impl Sweep {
    /// The slots to look at now: none before the next step is due, and `budget` at most.
    pub(crate) fn next_slots(
        &mut self,
        now: Duration,
        budget: usize,
        worker: WorkerId,
        workers: usize,
        high_water: usize,
    ) -> impl Iterator<Item = usize> + use<> {
        let own = high_water.saturating_sub(worker.index()).div_ceil(workers);
        if now >= self.due && self.left == 0 {
            self.left = own.div_ceil(STEPS);
        }
        let count = if now >= self.due { self.left.min(budget) } else { 0 };
        let first = self.next;
        if now >= self.due {
            self.left -= count;
            self.next = (first + count).checked_rem(own).unwrap_or(0);
            self.due = if self.left > 0 { now } else { now + STEP };
        }
        (first..first + count).map(move |n| worker.index() + n % own * workers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_all_slots_and_see_each_once_a_second() {
        let mut seen = vec![0; 1003];
        for worker in 0..3 {
            let mut sweep = Sweep::default();
            for now in (0..1000).step_by(100).map(Duration::from_millis) {
                while sweep.due <= now {
                    for slot in sweep.next_slots(now, 7, WorkerId(worker), 3, seen.len()) {
                        seen[slot] += 1;
                    }
                }
            }
        }
        assert!(seen.iter().all(|times| (1..=2).contains(times)), "{seen:?}");
    }

    #[test]
    fn nothing_to_sweep_is_nothing_to_do() {
        assert_eq!(Sweep::default().next_slots(Duration::ZERO, 100, WorkerId(1), 2, 0).count(), 0);
    }
}
