//! What one end has received: puts it in order, and says how much more it takes.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::Packet;

use super::manner::{Appetite, Manner};
use crate::rng::Rng;

/// The numbers of an older connection lie further away than this, almost always.
const NEAR: u32 = 100_000;

#[derive(Debug, Default)]
pub(super) struct Receiver {
    pub(super) initial: u32,
    /// The relative number that is expected next.
    pub(super) next: u32,
    early: BTreeMap<u32, Vec<u8>>,
    fin_at: Option<u32>,
    pub(super) closed: bool,
    /// In order, and not yet taken by the simulator.
    pub(super) unread: Vec<u8>,
    pub(super) owes_ack: bool,
    /// What has come although it was there, until that is said (RFC 2883).
    pub(super) repeated: Option<(u32, u32)>,
    /// In order, and not yet read by whoever reads slowly.
    backlog: u32,
    /// When he reads next.
    pub(super) bites: Option<Duration>,
    /// The window that was announced last.
    granted: u32,
    /// No window has ever reached further than this relative number.
    edge: u32,
    /// By how much somebody has sent beyond it.
    pub(super) overrun: u32,
}

impl Receiver {
    pub(super) fn begin(&mut self, syn: &Packet) {
        self.initial = syn.sequence;
        self.next = 1;
    }

    /// The sequence number that is expected next.
    pub(super) fn expected(&self) -> u32 {
        self.initial.wrapping_add(self.next)
    }

    /// So many bytes may come in any case.
    pub(super) fn forgive(&mut self, len: u32) {
        self.edge = self.edge.max(1 + len);
    }

    /// The window field of the next segment, and what it promises.
    pub(super) fn grant(&mut self, manner: &Manner, shift: u8, rng: &mut Rng) -> u16 {
        let room = match manner.appetite {
            Appetite::Keen => manner.window,
            Appetite::Slow { .. } => manner.window.saturating_sub(self.backlog),
            Appetite::Fickle => rng.between(0, manner.window.into()) as u32,
        };
        let field = (room >> shift).min(u16::MAX.into());
        self.granted = field << shift;
        self.edge = self.edge.max(self.next.max(1) + self.granted);
        field as u16
    }

    /// Takes a segment's bytes and FIN, where they fall into the window.
    pub(super) fn take(&mut self, packet: &Packet, payload: &[u8], manner: &Manner, now: Duration) {
        if packet.sequence_len() == 0 {
            return;
        }
        self.owes_ack = true;
        let ahead = packet.sequence.wrapping_sub(self.expected()) as i32;
        let begin = i64::from(self.next) + i64::from(ahead);
        let window = if manner.appetite == Appetite::Fickle { self.granted } else { manner.window };
        if begin < 1 || i64::from(ahead) > i64::from(window) {
            return; // an older connection's, or beyond the window
        }
        let (begin, end) = (begin as u32, begin as u32 + payload.len() as u32);
        if begin < self.next && end > begin {
            self.repeated = Some((begin, end.min(self.next)));
        }
        // One byte asks whether there is room again.
        let beyond = end.saturating_sub(self.edge + 1);
        if beyond < NEAR {
            self.overrun = self.overrun.max(beyond);
        }
        let fits = payload.len().min((self.next + window.max(1)).saturating_sub(begin) as usize);
        if fits > self.early.get(&begin).map_or(0, Vec::len) {
            self.early.insert(begin, payload[..fits].to_vec());
        }
        if packet.flags.fin() && fits == payload.len() {
            self.fin_at = Some(end);
        }
        self.put_in_order(manner, now);
    }

    /// Takes what a SYN carries.
    pub(super) fn take_early(&mut self, payload: &[u8], manner: &Manner, now: Duration) {
        self.early.insert(1, payload.to_vec());
        self.put_in_order(manner, now);
    }

    /// Forgets what has come out of order.
    pub(super) fn renege(&mut self) {
        self.early.clear();
        self.fin_at = None;
    }

    /// Reads slowly: takes the next bite, if it is time.
    pub(super) fn bite(&mut self, manner: &Manner, now: Duration) {
        let Appetite::Slow { bite, pause } = manner.appetite else { return };
        if self.bites.is_none_or(|at| at > now) {
            return;
        }
        let was_closed = self.granted < manner.window.min(536);
        self.backlog = self.backlog.saturating_sub(bite);
        self.bites = (self.backlog > 0).then_some(now + pause);
        self.owes_ack |= was_closed;
    }

    /// Up to so many stretches that have come out of order.
    pub(super) fn islands(&self, most: usize) -> Vec<(u32, u32)> {
        let mut islands: Vec<(u32, u32)> = Vec::new();
        for (begin, piece) in &self.early {
            let end = begin + piece.len() as u32;
            match islands.last_mut() {
                Some((_, last)) if *begin <= *last => *last = end.max(*last),
                _ => islands.push((*begin, end)),
            }
        }
        islands.splice(0..0, self.repeated);
        islands.truncate(most);
        let absolute = |relative: u32| self.initial.wrapping_add(relative);
        islands.into_iter().map(|(begin, end)| (absolute(begin), absolute(end))).collect()
    }

    fn put_in_order(&mut self, manner: &Manner, now: Duration) {
        while let Some(piece) = self.early.first_entry().filter(|piece| *piece.key() <= self.next) {
            let (begin, bytes) = piece.remove_entry();
            let known = (self.next - begin) as usize;
            if let Some(news) = bytes.get(known..) {
                self.unread.extend(news);
                self.next += news.len() as u32;
                self.swallow(news.len() as u32, manner, now);
            }
        }
        if self.fin_at == Some(self.next) && !self.closed {
            self.next += 1;
            self.closed = true;
        }
    }

    fn swallow(&mut self, len: u32, manner: &Manner, now: Duration) {
        if let Appetite::Slow { pause, .. } = manner.appetite
            && len > 0
        {
            self.backlog += len;
            self.bites = self.bites.or(Some(now + pause));
        }
    }
}
