//! Fragments that nobody should send: of TCP, overlapping, without a beginning, to a port where nobody listens.

use std::net::SocketAddr;

use engine::Reason;
use topology::Topology;

use super::{OWN_PORT, stranger};
use crate::fragment::fragment;
use crate::header::{Header, TTL};
use crate::hosts::Outgoing;
use crate::packet::{OwnedFrame, Route, Shape, udp};
use crate::rng::Rng;

const OF_TCP: &[Reason] = &[Reason::FragmentTcp];
/// A link may double them, and an identifier be drawn twice.
const OF_NOTHING: &[Reason] =
    &[Reason::FragmentKept, Reason::FragmentNoRoom, Reason::FragmentDuplicate, Reason::FragmentOverlap];
const REFUSED: &[Reason] = &[
    Reason::NoListener,
    Reason::FragmentRefused,
    Reason::FragmentKept,
    Reason::FragmentNoRoom,
    Reason::FragmentDuplicate,
    Reason::FragmentOverlap,
];
/// Of two that overlap, at most one is sent on; and perhaps none may come in.
const OVERLAPPING: &[Reason] = &[
    Reason::FragmentForwarded,
    Reason::FragmentKept,
    Reason::FragmentNoRoom,
    Reason::FragmentDuplicate,
    Reason::FragmentOverlap,
    Reason::FragmentRefused,
    Reason::TableFull,
    Reason::PortsExhausted,
];

/// A few fragments, and the device that each arrives at.
pub(super) fn break_up(topology: &Topology, rng: &mut Rng) -> Option<Outgoing> {
    let (_, interface) = topology.interfaces.iter().nth(rng.index(topology.interfaces.len()))?;
    let source = SocketAddr::new(stranger(interface.address), OWN_PORT);
    let kind = rng.index(4);
    let (port, number, places, ends): (u16, u8, &[(usize, bool)], _) = match kind {
        0 => (80, 6, &[(0, true), (64, false)], OF_TCP),
        1 => (53, 17, &[(64, true), (128, false)], OF_NOTHING),
        2 => (7, 17, &[(0, true), (64, false)], REFUSED),
        _ => (53, 17, &[(0, true), (64, true), (56, false)], OVERLAPPING),
    };
    let route = Route { source, destination: (interface.address, port).into() };
    let datagram = udp(route, &[7; 192], Shape::Plain).bytes;
    let whole = Header::read(&datagram)?;
    // What becomes of one kind is no matter of another's.
    let identifier = 0xf000 | ((kind as u16) << 10) | (rng.draw() as u16 % 0x400);
    let pieces = places.iter().map(|(offset, more)| {
        let place =
            Header { number, ttl: TTL, identifier: identifier.into(), offset: *offset, more: *more, ..whole };
        let from = whole.payload + offset;
        let bytes = fragment(&place, &datagram[from..from + 64]);
        (interface.device, OwnedFrame { ends: Some(ends), ..OwnedFrame::plain(bytes) })
    });
    Some(pieces.collect())
}
