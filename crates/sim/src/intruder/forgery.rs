//! ICMP that nobody asked for, true or false: pings, redirects, errors about connections that there are and about some that
//! there never were, with MTUs that no link has, about errors, and broken off.

use std::net::IpAddr;

use engine::Reason;
use topology::{DeviceId, Topology};
use wire::Protocol;

use crate::icmp::Message;
use crate::ledger::Ledger;
use crate::packet::{OwnedFrame, Route, Shape, Talk, TcpHeader, tcp, udp};
use crate::rng::Rng;

type Ends = &'static [Reason];

const PING: Ends = &[Reason::Ping, Reason::PingAnswered, Reason::IcmpLimited];
const NO_ERROR_OF_OURS: Ends = &[Reason::IcmpKind];
const ABOUT_NOTHING: Ends = &[Reason::IcmpNoFlow, Reason::Malformed];
const TOO_SMALL: Ends = &[Reason::IcmpSmallMtu, Reason::IcmpNoFlow];
/// The flow may have ended.
const ABOUT_A_FLOW: Ends =
    &[Reason::IcmpForwarded, Reason::IcmpTerminated, Reason::IcmpLimited, Reason::IcmpNoFlow];
const TIME_EXCEEDED: Ends = &[
    Reason::IcmpKind,
    Reason::IcmpForwarded,
    Reason::IcmpTerminated,
    Reason::IcmpLimited,
    Reason::IcmpNoFlow,
];

/// Nobody ever speaks from here.
const SILENT_PORT: u16 = 667;

/// One message, and the device that it arrives at.
pub(super) fn forge(topology: &Topology, ledger: &Ledger, rng: &mut Rng) -> Option<(DeviceId, OwnedFrame)> {
    let (device, talk) = overheard(topology, ledger, rng)?;
    let ours = talk.route.source.ip();
    let stranger = neighbour(talk.route.destination.ip());
    let is_v4 = ours.is_ipv4();
    let said = packet(talk, rng);
    let from = |source| Talk { route: Route { source, ..talk.route }, ..talk };
    let to = |destination| Talk { route: Route { destination, ..talk.route }, ..talk };
    let (unreachable, too_big) = if is_v4 { ((3, 0), (3, 4)) } else { ((1, 0), (2, 0)) };
    let least = if is_v4 { 576 } else { 1280 };
    let least_quote = if is_v4 { 28 } else { 48 };
    let ((kind, code), rest, body, ends) = match rng.index(10) {
        0 => (if is_v4 { (8, 0) } else { (128, 0) }, 7, b"are you there?".to_vec(), PING),
        1 => (if is_v4 { (5, 1) } else { (4, 0) }, 0, said, NO_ERROR_OF_OURS),
        2 => (if is_v4 { (11, 0) } else { (3, 0) }, 0, said, TIME_EXCEEDED),
        3 => (too_big, rng.between(0, least - 1), said, TOO_SMALL),
        4 => (unreachable, 0, error_about(ours, stranger, said), ABOUT_NOTHING),
        5 => (unreachable, 0, said[..rng.index(least_quote)].to_vec(), ABOUT_NOTHING),
        6 => (unreachable, 0, packet(to((stranger, SILENT_PORT).into()), rng), ABOUT_NOTHING),
        7 => (unreachable, 0, packet(from((stranger, talk.route.source.port()).into()), rng), ABOUT_NOTHING),
        8 => (too_big, rng.between(least, 9000), said, ABOUT_A_FLOW),
        _ => ((unreachable.0, rng.between(0, 3) as u8), 0, said, ABOUT_A_FLOW),
    };
    let rest = (rest as u32).to_be_bytes();
    let message = Message { source: stranger, destination: ours, kind, code, rest, body: &body };
    Some((device, OwnedFrame { ends: Some(ends), ..message.build() }))
}

/// Something that we have said, to a consumer or to a target.
fn overheard(topology: &Topology, ledger: &Ledger, rng: &mut Rng) -> Option<(DeviceId, Talk)> {
    if rng.per_mille(500) {
        let client = ledger.clients().nth(rng.index(ledger.clients().len()))?;
        let route = Route { source: client.interface, destination: client.client };
        return Some((client.device, Talk { protocol: client.protocol, route }));
    }
    let sight = ledger.ports().nth(rng.index(ledger.ports().len()))?;
    let (_, service) = topology.services.iter().next()?;
    let route = Route { source: sight.node, destination: sight.target };
    Some((service.device, Talk { protocol: sight.protocol, route }))
}

/// A packet as it might have been said.
fn packet(talk: Talk, rng: &mut Rng) -> Vec<u8> {
    let Talk { protocol, route } = talk;
    let frame = match protocol {
        Protocol::Tcp => {
            let header = TcpHeader { sequence: rng.draw() as u32, ..TcpHeader::default() };
            tcp(route, &header, &[1; 32], Shape::Plain)
        }
        Protocol::Udp => udp(route, &[1; 32], Shape::Plain),
    };
    frame.bytes
}

/// An error, quoted: no error is ever about another.
fn error_about(ours: IpAddr, stranger: IpAddr, quote: Vec<u8>) -> Vec<u8> {
    let kind = if ours.is_ipv4() { 3 } else { 1 };
    let body = &quote[..];
    Message { source: ours, destination: stranger, kind, code: 0, rest: [0; 4], body }.build().bytes
}

/// A host in the same network that nobody knows.
fn neighbour(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            [a, b, 0, 66].into()
        }
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            [a, b, 0, 0, 0, 0, 0, 66].into()
        }
    }
}
