//! Datagrams in fragments: whatever the order and whoever else sends, each arrives as it was sent or not at all.

#![allow(clippy::unwrap_used)] // setting up a test cannot fail

mod limits;
mod order;
mod overlap;
mod owner;
mod refusals;

use std::time::Duration;

use crate::lab::*;
use engine::{Event, Reason};
use etherparse::defrag::IpDefragPool;
use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, NetSlice, SlicedPacket,
};
use topology::DeviceId;
use wire::{Packet, checksum_is_valid, parse};

/// Client, interface, node and target, by family.
const V4: [&str; 4] = [CLIENT, INTERFACE, NODE, TARGET];
const V6: [&str; 4] = ["fd01::2", "fd01::9:50", "fd02::9:1", "fd02::2"];
const SECOND: Duration = Duration::from_secs(1);

/// A packet's fragments of `size` bytes each, as a host's IP layer cuts them.
pub(crate) fn cut(whole: &[u8], identification: u32, size: usize) -> Vec<Vec<u8>> {
    let data = &whole[if whole[0] >> 4 == 4 { 20 } else { 40 }..];
    let starts = (0..data.len()).step_by(size);
    starts
        .map(|start| {
            let end = (start + size).min(data.len());
            fragment(whole, identification, start, &data[start..end], end < data.len())
        })
        .collect()
}

/// One fragment of the packet `whole`, with any place in it and any data.
fn fragment(whole: &[u8], identification: u32, start: usize, data: &[u8], more: bool) -> Vec<u8> {
    let offset = IpFragOffset::try_new(start as u16 / 8).unwrap();
    if whole[0] >> 4 == 4 {
        let mut ip = Ipv4Header::from_slice(whole).unwrap().0;
        ip.total_len = 20 + data.len() as u16;
        ip.identification = identification as u16;
        ip.dont_fragment = false;
        (ip.more_fragments, ip.fragment_offset) = (more, offset);
        ip.header_checksum = ip.calc_header_checksum();
        return [&ip.to_bytes(), data].concat();
    }
    let mut ip = Ipv6Header::from_slice(whole).unwrap().0;
    let header = Ipv6FragmentHeader::new(ip.next_header, offset, more, identification);
    ip.next_header = IpNumber::IPV6_FRAGMENTATION_HEADER;
    ip.payload_length = 8 + data.len() as u16;
    [&ip.to_bytes()[..], &header.to_bytes(), data].concat()
}

/// What a host on `device` receives: the datagrams that can be put together, with right checksums.
fn received(said: &Said, device: DeviceId) -> Vec<(Packet, Vec<u8>)> {
    let mut pool: IpDefragPool = IpDefragPool::new();
    let mut whole = Vec::new();
    for (_, bytes) in said.sent.iter().filter(|(to, _)| *to == device) {
        let sliced = SlicedPacket::from_ip(bytes).unwrap();
        if let Some(NetSlice::Ipv4(ip)) = &sliced.net {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
        }
        let Some(segment) = pool.process_sliced_packet(&sliced, (), ()).unwrap() else { continue };
        let datagram = rebuilt(bytes, &segment.payload);
        let packet = parse(&datagram).unwrap();
        assert!(checksum_is_valid(&datagram, &packet));
        whole.push((packet, datagram[packet.payload..].to_vec()));
    }
    whole
}

/// The packet that a fragment was cut from.
fn rebuilt(piece: &[u8], segment: &[u8]) -> Vec<u8> {
    if piece[0] >> 4 == 4 {
        let mut ip = Ipv4Header::from_slice(piece).unwrap().0;
        ip.total_len = 20 + segment.len() as u16;
        (ip.more_fragments, ip.fragment_offset) = (false, IpFragOffset::ZERO);
        ip.header_checksum = ip.calc_header_checksum();
        return [&ip.to_bytes(), segment].concat();
    }
    let mut ip = Ipv6Header::from_slice(piece).unwrap().0;
    ip.next_header = IpNumber::UDP;
    ip.payload_length = segment.len() as u16;
    [&ip.to_bytes()[..], segment].concat()
}

/// A payload that tells one datagram from another, byte by byte.
fn payload(tag: u8, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 251) as u8 ^ (n as u8).wrapping_mul(tag | 1)).collect()
}

/// Gives worker 0 packets, and says all that became of them.
fn input(lab: &mut Lab, device: DeviceId, packets: &[Vec<u8>]) -> Said {
    input_at(lab, device, packets, Duration::ZERO)
}

fn input_at(lab: &mut Lab, device: DeviceId, packets: &[Vec<u8>], now: Duration) -> Said {
    let mut all = Said::default();
    for bytes in packets {
        all.append(lab.input_at(0, device, bytes, now));
    }
    all
}

impl Said {
    fn append(&mut self, mut more: Said) {
        self.sent.append(&mut more.sent);
        self.handed.append(&mut more.handed);
        self.verdicts.append(&mut more.verdicts);
        self.events.append(&mut more.events);
    }

    fn reasons(&self) -> Vec<Reason> {
        self.verdicts.iter().map(|verdict| verdict.reason).collect()
    }

    /// How kept fragments ended.
    fn ended(&self) -> Vec<(Reason, usize)> {
        let ended = |event: &Event| match event {
            Event::FragmentsEnded { reason, count } => Some((*reason, *count)),
            _ => None,
        };
        self.events.iter().filter_map(ended).collect()
    }

    /// How many frames had this verdict.
    fn count(&self, reason: Reason) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.reason == reason).count()
    }

    fn identifications(&self) -> Vec<u32> {
        self.sent.iter().map(|(_, bytes)| wire::parse_fragment(bytes).unwrap().identification).collect()
    }
}

/// Numbers that look random, and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for n in (1..items.len()).rev() {
            items.swap(n, self.below(n + 1));
        }
    }
}

fn client(family: [&str; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    udp((family[0], port), (family[1], 53), payload)
}
