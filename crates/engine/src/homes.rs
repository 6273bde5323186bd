//! Which node each interface keeps: the one that its first flow has used, for as long as there is that node.

use std::sync::atomic::{AtomicU32, Ordering};

use topology::{Family, InterfaceId, NodeId, Topology};

/// The interfaces' nodes, one for each family: a terminated flow may leave by the other one.
#[derive(Default)]
pub(crate) struct Homes {
    /// By interface; grows with the topology.
    nodes: boxcar::Vec<[Home; 2]>,
}

/// A node's id plus one; 0 is none yet.
#[derive(Default)]
struct Home(AtomicU32);

impl Homes {
    /// Makes room for the topology's interfaces, and forgets nodes that are none of theirs any more.
    pub(crate) fn adopt(&self, topology: &Topology) {
        while self.nodes.count() < topology.interfaces.bound() {
            self.nodes.push(Default::default());
        }
        for (id, _) in topology.interfaces.iter() {
            let homes = self.nodes.get(id.index()).into_iter().flatten();
            for home in homes.filter(|home| home.node().is_some_and(|node| !serves(topology, node, id))) {
                home.0.store(0, Ordering::Relaxed);
            }
        }
    }

    /// The node of this family that an interface speaks to targets from: the one that it keeps, or else the topology's choice.
    pub(crate) fn node(&self, topology: &Topology, id: InterfaceId, family: Family) -> Option<NodeId> {
        let kept = self.nodes.get(id.index()).and_then(|homes| homes[family as usize].node());
        kept.filter(|node| serves(topology, *node, id))
            .or_else(|| topology.node_for(topology.interfaces.get(id)?, family))
    }

    /// A flow leaves from an interface by this node, of this topology: unless it keeps one already, it keeps this one. (Who goes by
    /// an older topology may still make it keep a node that is gone: the next flow puts that right.)
    #[inline]
    pub(crate) fn settle(&self, topology: &Topology, id: InterfaceId, family: Family, node: NodeId) {
        let Some(homes) = self.nodes.get(id.index()) else { return };
        let home = &homes[family as usize];
        if home.node() != Some(node) && !home.node().is_some_and(|kept| serves(topology, kept, id)) {
            home.0.store(node.to_bits() + 1, Ordering::Relaxed);
        }
    }
}

impl Home {
    fn node(&self) -> Option<NodeId> {
        self.0.load(Ordering::Relaxed).checked_sub(1).map(NodeId::from_bits)
    }
}

/// Whether a node is one of the service behind this interface.
fn serves(topology: &Topology, node: NodeId, interface: InterfaceId) -> bool {
    let service = |id| Some(topology.endpoints.get(topology.interfaces.get(id)?.endpoint)?.service);
    topology.nodes.get(node).is_some_and(|node| Some(node.service) == service(interface))
}

#[cfg(test)]
mod tests {
    use topology::Origin;

    use super::*;

    /// One interface in zone a, and nodes in these zones.
    fn topology(zones: &[(&str, u8)], before: Option<&Topology>) -> Topology {
        let node =
            |(zone, last): &(&str, u8)| format!("{{ zone = \"{zone}\", address = \"10.2.9.{last}\" }}");
        let nodes: Vec<_> = zones.iter().map(node).collect();
        let file = format!(
            "[run]\nname = \"lab\"
            [[service]]\nname = \"orders\"\nnamespace = \"provider\"\nnodes = [{}]
            listeners = [{{ protocol = \"udp\", port = 53, forward = \"dns\" }}]
            [[target_group]]\nname = \"dns\"\ntargets = [{{ address = \"10.2.0.2\", port = 53 }}]
            [[endpoint]]\nname = \"orders-a\"\nservice = \"orders\"\nnamespace = \"consumer-a\"
            interfaces = [{{ zone = \"a\", address = \"10.1.9.50\" }}]",
            nodes.join(", ")
        );
        let fresh = Topology::parse(&file, &Origin::new("/lab.toml")).unwrap();
        match before {
            Some(before) => fresh.succeed(before).unwrap(),
            None => fresh,
        }
    }

    #[test]
    fn who_goes_by_an_older_topology_does_not_bring_back_a_node_that_is_gone() {
        for is_late in [false, true] {
            let homes = Homes::default();
            let old = topology(&[("b", 1)], None);
            homes.adopt(&old);
            let interface = old.interfaces.iter().next().unwrap().0;
            let node = |topology: &Topology| homes.node(topology, interface, Family::V4).unwrap();
            let gone = node(&old);
            homes.settle(&old, interface, Family::V4, gone);
            let new = topology(&[("c", 2)], Some(&old));
            homes.adopt(&new);
            if is_late {
                homes.settle(&old, interface, Family::V4, gone);
            }
            let kept = node(&new);
            homes.settle(&new, interface, Family::V4, kept);
            let near = topology(&[("a", 3), ("c", 2)], Some(&new));
            homes.adopt(&near);
            assert_eq!(node(&near), kept, "though there is one in its zone now");
            let again = topology(&[("a", 3)], Some(&near));
            homes.adopt(&again);
            assert_ne!(node(&again), kept);
        }
    }
}
