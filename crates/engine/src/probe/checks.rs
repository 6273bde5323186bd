//! Which targets are checked, from where and how: what the topology says of it, made ready for the probers.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};

use flow::{Lane, LaneId, LaneUser, Lanes, PoolKey};
use topology::{CheckProtocol, DeviceId, HealthCheck, HttpCheck, NodeId, TargetId, Topology, Way};
use wire::Protocol;

use crate::proxy::protocol_of;

/// One target's health check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Check {
    /// Who is checked.
    pub(crate) target: TargetId,
    /// The address that asks: a node's.
    pub(crate) from: IpAddr,
    /// That node, and the device that its address is routed to.
    pub(crate) node: NodeId,
    pub(crate) device: DeviceId,
    /// Where it asks.
    pub(crate) to: SocketAddr,
    /// Whether that is where clients are led, and not another port.
    pub(crate) is_at_the_door: bool,
    /// The lane of the flows that this takes.
    pub(crate) lane: LaneId,
    /// What it asks, and how often.
    pub(crate) how: HealthCheck,
    /// The Host header of an HTTP check.
    pub(crate) host: String,
    /// Whether the target expects a proxy protocol header ahead of all else.
    pub(crate) expects_header: bool,
}

impl Check {
    /// What it asks for, beyond a connection.
    pub(crate) fn http(&self) -> Option<&HttpCheck> {
        match &self.how.protocol {
            CheckProtocol::Tcp => None,
            CheckProtocol::Http(http) | CheckProtocol::Https(http) => Some(http),
        }
    }
}

/// The checks of all targets that somebody can use, and how many there are of which the lane finds no room: such a target
/// is left unchecked.
pub(crate) fn checks(topology: &Topology, lanes: &Lanes) -> (Vec<Check>, usize) {
    let posts = posts(topology);
    let how = |target: TargetId| topology.groups[topology.targets[target].group].health_check.as_ref();
    let wanted = posts.iter().filter_map(|(target, post)| Some((*target, post, how(*target)?)));
    let found: Vec<_> =
        wanted.map(|(target, post, how)| check(topology, lanes, target, post, how.clone())).collect();
    let missing = found.iter().filter(|check| check.is_none()).count();
    (found.into_iter().flatten().collect(), missing)
}

fn check(topology: &Topology, lanes: &Lanes, id: TargetId, post: &Post, how: HealthCheck) -> Option<Check> {
    let target = &topology.targets[id];
    let node = &topology.nodes[post.node];
    let to = SocketAddr::new(target.address, how.port.unwrap_or(target.port));
    let pool = PoolKey {
        protocol: Protocol::Tcp,
        node: post.node,
        target: target.address.into(),
        target_port: to.port(),
    };
    let lane = Lane { user: LaneUser::HealthCheck, target: id, pool };
    let lane = lanes.intern(&lane, how.interval)?;
    let mut check = Check {
        target: id,
        from: node.address,
        node: post.node,
        device: node.device,
        to,
        is_at_the_door: to.port() == target.port,
        lane,
        how,
        host: SocketAddr::new(node.address, post.port).to_string(),
        expects_header: protocol_of(topology, id).is_some(),
    };
    if let Some(host) = check.http().and_then(|http| http.host.clone()) {
        check.host = host;
    }
    Some(check)
}

/// From where a target is asked.
struct Post {
    node: NodeId,
    /// The port of a listener that leads to the target.
    port: u16,
    /// Whether the node is of the target's own zone.
    is_near: bool,
}

/// For each target that a node may send traffic to, the node that asks it: one of its own zone, if there is one.
fn posts(topology: &Topology) -> BTreeMap<TargetId, Post> {
    let mut posts = BTreeMap::new();
    for Way { node, listener, target } in topology.ways_of_newcomers() {
        let is_near = topology.targets[target].zone == topology.nodes[node].zone;
        let post = Post { node, port: topology.listeners[listener].port, is_near };
        match posts.entry(target) {
            Entry::Vacant(entry) => drop(entry.insert(post)),
            Entry::Occupied(mut entry) if is_near && !entry.get().is_near => drop(entry.insert(post)),
            Entry::Occupied(_) => {}
        }
    }
    posts
}
