//! What an address means: the topology as the road asks for it, compiled once, so that a packet finds its answer in one
//! look-up.

use std::collections::HashMap;

use ahash::RandomState;
use flow::Place;
use topology::{Arena, DeviceId, IcmpPolicy, Id, InterfaceId, NodeId, Topology};
use wire::{Addr, Protocol};

/// The compiled addresses.
pub(crate) struct View {
    places: HashMap<(DeviceId, Addr), Place, RandomState>,
    nodes_at: HashMap<Addr, Vec<NodeId>, RandomState>,
    interfaces: Located<topology::Interface>,
    nodes: Located<topology::Node>,
    /// By interface.
    takes_datagrams: Box<[bool]>,
    /// The largest packet that the path carries.
    pub(crate) mtu: usize,
    /// How much of ICMP is answered and passed on.
    pub(crate) icmp: IcmpPolicy,
    mss_ceiling: u16,
}

/// An address of ours, and the device that it is routed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Location {
    /// The device.
    pub(crate) device: DeviceId,
    /// The address.
    pub(crate) address: Addr,
}

/// Where things are, and where those were that are gone: whoever has to be told of a flow's end is told from there.
struct Located<T> {
    by_index: Vec<Option<(Id<T>, Location)>>,
}

impl View {
    /// Compiles a topology's addresses, and knows those of the view before it.
    pub(crate) fn new(topology: &Topology, before: Option<&Self>) -> Self {
        // These keys come from the operator, not from the network: a fixed seed is safe.
        let hasher = RandomState::with_seeds(0, 0, 0, 0);
        let mut places = HashMap::with_hasher(hasher.clone());
        for (id, own) in topology.interfaces.iter() {
            places.insert((own.device, own.address.into()), Place::Interface(id));
        }
        let mut nodes_at: HashMap<_, Vec<_>, _> = HashMap::with_hasher(hasher);
        for (id, own) in topology.nodes.iter() {
            places.insert((own.device, own.address.into()), Place::Node(id));
            nodes_at.entry(own.address.into()).or_default().push(id);
        }
        Self {
            places,
            nodes_at,
            interfaces: Located::new(
                &topology.interfaces,
                |own| Location { device: own.device, address: own.address.into() },
                before.map(|before| &before.interfaces),
            ),
            nodes: Located::new(
                &topology.nodes,
                |own| Location { device: own.device, address: own.address.into() },
                before.map(|before| &before.nodes),
            ),
            takes_datagrams: takes_datagrams(topology),
            mtu: usize::from(topology.run.mtu),
            icmp: topology.run.icmp,
            mss_ceiling: topology.run.mss_ceiling,
        }
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

    /// Where a place is, or was. `None` is one that only a later topology has.
    #[inline]
    pub(crate) fn locate(&self, place: Place) -> Option<Location> {
        match place {
            Place::Interface(id) => self.interfaces.get(id),
            Place::Node(id) => self.nodes.get(id),
        }
    }

    /// Whether any port of an interface takes UDP.
    pub(crate) fn takes_datagrams(&self, interface: InterfaceId) -> bool {
        self.takes_datagrams.get(interface.index()).is_some_and(|takes| *takes)
    }

    /// The largest MSS that a SYN may carry. An IPv6 header is 20 bytes longer than an IPv4 one.
    pub(crate) fn mss_ceiling(&self, address: Addr) -> u16 {
        if address.is_v4() { self.mss_ceiling } else { self.mss_ceiling - 20 }
    }
}

impl<T> Located<T> {
    fn new(arena: &Arena<T>, location: impl Fn(&T) -> Location, before: Option<&Self>) -> Self {
        let mut by_index = before.map_or_else(Vec::new, |before| before.by_index.clone());
        by_index.resize(by_index.len().max(arena.bound()), None);
        for (id, own) in arena.iter() {
            by_index[id.index()] = Some((id, location(own)));
        }
        Self { by_index }
    }

    #[inline]
    fn get(&self, id: Id<T>) -> Option<Location> {
        let (own, location) = self.by_index.get(id.index()).copied().flatten()?;
        (own == id).then_some(location)
    }
}

/// By interface: whether there is a listener for UDP behind it.
fn takes_datagrams(topology: &Topology) -> Box<[bool]> {
    let mut takes = vec![false; topology.interfaces.bound()];
    for (id, interface) in topology.interfaces.iter() {
        let service = &topology.services[topology.endpoints[interface.endpoint].service];
        let mut listeners = service.listeners.iter().map(|listener| &topology.listeners[*listener]);
        takes[id.index()] = listeners.any(|listener| listener.protocol == Protocol::Udp);
    }
    takes.into()
}
