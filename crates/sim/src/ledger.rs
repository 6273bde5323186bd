//! What the simulator knows to be true, gathered outside of the forwarder: who has sent what from where, whose
//! connection is whose, and which port of a node a target has seen in whose name.

mod letters;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use engine::Event;
use flow::{FlowId, FlowPath};
use topology::{DeviceId, Topology};
use wire::{Packet, Protocol, mss_of, parse};

use crate::icmp::{Quote, quote};
use crate::packet::{OwnedFrame, Route, Talk};
use crate::stream::{ConnectionId, tag_in};
use crate::tcp::{DEFAULT_MSS, LEAST_MSS, LONGEST_HEADER};

use letters::Letters;

/// What a segment carries at most where no MSS is announced (RFC 9293).
const DEFAULT_MSS_OF_V6: u16 = 1220;

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

/// The consumer's device of a flow, and how it is carried.
type Ends = (Option<DeviceId>, FlowPath);

/// Everything that is known.
#[derive(Default)]
pub struct Ledger {
    namespaces: Vec<String>,
    interfaces: BTreeSet<(DeviceId, IpAddr)>,
    /// By interface.
    interface_devices: Vec<DeviceId>,
    nodes: BTreeSet<(DeviceId, IpAddr)>,
    owners: BTreeMap<ConnectionId, Tuple>,
    /// By device: what its hosts have sent.
    sent: BTreeMap<DeviceId, Sent>,
    /// The largest MSS that somebody has announced to somebody else.
    announced: BTreeMap<(DeviceId, Talk), u16>,
    /// Consumers' hosts that have spoken to an interface.
    clients: BTreeSet<Tuple>,
    /// Who may be spoken to on a provider's side: the targets, and whoever spoke first.
    listening: BTreeSet<(DeviceId, SocketAddr)>,
    /// In whose name, and for which flow, a target has seen a port last.
    ports: BTreeMap<Sight, (Tuple, FlowId)>,
    /// Ports that a target has seen in several names, one after another: too few of them are left.
    inherited: BTreeSet<Sight>,
    flows: BTreeMap<Tuple, FlowId>,
    /// Whose connections have been terminated.
    terminated: BTreeSet<Tuple>,
    letters: Letters,
    /// Asked only whether it has a flow: the order of a hash set never shows.
    live: HashMap<FlowId, Ends>,
}

impl Ledger {
    /// What is known before anything is sent.
    pub fn new(topology: &Topology, owners: BTreeMap<ConnectionId, Tuple>) -> Self {
        let mut ledger = Self {
            namespaces: topology.namespaces.iter().map(|namespace| namespace.name.clone()).collect(),
            interfaces: topology.interfaces.iter().map(|(_, own)| (own.device, own.address)).collect(),
            interface_devices: topology.interfaces.iter().map(|(_, own)| own.device).collect(),
            nodes: topology.nodes.iter().map(|(_, own)| (own.device, own.address)).collect(),
            owners,
            ..Self::default()
        };
        for (_, service) in topology.services.iter() {
            let targets = topology.targets.iter().map(|(_, target)| (target.address, target.port).into());
            ledger.listening.extend(targets.map(|target| (service.device, target)));
            ledger.listening.extend(checked(topology).map(|target| (service.device, target)));
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
    pub fn sent(&mut self, device: DeviceId, frame: &OwnedFrame) {
        if let Ok(packet) = parse(&frame.bytes)
            && packet.protocol == Protocol::Tcp
        {
            self.sent.entry(device).or_default().note(&packet);
            if packet.flags.syn() {
                let unsaid = if packet.source.is_v4() { DEFAULT_MSS } else { DEFAULT_MSS_OF_V6 };
                let mss = mss_of(&frame.bytes, &packet).filter(|mss| *mss > 0).unwrap_or(unsaid);
                let largest = self.announced.entry((device, Talk::from(&packet))).or_default();
                *largest = mss.max(LEAST_MSS).max(*largest);
            }
        }
        // A later fragment and what is neither TCP nor UDP speak in nobody's name.
        let Some(Quote { talk, .. }) = quote(&frame.bytes) else { return };
        match self.client_of(device, &talk) {
            Some(client) => self.clients.insert(client),
            None => self.listening.insert((device, talk.route.source)),
        };
        self.letters.note(device, talk, frame);
    }

    /// Whether a host behind the device has sent what is quoted, as far as it is quoted.
    pub fn has_sent(&self, device: DeviceId, quoted: &Quote<'_>) -> bool {
        self.letters.contain(device, quoted)
    }

    /// The flow of a packet that hosts behind a device have sent.
    pub fn flow_of(&self, device: DeviceId, talk: &Talk) -> Option<FlowId> {
        match self.client_of(device, talk) {
            Some(client) => self.flows.get(&client).copied(),
            None => {
                let Talk { protocol, route: Route { source: target, destination: node } } = *talk;
                self.ports.get(&Sight { protocol, node, target }).map(|(_, flow)| *flow)
            }
        }
    }

    /// The tuple of what a consumer has said.
    pub fn client_of(&self, device: DeviceId, talk: &Talk) -> Option<Tuple> {
        let Talk { protocol, route: Route { source, destination } } = *talk;
        let is_ours = self.interfaces.contains(&(device, destination.ip()));
        is_ours.then_some(Tuple { device, protocol, client: source, interface: destination })
    }

    /// Whom something is for that leaves by `device`: `None` if it does not come from an address of ours there, or goes to
    /// somebody who does not talk to us.
    pub fn side_of(&self, device: DeviceId, talk: &Talk) -> Option<Side> {
        let Talk { protocol, route: Route { source, destination } } = *talk;
        if self.interfaces.contains(&(device, source.ip())) {
            let tuple = Tuple { device, protocol, client: destination, interface: source };
            return self.clients.contains(&tuple).then_some(Side::Consumer);
        }
        let is_known =
            self.nodes.contains(&(device, source.ip())) && self.listening.contains(&(device, destination));
        is_known.then_some(Side::Provider)
    }

    /// As [`Ledger::side_of`], of something that names no ports.
    pub fn side_between(&self, device: DeviceId, source: IpAddr, destination: IpAddr) -> Option<Side> {
        if self.interfaces.contains(&(device, source)) {
            let mut clients = self.clients.iter();
            let is_known = |client: &Tuple| {
                (client.device, client.interface.ip(), client.client.ip()) == (device, source, destination)
            };
            return clients.any(is_known).then_some(Side::Consumer);
        }
        let mut listening = self.listening.iter();
        let is_known = self.nodes.contains(&(device, source))
            && listening.any(|(at, host)| (*at, host.ip()) == (device, destination));
        is_known.then_some(Side::Provider)
    }

    /// Whether hosts behind a device may be told that this number has arrived: they have sent it, or at least nobody
    /// else has. (A target that remembers an older connection answers a SYN from the same port with that one's numbers;
    /// if it was a terminated one, they are the forwarder's own; and a header may be counted in them, or taken off where they
    /// have none. Whoever has heard nothing says 0.)
    pub fn may_hear(&self, device: DeviceId, acknowledgement: u32) -> bool {
        let has_sent = |sent: &Sent| sent.includes(acknowledgement, 0);
        acknowledgement == 0
            || self.sent.get(&device).is_some_and(|own| own.includes(acknowledgement, LONGEST_HEADER))
            || !self.sent.values().any(has_sent)
    }

    /// The largest MSS that the receiver of something that leaves by `device` has announced, if it has said anything.
    pub fn mss_of(&self, device: DeviceId, talk: &Talk) -> Option<u16> {
        self.announced.get(&(device, talk.back())).copied()
    }

    /// What a target sees of something that leaves by `device`, if it is for a target.
    pub fn sight_of(&self, device: DeviceId, talk: &Talk) -> Option<Sight> {
        let Talk { protocol, route: Route { source: node, destination: target } } = *talk;
        let is_ours = self.nodes.contains(&(device, node.ip()));
        is_ours.then_some(Sight { protocol, node, target })
    }

    /// The client in whose name a payload speaks.
    pub fn owner_of(&self, payload: &[u8]) -> Option<Tuple> {
        self.owners.get(&tag_in(payload)?.connection).copied()
    }

    /// A target sees a node's port in `owner`'s name, by this flow if that is known. Returns in whose name it saw it before, if that was another flow
    /// and is one still.
    pub fn take_port(&mut self, seen: Sight, owner: Tuple, flow: Option<FlowId>) -> Option<Tuple> {
        let flow = flow.or_else(|| self.flows.get(&owner).copied())?;
        let (other, before) = self.ports.insert(seen, (owner, flow))?;
        if other != owner {
            self.inherited.insert(seen);
        }
        (before != flow && self.live.contains_key(&before)).then_some(other)
    }

    /// Whether a target that has sent this may remember somebody else's connection from the same port, and speak in its
    /// numbers.
    pub fn inherits(&self, frame: &OwnedFrame) -> bool {
        quote(&frame.bytes).is_some_and(|Quote { talk: Talk { protocol, route }, .. }| {
            self.inherited.contains(&Sight { protocol, node: route.destination, target: route.source })
        })
    }

    /// In whose name a target has seen a port last, if that flow still is one.
    pub fn holder_of(&self, seen: &Sight) -> Option<Tuple> {
        self.ports.get(seen).filter(|(_, flow)| self.live.contains_key(flow)).map(|(owner, _)| *owner)
    }

    /// An address of the other side's network, of the same family: what must never be seen here.
    pub fn stranger_near(&self, ours: IpAddr) -> IpAddr {
        let everybody = self.interfaces.iter().chain(&self.nodes).map(|(_, address)| *address);
        let mut others = everybody.filter(|other| *other != ours && other.is_ipv4() == ours.is_ipv4());
        others.next().unwrap_or(ours)
    }

    /// Every consumer's tuple that has been heard.
    pub fn clients(&self) -> impl ExactSizeIterator<Item = &Tuple> {
        self.clients.iter()
    }

    /// Every port that a target has seen.
    pub fn ports(&self) -> impl ExactSizeIterator<Item = &Sight> {
        self.ports.keys()
    }

    /// The engine has opened or closed a flow.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::FlowOpened { flow, interface, path, .. } => {
                let device = self.interface_devices.get(interface.index()).copied();
                self.live.insert(*flow, (device, *path))
            }
            Event::FlowClosed { flow, .. } => self.live.remove(flow),
            Event::ExpiredFlowHit { .. }
            | Event::FragmentsEnded { .. }
            | Event::HealthChanged { .. }
            | Event::CheckPutOff { .. } => None,
        };
    }

    /// How many terminated flows are open although one of their two devices is gone.
    pub fn cut_off(&self, gone: DeviceId) -> usize {
        let is_providers = self.nodes.iter().any(|(device, _)| *device == gone);
        let is_cut_off = |(device, path): &&Ends| {
            matches!(path, FlowPath::Terminated { .. }) && (is_providers || *device == Some(gone))
        };
        self.live.values().filter(is_cut_off).count()
    }

    /// How many flows the engine has opened and not closed.
    pub fn live_flows(&self) -> usize {
        self.live.len()
    }

    /// A client's packet went by this flow.
    pub fn went_by(&mut self, client: Tuple, flow: FlowId) {
        self.flows.insert(client, flow);
        if let Some((_, FlowPath::Terminated { .. })) = self.live.get(&flow) {
            self.terminated.insert(client);
        }
    }

    /// Whether a client's connection has been terminated, or one of his before it.
    pub fn was_terminated(&self, client: &Tuple) -> bool {
        self.terminated.contains(client)
    }
}

/// Where targets are checked.
fn checked(topology: &Topology) -> impl Iterator<Item = SocketAddr> {
    topology.targets.iter().filter_map(|(_, target)| {
        let check = topology.groups[target.group].health_check.as_ref()?;
        Some(SocketAddr::new(target.address, check.port.unwrap_or(target.port)))
    })
}

impl Sent {
    /// Whether it was sent that this number acknowledges, which may be so far beyond it, or before.
    fn includes(&self, acknowledgement: u32, slack: u32) -> bool {
        let beyond = |begin: u32| acknowledgement.wrapping_sub(begin.wrapping_sub(slack));
        self.0.iter().any(|(begin, len)| beyond(*begin) <= *len + 2 * slack)
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
