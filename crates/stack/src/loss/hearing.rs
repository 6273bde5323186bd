//! What the peer's packets say: what has arrived, what is lost, and what the window is.

use std::time::Duration;

use wire::{Packet, TcpOption, find_option};

use super::scoreboard::Delivery;
use super::{Sender, Timers, before, micros, window_field};

/// How many segments must arrive ahead of one for that to be lost, as long as none was ever overtaken.
const OVERTAKEN: u32 = 3;

impl Sender {
    /// Whether smoltcp learns nothing from a packet, and would only take it for one more reason to send something again.
    pub(crate) fn is_duplicate(&self, packet: &Packet, bytes: &[u8]) -> bool {
        let flags = packet.flags;
        let is_bare =
            flags.ack() && !flags.syn() && !flags.fin() && !flags.rst() && packet.payload_len() == 0;
        is_bare
            && !self.board.is_empty()
            && packet.acknowledgement == self.board.first()
            && window_field(packet, bytes) == self.window
            && self.is_current(packet)
    }

    /// The acknowledgement and the window that smoltcp is to see in a packet, where they are others than it has.
    ///
    /// smoltcp throws away what was overtaken by an acknowledgement, with the bytes in it: those get the latest, unless their own
    /// is more than `oldest` bytes behind (RFC 5961 5.2). It takes the window of whatever comes, be it older than what it has
    /// heard: it gets the latest. A window that closes while something is under way stays open by one unit: smoltcp would stop its
    /// timer for it, and not start it again. Nothing new is sent in there.
    pub(crate) fn version(&self, packet: &Packet, bytes: &[u8], oldest: u32) -> Option<(u32, u16)> {
        if !packet.flags.ack() {
            return None;
        }
        let own = (packet.acknowledgement, window_field(packet, bytes));
        let latest = self.board.first();
        let is_overtaken = before(own.0, latest) && latest.wrapping_sub(own.0) <= oldest;
        let window = if self.is_current(packet) { own.1 } else { self.window };
        let heard =
            if is_overtaken && packet.sequence_len() > 0 { (latest, self.window) } else { (own.0, window) };
        let version = if heard.1 == 0 && before(heard.0, self.end()) { (heard.0, 1) } else { heard };
        (version != own).then_some(version)
    }

    /// Whether a packet is no older than what its sender was told. To be asked before smoltcp sees the packet, and tells more.
    pub(crate) fn is_current(&self, packet: &Packet) -> bool {
        self.told.is_none_or(|(told, _)| !before(packet.sequence, told))
    }

    /// Takes note of a packet from the peer, after which the first byte that is not acknowledged is `first`. What it says of the
    /// window counts if it was current when it came.
    pub(crate) fn heard(
        &mut self,
        first: u32,
        packet: &Packet,
        bytes: &[u8],
        was_current: bool,
        now: Duration,
    ) {
        let is_duplicate = self.is_duplicate(packet, bytes);
        let flight = self.board.outstanding();
        let is_progress = before(self.board.first(), first);
        let mut delivery = Delivery::default();
        if is_progress {
            self.advance(first, &mut delivery, now);
        }
        if packet.flags.ack() && packet.acknowledgement == first && was_current {
            self.window = window_field(packet, bytes);
            let blocks = find_option(bytes, packet, TcpOption::Sack).map_or(&[][..], |at| &bytes[at]);
            for block in blocks.chunks_exact(8) {
                self.is_selective = true;
                self.board.select(number(&block[..4])..number(&block[4..]), &mut delivery);
            }
        }
        if delivery.bytes > 0 {
            self.take(&delivery, flight, is_progress, now);
        } else if is_duplicate && !self.is_selective {
            self.take_duplicate(flight);
        }
        if self.board.is_empty() {
            self.latest = None;
            self.wait_for_window(is_progress, now);
        }
    }
}

/// How conclusions are drawn.
impl Sender {
    fn advance(&mut self, first: u32, delivery: &mut Delivery, now: Duration) {
        self.board.acknowledge(first, delivery);
        if before(self.cursor, first) {
            self.cursor = first;
        }
        self.duplicates = 0;
        self.timers.fruitless = 0;
        self.timers.timeout = Some(now + self.trips.timeout(0));
        self.set_probe(now);
    }

    /// Draws conclusions from what has arrived, when `flight` bytes were under way.
    fn take(&mut self, delivery: &Delivery, flight: u32, is_progress: bool, now: Duration) {
        self.reorders |= delivery.reordered;
        self.measure(delivery, now);
        let is_head_lost = is_progress && self.repaired_at.is_some() && !self.is_selective;
        if self.repaired_at.is_some_and(|end| !before(self.board.first(), end)) {
            self.repaired_at = None;
            self.congestion.repaired();
        } else if is_head_lost {
            self.board.condemn_head(self.segment);
        }
        let may_lack = self.board.sacked() > 0 || self.repaired_at.is_some();
        let is_worse = self.is_selective && may_lack && self.judge(flight, now);
        if is_progress {
            self.congestion.acknowledged(delivery.bytes, flight, self.trips.smooth(), now);
        }
        self.congestion.arrived(delivery.bytes, self.board.flying(), is_progress && !is_worse);
    }

    /// Takes note of one more acknowledgement of what was acknowledged before, by a peer that does not say why.
    fn take_duplicate(&mut self, flight: u32) {
        self.duplicates += 1;
        if self.duplicates == OVERTAKEN && self.repaired_at.is_none() {
            self.board.condemn_head(self.segment);
            self.begin_repair(flight);
        }
    }

    /// Learns how long a round trip takes, and what the last thing is that has arrived.
    fn measure(&mut self, delivery: &Delivery, now: Duration) {
        let Some(sent) = delivery.latest else { return };
        let trip = Duration::from_micros(micros(now).wrapping_sub(sent.at).into());
        if !sent.again {
            self.trips.sample(trip);
        } else if self.trips.is_too_short(trip) {
            // It was sent again, and had arrived the first time.
            self.reorders = true;
            self.trips.be_patient();
            return;
        }
        if self.latest.is_none_or(|latest| latest.is_before(&sent)) {
            self.latest = Some(sent);
            self.latest_trip = trip;
        }
    }

    /// Finds out what is lost when `flight` bytes are under way. Returns whether anything has been found.
    pub(super) fn judge(&mut self, flight: u32, now: Duration) -> bool {
        let Some(latest) = self.latest else { return false };
        let is_sure = self.repaired_at.is_some() || self.board.sacked() >= OVERTAKEN * self.segment;
        let patience =
            if is_sure && !self.reorders { Duration::ZERO } else { self.latest_trip + self.trips.lateness() };
        let (lost, wait) = self.board.condemn(&latest, micros(patience), micros(now));
        self.timers.lateness = wait.map(|wait| now + Duration::from_micros(wait.into()));
        if lost > 0 && self.repaired_at.is_none() {
            self.begin_repair(flight);
        }
        lost > 0
    }

    fn begin_repair(&mut self, flight: u32) {
        self.congestion.lost(flight);
        self.repaired_at = Some(self.board.end());
        self.timers.probe = None;
    }

    /// With nothing under way, only a window that is closed has to be waited for: asked for less and less often, as long as
    /// nothing moves.
    fn wait_for_window(&mut self, is_progress: bool, now: Duration) {
        let is_closed = self.window == 0;
        if !is_closed || is_progress || self.timers.timeout.is_none() {
            let timeout = is_closed.then(|| now + self.trips.timeout(0));
            self.timers = Timers { timeout, ..Timers::default() };
        }
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().copied().map_or(0, u32::from_be_bytes)
}
