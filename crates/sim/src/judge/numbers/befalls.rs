//! What befalls flows whose two sides differ: noted, never judged.

use topology::DeviceId;
use wire::{Packet, Protocol, parse};

use super::super::occasions::Occasion;
use super::{Numbers, Sides};
use crate::invariants::Carried;
use crate::ledger::Ledger;
use crate::packet::{OwnedFrame, Talk};
use crate::tcp::Options;

/// Nobody says so much here.
const MOST_UPLOADED: u32 = 1 << 20;

impl Numbers {
    /// A frame has been lost, on its way from a device or to it.
    pub(in super::super) fn lost(&mut self, device: DeviceId, frame: &OwnedFrame, ledger: &Ledger) {
        let Some(packet) = tcp_packet(frame) else { return };
        let talk = Talk::from(&packet);
        let leaves = ledger.sight_of(device, &talk);
        let flow = match leaves {
            Some(seen) => self.sights.get(&seen).copied(),
            None => ledger.flow_of(device, &talk).filter(|_| ledger.client_of(device, &talk).is_none()),
        };
        let Some(sides) = flow.and_then(|flow| self.flows.get(&flow)) else { return };
        if leaves.is_some() && sides.carries_header(&packet) {
            self.tally.occasions.note(Occasion::HeaderLost);
        }
        let news = sides.acknowledged + 1..MOST_UPLOADED;
        let is_news = sides.offset_of(packet.acknowledgement).is_some_and(|offset| news.contains(&offset));
        if leaves.is_none() && sides.is_out() && packet.flags.ack() && is_news {
            self.tally.occasions.note(Occasion::AcknowledgementLost);
        }
    }

    /// A frame reaches the hosts behind a device, undamaged.
    pub(in super::super) fn reaches(&mut self, device: DeviceId, frame: &OwnedFrame, ledger: &Ledger) {
        let Some(packet) = tcp_packet(frame).filter(|packet| packet.payload_len() > 0) else { return };
        let seen = ledger.sight_of(device, &Talk::from(&packet));
        let flow = seen.and_then(|seen| self.sights.get(&seen));
        let Some(sides) = flow.and_then(|flow| self.flows.get_mut(flow)) else { return };
        if !sides.is_announced || sides.arrived >= sides.header {
            return;
        }
        let offset = sides.offset_of(packet.sequence).filter(|offset| *offset < MOST_UPLOADED);
        let Some(offset) = offset else { return };
        if offset > sides.arrived {
            sides.overtaken = Some(if offset < sides.header {
                Occasion::PieceOvertaken
            } else {
                Occasion::HeaderOvertaken
            });
            return;
        }
        sides.arrived = sides.arrived.max(offset + packet.payload_len() as u32);
        let occasion = sides.overtaken.take().filter(|_| !sides.is_repeated);
        occasion.into_iter().for_each(|occasion| self.tally.occasions.note(occasion));
    }
}

impl Sides {
    /// Whether its header is out, and not acknowledged as a whole.
    pub(super) fn is_out(&self) -> bool {
        self.is_announced && !self.is_heard
    }

    /// What it is to this flow that a packet of its consumer's comes, or of its target's; before it is taken in.
    pub(super) fn befalls(&self, packet: &Packet, is_consumers: bool) -> Option<Occasion> {
        let (fin, rst, speaks) = (packet.flags.fin(), packet.flags.rst(), packet.payload_len() > 0);
        let is_begun = self.answered.is_some() && self.header > 0 && !self.is_heard;
        match is_consumers {
            _ if !is_begun => None,
            true if fin && (speaks || self.is_announced) => Some(Occasion::ConsumerCloses),
            true if fin => Some(Occasion::Forgone),
            true if rst && self.is_announced => Some(Occasion::ConsumerResets),
            false if speaks && !self.is_announced => Some(Occasion::TargetFirst),
            false if fin && self.is_announced => Some(Occasion::TargetCloses),
            false if rst && self.is_announced => Some(Occasion::TargetResets),
            _ => None,
        }
    }

    /// Its header goes out for the first time, with this packet.
    pub(super) fn begins(&self, packet: &Packet) -> impl Iterator<Item = Occasion> + use<> {
        let first = self.begun.unwrap_or(0).wrapping_add(1);
        let end = first.wrapping_add(self.header);
        let split = (packet.payload_len() < self.header as usize).then_some(Occasion::HeaderSplit);
        let wrap = match (first, end) {
            (0, _) | (_, 0) => Some(Occasion::WrapAtHeader),
            _ if end < first => Some(Occasion::WrapInHeader),
            _ => None,
        };
        split.into_iter().chain(wrap)
    }

    /// What it is that its consumer sends this.
    pub(super) fn goes(&self, was: &Carried<'_>, is: &Carried<'_>) -> [Option<Occasion>; 3] {
        let first = self.begun.unwrap_or(0).wrapping_add(1);
        let has_wrapped = has_wrapped(first, is.packet) && first.wrapping_neg() > self.header;
        let wrap = (has_wrapped && self.header > 0).then_some(Occasion::WrapAfterHeader);
        let has_blocks = !Options::of(was.packet, was.bytes).blocks.is_empty();
        [wrap, (self.is_spliced && has_blocks).then_some(Occasion::BlocksSpliced), None]
    }

    /// What it is that its target sends this.
    pub(super) fn comes(&self, was: &Carried<'_>, is: &Carried<'_>) -> [Option<Occasion>; 3] {
        let own = self.answered.filter(|begun| has_wrapped(*begun, was.packet));
        let own = own.map(|_| Occasion::WrapOfTarget);
        let told = self.told.filter(|begun| has_wrapped(*begun, is.packet)).map(|_| Occasion::WrapAsTold);
        let blocks = Options::of(was.packet, was.bytes).blocks;
        let in_header = |(left, _): &(u32, u32)| self.offset_of(*left).is_some_and(|left| left < self.header);
        let acknowledged = self.offset_of(was.packet.acknowledgement).unwrap_or(0) as i32;
        let about = (self.is_announced && self.header > 0 && !blocks.is_empty()).then(|| {
            match acknowledged >= self.header as i32 {
                false => Occasion::BlocksDuring,
                true if blocks.iter().any(in_header) => Occasion::BlocksInHeader,
                true => Occasion::BlocksAfter,
            }
        });
        [own, told, about]
    }

    fn carries_header(&self, packet: &Packet) -> bool {
        let offset = self.offset_of(packet.sequence);
        self.is_announced && packet.payload_len() > 0 && offset.is_some_and(|offset| offset < self.header)
    }
}

/// Whether a packet carries bytes beyond 0, of a stream that began before it.
fn has_wrapped(begun: u32, packet: &Packet) -> bool {
    packet.payload_len() > 0 && begun > u32::MAX / 2 && packet.sequence < u32::MAX / 2
}

fn tcp_packet(frame: &OwnedFrame) -> Option<Packet> {
    parse(&frame.bytes).ok().filter(|packet| packet.protocol == Protocol::Tcp)
}
