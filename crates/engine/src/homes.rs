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

    /// A flow leaves from an interface by this node: unless it keeps one already, it keeps this one.
    #[inline]
    pub(crate) fn settle(&self, interface: InterfaceId, family: Family, node: NodeId) {
        let Some(homes) = self.nodes.get(interface.index()) else { return };
        let Home(home) = &homes[family as usize];
        if home.load(Ordering::Relaxed) == 0 {
            home.store(node.to_bits() + 1, Ordering::Relaxed);
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
