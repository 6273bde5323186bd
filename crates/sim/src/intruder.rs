//! Whoever has no business here: the provider's hosts that open connections of their own, consumers' packets that belong
//! to no connection, and rubbish. None of it may reach a consumer, and none of it may stop a worker.

mod forgery;
mod pieces;

use std::net::{IpAddr, SocketAddr};

use engine::Reason;
use topology::{DeviceId, Path, Topology};
use wire::{TcpFlags, parse};

use crate::header::set_ttl;
use crate::hosts::Outgoing;
use crate::ledger::Ledger;
use crate::packet::{OwnedFrame, Route, Shape, TcpHeader, route_of, tcp, udp};
use crate::rng::Rng;
use crate::shop::{self, SHOPS};
use crate::stream::{ConnectionId, Way, piece};

/// The port that other intruders speak from: no client's, no target's.
const OWN_PORT: u16 = 666;
/// A flood's ports: so many SYNs come at once.
pub(crate) const FLOOD: std::ops::Range<u16> = 700..712;

/// Unwelcome frames, and the device that each arrives at.
pub fn intrude(topology: &Topology, ledger: &Ledger, rng: &mut Rng) -> Outgoing {
    let one = match rng.index(10) {
        0 => from_a_consumer(topology, rng),
        1 => rubbish(topology, rng),
        2 => traceroute(topology, rng),
        3 | 4 => from_the_provider(topology, ledger, rng),
        5 => return pieces::break_up(topology, rng).unwrap_or_default(),
        6 => return flood(topology, rng).unwrap_or_default(),
        _ => forgery::forge(topology, ledger, rng),
    };
    one.into_iter().collect()
}

/// Somebody else in the client's network speaks in its name, right behind its SYN: he knows the tuple, and none of the numbers.
pub fn get_ahead(syn: &OwnedFrame, rng: &mut Rng) -> Option<OwnedFrame> {
    let packet = parse(&syn.bytes).ok().filter(|packet| packet.flags.opens())?;
    let route = route_of(&packet);
    shop::path_at(route.destination.port()).filter(|_| rng.per_mille(300))?;
    let header = TcpHeader {
        sequence: packet.sequence.wrapping_add(rng.between(1 << 30, 3 << 30) as u32),
        acknowledgement: rng.draw() as u32,
        flags: TcpFlags::ACK,
        window: 1000,
        ..TcpHeader::default()
    };
    Some(tcp(route, &header, &[7; 64], Shape::Plain))
}

/// From a target's host, but another port, to a port of a node that is in use.
fn from_the_provider(topology: &Topology, ledger: &Ledger, rng: &mut Rng) -> Option<(DeviceId, OwnedFrame)> {
    let sights = ledger.ports();
    let sight = *(sights.len() > 0).then(|| rng.index(sights.len())).and_then(|n| ledger.ports().nth(n))?;
    let (_, service) = topology.services.iter().next()?;
    let route = Route { source: SocketAddr::new(sight.target.ip(), OWN_PORT), destination: sight.node };
    Some((service.device, speak(route, rng)))
}

/// From a consumer's host, where no connection is open.
fn from_a_consumer(topology: &Topology, rng: &mut Rng) -> Option<(DeviceId, OwnedFrame)> {
    let (_, interface) = topology.interfaces.iter().nth(rng.index(topology.interfaces.len()))?;
    let port = [80, 8443, 53, 7][rng.index(4)];
    let source = SocketAddr::new(stranger(interface.address), OWN_PORT);
    let route = Route { source, destination: (interface.address, port).into() };
    let header = TcpHeader { sequence: rng.draw() as u32, flags: TcpFlags::ACK, ..TcpHeader::default() };
    Some((interface.device, tcp(route, &header, &[], Shape::Plain)))
}

/// From a consumer's host, with a TTL that is used up here.
fn traceroute(topology: &Topology, rng: &mut Rng) -> Option<(DeviceId, OwnedFrame)> {
    let (_, interface) = topology.interfaces.iter().nth(rng.index(topology.interfaces.len()))?;
    let source = SocketAddr::new(stranger(interface.address), OWN_PORT);
    let port = [53, 80, 33_434][rng.index(3)];
    let route = Route { source, destination: (interface.address, port).into() };
    let mut frame = if port == 80 {
        let syn = TcpHeader { sequence: rng.draw() as u32, flags: TcpFlags::SYN, ..TcpHeader::default() };
        tcp(route, &syn, &[], Shape::Plain)
    } else {
        udp(route, &[7; 24], Shape::Plain)
    };
    set_ttl(&mut frame.bytes, 1);
    frame.ends = Some(TRACED);
    Some((interface.device, frame))
}

/// SYNs from a consumer's host that will never answer, to where a target hears of nobody who does not.
fn flood(topology: &Topology, rng: &mut Rng) -> Option<Outgoing> {
    let (_, interface) = topology.interfaces.iter().nth(rng.index(topology.interfaces.len()))?;
    let listener = shop::listener(Path::Splice, rng.index(SHOPS));
    let destination = (interface.address, listener).into();
    let mut syn = |port| {
        let source = SocketAddr::new(stranger(interface.address), port);
        let header = TcpHeader { sequence: rng.draw() as u32, flags: TcpFlags::SYN, ..TcpHeader::default() };
        let frame = tcp(Route { source, destination }, &header, &[], Shape::Plain);
        (interface.device, OwnedFrame { ends: Some(FLOODED), ..frame })
    };
    Some(FLOOD.map(&mut syn).collect())
}

/// As long as nobody knows how the target speaks, its listener is one like others.
const FLOODED: &[Reason] = &[
    Reason::SpliceHandshake,
    Reason::SpliceTerminated,
    Reason::Terminated,
    Reason::TerminateFull,
    Reason::TerminateMemory,
    Reason::TableFull,
    Reason::PortsExhausted,
    Reason::EscortsFull,
    Reason::Raced,
];

/// Where nobody listens, no hop is counted; and where somebody does, nothing is opened for a last one.
const TRACED: &[Reason] = &[Reason::TtlExpired, Reason::TtlExpiredAnswered, Reason::NoListener];

/// A consumer's host that has opened nothing.
fn stranger(interface: IpAddr) -> IpAddr {
    if interface.is_ipv4() { [10, 1, 0, 66].into() } else { [0xfd00, 1, 0, 0, 0, 0, 0, 66].into() }
}

fn speak(route: Route, rng: &mut Rng) -> OwnedFrame {
    let payload = piece(ConnectionId::INTRUDER, Way::Down, 0, 64);
    let flags = [TcpFlags::SYN, TcpFlags::ACK, TcpFlags::SYN | TcpFlags::ACK, TcpFlags::RST][rng.index(4)];
    let header = TcpHeader {
        sequence: rng.draw() as u32,
        acknowledgement: rng.draw() as u32,
        flags,
        ..TcpHeader::default()
    };
    if rng.per_mille(300) {
        udp(route, &payload, Shape::Plain)
    } else {
        tcp(route, &header, &payload, Shape::Plain)
    }
}

/// Any bytes, most of them shaped a little like a packet.
fn rubbish(topology: &Topology, rng: &mut Rng) -> Option<(DeviceId, OwnedFrame)> {
    let (_, interface) = topology.interfaces.iter().nth(rng.index(topology.interfaces.len()))?;
    let (_, mut frame) = from_a_consumer(topology, rng)?;
    frame.bytes.truncate(rng.index(frame.bytes.len() + 1));
    for _ in 0..rng.between(0, 8) {
        let place = rng.index(frame.bytes.len() + 1);
        if let Some(byte) = frame.bytes.get_mut(place) {
            *byte = rng.draw() as u8;
        }
    }
    frame.damaged = true;
    Some((interface.device, frame))
}
