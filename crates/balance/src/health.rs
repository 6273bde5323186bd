//! What is known of every target's health, for all workers to read: a word each, that grows with the topology.

use std::sync::atomic::{AtomicU64, Ordering};

use topology::TargetId;

use crate::Standing;

/// Newcomers that failed are not counted any further; no threshold is as high.
const MOST_FAILURES: u32 = 255;

/// What checks and real flows have found out about each target. One load tells either.
///
/// A word is `standing (upper half) | newcomers that failed in a row (lower half)`. The standing is written by the
/// worker that checks the target; what newcomers meet, by whoever carries them.
#[derive(Default)]
pub struct Health {
    words: boxcar::Vec<AtomicU64>,
}

impl Health {
    /// What checks have found; until they find something, the target was registered just now.
    pub fn standing(&self, target: TargetId) -> Standing {
        self.known(target).map_or_else(Standing::default, |word| standing(word.load(Ordering::Relaxed)))
    }

    /// Notes what a check has found, and whether that is news. What newcomers met before is forgotten: failures count
    /// from one check to the next.
    pub fn set(&self, target: TargetId, found: Standing) -> bool {
        let word = u64::from(found.to_bits()) << 32;
        standing(self.word(target).swap(word, Ordering::Relaxed)) != found
    }

    /// Notes what a newcomer met: `failed` is a target that reset it or did not answer in time.
    pub fn overheard(&self, target: TargetId, failed: bool) {
        let Some(word) = self.known(target) else { return };
        let now = failures(word.load(Ordering::Relaxed));
        if failed && now < MOST_FAILURES {
            word.fetch_add(1, Ordering::Relaxed);
        } else if !failed && now > 0 {
            word.fetch_and(u64::MAX << 32, Ordering::Relaxed);
        }
    }

    /// How many newcomers in a row have failed since the last check.
    pub fn failures(&self, target: TargetId) -> u32 {
        self.known(target).map_or(0, |word| failures(word.load(Ordering::Relaxed)))
    }

    fn known(&self, target: TargetId) -> Option<&AtomicU64> {
        self.words.get(target.index())
    }

    /// The target's word, made if there is none. Targets are as many as the topology ever named.
    fn word(&self, target: TargetId) -> &AtomicU64 {
        loop {
            match self.known(target) {
                Some(word) => return word,
                None => self.words.push(AtomicU64::new(u64::from(Standing::default().to_bits()) << 32)),
            };
        }
    }
}

fn standing(word: u64) -> Standing {
    Standing::from_bits((word >> 32) as u32)
}

fn failures(word: u64) -> u32 {
    word as u32
}

#[cfg(test)]
mod tests {
    use topology::Id;

    use super::*;
    use crate::{Reason, State};

    const UNWELL: Standing = Standing::of(State::Unhealthy, Reason::Timeout);

    #[test]
    fn a_finding_is_news_once() {
        let (health, target) = (Health::default(), Id::new(7));
        assert_eq!(health.standing(target), Standing::default());
        assert!(!health.set(target, Standing::default()));
        assert!(health.set(target, Standing::HEALTHY));
        assert!(!health.set(target, Standing::HEALTHY));
        assert!(health.set(target, UNWELL));
        assert_eq!(health.standing(target), UNWELL);
        assert_eq!(health.standing(Id::new(6)), Standing::default(), "its neighbour is not concerned");
    }

    #[test]
    fn failures_are_counted_in_a_row_and_between_checks() {
        let (health, target) = (Health::default(), Id::new(0));
        let overheard = |results: &[bool]| {
            results.iter().for_each(|failed| health.overheard(target, *failed));
            health.failures(target)
        };
        assert_eq!(overheard(&[true]), 0, "nobody checks it");
        health.set(target, Standing::HEALTHY);
        assert_eq!(overheard(&[true, true]), 2);
        assert_eq!(overheard(&[true, false, true]), 1);
        assert!(!health.set(target, Standing::HEALTHY));
        assert_eq!(health.failures(target), 0);
        assert_eq!(overheard(&[true; 1000]), MOST_FAILURES);
        assert_eq!(health.standing(target), Standing::HEALTHY);
    }

    #[test]
    fn it_grows_while_others_look() {
        let health = Health::default();
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let health = &health;
                scope.spawn(move || {
                    for index in (worker..1000).step_by(4) {
                        assert!(health.set(Id::new(index), UNWELL));
                    }
                });
            }
        });
        assert!((0..1000).all(|index| health.standing(Id::new(index)) == UNWELL));
    }
}
