//! Source ports: a bitmap per (protocol, node, target). Whoever sends from a node's address takes its port here: a nat flow,
//! a terminated one.

use crate::sync::{AtomicU64, AtomicUsize, Memory, Ordering};

use crate::lanes::{PoolKey, PoolStatus};

/// The most ports that a pool can have: what the real load balancer has.
pub const MOST_PORTS: usize = 55_000;

/// The ports of a pool are the highest ones.
const LAST_PORT: u16 = u16::MAX;

/// A bit per port, set while it is in use.
pub(crate) struct Pool {
    key: PoolKey,
    ports: usize,
    taken: Memory<AtomicU64>,
    in_use: AtomicUsize,
    exhausted: AtomicU64,
}

const WORD: usize = u64::BITS as usize;

impl Pool {
    pub(crate) fn new(key: PoolKey, ports: usize) -> Self {
        let taken: Memory<AtomicU64> = Memory::zeroed(ports.div_ceil(WORD));
        // The last word's surplus bits are ports that do not exist.
        if let Some(last) = taken.last()
            && !ports.is_multiple_of(WORD)
        {
            last.store(!0 << (ports % WORD), Ordering::Relaxed);
        }
        Self { key, ports, taken, in_use: AtomicUsize::new(0), exhausted: AtomicU64::new(0) }
    }

    /// Takes a port: the one that `preference` hashes to, or the next free one. `None` when all are in use. A client
    /// that keeps its preference keeps its port, so that the target sees its sequence numbers and timestamps grow.
    pub(crate) fn take(&self, preference: u64) -> Option<u16> {
        let preferred = (preference % self.ports as u64) as usize;
        let (first, bit) = (preferred / WORD, preferred % WORD);
        // From the preferred bit up, then every word once around, ending with the first one's lower bits.
        let words = (0..=self.taken.len()).map(|step| (first + step) % self.taken.len());
        let masks = std::iter::once(!0 << bit).chain(std::iter::repeat(!0));
        let port = words.zip(masks).find_map(|(word, mask)| self.take_in(word, mask));
        match port {
            Some(_) => drop(self.in_use.fetch_add(1, Ordering::Relaxed)),
            None => drop(self.exhausted.fetch_add(1, Ordering::Relaxed)),
        }
        port
    }

    /// Gives a port back.
    pub(crate) fn give_back(&self, port: u16) {
        let index = usize::from(LAST_PORT - port);
        self.taken[index / WORD].fetch_and(!(1 << (index % WORD)), Ordering::AcqRel);
        self.in_use.fetch_sub(1, Ordering::Relaxed);
    }

    /// How much of it is in use, in hundredths.
    pub(crate) fn used(&self) -> usize {
        self.in_use.load(Ordering::Relaxed) * 100 / self.ports
    }

    pub(crate) fn status(&self) -> PoolStatus {
        PoolStatus {
            key: self.key,
            in_use: self.in_use.load(Ordering::Relaxed),
            exhausted: self.exhausted.load(Ordering::Relaxed),
        }
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
                Ok(_) => return Some(LAST_PORT - (word * WORD) as u16 - bit.trailing_zeros() as u16),
                Err(now) => taken = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use topology::Id;
    use wire::{Addr, Protocol};

    use super::*;

    fn pool(ports: usize) -> Pool {
        let key = PoolKey {
            protocol: Protocol::Tcp,
            node: Id::new(0, 0),
            target: Addr::v4([10, 2, 0, 2]),
            target_port: 8080,
        };
        Pool::new(key, ports)
    }

    #[test]
    fn every_port_is_given_once_and_then_none() {
        let pool = pool(MOST_PORTS);
        let mut ports: Vec<u16> = (0..MOST_PORTS).map(|n| pool.take(n as u64 * 7919).unwrap()).collect();
        assert_eq!(pool.take(0), None);
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), MOST_PORTS);
        assert_eq!((ports[0], ports[MOST_PORTS - 1]), (LAST_PORT - MOST_PORTS as u16 + 1, LAST_PORT));
        pool.give_back(40_000);
        assert_eq!(pool.in_use.load(Ordering::Relaxed), MOST_PORTS - 1);
        assert_eq!(pool.take(0), Some(40_000));
        assert_eq!(pool.status().exhausted, 1);
    }

    #[test]
    fn a_shrunk_pool_has_just_as_many_ports() {
        for ports in [1, 63, 64, 65, 200] {
            let pool = pool(ports);
            assert_eq!(std::iter::from_fn(|| pool.take(7)).count(), ports);
        }
    }

    #[test]
    fn a_preference_is_kept() {
        let pool = pool(MOST_PORTS);
        let port = pool.take(123_456).unwrap();
        assert_ne!(pool.take(123_456), Some(port), "it is in use");
        pool.give_back(port);
        assert_eq!(pool.take(123_456), Some(port));
    }

    #[test]
    fn threads_never_share_a_port() {
        let pool = pool(MOST_PORTS);
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
