//! Source ports: a bitmap per (protocol, node, target). Whoever sends from a node's address takes its port here: a nat flow,
//! a terminated one.
//!
//! Each worker has a class of its own, the ports that leave its number when they are divided by the number of workers: where
//! answers are steered by their port, a flow's come to the worker that opened it. It takes another class's ports when its own
//! are used up.

use crate::sync::{AtomicU64, AtomicUsize, Ordering, zeroed};

use crate::lanes::{PoolKey, PoolStatus};

/// The most ports that a pool can have: what the real load balancer has.
pub const MOST_PORTS: usize = 55_000;

/// The ports of a pool are the highest ones.
const LAST_PORT: u16 = u16::MAX;

/// A bit per port, set while it is in use.
pub(crate) struct Pool {
    key: PoolKey,
    ports: usize,
    classes: usize,
    /// Each class has so many words of its own.
    words: usize,
    taken: Box<[AtomicU64]>,
    in_use: AtomicUsize,
    exhausted: AtomicU64,
}

const WORD: usize = u64::BITS as usize;

impl Pool {
    pub(crate) fn new(key: PoolKey, ports: usize, classes: usize) -> Self {
        let words = ports.div_ceil(classes).div_ceil(WORD);
        let pool = Self {
            key,
            ports,
            classes,
            words,
            taken: zeroed(words * classes),
            in_use: AtomicUsize::new(0),
            exhausted: AtomicU64::new(0),
        };
        // A class's surplus bits are ports that do not exist.
        for class in 0..classes {
            for place in pool.size(class)..words * WORD {
                pool.taken[class * words + place / WORD].fetch_or(1 << (place % WORD), Ordering::Relaxed);
            }
        }
        pool
    }

    /// Takes a port: the one of this class that `preference` hashes to, or the next free one. `None` when all are in use. A
    /// client that keeps its preference keeps its port, so that the target sees its sequence numbers and timestamps grow.
    pub(crate) fn take(&self, preference: u64, class: usize) -> Option<u16> {
        let port = (0..self.classes).find_map(|step| self.take_of((class + step) % self.classes, preference));
        match port {
            Some(_) => drop(self.in_use.fetch_add(1, Ordering::Relaxed)),
            None => drop(self.exhausted.fetch_add(1, Ordering::Relaxed)),
        }
        port
    }

    /// Gives a port back.
    pub(crate) fn give_back(&self, port: u16) {
        let class = usize::from(port) % self.classes;
        let place = usize::from(LAST_PORT - port) / self.classes;
        self.taken[class * self.words + place / WORD].fetch_and(!(1 << (place % WORD)), Ordering::AcqRel);
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

    /// The highest port of a class, counted down from the last one.
    fn offset(&self, class: usize) -> usize {
        (usize::from(LAST_PORT) + self.classes - class) % self.classes
    }

    /// How many ports a class has.
    fn size(&self, class: usize) -> usize {
        (self.ports + self.classes - 1).saturating_sub(self.offset(class)) / self.classes
    }

    fn take_of(&self, class: usize, preference: u64) -> Option<u16> {
        let preferred = (preference % self.size(class).max(1) as u64) as usize;
        let (first, bit) = (preferred / WORD, preferred % WORD);
        // From the preferred bit up, then every word once around, ending with the first one's lower bits.
        let words = (0..=self.words).map(|step| (first + step) % self.words);
        let masks = std::iter::once(!0 << bit).chain(std::iter::repeat(!0));
        let place = words.zip(masks).find_map(|(word, mask)| self.take_in(class, word, mask))?;
        Some(LAST_PORT - (place * self.classes + self.offset(class)) as u16)
    }

    /// Takes the lowest free bit of a word of a class, within `mask`.
    fn take_in(&self, class: usize, word: usize, mask: u64) -> Option<usize> {
        let bits = &self.taken[class * self.words + word];
        let mut taken = bits.load(Ordering::Relaxed);
        loop {
            let free = !taken & mask;
            if free == 0 {
                return None;
            }
            let bit = free & free.wrapping_neg();
            match bits.compare_exchange_weak(taken, taken | bit, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(word * WORD + bit.trailing_zeros() as usize),
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

    fn pool(ports: usize, classes: usize) -> Pool {
        let key = PoolKey {
            protocol: Protocol::Tcp,
            node: Id::new(0),
            target: Addr::v4([10, 2, 0, 2]),
            target_port: 8080,
        };
        Pool::new(key, ports, classes)
    }

    #[test]
    fn every_port_is_given_once_and_then_none() {
        for classes in [1, 2, 3, 16] {
            let pool = pool(MOST_PORTS, classes);
            let mut ports: Vec<u16> =
                (0..MOST_PORTS).map(|n| pool.take(n as u64 * 7919, n % classes).unwrap()).collect();
            assert_eq!(pool.take(0, 0), None);
            ports.sort_unstable();
            ports.dedup();
            assert_eq!(ports.len(), MOST_PORTS);
            assert_eq!((ports[0], ports[MOST_PORTS - 1]), (LAST_PORT - MOST_PORTS as u16 + 1, LAST_PORT));
            pool.give_back(40_000);
            assert_eq!(pool.in_use.load(Ordering::Relaxed), MOST_PORTS - 1);
            assert_eq!(pool.take(0, 0), Some(40_000));
            assert_eq!(pool.status().exhausted, 1);
        }
    }

    #[test]
    fn a_class_has_the_ports_that_leave_its_number_and_then_the_others() {
        for classes in [1, 2, 3, 16] {
            let pool = pool(600, classes);
            for class in 0..classes {
                let own = pool.size(class) as u64;
                assert!((0..own).all(|n| usize::from(pool.take(n * 31, class).unwrap()) % classes == class));
            }
            assert_eq!((pool.in_use.load(Ordering::Relaxed), pool.take(0, 0)), (600, None));
            let other = LAST_PORT - 1;
            pool.give_back(other);
            assert_eq!(pool.take(0, usize::from(LAST_PORT) % classes), Some(other), "of whichever class");
        }
    }

    #[test]
    fn a_shrunk_pool_has_just_as_many_ports() {
        for ports in [1, 63, 64, 65, 200] {
            for classes in [1, 2, 7] {
                let pool = pool(ports, classes);
                assert_eq!(std::iter::from_fn(|| pool.take(7, 0)).count(), ports);
            }
        }
    }

    #[test]
    fn a_preference_is_kept() {
        let pool = pool(MOST_PORTS, 2);
        let port = pool.take(123_456, 1).unwrap();
        assert_ne!(pool.take(123_456, 1), Some(port), "it is in use");
        pool.give_back(port);
        assert_eq!(pool.take(123_456, 1), Some(port));
    }

    #[test]
    fn threads_never_share_a_port() {
        let pool = pool(MOST_PORTS, 2);
        let all: Vec<u16> = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..10_000).map(|n| pool.take(n, 0).unwrap()).collect::<Vec<_>>()))
                .collect();
            takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect()
        });
        let unique: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(unique.len(), 40_000);
    }
}
