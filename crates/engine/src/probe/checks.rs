//! Which targets are checked, from where and how: what the topology says of it, made ready for the probers.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};

use flow::{Lane, LaneId, LaneUser, Lanes, PoolKey};
use topology::{
    CheckProtocol, DeviceId, HealthCheck, HttpCheck, NodeId, ServiceId, Target, TargetGroupId, TargetId,
    Topology,
};
use wire::Protocol;

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
    /// The lane of the flows that this takes.
    pub(crate) lane: LaneId,
    /// What it asks, and how often.
    pub(crate) how: HealthCheck,
    /// The Host header of an HTTP check.
    pub(crate) host: String,
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

/// The checks of all targets that somebody can use. (One whose lane finds no room is left unchecked.)
pub(crate) fn checks(topology: &Topology, lanes: &Lanes) -> Vec<Check> {
    let posts = posts(topology);
    posts.iter().filter_map(|(target, post)| check(topology, lanes, *target, post)).collect()
}

fn check(topology: &Topology, lanes: &Lanes, id: TargetId, post: &Post) -> Option<Check> {
    let target = &topology.targets[id];
    let how = topology.groups[target.group].health_check.clone()?;
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
        lane,
        how,
        host: SocketAddr::new(node.address, post.port).to_string(),
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
    for (id, node) in topology.nodes.iter() {
        for (group, port) in groups_behind(topology, node.service) {
            for target in topology.selected(group, id) {
                let Target { zone, weight, .. } = &topology.targets[target];
                let post = Post { node: id, port, is_near: *zone == node.zone };
                match posts.entry(target) {
                    _ if *weight == 0 => {}
                    Entry::Vacant(entry) => drop(entry.insert(post)),
                    Entry::Occupied(mut entry) if post.is_near && !entry.get().is_near => {
                        entry.insert(post);
                    }
                    Entry::Occupied(_) => {}
                }
            }
        }
    }
    posts
}

/// The groups that a service's listeners forward to, each with the port of the first of these.
fn groups_behind(topology: &Topology, service: ServiceId) -> BTreeMap<TargetGroupId, u16> {
    let mut groups = BTreeMap::new();
    for listener in &topology.services[service].listeners {
        let listener = &topology.listeners[*listener];
        for forward in &listener.forward {
            groups.entry(forward.group).or_insert(listener.port);
        }
    }
    groups
}
