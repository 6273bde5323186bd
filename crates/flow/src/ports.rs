//! Source ports: 55,000 per (protocol, node, target), as the real load balancer has. Whoever sends from a node's address
//! takes its port here: a nat flow, a terminated one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use topology::NodeId;
use wire::{Addr, Protocol};

/// Ports in each pool.
pub const PORTS_PER_POOL: usize = 55_000;
const FIRST_PORT: u16 = (u16::MAX as usize + 1 - PORTS_PER_POOL) as u16;

/// What a pool belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PoolKey {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The node that sends.
    pub node: NodeId,
    /// The target's address.
    pub target: Addr,
    /// The target's port.
    pub target_port: u16,
}

/// Identifies a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolId(pub(crate) u32);

/// All pools, one for each [`PoolKey`] that the topology can need.
pub struct Ports {
    by_key: HashMap<PoolKey, PoolId, ahash::RandomState>,
    pools: Vec<Pool>,
}

impl Ports {
    /// The pools for these keys; a key that is named twice gets one.
    pub fn new(keys: impl Iterator<Item = PoolKey>) -> Self {
        let mut by_key = HashMap::with_hasher(ahash::RandomState::with_seeds(0, 0, 0, 0));
        let mut pools = Vec::new();
        for key in keys {
            by_key.entry(key).or_insert_with(|| {
                pools.push(Pool::new());
                PoolId(pools.len() as u32 - 1)
            });
        }
        Self { by_key, pools }
    }

    /// The pool of this key.
    pub fn pool(&self, key: &PoolKey) -> Option<PoolId> {
        self.by_key.get(key).copied()
    }

    /// Takes a port: the one that `preference` hashes to, or the next free one. `None` when all are in use. A client
    /// that keeps its preference keeps its port, so that the target sees its sequence numbers and timestamps grow.
    pub fn take(&self, pool: PoolId, preference: u64) -> Option<u16> {
        self.pools[pool.0 as usize].take(preference)
    }

    /// Gives a port back.
    pub(crate) fn give_back(&self, pool: PoolId, port: u16) {
        self.pools[pool.0 as usize].give_back(port);
    }

    /// How much of a pool is in use, in hundredths.
    pub(crate) fn used(&self, pool: PoolId) -> usize {
        self.pools[pool.0 as usize].in_use.load(Ordering::Relaxed) * 100 / PORTS_PER_POOL
    }

    /// Ports in use, over all pools.
    pub fn in_use(&self) -> usize {
        self.pools.iter().map(|pool| pool.in_use.load(Ordering::Relaxed)).sum()
    }
}

/// A bit per port, set while it is in use.
struct Pool {
    taken: Box<[AtomicU64]>,
    in_use: AtomicUsize,
}

const WORD: usize = u64::BITS as usize;

impl Pool {
    fn new() -> Self {
        let taken: Box<[AtomicU64]> = bytemuck::zeroed_slice_box(PORTS_PER_POOL.div_ceil(WORD));
        // The last word's surplus bits are ports that do not exist.
        if let Some(last) = taken.last() {
            last.store(!0 << (PORTS_PER_POOL % WORD), Ordering::Relaxed);
        }
        Self { taken, in_use: AtomicUsize::new(0) }
    }

    fn take(&self, preference: u64) -> Option<u16> {
        let preferred = (preference % PORTS_PER_POOL as u64) as usize;
        let (first, bit) = (preferred / WORD, preferred % WORD);
        // From the preferred bit up, then every word once around, ending with the first one's lower bits.
        let words = (0..=self.taken.len()).map(|step| (first + step) % self.taken.len());
        let masks = std::iter::once(!0 << bit).chain(std::iter::repeat(!0));
        let port = words.zip(masks).find_map(|(word, mask)| self.take_in(word, mask))?;
        self.in_use.fetch_add(1, Ordering::Relaxed);
        Some(port)
    }

    /// Takes the lowest free bit of a word, within `mask`.
    fn take_in(&self, word: usize, mask: u64) -> Option<u16> {
        let mut taken = self.taken[word].load(Ordering::Relaxed);
        loop {
            let free = !taken & mask;
            if free == 0 {
                return None;
            }
            let bit = free & free.wrapping_neg();
            match self.taken[word].compare_exchange_weak(
                taken,
                taken | bit,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(FIRST_PORT + (word * WORD) as u16 + bit.trailing_zeros() as u16),
                Err(now) => taken = now,
            }
        }
    }

    fn give_back(&self, port: u16) {
        let index = usize::from(port - FIRST_PORT);
        self.taken[index / WORD].fetch_and(!(1 << (index % WORD)), Ordering::AcqRel);
        self.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_given_once_and_then_none() {
        let pool = Pool::new();
        let mut ports: Vec<u16> = (0..PORTS_PER_POOL).map(|n| pool.take(n as u64 * 7919).unwrap()).collect();
        assert_eq!(pool.take(0), None);
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), PORTS_PER_POOL);
        assert_eq!((ports[0], ports[PORTS_PER_POOL - 1]), (FIRST_PORT, u16::MAX));
        pool.give_back(40_000);
        assert_eq!(pool.in_use.load(Ordering::Relaxed), PORTS_PER_POOL - 1);
        assert_eq!(pool.take(0), Some(40_000));
    }

    #[test]
    fn a_preference_is_kept() {
        let pool = Pool::new();
        let port = pool.take(123_456).unwrap();
        assert_ne!(pool.take(123_456), Some(port), "it is in use");
        pool.give_back(port);
        assert_eq!(pool.take(123_456), Some(port));
    }

    #[test]
    fn threads_never_share_a_port() {
        let pool = Pool::new();
        let all: Vec<u16> = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..10_000).map(|n| pool.take(n).unwrap()).collect::<Vec<_>>()))
                .collect();
            takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect()
        });
        let unique: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(unique.len(), 40_000);
    }
}
