//! What the simulator knows to be true, gathered outside of the forwarder: who has sent what from where, whose
//! connection is whose, and which port of a node a target has seen in whose name.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};

use engine::Event;
use flow::FlowId;
use topology::{DeviceId, Topology};
use wire::{Packet, Protocol};

use crate::packet::{Route, route_of};
use crate::stream::{ConnectionId, tag_in};

/// A client's tuple. The device is part of it: two consumers may have the same addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tuple {
    /// The consumer's device.
    pub device: DeviceId,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The client.
    pub client: SocketAddr,
    /// The interface.
    pub interface: SocketAddr,
}

/// What a target sees of a flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Sight {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The node and its source port.
    pub node: SocketAddr,
    /// The target.
    pub target: SocketAddr,
}

/// Who a frame that leaves is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// A consumer.
    Consumer,
    /// A provider's network.
    Provider,
}

/// The stretches of sequence numbers that were sent from somewhere, each from its SYN on: where it begins, how long it is.
#[derive(Default, Debug)]
struct Sent(Vec<(u32, u32)>);

/// Everything that is known.
#[derive(Default)]
pub struct Ledger {
    namespaces: Vec<String>,
    interfaces: BTreeSet<(DeviceId, IpAddr)>,
    nodes: BTreeSet<(DeviceId, IpAddr)>,
    owners: BTreeMap<ConnectionId, Tuple>,
    /// By device: what its hosts have sent.
    sent: BTreeMap<DeviceId, Sent>,
    /// Consumers' hosts that have spoken to an interface.
    clients: BTreeSet<Tuple>,
    /// Who may be spoken to on a provider's side: the targets, and whoever spoke first.
    listening: BTreeSet<(DeviceId, SocketAddr)>,
    /// In whose name, and for which flow, a target has seen a port last.
    ports: BTreeMap<Sight, (Tuple, FlowId)>,
    flows: BTreeMap<Tuple, FlowId>,
    /// Asked only whether it has a flow: the order of a hash set never shows.
    live: HashSet<FlowId>,
}

impl Ledger {
    /// What is known before anything is sent.
    pub fn new(topology: &Topology, owners: BTreeMap<ConnectionId, Tuple>) -> Self {
        let mut ledger = Self {
            namespaces: topology.namespaces.iter().map(|namespace| namespace.name.clone()).collect(),
            interfaces: topology.interfaces.iter().map(|(_, own)| (own.device, own.address)).collect(),
            nodes: topology.nodes.iter().map(|(_, own)| (own.device, own.address)).collect(),
            owners,
            ..Self::default()
        };
        for (_, service) in topology.services.iter() {
            let targets = topology.targets.iter().map(|(_, target)| (target.address, target.port).into());
            ledger.listening.extend(targets.map(|target| (service.device, target)));
        }
        ledger
    }

    /// A device's namespace.
    pub fn namespace(&self, device: DeviceId) -> &str {
        self.namespaces.get(device.index()).map_or("nowhere", String::as_str)
    }

    /// Every device.
    pub fn devices(&self) -> impl Iterator<Item = DeviceId> + use<> {
        (0..self.namespaces.len() as u16).map(DeviceId)
    }

    /// The device of the consumer whose connection this is.
    pub fn device_of(&self, connection: ConnectionId) -> Option<DeviceId> {
        self.owners.get(&connection).map(|tuple| tuple.device)
    }

    /// A host in the device's namespace has sent this.
    pub fn sent(&mut self, device: DeviceId, packet: &Packet) {
        if packet.protocol == Protocol::Tcp {
            self.sent.entry(device).or_default().note(packet);
        }
        match self.client_of(device, packet) {
            Some(client) => self.clients.insert(client),
            None => self.listening.insert((device, route_of(packet).source)),
        };
    }

    /// The tuple of a packet that a consumer has sent.
    pub fn client_of(&self, device: DeviceId, packet: &Packet) -> Option<Tuple> {
        let Route { source, destination } = route_of(packet);
        let is_ours = self.interfaces.contains(&(device, destination.ip()));
        is_ours.then_some(Tuple { device, protocol: packet.protocol, client: source, interface: destination })
    }

    /// Whom a frame is for that leaves by `device`: `None` if it does not come from an address of ours there, or goes to
    /// somebody who does not talk to us.
    pub fn side_of(&self, device: DeviceId, packet: &Packet) -> Option<Side> {
        let Route { source, destination } = route_of(packet);
        if self.interfaces.contains(&(device, source.ip())) {
            let tuple = Tuple { device, protocol: packet.protocol, client: destination, interface: source };
            return self.clients.contains(&tuple).then_some(Side::Consumer);
        }
        let is_known =
            self.nodes.contains(&(device, source.ip())) && self.listening.contains(&(device, destination));
        is_known.then_some(Side::Provider)
    }

    /// Whether hosts behind a device may be told that this number has arrived: they have sent it, or at least nobody
    /// else has. (A target that remembers an older connection answers a SYN from the same port with that one's numbers;
    /// if it was a terminated one, they are the forwarder's own.)
    pub fn may_hear(&self, device: DeviceId, acknowledgement: u32) -> bool {
        let has_sent = |sent: &Sent| sent.includes(acknowledgement);
        self.sent.get(&device).is_some_and(has_sent) || !self.sent.values().any(has_sent)
    }

    /// What a target sees of a packet that leaves by `device`, if it is a target's.
    pub fn sight_of(&self, device: DeviceId, packet: &Packet) -> Option<Sight> {
        let Route { source: node, destination: target } = route_of(packet);
        let is_ours = self.nodes.contains(&(device, node.ip()));
        is_ours.then_some(Sight { protocol: packet.protocol, node, target })
    }

    /// The client in whose name a payload speaks.
    pub fn owner_of(&self, payload: &[u8]) -> Option<Tuple> {
        self.owners.get(&tag_in(payload)?.connection).copied()
    }

    /// A target sees a node's port in `owner`'s name. Returns in whose name it saw it before, if that was another flow
    /// and is one still.
    pub fn take_port(&mut self, seen: Sight, owner: Tuple) -> Option<Tuple> {
        let flow = *self.flows.get(&owner)?;
        let (other, before) = self.ports.insert(seen, (owner, flow))?;
        (before != flow && self.live.contains(&before)).then_some(other)
    }

    /// In whose name a target has seen a port last, if that flow still is one.
    pub fn holder_of(&self, seen: &Sight) -> Option<Tuple> {
        self.ports.get(seen).filter(|(_, flow)| self.live.contains(flow)).map(|(owner, _)| *owner)
    }

    /// Every port that a target has seen.
    pub fn ports(&self) -> impl ExactSizeIterator<Item = &Sight> {
        self.ports.keys()
    }

    /// The engine has opened or closed a flow.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::FlowOpened { flow, .. } => self.live.insert(*flow),
            Event::FlowClosed { flow, .. } => self.live.remove(flow),
        };
    }

    /// How many flows the engine has opened and not closed.
    pub fn live_flows(&self) -> usize {
        self.live.len()
    }

    /// A client's packet went by this flow.
    pub fn went_by(&mut self, client: Tuple, flow: FlowId) {
        self.flows.insert(client, flow);
    }
}

impl Sent {
    /// Whether it was sent that this number acknowledges.
    fn includes(&self, acknowledgement: u32) -> bool {
        self.0.iter().any(|(begin, len)| acknowledgement.wrapping_sub(*begin) <= *len)
    }

    fn note(&mut self, packet: &Packet) {
        let of = |(begin, len): &(u32, u32)| packet.sequence.wrapping_sub(*begin) <= *len;
        let known =
            if packet.flags.syn() { None } else { self.0.iter_mut().rev().find(|stretch| of(stretch)) };
        match known {
            Some((begin, len)) => {
                *len = (*len).max(packet.sequence.wrapping_sub(*begin) + packet.sequence_len());
            }
            None => self.0.push((packet.sequence, packet.sequence_len())),
        }
    }
}
