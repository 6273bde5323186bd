//! The virtual network: links that lose, double, delay and damage what they carry, and the agenda of what happens when.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::{Checksum, Packet, Protocol, TcpFlags, parse};

use crate::packet::OwnedFrame;
use crate::rng::Rng;
use crate::{fragment, icmp};

/// What a link does to frames: chances in a thousand.
#[derive(Clone, Copy, Debug)]
pub struct Impairment {
    /// How long a frame is on its way.
    pub latency: Duration,
    /// Lost.
    pub loss: u32,
    /// Delivered twice.
    pub duplication: u32,
    /// Delayed, by up to five latencies more, so that others overtake it.
    pub reordering: u32,
    /// One byte is changed.
    pub corruption: u32,
}

/// One direction of a link.
pub struct Link {
    impairment: Impairment,
    rng: Rng,
}

impl Link {
    /// A link with these habits.
    pub fn new(impairment: Impairment, rng: Rng) -> Self {
        Self { impairment, rng }
    }

    /// What arrives of a frame, and how much later.
    pub fn carry(&mut self, frame: &OwnedFrame) -> Vec<(Duration, OwnedFrame)> {
        let Impairment { loss, duplication, .. } = self.impairment;
        let copies = match (self.rng.per_mille(loss), self.rng.per_mille(duplication)) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        (0..copies).map(|_| (self.delay(frame), self.damage(frame.clone()))).collect()
    }

    /// Fragments come in any order.
    fn delay(&mut self, frame: &OwnedFrame) -> Duration {
        let late = self.rng.per_mille(self.impairment.reordering) || fragment::read(&frame.bytes).is_some();
        self.impairment.latency
            + if late { self.rng.span(self.impairment.latency * 5) } else { Duration::ZERO }
    }

    /// Changes one byte, perhaps. Only in a frame with a complete checksum: that is what lets the receiver notice. A
    /// partial one is a promise that the frame has not been on any wire yet, and a UDP checksum of 0 means that nobody
    /// asked to notice. And only once: a one's complement sum notices every single byte, but two may cancel out.
    fn damage(&mut self, mut frame: OwnedFrame) -> OwnedFrame {
        let unchecked = unchecked_bytes(&frame);
        let at = unchecked + self.rng.index(frame.bytes.len() - unchecked);
        let change = self.rng.between(1, 255) as u8;
        if self.rng.per_mille(self.impairment.corruption) && !frame.damaged && unchecked < frame.bytes.len() {
            let before = flags(&frame);
            frame.bytes[at] ^= change;
            frame.damaged = true;
            // Nat reads no payload and so verifies no checksum. A byte that makes a SYN of another packet would move a
            // closing flow to another target; one that makes a RST, or spoils the numbers that a flow begins with, lets it be
            // forgotten when it rests: accepted, and not to be reported by every thousandth seed.
            if is_believed(before, flags(&frame)) {
                frame.bytes[at] ^= change;
                frame.damaged = false;
            }
        }
        frame
    }
}

/// Whether nat would believe a damaged frame more than is good for a flow, by the flags that it had and has.
fn is_believed(before: TcpFlags, now: TcpFlags) -> bool {
    let is_answer = before.syn() && before.ack();
    is_answer || now.opens() && !before.opens() || now.rst() && !before.rst()
}

fn flags(frame: &OwnedFrame) -> TcpFlags {
    parse(&frame.bytes).map_or(TcpFlags::new(0), |packet| packet.flags)
}

/// How many bytes at a frame's beginning have no checksum that would notice. (Kernels drop a packet whose IPv4 header is
/// damaged, and nobody but ICMP itself checks what ICMP carries.)
fn unchecked_bytes(frame: &OwnedFrame) -> usize {
    let is_checked = |packet: &Packet| {
        let udp = &frame.bytes[packet.transport + 6..packet.transport + 8];
        frame.offload.checksum == Checksum::Complete && (packet.protocol == Protocol::Tcp || udp != [0, 0])
    };
    match (parse(&frame.bytes), icmp::read(&frame.bytes)) {
        (Ok(packet), _) if is_checked(&packet) => 0,
        (_, Some(message)) => frame.bytes.len() - message.body.len() - 8,
        _ => frame.bytes.len(),
    }
}

/// What happens when. Of two things at the same moment, the one that was noted first comes first.
#[derive(Debug)]
pub struct Agenda<T> {
    entries: BTreeMap<(Duration, u64), T>,
    noted: u64,
}

impl<T> Agenda<T> {
    /// Notes that something happens at a moment.
    pub fn note(&mut self, at: Duration, what: T) {
        self.entries.insert((at, self.noted), what);
        self.noted += 1;
    }

    /// When the next thing happens.
    pub fn next(&self) -> Option<Duration> {
        self.entries.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next thing that has happened by `now`.
    pub fn due(&mut self, now: Duration) -> Option<T> {
        self.entries.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove())
    }
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), noted: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Route, Shape, checksums_are_right, udp};

    const CLEAN: Impairment = Impairment {
        latency: Duration::from_millis(1),
        loss: 0,
        duplication: 0,
        reordering: 0,
        corruption: 0,
    };

    fn frame(shape: Shape) -> OwnedFrame {
        let route = Route { source: ([10, 0, 0, 1], 1).into(), destination: ([10, 0, 0, 2], 2).into() };
        udp(route, &[7; 100], shape)
    }

    #[test]
    fn a_clean_link_changes_nothing() {
        let carried = Link::new(CLEAN, Rng::new(1)).carry(&frame(Shape::Plain));
        assert_eq!(carried.len(), 1);
        assert_eq!((carried[0].0, &carried[0].1.bytes), (CLEAN.latency, &frame(Shape::Plain).bytes));
    }

    #[test]
    fn damage_is_always_to_be_noticed() {
        let mut link = Link::new(Impairment { corruption: 1000, ..CLEAN }, Rng::new(1));
        for _ in 0..1000 {
            let (_, damaged) = link.carry(&frame(Shape::Plain)).remove(0);
            let noticed = parse(&damaged.bytes).is_ok_and(|packet| checksums_are_right(&damaged, &packet));
            assert!(damaged.damaged && !noticed);
            assert!(!link.carry(&frame(Shape::Partial)).remove(0).1.damaged, "nobody could notice");
        }
    }
}
