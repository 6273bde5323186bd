//! Admission: may this newcomer in, and where would it go? No side effect, so that `explain` can ask the same question.

use ahash::RandomState;
use flow::{Key, Place, Table};
use topology::{DeviceId, InterfaceId};
use wire::{Addr, Packet, Protocol};

use crate::doors::{Candidate, Door};
use crate::plan::Plan;
use crate::verdict::Reason;
use crate::view::View;

/// A newcomer's tuple. The device is part of it: two consumers may use the same addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuple {
    /// The device that it came from.
    pub device: DeviceId,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who opens.
    pub source: Addr,
    /// From which port.
    pub source_port: u16,
    /// To which address.
    pub destination: Addr,
    /// To which port.
    pub destination_port: u16,
    /// The SYN's sequence number (0 for UDP): part of the flow hash, so that a client that tries again may be sent elsewhere.
    pub sequence: u32,
}

impl Tuple {
    /// The tuple of a packet from `device`.
    pub fn of(device: DeviceId, packet: &Packet) -> Self {
        Self {
            device,
            protocol: packet.protocol,
            source: packet.source,
            source_port: packet.source_port,
            destination: packet.destination,
            destination_port: packet.destination_port,
            sequence: packet.sequence,
        }
    }

    /// What finds its flow, if it has one already.
    pub(crate) fn key(&self, interface: InterfaceId) -> Key {
        Key {
            place: Place::Interface(interface),
            protocol: self.protocol,
            local_port: self.destination_port,
            remote: self.source,
            remote_port: self.source_port,
        }
    }

    /// What chooses a target: all that tells one newcomer from another.
    pub(crate) fn flow_hash(&self, keys: &RandomState) -> u64 {
        let ports = u64::from(self.source_port) << 16 | u64::from(self.destination_port);
        keys.hash_one((
            self.source.to_bits(),
            self.destination.to_bits(),
            ports << 32 | u64::from(self.sequence),
            self.protocol,
            self.device,
        ))
    }

    /// What chooses a target where that is for the client alone: its address, in its own network.
    pub(crate) fn client_hash(&self, keys: &RandomState) -> u64 {
        keys.hash_one((self.device, self.source.to_bits()))
    }
}

/// A newcomer that may come in.
#[derive(Clone, Copy)]
pub struct Admission<'a> {
    /// The interface that it came to.
    pub interface: InterfaceId,
    /// The door that it goes through.
    pub door: &'a Door,
    /// Where it is sent.
    pub candidate: Candidate,
}

/// Decides about a packet that belongs to no flow. `keys` key the choice among targets.
pub(crate) fn admit<'a>(
    plan: &'a Plan,
    flows: &Table,
    keys: &RandomState,
    tuple: &Tuple,
) -> Result<Admission<'a>, Reason> {
    let interface = enter(plan, flows, tuple)?;
    let door = plan.doors.get(interface, tuple.protocol, tuple.destination_port).ok_or(Reason::NoListener)?;
    let candidate = door.choose(tuple, keys)?;
    Ok(Admission { interface, door, candidate })
}

/// The interface that a packet that belongs to no flow comes to, if it may come from where it does.
pub(crate) fn enter(plan: &Plan, flows: &Table, tuple: &Tuple) -> Result<InterfaceId, Reason> {
    let interface = match plan.view.place(tuple.device, tuple.destination) {
        Some(Place::Interface(interface)) => interface,
        Some(Place::Node(_)) => return Err(Reason::OneWay),
        None => return Err(Reason::UnknownAddress),
    };
    check_source(&plan.view, tuple.device, tuple.source)?;
    if is_transit(&plan.view, flows, tuple) {
        return Err(Reason::Transit);
    }
    Ok(interface)
}

/// Whether we have sent this packet ourselves: one of our nodes has a flow from its source to its destination, so it has
/// been through another endpoint. That the source is a node's address is not enough: the consumer's network may overlap.
fn is_transit(view: &View, flows: &Table, tuple: &Tuple) -> bool {
    view.nodes_at(tuple.source).iter().any(|&node| {
        flows.has(&Key {
            place: Place::Node(node),
            protocol: tuple.protocol,
            local_port: tuple.source_port,
            remote: tuple.destination,
            remote_port: tuple.destination_port,
        })
    })
}

/// Sources that no consumer can rightly have. An address of ours elsewhere is no matter: networks may overlap.
pub(crate) fn check_source(view: &View, device: DeviceId, source: Addr) -> Result<(), Reason> {
    let ip = source.ip();
    let broadcast = source.is_v4() && source.v4_octets() == [255; 4];
    if ip.is_unspecified() {
        Err(Reason::SourceUnspecified)
    } else if ip.is_loopback() {
        Err(Reason::SourceLoopback)
    } else if ip.is_multicast() || broadcast {
        Err(Reason::SourceMulticast)
    } else if view.place(device, source).is_some() {
        Err(Reason::SourceOurs)
    } else {
        Ok(())
    }
}
