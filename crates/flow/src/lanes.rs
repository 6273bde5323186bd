//! Lanes, and what they share: source ports, and room for half-open flows.
//!
//! A lane is one endpoint's way through a listener to one target; every flow is on one. Lanes that speak from the same node to
//! the same target draw on one pool of source ports, as at the real load balancer: 55,000 per (protocol, node, target).
//! Half-open flows may hold a quarter of a pool, each endpoint its share of that quarter, so that a flood of SYNs through
//! one endpoint takes nothing from the others. When a share is used up, its oldest half-open flow makes room.

use std::collections::HashMap;
use std::time::Duration;

use topology::{EndpointId, ListenerId, NodeId, TargetId};
use wire::{Addr, Protocol};

use crate::ports::{MOST_PORTS, Pool};
use crate::shares::Shares;
use crate::tick::Tick;

/// The fewest half-open flows that an endpoint may have towards a target, however small the pool has been made: an honest
/// client whose handshake is crowded out is reset.
const LEAST_SHARE: usize = 16;

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

/// One endpoint's way through a listener to a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lane {
    /// The endpoint that it begins at.
    pub endpoint: EndpointId,
    /// The listener that it passes.
    pub listener: ListenerId,
    /// The target that it leads to.
    pub target: TargetId,
    /// Whose source ports it uses.
    pub pool: PoolKey,
    /// How long its flows may stay silent.
    pub idle: Duration,
}

/// Identifies a [`Lane`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LaneId(pub(crate) u32);

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

impl LaneId {
    /// The lane at this place of the list that [`Lanes::new`] is given.
    pub const fn new(index: usize) -> Self {
        Self(index as u32)
    }
}

/// All lanes, and the pools and shares behind them.
pub struct Lanes {
    lanes: Vec<Known>,
    pools: Vec<Pool>,
    pub(crate) shares: Shares,
}

/// A lane, and where its pool and its share are.
struct Known {
    lane: Lane,
    idle: Tick,
    pool: u32,
    share: u32,
}

impl Lanes {
    /// These lanes, with so many source ports per pool, [`MOST_PORTS`] at most, for so many workers.
    pub fn new(lanes: Vec<Lane>, ports: usize, workers: usize) -> Self {
        let ports = ports.clamp(1, MOST_PORTS);
        let mut pools = Vec::new();
        let mut by_key = HashMap::new();
        let mut shares = Vec::new();
        let mut by_endpoint = HashMap::new();
        let lanes = lanes
            .into_iter()
            .map(|lane| {
                let pool = *by_key
                    .entry(lane.pool)
                    .or_insert_with(|| push(&mut pools, Pool::new(lane.pool, ports, workers)));
                let share =
                    *by_endpoint.entry((pool, lane.endpoint)).or_insert_with(|| push(&mut shares, pool));
                Known { lane, idle: Tick::of(lane.idle), pool, share }
            })
            .collect();
        let mut endpoints = vec![0; pools.len()];
        shares.iter().for_each(|pool| endpoints[*pool as usize] += 1);
        let limits = shares.iter().map(|pool| (ports / 4 / endpoints[*pool as usize]).max(LEAST_SHARE));
        Self { lanes, pools, shares: Shares::new(limits) }
    }

    /// What a lane is.
    pub fn lane(&self, id: LaneId) -> &Lane {
        &self.lanes[id.0 as usize].lane
    }

    /// How each pool stands.
    pub fn pools(&self) -> impl Iterator<Item = PoolStatus> {
        self.pools.iter().map(Pool::status)
    }

    /// How many source ports are in use, of all pools; those that are kept quiet included.
    pub fn ports_in_use(&self) -> usize {
        self.pools().map(|pool| pool.in_use).sum()
    }

    pub(crate) fn idle(&self, id: LaneId) -> Tick {
        self.lanes[id.0 as usize].idle
    }

    pub(crate) fn pool(&self, id: LaneId) -> &Pool {
        &self.pools[self.lanes[id.0 as usize].pool as usize]
    }

    /// The place of the lane's share in [`Lanes::shares`].
    pub(crate) fn share(&self, id: LaneId) -> usize {
        self.lanes[id.0 as usize].share as usize
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> u32 {
    list.push(item);
    list.len() as u32 - 1
}
