//! How a script's packets are made: of what a client would say, or of a packet that the engine has sent.

use std::net::IpAddr;

use wire::{Checksum, Offload, Segmentation, SegmentationKind};

use crate::packets::{ICMP, ICMP_V6, Layout, TCP, UDP, double_word, packet, piece};
use crate::script::{Asker, Left, Segment, Treatment};
use crate::streams::HEADER;

/// More than this does not fit behind an IPv4 header.
const MOST_PAYLOAD: u16 = 65_400;
const SYN: u8 = 2;
const FIN: u8 = 1;
const ACK: u8 = 16;

/// Both families' address of one thing.
pub(crate) type Pair = [&'static str; 2];

pub(crate) const INTERFACE: Pair = ["10.1.9.50", "fd01::9:50"];
pub(crate) const NODE: Pair = ["10.2.9.1", "fd02::9:1"];
const CLIENTS: [Pair; 4] = [["10.1.0.2", "fd01::2"], ["10.1.0.3", "fd01::3"], NODE, ["0.0.0.0", "::"]];
const ROUTERS: [Pair; 3] =
    [["10.2.0.254", "fd02::fe"], ["10.1.0.254", "fd01::fe"], ["10.1.0.254", "fd01::fe"]];

/// What stands behind an interface's ports: nat, terminate, UDP, nothing; a ping; an endpoint; nat with a header, splice with one;
/// nat with a header at once, splice without one.
const DOORS: [(u8, u16); 10] = [
    (TCP, 80),
    (TCP, 8443),
    (UDP, 53),
    (TCP, 81),
    (ICMP, 0),
    (TCP, 444),
    (TCP, TOLD),
    (TCP, SPLICED_TOLD),
    (TCP, TOLD_AT_ONCE),
    (TCP, SPLICED),
];
const TOLD: u16 = 82;
const TOLD_AT_ONCE: u16 = 83;
const SPLICED_TOLD: u16 = 8444;
const SPLICED: u16 = 8445;

/// The ids of the consumers' endpoints.
pub(crate) const VPCES: [&str; 2] = ["vpce-0000000000000000a", "vpce-0000000000000000b"];

/// Where the interface's ports that something stands behind lead to.
const TARGETS: [(u16, Pair, u16); 14] = [
    (80, TARGET, 8080),
    (80, OTHER, 8080),
    (80, LATER, 8080),
    (8443, TARGET, 8080),
    (8443, OTHER, 8080),
    (8443, LATER, 8080),
    (53, TARGET, 5353),
    (444, INTERFACE, 80),
    (TOLD, TARGET, 8081),
    (SPLICED_TOLD, TARGET, 8081),
    (TOLD_AT_ONCE, TARGET, 8082),
    (SPLICED, TARGET, 8080),
    (SPLICED, OTHER, 8080),
    (SPLICED, LATER, 8080),
];
const TARGET: Pair = ["10.2.0.2", "fd02::2"];
const OTHER: Pair = ["10.2.0.3", "fd02::3"];
/// What a reload puts in the place of the first.
const LATER: Pair = ["10.2.0.4", "fd02::4"];

/// Whether what comes to this port of an interface may be sent on to this target.
pub(crate) fn leads_to(port: u16, target: (IpAddr, u16)) -> bool {
    let own = |&(from, pair, to): &(u16, Pair, u16)| {
        from == port && target == (address(pair, target.0.is_ipv6()), to)
    };
    TARGETS.iter().any(own)
}

/// How the two sides of flows to one port of an interface differ.
#[derive(Clone, Copy)]
pub(crate) struct Shifting {
    /// How many bytes the target gets first.
    pub(crate) header: usize,
    /// The handshake is the engine's own.
    pub(crate) spliced: bool,
}

/// How they differ for this port, if they do.
pub(crate) fn shifting(port: u16) -> Option<Shifting> {
    match port {
        TOLD | TOLD_AT_ONCE => Some(Shifting { header: HEADER, spliced: false }),
        SPLICED_TOLD => Some(Shifting { header: HEADER, spliced: true }),
        SPLICED => Some(Shifting { header: 0, spliced: true }),
        _ => None,
    }
}

/// Whether who listens on this port is told who its clients are.
pub(crate) fn is_told(target_port: u16) -> bool {
    matches!(target_port, 8081 | 8082)
}

/// The address of `pair` in one family.
pub(crate) fn address(pair: Pair, v6: bool) -> IpAddr {
    pair[usize::from(v6)].parse().expect("the pairs above are addresses")
}

/// What a consumer sends of its own accord.
pub(crate) fn ask(asker: &Asker, door: u8, segment: &Segment) -> Vec<u8> {
    let source = address(CLIENTS[usize::from(asker.address) % CLIENTS.len()], asker.v6);
    let destination = address(INTERFACE, asker.v6);
    let port = 40_000 + u16::from(asker.port);
    let (protocol, to) = DOORS[usize::from(door) % DOORS.len()];
    let (protocol, transport) = match protocol {
        TCP => (TCP, tcp([port, to], [1000, 5000], segment)),
        UDP => (UDP, udp([port, to], segment)),
        _ if asker.v6 => (ICMP_V6, echo(128, port, segment)),
        _ => (ICMP, echo(8, port, segment)),
    };
    packet(source, destination, protocol, &transport)
}

/// What the receiver of `sent` answers, if that is something to answer.
pub(crate) fn answer(sent: &[u8], segment: &Segment) -> Option<Vec<u8>> {
    let layout = Layout::of(sent)?;
    let [from, to] = layout.ports(sent)?;
    let transport = match layout.protocol {
        TCP => tcp([to, from], numbers_after(&sent[layout.transport..])?, segment),
        _ => udp([to, from], segment),
    };
    Some(packet(layout.destination, layout.source, layout.protocol, &transport))
}

/// The numbers of a segment that answers this one.
fn numbers_after(segment: &[u8]) -> Option<[u32; 2]> {
    let header = segment.first_chunk::<20>()?;
    let flags = header[13];
    let payload = segment.len().saturating_sub(usize::from(header[12] >> 4) * 4);
    let taken = payload as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let sequence = if flags & ACK != 0 { double_word(header, 8) } else { 7000 };
    Some([sequence, double_word(header, 4).wrapping_add(taken)])
}

/// What a router near the device that `sent` left by says about it.
pub(crate) fn report(sent: &[u8], device: usize, kind: [u8; 2], word: u16, quoted: u16) -> Option<Vec<u8>> {
    let layout = Layout::of(sent)?;
    let v6 = layout.source.is_ipv6();
    let mut icmp = vec![kind[0], kind[1], 0, 0, 0, 0];
    icmp.extend(word.to_be_bytes());
    icmp.extend(&sent[..sent.len().min(quoted.into())]);
    let protocol = if v6 { ICMP_V6 } else { ICMP };
    Some(packet(address(ROUTERS[device], v6), layout.source, protocol, &icmp))
}

fn tcp(ports: [u16; 2], [sequence, acknowledgement]: [u32; 2], segment: &Segment) -> Vec<u8> {
    let mut options = segment.options.clone();
    options.resize(options.len().next_multiple_of(4), 0);
    let sequence = sequence.wrapping_add_signed(segment.shift.into());
    let acknowledgement = if segment.flags & ACK != 0 { acknowledgement } else { 0 };
    let mut bytes = [ports[0].to_be_bytes(), ports[1].to_be_bytes()].concat();
    bytes.extend([sequence.to_be_bytes(), acknowledgement.to_be_bytes()].concat());
    bytes.extend([(20 + options.len() as u8) << 2, segment.flags, 0x20, 0, 0, 0, 0, 0]);
    bytes.extend(options);
    bytes.extend(payload(segment));
    bytes
}

fn udp(ports: [u16; 2], segment: &Segment) -> Vec<u8> {
    let len = 8 + segment.payload.min(MOST_PAYLOAD);
    let mut bytes = [ports[0], ports[1], len, 0].map(u16::to_be_bytes).concat();
    bytes.extend(payload(segment));
    bytes
}

fn echo(kind: u8, id: u16, segment: &Segment) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut bytes = vec![kind, 0, 0, 0, high, low, 0, 1];
    bytes.extend(payload(segment));
    bytes
}

fn payload(segment: &Segment) -> impl Iterator<Item = u8> {
    (0..segment.payload.min(MOST_PAYLOAD)).map(|at| (at ^ at >> 8) as u8)
}

/// A packet as it is handed in, and what the kernel says about it.
pub(crate) type Handed = (Offload, Vec<u8>);

/// Treats a packet: what arrives is one frame, or one for each of its pieces.
pub(crate) fn treat(mut bytes: Vec<u8>, made: bool, treatment: &Treatment) -> Vec<Handed> {
    let offload = offload(&bytes, treatment.left);
    let partial = offload.checksum == Checksum::Partial;
    let mend = |bytes: &mut [u8]| Layout::of(bytes).inspect(|layout| layout.mend(bytes, partial));
    if made {
        mend(&mut bytes);
    }
    for (at, value) in &treatment.patches {
        let len = bytes.len();
        if let Some(byte) = bytes.get_mut(usize::from(*at).checked_rem(len).unwrap_or(0)) {
            *byte = *value;
        }
    }
    if treatment.mend {
        mend(&mut bytes);
    }
    match Layout::of(&bytes).filter(|layout| layout.fragment.is_none() && !treatment.pieces.is_empty()) {
        None => vec![(offload, bytes)],
        Some(layout) => {
            let cut = |&(offset, len)| {
                let (offset, len) = (usize::from(offset % 8192) * 8, usize::from(len % 8192) * 8);
                (Offload::NONE, piece(&bytes, &layout, offset, len, treatment.id))
            };
            treatment.pieces.iter().map(cut).collect()
        }
    }
}

/// The offload state of a packet, as far as a kernel would say so of one like it.
fn offload(bytes: &[u8], left: Left) -> Offload {
    let (checksum, size) = match left {
        Left::Nothing => (Checksum::Complete, None),
        Left::Verified => (Checksum::Verified, None),
        Left::Checksum => (Checksum::Partial, None),
        Left::Segments(size) => (Checksum::Partial, Some(size.max(1))),
    };
    let kind = Layout::of(bytes).and_then(|layout| kind_of(&layout));
    match (kind, size) {
        (None, _) => Offload { checksum: Checksum::Complete, segmentation: None },
        (Some(kind), Some(size)) => {
            Offload { checksum, segmentation: Some(Segmentation { kind, ecn: false, size }) }
        }
        (Some(_), None) => Offload { checksum, segmentation: None },
    }
}

/// What a super-packet of this layout is called.
pub(crate) fn kind_of(layout: &Layout) -> Option<SegmentationKind> {
    match (layout.protocol, layout.source) {
        _ if layout.fragment.is_some() => None,
        (TCP, IpAddr::V4(_)) => Some(SegmentationKind::Tcp4),
        (TCP, IpAddr::V6(_)) => Some(SegmentationKind::Tcp6),
        (UDP, _) => Some(SegmentationKind::Udp),
        _ => None,
    }
}
