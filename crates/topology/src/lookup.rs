//! Questions about a topology that follow from zones, families and ports. Some answers are made on the heap: ask when a
//! topology is taken into use, not for every packet.

use std::net::IpAddr;

use crate::{DeviceId, Family, Interface, ListenerId, Node, NodeId, TargetGroupId, TargetId, Topology};

/// How a target is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// The node that sends.
    pub node: NodeId,
    /// The listener that leads there: one of the node's service.
    pub listener: ListenerId,
    /// The target.
    pub target: TargetId,
}

impl Topology {
    /// The node that traffic from an interface takes to targets of `family`: one of the interface's zone where there
    /// is one, else the service's first.
    pub fn node_for(&self, interface: &Interface, family: Family) -> Option<NodeId> {
        let service = self.endpoints.get(interface.endpoint)?.service;
        let of_family = || {
            let nodes = self.services[service].nodes.iter().copied();
            nodes.filter(move |id| Family::of(self.nodes[*id].address) == family)
        };
        of_family().find(|id| self.nodes[*id].zone == interface.zone).or_else(|| of_family().next())
    }

    /// The targets of a group that a node may use: those of its family that are in its zone, or in every zone.
    ///
    /// `load_balancing.cross_zone.enabled` adds those of the other zones. Where it is not said, they are added if there
    /// would be none at all: a file whose few targets stand in one zone should work from everywhere.
    pub fn selected(&self, group: TargetGroupId, node: NodeId) -> Vec<TargetId> {
        let (group, node) = (&self.groups[group], &self.nodes[node]);
        let mut targets = group.targets.clone();
        targets.retain(|id| Family::of(self.targets[*id].address) == Family::of(node.address));
        let is_near = |id: &TargetId| self.is_near(*id, node);
        let all_zones = group.attributes.cross_zone.unwrap_or_else(|| !targets.iter().any(is_near));
        if !all_zones {
            targets.retain(is_near);
        }
        targets
    }

    /// Whether a target and a node share a zone. Whatever has no zone is in every zone.
    fn is_near(&self, target: TargetId, node: &Node) -> bool {
        match (&self.targets[target].zone, &node.zone) {
            (Some(target), Some(node)) => target == node,
            _ => true,
        }
    }

    /// The ways that new flows may take, and health checks do: those to targets that have any weight. Of one node's, those of its
    /// first listener come first.
    pub fn ways_of_newcomers(&self) -> impl Iterator<Item = Way> {
        self.ways().filter(|way| self.targets[way.target].weight > 0)
    }

    /// Every way that packets take from one of the device's nodes to a target, those of health checks included, each
    /// once: source and destination.
    pub fn ways_from(&self, device: DeviceId) -> Vec<(IpAddr, IpAddr)> {
        let ways = self.ways().filter(|way| self.nodes[way.node].device == device);
        let mut ways: Vec<_> =
            ways.map(|way| (self.nodes[way.node].address, self.targets[way.target].address)).collect();
        ways.sort_unstable();
        ways.dedup();
        ways
    }

    fn ways(&self) -> impl Iterator<Item = Way> {
        self.nodes.iter().flat_map(move |(node, own)| {
            let listeners = self.services[own.service].listeners.iter();
            listeners.flat_map(move |&listener| {
                let forward = self.listeners[listener].forward.iter();
                let targets = forward.flat_map(move |forward| self.selected(forward.group, node));
                targets.map(move |target| Way { node, listener, target })
            })
        })
    }
}
