//! Lanes, and what they share: source ports, and room for half-open flows.
//!
//! A lane is one way to one target, and what it is used for; every flow is on one. Lanes that speak from the same node to the
//! same target draw on one pool of source ports, as at the real load balancer: 55,000 per (protocol, node, target).
//! Half-open flows may hold a quarter of a pool, each endpoint its share of that quarter (`shares.rs`).
//!
//! Lanes come with the topologies, and stay: the same lane is the same id for as long as the table lives, also if it is of no use
//! for a while. They are added behind a lock, by whoever takes up a topology, while workers read what is there already.
//!
//! What is to become of a lane's flows is its *fate*. It is looked at for every packet, so fates stand by themselves, a byte for
//! each lane: those of sixty-four lanes are one line of the cache, which is written seldom.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use topology::{EndpointId, InterfaceId, ListenerId, NodeId, TargetId};
use wire::{Addr, Protocol};

use crate::ports::{MOST_PORTS, Pool};
use crate::shares::{Quarter, Share, Shares};
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Memory, Mutex, MutexGuard, Ordering};
use crate::tick::Tick;
use crate::track::Cause;

/// The most lanes that there can be.
const MOST_LANES: usize = if cfg!(loom) { 4 } else { 1 << 20 };

/// The most pools that there can be: each takes seven kilobytes, and the shares of it what their rings take.
const MOST_POOLS: usize = if cfg!(loom) { 4 } else { 1 << 16 };

/// What a pool of source ports belongs to.
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

/// Who uses a lane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LaneUser {
    /// An endpoint's clients.
    Endpoint {
        /// The endpoint.
        endpoint: EndpointId,
        /// The interface of it that they come to.
        interface: InterfaceId,
        /// The listener that they pass.
        listener: ListenerId,
    },
    /// The node itself, which asks how the target is.
    HealthCheck,
}

impl LaneUser {
    /// The endpoint, if it is one.
    pub const fn endpoint(self) -> Option<EndpointId> {
        match self {
            Self::Endpoint { endpoint, .. } => Some(endpoint),
            Self::HealthCheck => None,
        }
    }
}

/// One way to a target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Lane {
    /// Who uses it.
    pub user: LaneUser,
    /// The target that it leads to.
    pub target: TargetId,
    /// Whose source ports it uses.
    pub pool: PoolKey,
}

/// Identifies a [`Lane`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LaneId(pub(crate) u32);

/// What is to become of a lane's flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// They go on.
    Carried,
    /// They end, for this cause: each when its next packet comes or when it is swept.
    Ended(Cause),
}

impl Fate {
    fn to_byte(self) -> u8 {
        match self {
            Self::Carried => 0,
            Self::Ended(cause) => 1 + cause as u8,
        }
    }

    #[inline]
    fn from_byte(byte: u8) -> Self {
        let cause = byte.checked_sub(1).and_then(|cause| Cause::ALL.get(usize::from(cause)));
        cause.map_or(Self::Carried, |cause| Self::Ended(*cause))
    }
}

/// How one target's source ports stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolStatus {
    /// Whose they are.
    pub key: PoolKey,
    /// How many are in use, those that are kept quiet included.
    pub in_use: usize,
    /// How many times none was free.
    pub exhausted: u64,
}

/// All lanes, and the pools and shares behind them.
pub struct Lanes {
    lanes: boxcar::Vec<Known>,
    pools: boxcar::Vec<Pool>,
    shares: Shares,
    /// By lane.
    fates: Memory<AtomicU8>,
    sentences: AtomicU64,
    registry: Mutex<Registry>,
    /// How many there are in a pool.
    ports: usize,
    workers: usize,
}

/// A lane, and where its pool and its share are.
struct Known {
    lane: Lane,
    /// A [`Tick`].
    idle: AtomicU32,
    pool: usize,
    share: Option<usize>,
    flows: AtomicUsize,
}

/// What there is already, by what it is.
#[derive(Default)]
struct Registry {
    lanes: HashMap<Lane, LaneId>,
    pools: HashMap<PoolKey, (usize, Arc<Quarter>)>,
    shares: HashMap<(PoolKey, EndpointId), usize>,
}

impl Lanes {
    /// No lanes yet. Each pool has so many source ports, [`MOST_PORTS`] at most, for so many workers.
    pub fn new(ports: usize, workers: usize) -> Self {
        Self {
            lanes: boxcar::Vec::new(),
            pools: boxcar::Vec::new(),
            shares: Shares::new(),
            fates: Memory::zeroed(MOST_LANES),
            sentences: AtomicU64::new(0),
            registry: Mutex::default(),
            ports: ports.clamp(1, MOST_PORTS),
            workers,
        }
    }

    /// The id of this lane, whose flows may stay silent for `idle` from now on. The same lane always has the same id. `None` if
    /// there are too many already: a million lanes, 65,536 pools or 262,144 shares, those that are of no use any more included.
    pub fn intern(&self, lane: &Lane, idle: Duration) -> Option<LaneId> {
        let mut registry = self.registry();
        let idle = Tick::of(idle).0;
        if let Some(&id) = registry.lanes.get(lane) {
            self.known(id).idle.store(idle, Ordering::Relaxed);
            return Some(id);
        }
        if self.lanes.count() >= MOST_LANES {
            return None;
        }
        let (pool, share) = self.behind(&mut registry, lane)?;
        let idle = AtomicU32::new(idle);
        let known = Known { lane: *lane, idle, pool, share, flows: AtomicUsize::new(0) };
        let id = LaneId(self.lanes.push(known) as u32);
        registry.lanes.insert(*lane, id);
        Some(id)
    }

    /// What a lane is.
    pub fn lane(&self, id: LaneId) -> &Lane {
        &self.known(id).lane
    }

    /// All lanes.
    pub fn iter(&self) -> impl Iterator<Item = (LaneId, &Lane)> {
        self.lanes.iter().map(|(index, known)| (LaneId(index as u32), &known.lane))
    }

    /// What is to become of a lane's flows.
    #[inline]
    pub fn fate(&self, id: LaneId) -> Fate {
        Fate::from_byte(self.fates[id.0 as usize].load(Ordering::Relaxed))
    }

    /// Decides what is to become of a lane's flows. An endpoint whose lanes to a pool have all ended has no share of it: the others
    /// have more.
    pub fn set_fate(&self, id: LaneId, fate: Fate) {
        self.set_fates([(id, fate)]);
    }

    /// Decides for many lanes at once. Those whose fate stays as it was cost a look each; if any of the others was carried, and has
    /// ended now, [`Lanes::sentences`] says so in the end.
    pub fn set_fates(&self, fates: impl IntoIterator<Item = (LaneId, Fate)>) {
        let sentenced = fates.into_iter().filter(|(id, fate)| self.sentence(*id, *fate)).count();
        if sentenced > 0 {
            self.sentences.fetch_add(1, Ordering::Release);
        }
    }

    /// How many times lanes have ended, those that did together counted as one. Whoever sees that it is as before need not look for
    /// flows to end.
    pub fn sentences(&self) -> u64 {
        self.sentences.load(Ordering::Acquire)
    }

    /// How many flows are on a lane: those that have ended, and only keep their ports quiet, are no more.
    pub fn flows(&self, id: LaneId) -> usize {
        self.known(id).flows.load(Ordering::Relaxed)
    }

    /// How each pool stands.
    pub fn pools(&self) -> impl Iterator<Item = PoolStatus> {
        self.pools.iter().map(|(_, pool)| pool.status())
    }

    /// How many source ports are in use, of all pools; those that are kept quiet included.
    pub fn ports_in_use(&self) -> usize {
        self.pools().map(|pool| pool.in_use).sum()
    }

    pub(crate) fn idle(&self, id: LaneId) -> Tick {
        Tick(self.known(id).idle.load(Ordering::Relaxed))
    }

    pub(crate) fn pool(&self, id: LaneId) -> &Pool {
        &self.pools[self.known(id).pool]
    }

    /// The share that a lane's half-open flows count against, if an endpoint uses it.
    pub(crate) fn share(&self, id: LaneId) -> Option<&Share> {
        self.known(id).share.map(|share| self.shares.get(share))
    }

    /// The share with the most half-open flows, if any has one.
    pub(crate) fn fullest(&self) -> Option<&Share> {
        self.shares.fullest()
    }

    /// A flow begins.
    pub(crate) fn arrive(&self, id: LaneId) {
        self.known(id).flows.fetch_add(1, Ordering::Relaxed);
    }

    /// One has ended.
    pub(crate) fn leave(&self, id: LaneId) {
        self.known(id).flows.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sets a lane's fate, and says whether that ends it.
    fn sentence(&self, id: LaneId, fate: Fate) -> bool {
        if self.fate(id) == fate {
            return false;
        }
        let _one_at_a_time = self.registry();
        let had = Fate::from_byte(self.fates[id.0 as usize].swap(fate.to_byte(), Ordering::Relaxed));
        let share = self.known(id).share;
        match (had, fate) {
            (Fate::Carried, Fate::Ended(_)) => share.into_iter().for_each(|share| self.shares.leave(share)),
            (Fate::Ended(_), Fate::Carried) => share.into_iter().for_each(|share| self.shares.join(share)),
            _ => {}
        }
        had == Fate::Carried && fate != had
    }

    /// The pool and the share behind a new lane, new themselves if need be and if there can be more.
    fn behind(&self, registry: &mut Registry, lane: &Lane) -> Option<(usize, Option<usize>)> {
        let owner = lane.user.endpoint().map(|endpoint| (lane.pool, endpoint));
        let lacks_share = owner.is_some_and(|owner| !registry.shares.contains_key(&owner));
        let lacks_pool = !registry.pools.contains_key(&lane.pool);
        if lacks_share && self.shares.is_full() || lacks_pool && self.pools.count() >= MOST_POOLS {
            return None;
        }
        let (pool, quarter) = registry.pools.entry(lane.pool).or_insert_with(|| {
            let pool = Pool::new(lane.pool, self.ports, self.workers);
            (self.pools.push(pool), Arc::new(Quarter::of(self.ports)))
        });
        let share = owner
            .map(|owner| *registry.shares.entry(owner).or_insert_with(|| self.shares.add(quarter)))
            .inspect(|share| self.shares.join(*share));
        Some((*pool, share))
    }

    fn known(&self, id: LaneId) -> &Known {
        &self.lanes[id.0 as usize]
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
