//! Packets of the simulator's own making: built here and checked here, by other code than the forwarder's.

use std::net::SocketAddr;

use engine::Reason;
use wire::{Checksum, Frame, Offload, Packet, Protocol, Segmentation, SegmentationKind};

use crate::header::{self, fold, pseudo_sum, sum};

/// A frame that owns its bytes.
#[derive(Clone, Debug)]
pub struct OwnedFrame {
    /// What is left undone.
    pub offload: Offload,
    /// The packet.
    pub bytes: Vec<u8>,
    /// A link has damaged it, or it was rubbish from the start: nobody may take anything in it for granted.
    pub damaged: bool,
    /// Well made, but by somebody who has no business here: the only ways in which it may end.
    pub ends: Option<&'static [Reason]>,
}

impl OwnedFrame {
    /// A frame with nothing left undone.
    pub fn plain(bytes: Vec<u8>) -> Self {
        Self { offload: Offload::NONE, bytes, damaged: false, ends: None }
    }

    /// A copy of a frame.
    pub fn copy(frame: &Frame<'_>, damaged: bool) -> Self {
        Self { offload: frame.offload, damaged, ..Self::plain(frame.bytes.to_vec()) }
    }

    /// Whether it can be taken at its word: neither damaged nor an intruder's.
    pub fn is_honest(&self) -> bool {
        !self.damaged && self.ends.is_none()
    }

    /// As the engine takes it.
    pub fn borrow(&mut self) -> Frame<'_> {
        Frame { offload: self.offload, bytes: &mut self.bytes }
    }
}

/// How a sender leaves its packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// With a complete checksum.
    Plain,
    /// With the pseudo-header's sum only.
    Partial,
    /// As a super-packet of segments of this size.
    Super(u16),
}

/// Where a packet comes from and goes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Route {
    /// Who sends it.
    pub source: SocketAddr,
    /// Whom it is for.
    pub destination: SocketAddr,
}

/// Who speaks to whom, by TCP or UDP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Talk {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// From whom to whom.
    pub route: Route,
}

impl Talk {
    /// The other way round.
    pub fn back(&self) -> Self {
        let Route { source, destination } = self.route;
        Self { route: Route { source: destination, destination: source }, ..*self }
    }
}

impl From<&Packet> for Talk {
    fn from(packet: &Packet) -> Self {
        Self { protocol: packet.protocol, route: route_of(packet) }
    }
}

/// The fields of a TCP header that change.
#[derive(Clone, Debug, Default)]
pub struct TcpHeader {
    /// The sequence number.
    pub sequence: u32,
    /// The acknowledgement number.
    pub acknowledgement: u32,
    /// The flags.
    pub flags: u8,
    /// The window.
    pub window: u16,
    /// The options, padded to whole words.
    pub options: Vec<u8>,
}

/// Builds a TCP packet.
pub fn tcp(route: Route, header: &TcpHeader, payload: &[u8], shape: Shape) -> OwnedFrame {
    let mut transport = Vec::with_capacity(20 + header.options.len() + payload.len());
    transport.extend(route.source.port().to_be_bytes());
    transport.extend(route.destination.port().to_be_bytes());
    transport.extend(header.sequence.to_be_bytes());
    transport.extend(header.acknowledgement.to_be_bytes());
    transport.extend([((20 + header.options.len()) as u8) << 2, header.flags]);
    transport.extend(header.window.to_be_bytes());
    transport.extend([0; 4]);
    transport.extend(&header.options);
    transport.extend(payload);
    packet(route, Protocol::Tcp, &transport, shape)
}

/// Builds a UDP packet.
pub fn udp(route: Route, payload: &[u8], shape: Shape) -> OwnedFrame {
    let mut transport = Vec::with_capacity(8 + payload.len());
    transport.extend(route.source.port().to_be_bytes());
    transport.extend(route.destination.port().to_be_bytes());
    transport.extend((8 + payload.len() as u16).to_be_bytes());
    transport.extend([0; 2]);
    transport.extend(payload);
    packet(route, Protocol::Udp, &transport, shape)
}

fn packet(route: Route, protocol: Protocol, transport: &[u8], shape: Shape) -> OwnedFrame {
    let (source, destination) = (route.source.ip(), route.destination.ip());
    let mut bytes = header::build(source, destination, protocol.number(), transport.len());
    let start = bytes.len();
    bytes.extend(transport);
    let pseudo = pseudo_sum(source, destination, protocol.number(), transport.len());
    let checksum = match shape {
        Shape::Plain => match !fold(pseudo + sum(transport)) {
            0 if protocol == Protocol::Udp => 0xffff,
            checksum => checksum,
        },
        Shape::Partial | Shape::Super(_) => fold(pseudo),
    };
    let at = start + protocol.checksum_offset();
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    OwnedFrame { offload: offload(route, shape), ..OwnedFrame::plain(bytes) }
}

fn offload(route: Route, shape: Shape) -> Offload {
    match shape {
        Shape::Plain => Offload::NONE,
        Shape::Partial => Offload { checksum: Checksum::Partial, segmentation: None },
        Shape::Super(size) => {
            let kind = if route.source.is_ipv4() { SegmentationKind::Tcp4 } else { SegmentationKind::Tcp6 };
            let segmentation = Segmentation { kind, ecn: false, size };
            Offload { checksum: Checksum::Partial, segmentation: Some(segmentation) }
        }
    }
}

/// Both ends of a packet.
pub fn route_of(packet: &Packet) -> Route {
    Route {
        source: SocketAddr::new(packet.source.ip(), packet.source_port),
        destination: SocketAddr::new(packet.destination.ip(), packet.destination_port),
    }
}

/// Whether every checksum in the frame is what its state says: the IPv4 header's, and the transport's, complete or partial.
pub fn checksums_are_right(frame: &OwnedFrame, packet: &Packet) -> bool {
    let bytes = &frame.bytes;
    let v4_header_is_right = !packet.source.is_v4() || fold(sum(&bytes[..packet.transport])) == 0xffff;
    let transport = &bytes[packet.transport..];
    let at = packet.protocol.checksum_offset();
    let field = u16::from_be_bytes([transport[at], transport[at + 1]]);
    let pseudo =
        pseudo_sum(packet.source.ip(), packet.destination.ip(), packet.protocol.number(), transport.len());
    let transport_is_right = match frame.offload.checksum {
        Checksum::Partial => field == fold(pseudo),
        Checksum::Complete | Checksum::Verified => {
            let none = packet.protocol == Protocol::Udp && packet.source.is_v4() && field == 0;
            none || fold(pseudo + sum(transport)) == 0xffff
        }
    };
    v4_header_is_right && transport_is_right
}

/// Completes the transport checksum anew, if the frame has a complete one.
pub fn mend_checksum(frame: &mut OwnedFrame, packet: &Packet) {
    if frame.offload.checksum == Checksum::Partial {
        return;
    }
    let at = packet.transport + packet.protocol.checksum_offset();
    frame.bytes[at..at + 2].fill(0);
    let transport = &frame.bytes[packet.transport..];
    let pseudo =
        pseudo_sum(packet.source.ip(), packet.destination.ip(), packet.protocol.number(), transport.len());
    let checksum = !fold(pseudo + sum(transport));
    frame.bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}
