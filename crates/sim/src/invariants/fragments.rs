//! What must hold of fragments that leave: each goes where its datagram goes, none overlaps another, and each that was kept
//! is sent or said to be dropped.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use engine::Reason;
use topology::DeviceId;

use super::{Invariant, Violation};
use crate::header::{Header, TTL, v4_header_is_right};
use crate::ledger::{Ledger, Side};
use crate::recorder::{Batch, Departure};
use crate::stream::{ConnectionId, Way, tag_in};

/// 1, of a fragment, which may name no ports; and 4b: all that a fragment has of its own is right.
pub fn fragment_is_on_its_own_side(
    departure: &Departure,
    (header, piece): (&Header, &[u8]),
    ledger: &Ledger,
) -> Result<(), Violation> {
    let broken = |invariant, why: &str| {
        let to = ledger.namespace(departure.device);
        let Header { source, destination, identifier, offset, .. } = header;
        let message = format!("{source} > {destination} {identifier:#x}@{offset} went to {to}: {why}");
        Err(Violation::new(invariant, message))
    };
    let own_way = match ledger.side_between(departure.device, header.source, header.destination) {
        None => return broken(Invariant::OwnSideOnly, "it goes to nobody who talks to us"),
        Some(Side::Consumer) => Way::Down,
        Some(Side::Provider) => Way::Up,
    };
    if let Some(tag) = tag_in(payload(header, piece))
        && (tag.way != own_way
            || ledger
                .device_of(tag.connection)
                .is_none_or(|home| own_way == Way::Down && home != departure.device))
    {
        return broken(Invariant::OwnSideOnly, &format!("it carries bytes of {tag:?}"));
    }
    if !v4_header_is_right(&departure.frame.bytes) || header.ttl != TTL - 1 {
        return broken(Invariant::FaithfulFrames, &format!("a TTL of {}, or a wrong checksum", header.ttl));
    }
    Ok(())
}

/// A piece without the transport header that the first one begins with.
pub fn payload<'a>(header: &Header, piece: &'a [u8]) -> &'a [u8] {
    let begin = if header.offset == 0 { 8 } else { 0 };
    piece.get(begin..).unwrap_or_default()
}

/// By what a receiver tells datagrams apart; and whose they are, which it cannot know. (If two that differ only in that meet,
/// it is for their receiver to notice.)
type Name = (DeviceId, IpAddr, IpAddr, u32, Option<ConnectionId>);

/// The fragments that have left, and those that were kept.
#[derive(Default)]
pub struct Fragments {
    /// Where the pieces of each datagram lie, and when its receiver forgets it.
    sent: BTreeMap<Name, (Vec<(usize, usize)>, Duration)>,
    /// Kept, and neither sent nor said to be dropped.
    kept: isize,
}

impl Fragments {
    /// 8. Of two fragments of one datagram, the second repeats nothing of the first, or all of it and nothing else.
    pub fn none_overlap(
        &mut self,
        device: DeviceId,
        (header, piece): (&Header, &[u8]),
        now: Duration,
    ) -> Result<(), Violation> {
        let owner = tag_in(payload(header, piece)).map(|tag| tag.connection);
        let name = (device, header.source, header.destination, header.identifier, owner);
        let forgotten = now + Duration::from_secs(if header.source.is_ipv4() { 30 } else { 60 });
        let (pieces, expires) = self.sent.entry(name).or_insert((Vec::new(), forgotten));
        if *expires <= now {
            pieces.clear();
            *expires = forgotten;
        }
        let own @ (begin, end) = (header.offset, header.offset + piece.len());
        if pieces.iter().any(|other| *other != own && other.0 < end && begin < other.1) {
            let Header { source, destination, identifier, .. } = header;
            let message =
                format!("{source} > {destination} {identifier:#x}: {begin}..{end}, after {pieces:?}");
            return Err(Violation::new(Invariant::NoOverlap, message));
        }
        pieces.push(own);
        Ok(())
    }

    /// 9. Counts what was kept, what of that was sent, and what is said to be dropped.
    pub fn count(&mut self, batch: &Batch) {
        let kept = batch.verdicts(Reason::FragmentKept);
        let sent = batch.said.departures.iter().filter(|departure| departure.is_built_fragment()).count();
        let dropped = batch.said.events.iter().map(|event| match event {
            engine::Event::FragmentsEnded { reason, count } if *reason != Reason::FragmentForwarded => *count,
            _ => 0,
        });
        self.kept += kept as isize - sent as isize - dropped.sum::<usize>() as isize;
    }

    /// 9. When all is over, every fragment that was kept has been sent, or has been said to be dropped.
    pub fn none_is_left(&self) -> Result<(), Violation> {
        if self.kept == 0 {
            return Ok(());
        }
        let message = format!("{} fragments were kept, and nobody has said what became of them", self.kept);
        Err(Violation::new(Invariant::NothingLeft, message))
    }
}
