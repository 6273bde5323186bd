//! Questions about a topology that follow from zones, families and ports. Some answers are made on the heap: ask when a
//! topology is taken into use, not for every packet.

use std::net::IpAddr;

use crate::{DeviceId, Family, Interface, Listener, NodeId, TargetId, Topology};

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

    /// The targets that a node may send a listener's traffic to: those of its family that are in its zone, or in none.
    ///
    /// When there are none of these, all of its family will do: a file whose few targets stand in one zone should work
    /// from everywhere. Zones become strict with the attribute that says so
    /// (`load_balancing.cross_zone.enabled`).
    pub fn eligible_targets(&self, listener: &Listener, node: NodeId) -> Vec<TargetId> {
        let node = &self.nodes[node];
        let family = Family::of(node.address);
        let mut targets = self.groups[listener.forward[0].group].targets.clone();
        targets.retain(|id| Family::of(self.targets[*id].address) == family);
        let in_zone = |id: &TargetId| self.targets[*id].zone.is_none() || self.targets[*id].zone == node.zone;
        if targets.iter().any(in_zone) {
            targets.retain(in_zone);
        }
        targets
    }

    /// Every way that packets take from one of the device's nodes to a target, each once: source and destination.
    pub fn ways_from(&self, device: DeviceId) -> Vec<(IpAddr, IpAddr)> {
        let mut ways = Vec::new();
        for (id, node) in self.nodes.iter().filter(|(_, node)| node.device == device) {
            for listener in &self.services[node.service].listeners {
                let targets = self.eligible_targets(&self.listeners[*listener], id);
                ways.extend(targets.iter().map(|target| (node.address, self.targets[*target].address)));
            }
        }
        ways.sort_unstable();
        ways.dedup();
        ways
    }
}
