//! Loss: what may leave, what is lost, and when it is sent again.
//!
//! smoltcp as a sender knows no SACK, waits a second at least, and repairs one segment in a round trip. It is not asked. A
//! [`Sender`] follows what leaves and what the peer says, and decides as Linux would: RACK and a probe of the tail (RFC 8985)
//! find what is lost, the window is CUBIC's (RFC 9438), proportional rate reduction (RFC 6937) paces repairs, and the timer
//! (RFC 6298) is the last resort. smoltcp, which keeps the bytes, is made to follow by three means:
//!
//! - *The size of each packet*, which is that of the interface that it is built through: [`Leave`] says how large.
//! - *Time.* smoltcp's timer is its only way back to the first byte. When something has to be sent again, its clock leaps.
//! - *Silence.* On its way forward again, it builds what is not missing, too. [`Sender::passes`] says what goes out.
//!
//! docs/LOSS.md says what that brings, and what smoltcp could do instead.

mod congestion;
mod rtt;
mod scoreboard;

use std::time::Duration;

use wire::{Packet, TcpOption, find_option};

use congestion::Congestion;
use rtt::RoundTrips;
use scoreboard::{Delivery, Scoreboard, Sent};

/// A time in microseconds, modulo 2^32: things that are compared are minutes apart at most.
type Micros = u32;

/// How many segments must arrive ahead of one for that to be lost, as long as none was ever overtaken.
const OVERTAKEN: u32 = 3;

/// What may leave next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leave {
    /// A packet of up to so many bytes. It goes out.
    Send(u32),
    /// A packet of up to so many bytes that need not be sent again. It stays here.
    Skip(u32),
    /// No data: an acknowledgement, if one is due.
    Nothing,
}

/// One connection's sending side, once it is open.
pub(crate) struct Sender {
    board: Scoreboard,
    /// The next byte that smoltcp sends, if it is not made to begin again.
    cursor: u32,
    /// Payload bytes of a full segment.
    segment: u32,
    trips: RoundTrips,
    congestion: Congestion,
    /// What has arrived of all that left last.
    latest: Option<Sent>,
    /// How long that has taken.
    latest_trip: Duration,
    /// Whether packets are known to overtake each other on this path.
    reorders: bool,
    /// While losses are repaired: the end of what had been sent when they were noticed.
    repaired_at: Option<u32>,
    /// Acknowledgements in a row that said nothing, not even what arrived out of order.
    duplicates: u32,
    /// Whether the peer has ever said what arrived out of order.
    is_selective: bool,
    /// The last acknowledgement and window that the peer was told, and the last window that it told us.
    told: Option<(u32, u16)>,
    window: u16,
    timers: Timers,
    last_sent: Duration,
}

/// What happens if nothing else does, and when.
#[derive(Default)]
struct Timers {
    /// What has not arrived by then has not merely been overtaken.
    lateness: Option<Duration>,
    /// The last segment is sent again, to find out what has arrived.
    probe: Option<Duration>,
    /// All is held for lost.
    timeout: Option<Duration>,
    /// How many times in a row that has happened.
    fruitless: u32,
    /// The probe may go, whatever the window says.
    probes: bool,
}

impl Sender {
    /// For a connection whose first byte has the number `first`, and whose full segments carry `segment` bytes.
    pub(crate) fn new(first: u32, segment: u32) -> Self {
        Self {
            board: Scoreboard::new(first),
            cursor: first,
            segment,
            trips: RoundTrips::default(),
            congestion: Congestion::new(segment),
            latest: None,
            latest_trip: Duration::ZERO,
            reorders: false,
            repaired_at: None,
            duplicates: 0,
            is_selective: false,
            told: None,
            window: 0,
            timers: Timers::default(),
            last_sent: Duration::ZERO,
        }
    }

    /// Payload bytes of a full segment.
    pub(crate) fn segment(&self) -> u32 {
        self.segment
    }

    /// The number after the last byte that was sent.
    pub(crate) fn end(&self) -> u32 {
        self.board.end()
    }

    /// What may leave next.
    pub(crate) fn leave(&self) -> Leave {
        let budget = self.budget();
        if budget == 0 {
            return Leave::Nothing;
        }
        match self.board.look(self.cursor) {
            Some((true, len)) => Leave::Send(len.min(budget)),
            Some((false, len)) => Leave::Skip(len),
            None if self.window == 0 && !self.board.is_empty() => Leave::Nothing,
            None => Leave::Send(budget),
        }
    }

    /// Whether smoltcp is still on its way forward again.
    pub(crate) fn is_behind(&self) -> bool {
        self.cursor != self.board.end()
    }

    /// Whether smoltcp has to begin again: what is lost lies behind where it is.
    pub(crate) fn must_go_back(&self) -> bool {
        self.board.first_lost().is_some_and(|lost| before(lost, self.cursor))
    }

    /// When [`Sender::expire`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        [self.timers.lateness, self.timers.probe, self.timers.timeout].into_iter().flatten().min()
    }

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

    /// Whether a packet closes the peer's window, and leaves something under way.
    pub(crate) fn is_closed_on(&self, packet: &Packet, bytes: &[u8]) -> bool {
        window_field(packet, bytes) == 0 && packet.flags.ack() && before(packet.acknowledgement, self.end())
    }

    /// Takes note of a packet from the peer, after which the first byte that is not acknowledged is `first`.
    pub(crate) fn heard(&mut self, first: u32, packet: &Packet, bytes: &[u8], now: Duration) {
        let is_duplicate = self.is_duplicate(packet, bytes);
        let flight = self.board.outstanding();
        let is_progress = before(self.board.first(), first);
        let mut delivery = Delivery::default();
        if is_progress {
            self.advance(first, &mut delivery, now);
        }
        if packet.flags.ack() && packet.acknowledgement == first && self.is_current(packet) {
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
            self.timers = Timers::default();
        }
    }

    /// Does what is due: finds out what is lost, or gives up waiting for word of it.
    pub(crate) fn expire(&mut self, now: Duration) {
        let is_due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        if is_due(self.timers.lateness) {
            self.timers.lateness = None;
            self.judge(self.board.outstanding(), now);
        }
        if is_due(self.timers.probe) {
            self.board.condemn_tail(self.segment);
            self.timers.probe = None;
            self.timers.probes = true;
            self.timers.timeout = Some(now + self.trips.timeout(0));
        }
        if is_due(self.timers.timeout) {
            self.congestion.timed_out(self.board.outstanding(), self.timers.fruitless == 0);
            self.board.condemn_all();
            self.repaired_at = Some(self.board.end());
            self.latest = None;
            let fruitless = self.timers.fruitless + 1;
            let timeout = Some(now + self.trips.timeout(fruitless));
            self.timers = Timers { timeout, fruitless, ..Timers::default() };
        }
    }

    /// Takes note of a packet that smoltcp has built with leave to do so. `false` if it stays here. One without data gets the
    /// number that belongs to it: smoltcp gives it that of where it is, which may be behind.
    pub(crate) fn passes(
        &mut self,
        packet: &mut Packet,
        bytes: &mut [u8],
        leave: Leave,
        now: Duration,
    ) -> bool {
        let telling = (packet.acknowledgement, window_field(packet, bytes));
        let passes = if packet.sequence_len() == 0 {
            self.cursor = packet.sequence;
            packet.sequence = self.end();
            bytes[packet.transport + 4..packet.transport + 8].copy_from_slice(&packet.sequence.to_be_bytes());
            packet.flags.rst() || leave != Leave::Nothing || self.told != Some(telling)
        } else {
            self.is_probe_of_window(packet) || self.is_wanted(packet, leave, now)
        };
        if passes {
            self.told = Some(telling);
        }
        passes
    }

    /// From here on, full segments carry so many bytes only: what is under way was too large, and leaves once more.
    pub(crate) fn lower_segment(&mut self, segment: u32) {
        if segment < self.segment {
            self.segment = segment;
            self.congestion.set_segment(segment);
            self.board.condemn_all();
        }
    }
}

/// How it comes to its decisions.
impl Sender {
    /// How many bytes may leave: whole segments, and one at least if nothing is under way.
    fn budget(&self) -> u32 {
        let room = self.congestion.window().saturating_sub(self.board.flying());
        let whole = room - room % self.segment;
        if self.board.flying() == 0 || self.timers.probes { whole.max(self.segment) } else { whole }
    }

    /// Whether a packet is no older than what its sender was told.
    fn is_current(&self, packet: &Packet) -> bool {
        self.told.is_none_or(|(told, _)| !before(packet.sequence, told))
    }

    /// Whether a packet asks for room in a window that is closed. It counts as sent only once it is acknowledged.
    fn is_probe_of_window(&self, packet: &Packet) -> bool {
        self.window == 0 && packet.payload_len() == 1 && packet.sequence == self.end()
    }

    /// Takes note of a packet with data. Whether it goes out: with something that is new or lost.
    fn is_wanted(&mut self, packet: &Packet, leave: Leave, now: Duration) -> bool {
        let end = packet.sequence.wrapping_add(packet.sequence_len());
        self.cursor = end;
        let is_new = before(self.end(), end);
        let is_lost = self.board.look(packet.sequence).is_some_and(|(is_lost, _)| is_lost);
        let is_wanted = is_new || (is_lost && !matches!(leave, Leave::Skip(_)));
        if is_wanted {
            self.send(packet.sequence, end, now);
        }
        is_wanted
    }

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
    fn judge(&mut self, flight: u32, now: Duration) -> bool {
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

    /// Takes note that these bytes leave, for the first time or not.
    fn send(&mut self, from: u32, to: u32, now: Duration) {
        if self.board.is_empty() {
            if now.saturating_sub(self.last_sent) > self.trips.timeout(0) {
                self.congestion.rested();
            }
            self.timers.timeout = Some(now + self.trips.timeout(0));
        }
        self.last_sent = now;
        self.timers.probes = false;
        self.congestion.sent(to.wrapping_sub(from));
        if before(from, self.end()) {
            self.board.send_again(from, to, micros(now));
        }
        if before(self.end(), to) {
            self.board.send(to, micros(now), self.trips.grain());
            self.set_probe(now);
        }
    }

    /// Sets the timer that finds out about a lost tail: as long as nothing is known to be missing. It comes before the
    /// one that holds all for lost, or in its place.
    fn set_probe(&mut self, now: Duration) {
        let is_calm = self.repaired_at.is_none() && self.board.sacked() == 0 && self.timers.fruitless == 0;
        let delay = self.trips.probe_delay(self.board.outstanding() <= self.segment).filter(|_| is_calm);
        let last = self.timers.timeout.unwrap_or(now);
        self.timers.probe = delay.map(|delay| last.min(now + delay));
    }
}

/// Whether `a` comes before `b`, modulo 2^32: numbers, or times.
fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

fn micros(time: Duration) -> Micros {
    time.as_micros() as Micros
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().copied().map_or(0, u32::from_be_bytes)
}

fn window_field(packet: &Packet, bytes: &[u8]) -> u16 {
    let at = packet.transport + 14;
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
