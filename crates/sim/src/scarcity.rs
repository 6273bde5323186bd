//! Where there is too little of something from the start, so that newcomers have to wait until others are forgotten.

use engine::Shared;
use flow::{PORTS_PER_POOL, PoolId, PoolKey};
use wire::Protocol;

/// What there is too little of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scarcity {
    /// Nothing.
    None,
    /// The flow table holds so many.
    Flows(usize),
    /// So many source ports are left towards each target of TCP.
    Ports(usize),
}

impl Scarcity {
    /// Takes away the ports that there are not to be. (The flow table's size is the topology's.)
    pub fn apply(self, shared: &Shared) {
        let Self::Ports(left) = self else { return };
        for pool in tcp_pools(shared) {
            for preference in left..PORTS_PER_POOL {
                shared.flows().ports().take(pool, preference as u64);
            }
        }
    }
}

/// The pools of source ports for TCP.
pub fn tcp_pools(shared: &Shared) -> impl Iterator<Item = PoolId> {
    let topology = shared.topology();
    let nodes = topology.nodes.iter().map(|(node, _)| node);
    let pairs = nodes.flat_map(|node| topology.targets.iter().map(move |(_, target)| (node, target)));
    pairs.filter_map(|(node, target)| {
        let (address, port) = (target.address.into(), target.port);
        let key = PoolKey { protocol: Protocol::Tcp, node, target: address, target_port: port };
        shared.flows().ports().pool(&key)
    })
}
