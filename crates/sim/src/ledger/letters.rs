//! What hosts have sent, as far as an error could quote it.

use std::collections::BTreeMap;

use topology::{DeviceId, Path};
use wire::{Checksum, Protocol, TcpFlags};

use crate::header::{fold, sum};
use crate::icmp::{Quote, quote};
use crate::packet::{OwnedFrame, Route, Talk};
use crate::shop::{self, DEAF, RUDE};
use crate::tcp::LONGEST_HEADER;

/// No error quotes more.
const MOST_KEPT: usize = 1280;

/// Packets and first fragments, by who has sent them, and to whom.
#[derive(Default)]
pub(super) struct Letters(BTreeMap<(DeviceId, Talk), Vec<OwnedFrame>>);

impl Letters {
    /// A host behind a device has sent this.
    pub(super) fn note(&mut self, device: DeviceId, talk: Talk, frame: &OwnedFrame) {
        let bytes = frame.bytes[..frame.bytes.len().min(MOST_KEPT)].to_vec();
        let letter = OwnedFrame { offload: frame.offload, ..OwnedFrame::plain(bytes) };
        self.0.entry((device, talk)).or_default().push(letter);
    }

    /// Whether a host behind the device has sent what is quoted.
    pub(super) fn contain(&self, device: DeviceId, quoted: &Quote<'_>) -> bool {
        let letters = self.0.get(&(device, quoted.talk)).into_iter().flatten();
        letters.filter_map(|letter| Some((letter, quote(&letter.bytes)?))).any(|(letter, sent)| {
            let is_same = if is_renumbered(quoted) {
                carries_the_same(&sent, quoted)
            } else {
                says_the_same(&sent, quoted) && has_its_checksum(letter, &sent, quoted)
            };
            is_same && has_its_length(letter, &sent, quoted) || is_edited(&sent, quoted)
        })
    }
}

/// Whether more of a packet than its own number was another one where it was dropped: its options and its window are quoted as
/// they were there. (To a target that is told who its clients are, the header is acknowledged; a client of such a target knows
/// of nothing.)
fn is_renumbered(quoted: &Quote<'_>) -> bool {
    let Route { source, destination } = quoted.talk.route;
    let is_told = shop::at_target(source.port()).is_some() || [DEAF, RUDE].contains(&source.port());
    is_told || shop::path_at(destination.port()) == Some(Path::Splice)
}

/// Whether it is a SYN of its sender's, which goes on with another MSS; or where that ends: what comes to a target there may be a
/// header, and what is said there may be said in its sender's stead. Once its target has the header, nobody remembers where that
/// was: what is told of it then is told as so much before.
fn is_edited(sent: &Quote<'_>, quoted: &Quote<'_>) -> bool {
    let is_syn = transport(sent).get(13).is_some_and(|flags| flags & TcpFlags::SYN != 0);
    let is_shops = || is_renumbered(quoted) || shop::path_at(quoted.talk.route.destination.port()).is_some();
    match sent.sequence.wrapping_add(1).wrapping_sub(quoted.sequence) {
        1 => is_syn,
        0 => is_syn && is_shops(),
        2..=LONGEST_HEADER => is_syn && is_renumbered(quoted),
        _ => false,
    }
}

/// Ports and its own number, and as much of the payload as there is.
fn carries_the_same(sent: &Quote<'_>, quoted: &Quote<'_>) -> bool {
    let [ours, theirs] = [sent, quoted].map(transport);
    let payload = ours.get(12).map_or(20, |offset| usize::from(offset >> 4) * 4);
    let end = ours.len().min(theirs.len());
    ours[..8] == theirs[..8]
        && (payload >= end || ours[payload..end] == theirs[payload..end])
        && acknowledges_the_same(ours, theirs)
}

/// If it is quoted at all; but as long as its target has not got a header, a consumer is told that nothing has come yet.
fn acknowledges_the_same(sent: &[u8], quoted: &[u8]) -> bool {
    let acknowledged = |bytes: &[u8]| {
        let is_there = bytes.get(13).is_some_and(|flags| flags & TcpFlags::ACK != 0);
        let field = bytes.get(8..12).filter(|_| is_there)?;
        Some(field.iter().fold(0, |number: u32, byte| number << 8 | u32::from(*byte)))
    };
    let both = acknowledged(sent).zip(acknowledged(quoted));
    both.is_none_or(|(sent, quoted)| quoted.wrapping_sub(sent) <= LONGEST_HEADER)
}

/// Ports, numbers, and as much of the payload as there is.
fn says_the_same(sent: &Quote<'_>, quoted: &Quote<'_>) -> bool {
    let [ours, theirs] = [sent, quoted].map(transport);
    let agree = |from: usize, to: usize| {
        let to = to.min(ours.len()).min(theirs.len());
        from >= to || ours[from..to] == theirs[from..to]
    };
    match quoted.talk.protocol {
        Protocol::Tcp => agree(0, 12) && agree(20, usize::MAX),
        Protocol::Udp => agree(0, 6) && agree(8, usize::MAX),
    }
}

/// Only one that was complete when it was sent, and is quoted as a whole, can be asked for.
fn has_its_checksum(letter: &OwnedFrame, sent: &Quote<'_>, quoted: &Quote<'_>) -> bool {
    let at = quoted.talk.protocol.checksum_offset();
    let [ours, theirs] =
        [sent, quoted].map(|packet| transport(packet).get(at..at + 2).map(|field| fold(sum(field)) % 0xffff));
    letter.offload.checksum != Checksum::Complete || theirs.is_none() || ours == theirs
}

/// A super-packet may be quoted as one, or by its first segment; and a datagram that was sent in fragments as a whole.
fn has_its_length(letter: &OwnedFrame, sent: &Quote<'_>, quoted: &Quote<'_>) -> bool {
    let headers =
        sent.header.payload + transport(sent).get(12).map_or(20, |offset| usize::from(offset >> 4) * 4);
    let segment = letter.offload.segmentation.map(|of| headers + usize::from(of.size));
    quoted.talk.protocol == Protocol::Udp
        || quoted.header.len == sent.header.len
        || Some(quoted.header.len) == segment
}

fn transport<'a>(packet: &Quote<'a>) -> &'a [u8] {
    &packet.bytes[packet.header.payload..]
}
