//! The topology as the road asks for it: what an address means on a device, and what stands behind an interface's port.
//! Compiled once per topology, so that a packet finds its answer in one look-up.

use std::collections::HashMap;
use std::time::Duration;

use ahash::RandomState;
use flow::{Lane, LaneId, Place, PoolKey};
use topology::{
    DeviceId, Family, IcmpPolicy, Interface, InterfaceId, Listener, ListenerId, NodeId, Path, TargetId,
    Topology,
};
use wire::{Addr, Protocol};

/// The compiled topology.
pub(crate) struct View {
    places: HashMap<(DeviceId, Addr), Place, RandomState>,
    nodes_at: HashMap<Addr, Vec<NodeId>, RandomState>,
    interfaces: Vec<Located>,
    nodes: Vec<Located>,
    /// By interface.
    takes_datagrams: Box<[bool]>,
    doors: HashMap<(InterfaceId, Protocol, u16), Door, RandomState>,
    /// The largest packet that the path carries.
    pub(crate) mtu: usize,
    /// How much of ICMP is answered and passed on.
    pub(crate) icmp: IcmpPolicy,
    mss_ceiling: u16,
}

/// An address of ours, and the device that it is routed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Located {
    /// The device.
    pub(crate) device: DeviceId,
    /// The address.
    pub(crate) address: Addr,
}

/// What stands behind one port of an interface.
#[derive(Debug)]
pub struct Door {
    /// The listener.
    pub listener: ListenerId,
    /// How it carries its traffic.
    pub path: Path,
    /// How long its flows may stay silent.
    pub idle_timeout: Duration,
    /// Where its flows can go.
    pub candidates: Box<[Candidate]>,
}

/// A target, and how it is reached from one interface.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// The target.
    pub target: TargetId,
    /// The node that speaks to it.
    pub node: NodeId,
    /// The lane of flows that go there.
    pub lane: LaneId,
}

impl View {
    /// Compiles a topology, and lists the lanes that its candidates are on.
    pub(crate) fn new(topology: &Topology) -> (Self, Vec<Lane>) {
        let interfaces: Vec<Located> =
            topology.interfaces.iter().map(|(_, own)| located(own.device, own.address)).collect();
        let nodes: Vec<Located> =
            topology.nodes.iter().map(|(_, own)| located(own.device, own.address)).collect();
        // These keys come from the operator, not from the network: a fixed seed is safe.
        let hasher = RandomState::with_seeds(0, 0, 0, 0);
        let mut places = HashMap::with_hasher(hasher.clone());
        places.extend(
            topology
                .interfaces
                .iter()
                .map(|(id, own)| ((own.device, Addr::from(own.address)), Place::Interface(id))),
        );
        places.extend(
            topology.nodes.iter().map(|(id, own)| ((own.device, Addr::from(own.address)), Place::Node(id))),
        );
        let mut nodes_at: HashMap<_, Vec<_>, _> = HashMap::with_hasher(hasher.clone());
        for (id, node) in topology.nodes.iter() {
            nodes_at.entry(Addr::from(node.address)).or_default().push(id);
        }
        let mut doors = HashMap::with_hasher(hasher);
        let mut lanes = Vec::new();
        let mut takes_datagrams: Box<[bool]> = vec![false; interfaces.len()].into();
        for (id, interface, listener_id, listener) in doorways(topology) {
            let idle_timeout = listener.idle_timeout / topology.run.time_scale;
            let candidates = routes(topology, interface, listener).into_iter().map(|(node, target)| {
                lanes.push(Lane {
                    endpoint: interface.endpoint,
                    listener: listener_id,
                    target,
                    pool: pool_key(topology, listener, node, target),
                    idle: idle_timeout,
                });
                Candidate { target, node, lane: LaneId::new(lanes.len() - 1) }
            });
            let candidates = candidates.collect();
            let door = Door { listener: listener_id, path: listener.path, idle_timeout, candidates };
            doors.insert((id, listener.protocol, listener.port), door);
            takes_datagrams[id.index()] |= listener.protocol == Protocol::Udp;
        }
        let view = Self {
            places,
            nodes_at,
            interfaces,
            nodes,
            takes_datagrams,
            doors,
            mtu: usize::from(topology.run.mtu),
            icmp: topology.run.icmp,
            mss_ceiling: topology.run.mss_ceiling,
        };
        (view, lanes)
    }

    /// What `address` means to packets from `device`.
    #[inline]
    pub(crate) fn place(&self, device: DeviceId, address: Addr) -> Option<Place> {
        self.places.get(&(device, address)).copied()
    }

    /// The nodes with this address, on whatever device: providers may use the same addresses.
    pub(crate) fn nodes_at(&self, address: Addr) -> &[NodeId] {
        self.nodes_at.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Where a place is.
    #[inline]
    pub(crate) fn locate(&self, place: Place) -> Located {
        match place {
            Place::Interface(id) => self.interfaces[id.index()],
            Place::Node(id) => self.nodes[id.index()],
        }
    }

    /// What stands behind a port of an interface.
    #[inline]
    pub(crate) fn door(&self, interface: InterfaceId, protocol: Protocol, port: u16) -> Option<&Door> {
        self.doors.get(&(interface, protocol, port))
    }

    /// Whether any port of an interface takes UDP.
    pub(crate) fn takes_datagrams(&self, interface: InterfaceId) -> bool {
        self.takes_datagrams[interface.index()]
    }

    /// The largest MSS that a SYN may carry. An IPv6 header is 20 bytes longer than an IPv4 one.
    pub(crate) fn mss_ceiling(&self, address: Addr) -> u16 {
        if address.is_v4() { self.mss_ceiling } else { self.mss_ceiling - 20 }
    }
}

fn located(device: DeviceId, address: std::net::IpAddr) -> Located {
    Located { device, address: address.into() }
}

/// Every listener as seen from every interface.
fn doorways(topology: &Topology) -> impl Iterator<Item = (InterfaceId, &Interface, ListenerId, &Listener)> {
    topology.interfaces.iter().flat_map(move |(id, interface)| {
        let service = topology.endpoints[interface.endpoint].service;
        topology.services[service]
            .listeners
            .iter()
            .map(move |&listener| (id, interface, listener, &topology.listeners[listener]))
    })
}

/// The targets that a listener has for an interface, each with the node that speaks to it: those of the interface's own
/// family. A terminated connection's second half may have another, if there is no target of its own.
fn routes(topology: &Topology, interface: &Interface, listener: &Listener) -> Vec<(NodeId, TargetId)> {
    let of_family = |family| {
        let node = topology.node_for(interface, family)?;
        let targets = topology.eligible_targets(listener, node).into_iter();
        Some(targets.map(|target| (node, target)).collect::<Vec<_>>()).filter(|routes| !routes.is_empty())
    };
    let (own, other) = match Family::of(interface.address) {
        Family::V4 => (Family::V4, Family::V6),
        Family::V6 => (Family::V6, Family::V4),
    };
    let across = || of_family(other).filter(|_| listener.path == Path::Terminate);
    of_family(own).or_else(across).unwrap_or_default()
}

fn pool_key(topology: &Topology, listener: &Listener, node: NodeId, target: TargetId) -> PoolKey {
    let target = &topology.targets[target];
    PoolKey { protocol: listener.protocol, node, target: target.address.into(), target_port: target.port }
}
