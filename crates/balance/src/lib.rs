//! Where it goes: health of targets and the choice among them. Pure.

use std::sync::atomic::{AtomicBool, Ordering};

use topology::{TargetId, Topology};

/// Which targets are healthy: a word beside the topology for each target, so that one load per packet can tell.
///
/// A target without a health check counts as healthy.
#[derive(Debug)]
pub struct Health {
    unhealthy: Box<[AtomicBool]>,
}

impl Health {
    /// Everything is healthy until somebody says otherwise.
    pub fn of(topology: &Topology) -> Self {
        Self { unhealthy: topology.targets.iter().map(|_| AtomicBool::new(false)).collect() }
    }

    /// Whether new flows may go to this target.
    #[inline]
    pub fn is_healthy(&self, target: TargetId) -> bool {
        !self.unhealthy[target.index()].load(Ordering::Relaxed)
    }

    /// Notes what a health check has found.
    pub fn set(&self, target: TargetId, healthy: bool) {
        self.unhealthy[target.index()].store(!healthy, Ordering::Relaxed);
    }
}

/// Chooses among `candidates` by a flow's hash: evenly over the healthy ones, and over all of them when none is healthy
/// (the load balancer fails open). `None` only when there are no candidates.
pub fn choose<'a, T>(
    candidates: &'a [T],
    hash: u64,
    health: &Health,
    target: impl Fn(&T) -> TargetId,
) -> Option<&'a T> {
    let is_healthy = |candidate: &&T| health.is_healthy(target(candidate));
    match candidates.iter().filter(is_healthy).count() {
        0 => candidates.get(share(hash, candidates.len())),
        healthy if healthy == candidates.len() => candidates.get(share(hash, healthy)),
        healthy => candidates.iter().filter(is_healthy).nth(share(hash, healthy)),
    }
}

/// Maps a hash evenly onto `0..count`.
fn share(hash: u64, count: usize) -> usize {
    ((u128::from(hash) * count as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use topology::Id;

    use super::*;

    fn health(count: usize) -> Health {
        Health { unhealthy: (0..count).map(|_| AtomicBool::new(false)).collect() }
    }

    fn spread(health: &Health, targets: &[TargetId]) -> Vec<usize> {
        let mut counts = vec![0; targets.len()];
        for n in 0..10_000u64 {
            let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            counts[choose(targets, hash, health, |target| *target).unwrap().index()] += 1;
        }
        counts
    }

    #[test]
    fn the_choice_is_even_skips_the_sick_and_fails_open() {
        let targets: Vec<TargetId> = (0..4).map(|index| Id::new(index, 0)).collect();
        let health = health(4);
        assert!(spread(&health, &targets).iter().all(|count| (2400..2600).contains(count)));
        health.set(targets[2], false);
        let counts = spread(&health, &targets);
        assert_eq!(counts[2], 0);
        assert!([0, 1, 3].iter().all(|&n| (3200..3500).contains(&counts[n])), "{counts:?}");
        targets.iter().for_each(|target| health.set(*target, false));
        assert!(spread(&health, &targets).iter().all(|count| *count > 2400), "all sick: all are used");
        assert!(choose(&[], 1, &health, |target: &TargetId| *target).is_none());
    }
}
