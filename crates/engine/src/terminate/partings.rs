//! TIME-WAIT: what is remembered of connections that both sides have closed, so that a FIN that comes once more gets its
//! acknowledgement and not a RST.
//!
//! A record is asked only about packets that belong to no flow, and it is forgotten when a flow opens that has its key: what
//! comes late for that one must not be answered with the old one's numbers. There are so many records a worker; where more
//! are wanted, the oldest of eight makes room. Without one, a late packet gets a RST, as if its flow had never been. So does
//! one that another worker meets than the one that had its connection: only that one has the record.

use std::time::Duration;

use ahash::RandomState;
use flow::Key;
use stack::Parting;

/// How long a record is kept: twice what a segment may live.
const KEPT: Duration = Duration::from_secs(60);
/// Records that a key may be kept in.
const WAYS: usize = 8;
const SETS: usize = 2048;

/// A worker's records.
pub(crate) struct Partings {
    records: Vec<Option<Record>>,
    hasher: RandomState,
}

#[derive(Clone, Copy)]
struct Record {
    key: Key,
    parting: Parting,
    until: Duration,
}

impl Partings {
    /// None, and no room for any.
    pub(crate) fn new(seed: [u64; 2]) -> Self {
        let [a, b] = seed;
        Self { records: Vec::new(), hasher: RandomState::with_seeds(a, b, b, a) }
    }

    /// Sees to it that there is room: the first connection needs it, and it is not to be allocated while packets wait.
    pub(crate) fn prepare(&mut self) {
        if self.records.is_empty() {
            self.records = vec![None; SETS * WAYS];
        }
    }

    /// Keeps what is left of the connection whose peer's packets have this key.
    pub(crate) fn keep(&mut self, key: Key, parting: Parting, now: Duration) {
        let way = self.ways(&key).iter_mut().min_by_key(|way| match way {
            Some(record) if record.key == key => (0, Duration::ZERO),
            None => (1, Duration::ZERO),
            Some(record) => (2, record.until),
        });
        if let Some(way) = way {
            *way = Some(Record { key, parting, until: now + KEPT });
        }
    }

    /// What is left of the connection that packets with this key belonged to.
    pub(crate) fn find(&self, key: &Key, now: Duration) -> Option<Parting> {
        let first = self.first_way(key);
        let ways = self.records.get(first..first + WAYS)?;
        let record = ways.iter().flatten().find(|record| record.key == *key)?;
        (now < record.until).then_some(record.parting)
    }

    /// Forgets the connection that packets with this key belonged to: they belong to another one now.
    pub(crate) fn forget(&mut self, key: &Key) {
        let is_its = |way: &&mut Option<Record>| way.is_some_and(|record| record.key == *key);
        self.ways(key).iter_mut().filter(is_its).for_each(|way| *way = None);
    }

    fn ways(&mut self, key: &Key) -> &mut [Option<Record>] {
        let first = self.first_way(key);
        self.records.get_mut(first..first + WAYS).unwrap_or_default()
    }

    fn first_way(&self, key: &Key) -> usize {
        self.hasher.hash_one(key) as usize % SETS * WAYS
    }
}
