//! A TCP packet as its sender thinks of it, and all that goes wrong with one.

use etherparse::{PacketBuilder, TcpHeader};
use proptest::prelude::*;
use wire::{Addr, Checksum, Frame, Offload, Packet, Segmentation, SegmentationKind, parse, pseudo_header};

/// A packet: what it says, not where that stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sent {
    pub(crate) source: (Addr, u16),
    pub(crate) destination: (Addr, u16),
    pub(crate) flags: u8,
    /// The flag beyond these eight, which once was a nonce and now is accurate ECN's.
    pub(crate) accurate: bool,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) window: u16,
    pub(crate) options: Vec<Said>,
    pub(crate) payload: Vec<u8>,
    /// What the checksum lacks to be right.
    pub(crate) damage: u16,
}

/// An option.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    Nop,
    Mss(u16),
    WindowScale(u8),
    SackPermitted,
    Sack(Vec<[u32; 2]>),
    Timestamps([u32; 2]),
    /// The cookie.
    FastOpen(Vec<u8>),
    /// What follows the experiment's number.
    OldFastOpen(Vec<u8>),
    /// Whatever it says.
    Multipath(Vec<u8>),
    /// Something else: a kind and a value.
    Other(u8, Vec<u8>),
}

impl Said {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let (kind, value) = match self {
            Self::Nop => return vec![1],
            Self::Mss(mss) => (2, mss.to_be_bytes().to_vec()),
            Self::WindowScale(scale) => (3, vec![*scale]),
            Self::SackPermitted => (4, Vec::new()),
            Self::Sack(blocks) => (5, blocks.iter().flatten().flat_map(|edge| edge.to_be_bytes()).collect()),
            Self::Timestamps(stamps) => (8, stamps.iter().flat_map(|stamp| stamp.to_be_bytes()).collect()),
            Self::FastOpen(cookie) => (34, cookie.clone()),
            Self::OldFastOpen(cookie) => (254, [&[0xf9, 0x89], cookie.as_slice()].concat()),
            Self::Multipath(value) => (30, value.clone()),
            Self::Other(kind, value) => (*kind, value.clone()),
        };
        [&[kind, value.len() as u8 + 2], value.as_slice()].concat()
    }

    /// As many NOPs as this is long.
    pub(crate) fn blanked(&self) -> Vec<Self> {
        vec![Self::Nop; self.to_bytes().len()]
    }
}

impl Sent {
    /// Its options, in whole words, what is left of the last one filled up with ends.
    pub(crate) fn raw_options(&self) -> Vec<u8> {
        let mut raw: Vec<u8> = self.options.iter().flat_map(Said::to_bytes).collect();
        raw.resize(raw.len().next_multiple_of(4), 0);
        raw
    }

    /// The packet, built by etherparse, its checksum in this state.
    pub(crate) fn build(&self, checksum: Checksum) -> Vec<u8> {
        let (source, destination) = (self.source, self.destination);
        let mut tcp = TcpHeader::new(source.1, destination.1, self.sequence, self.window);
        tcp.acknowledgment_number = self.acknowledgement;
        [tcp.fin, tcp.syn, tcp.rst, tcp.psh, tcp.ack] = [1, 2, 4, 8, 16].map(|flag| self.flags & flag != 0);
        tcp.ns = self.accurate;
        tcp.set_options_raw(&self.raw_options()).unwrap();
        let builder = if source.0.is_v4() {
            PacketBuilder::ipv4(source.0.v4_octets(), destination.0.v4_octets(), 64)
        } else {
            PacketBuilder::ipv6(source.0.octets(), destination.0.octets(), 64)
        };
        let mut bytes = Vec::new();
        builder.tcp_header(tcp).write(&mut bytes, &self.payload).unwrap();
        let packet = parse(&bytes).unwrap();
        let at = packet.transport + 16;
        let right = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let field = match checksum {
            Checksum::Partial => {
                let len = packet.len - packet.transport;
                pseudo_header(packet.source, packet.destination, packet.protocol, len)
            }
            // In one's complement arithmetic, as the checksum itself.
            Checksum::Complete | Checksum::Verified => {
                let sum = u32::from(right) + u32::from(self.damage);
                (sum as u16) + (sum >> 16) as u16
            }
        };
        bytes[at..at + 2].copy_from_slice(&field.to_be_bytes());
        bytes
    }

    /// The packet on its way: does `edit`, and returns what has become of it, what is known about it and what is left undone.
    pub(crate) fn carried(
        &self,
        offload: Offload,
        edit: impl FnOnce(&mut Frame<'_>, &mut Packet),
    ) -> (Vec<u8>, Packet, Offload) {
        let mut bytes = self.build(offload.checksum);
        let mut packet = parse(&bytes).unwrap();
        let mut frame = Frame { offload, bytes: &mut bytes };
        edit(&mut frame, &mut packet);
        (frame.bytes.to_vec(), packet, frame.offload)
    }

    /// What the kernel leaves undone: the checksum, and the segmentation of what is long.
    pub(crate) fn offload(&self, checksum: Checksum) -> Offload {
        let kind = if self.source.0.is_v4() { SegmentationKind::Tcp4 } else { SegmentationKind::Tcp6 };
        let segmentation =
            (self.payload.len() > 1400).then_some(Segmentation { kind, ecn: false, size: 1400 });
        Offload { checksum, segmentation }
    }
}

fn said() -> impl Strategy<Value = Said> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..=most);
    prop_oneof![
        4 => Just(Said::Nop),
        1 => prop_oneof![Just(0), any::<u16>()].prop_map(Said::Mss),
        1 => any::<u8>().prop_map(Said::WindowScale),
        1 => Just(Said::SackPermitted),
        4 => prop::collection::vec(any::<[u32; 2]>(), 1..=4).prop_map(Said::Sack),
        4 => any::<[u32; 2]>().prop_map(Said::Timestamps),
        2 => bytes(16).prop_map(Said::FastOpen),
        1 => bytes(14).prop_map(Said::OldFastOpen),
        1 => bytes(18).prop_map(Said::Multipath),
        // Unknown kinds, and known ones of another length, which are none.
        1 => (9u8..=253, bytes(7)).prop_filter_map("known", |(kind, value)| {
            (![30, 34].contains(&kind)).then_some(Said::Other(kind, value))
        }),
        1 => (2u8..=8, 3usize..8).prop_map(|(kind, len)| Said::Other(kind, vec![kind; len])),
        1 => Just(Said::Other(254, vec![0xf9, 0x88, 1])),
    ]
}

fn options() -> impl Strategy<Value = Vec<Said>> {
    prop::collection::vec(said(), 0..12).prop_map(|all| {
        let mut room = 40;
        let fits = |said: &Said| {
            let len = said.to_bytes().len();
            let fits = len <= room;
            room -= if fits { len } else { 0 };
            fits
        };
        all.into_iter().filter(fits).collect()
    })
}

fn end(is_v4: bool) -> impl Strategy<Value = (Addr, u16)> {
    let addr = any::<[u8; 15]>().prop_map(move |octets| {
        if is_v4 {
            Addr::v4([octets[0], octets[1], octets[2], octets[3]])
        } else {
            Addr::v6([&[0xfd], &octets[..]].concat().try_into().unwrap())
        }
    });
    (addr, 1u16..)
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => Just(Vec::new()),
        4 => prop::collection::vec(any::<u8>(), 0..1500),
        // A super-packet.
        1 => (1usize..65_000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

/// Any packet, with the tuple of either family.
pub(crate) fn sent() -> impl Strategy<Value = Sent> {
    let damage = prop_oneof![3 => Just(0), 1 => any::<u16>()];
    let numbers = (any::<u32>(), any::<u32>(), any::<u16>());
    let flags = (0u8..32, any::<bool>());
    let ends = any::<bool>().prop_flat_map(|is_v4| (end(is_v4), end(is_v4)));
    (ends, numbers, flags, options(), payload(), damage).prop_map(
        |((source, destination), numbers, (flags, accurate), options, payload, damage)| {
            let (sequence, acknowledgement, window) = numbers;
            Sent {
                source,
                destination,
                flags,
                accurate,
                sequence,
                acknowledgement,
                window,
                options,
                payload,
                damage,
            }
        },
    )
}

pub(crate) fn checksum() -> impl Strategy<Value = Checksum> {
    prop_oneof![Just(Checksum::Complete), Just(Checksum::Verified), Just(Checksum::Partial)]
}
