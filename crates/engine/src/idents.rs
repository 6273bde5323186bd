//! New identifications for datagrams in fragments.

use std::sync::atomic::{AtomicU32, Ordering};

use ahash::RandomState;
use topology::DeviceId;
use wire::Addr;

const COUNTERS: usize = 4096;

/// Gives out identifications. Two consumers may fragment datagrams with the same one, and behind a node both come from the
/// same address (as the answers of two targets do, in front of an interface): the receiver would put pieces of both
/// together. So each datagram in fragments gets a number of its own, counted per device, source and destination.
///
/// Which counter that is, is a keyed hash. Two that share one do no harm: it only comes round sooner. In IPv4 that is after
/// 65,536 datagrams in fragments, in IPv6 after 2^32. A receiver forgets an incomplete datagram after 30 s or so: a number
/// can meet itself only above 2,000 datagrams a second through one counter, and only where a fragment was lost. The UDP
/// checksum then tells, as it does for every other sender of IPv4 (RFC 4963).
pub(crate) struct Idents {
    counters: Box<[AtomicU32]>,
    keys: RandomState,
}

impl Idents {
    /// Counters that begin anywhere.
    pub(crate) fn new(keys: RandomState) -> Self {
        let counters = (0..COUNTERS).map(|n| AtomicU32::new(keys.hash_one(n) as u32)).collect();
        Self { counters, keys }
    }

    /// The next one for a datagram that leaves by `device`.
    pub(crate) fn next(&self, device: DeviceId, source: Addr, destination: Addr) -> u32 {
        let hash = self.keys.hash_one((device, source, destination));
        self.counters[hash as usize % COUNTERS].fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_of_hosts_counts_on_from_somewhere() {
        let idents = Idents::new(RandomState::with_seeds(1, 2, 3, 4));
        let host = |last| Addr::v4([10, 0, 0, last]);
        let next = |device, to| idents.next(DeviceId(device), host(1), host(to));
        let first = next(0, 2);
        assert_eq!(next(0, 2), first.wrapping_add(1));
        let others = [next(0, 3), next(1, 2)];
        assert!(!others.contains(&first.wrapping_add(2)), "{first} {others:?}");
        assert_eq!(next(0, 2), first.wrapping_add(2));
    }
}
