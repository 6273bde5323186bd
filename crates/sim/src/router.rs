//! The router behind a device: its next link's MTU changes while connections are open. What is too long it cuts where it may,
//! and drops otherwise, and says so from an address of its own network, which nobody on the other side may ever see. Now and then
//! it does so with a segment of any length.

use std::net::IpAddr;
use std::time::Duration;

use wire::{Protocol, parse};

use crate::fragment::cut;
use crate::header::{Header, complete_v4_header};
use crate::icmp::{Trouble, error, quote};
use crate::packet::OwnedFrame;
use crate::rng::Rng;

/// What every IPv6 link carries; a smaller one is asked of IPv4 alone.
const LEAST_V6: usize = 1280;

/// From when on, and how much.
pub type MtuStep = (Duration, usize);

/// A router.
pub struct Router {
    /// Its own addresses: IPv4, IPv6.
    addresses: [IpAddr; 2],
    steps: Vec<MtuStep>,
    /// Of a thousand TCP segments, those that it has no way for.
    refusals: u32,
    rng: Rng,
}

/// What becomes of a frame at a router.
pub enum Passage {
    /// It goes on, whole or in pieces.
    Onward(Vec<OwnedFrame>),
    /// It was dropped, and its sender is told.
    Refused(OwnedFrame),
    /// It was dropped in silence, as damaged ones are.
    Dropped,
}

impl Router {
    /// A router with these addresses; without steps and refusals it carries everything.
    pub fn new(addresses: [IpAddr; 2], steps: Vec<MtuStep>, refusals: u32, rng: Rng) -> Self {
        Self { addresses, steps, refusals, rng }
    }

    /// Carries a frame that has left the forwarder.
    pub fn pass(&mut self, frame: &OwnedFrame, now: Duration) -> Passage {
        let whole = || Passage::Onward(vec![frame.clone()]);
        let Some(header) = Header::read(&frame.bytes) else { return whole() };
        let mtu = self.mtu(&header, now);
        let segment = segment_len(frame);
        if segment <= mtu && self.has_no_way(frame) {
            return Passage::Refused(self.refuse(frame, &header, segment, Trouble::HostUnreachable));
        }
        if segment <= mtu {
            return whole();
        }
        if !header.whole {
            return Passage::Onward(cut(frame.clone(), mtu, 0));
        }
        if frame.damaged {
            return Passage::Dropped;
        }
        Passage::Refused(self.refuse(frame, &header, segment, Trouble::TooBig(mtu)))
    }

    fn has_no_way(&mut self, frame: &OwnedFrame) -> bool {
        let is_segment = || quote(&frame.bytes).is_some_and(|own| own.talk.protocol == Protocol::Tcp);
        self.refusals > 0 && !frame.damaged && is_segment() && self.rng.per_mille(self.refusals)
    }

    fn mtu(&self, header: &Header, now: Duration) -> usize {
        let mtu = self.steps.iter().rev().find(|(from, _)| *from <= now).map_or(usize::MAX, |(_, mtu)| *mtu);
        if header.source.is_ipv4() { mtu } else { mtu.max(LEAST_V6) }
    }

    /// The error. It quotes a super-packet as one, or its first segment, and more or less of it.
    fn refuse(
        &mut self,
        frame: &OwnedFrame,
        header: &Header,
        segment: usize,
        trouble: Trouble,
    ) -> OwnedFrame {
        let is_v4 = header.source.is_ipv4();
        let [v4, v6] = self.addresses;
        let mut quote = frame.bytes.clone();
        if is_v4 && self.rng.per_mille(500) {
            quote[2..4].copy_from_slice(&(segment as u16).to_be_bytes());
            complete_v4_header(&mut quote);
        }
        let most = if is_v4 { 1400 } else { LEAST_V6 - 48 };
        quote.truncate(self.rng.between(header.payload as u64 + 8, most as u64) as usize);
        error(if is_v4 { v4 } else { v6 }, header.source, trouble, &quote)
    }
}

/// The longest packet that a frame stands for.
fn segment_len(frame: &OwnedFrame) -> usize {
    match (frame.offload.segmentation, parse(&frame.bytes)) {
        (Some(segmentation), Ok(packet)) => {
            frame.bytes.len().min(packet.payload + usize::from(segmentation.size))
        }
        _ => frame.bytes.len(),
    }
}
