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
mod hearing;
mod rtt;
mod scoreboard;

use std::time::Duration;

use wire::Packet;

use congestion::Congestion;
use rtt::RoundTrips;
use scoreboard::{Scoreboard, Sent};

/// A time in microseconds, modulo 2^32: things that are compared are minutes apart at most.
type Micros = u32;

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

/// What is left to be done when a timer has gone off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    Nothing,
    /// The peer's window is closed, and it is time to ask whether it still is.
    WindowProbe,
}

/// One connection's sending side, once it is open.
pub(crate) struct Sender {
    board: Scoreboard,
    /// The next byte that smoltcp sends, if it is not made to begin again: where the last packet ended that it has built, whether
    /// that left or not. Nothing else says where it is; each packet corrects us, a bare acknowledgement too, which has its number.
    /// `told` follows the same packets: smoltcp takes for said what stays here, and [`Sender::takes_debt`] is where that is made good.
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
    /// The last acknowledgement and window that the peer was told, or will be with this poll, and the last window that it told us.
    told: Option<(u32, u16)>,
    window: u16,
    /// Whether the first two stand in a packet that did not leave.
    owes: bool,
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
    /// For a connection whose first byte has the number `first`, and whose full segments carry `segment` bytes. Its handshake may
    /// have told how long a round `trip` takes.
    pub(crate) fn new(first: u32, segment: u32, trip: Option<Duration>) -> Self {
        Self {
            board: Scoreboard::new(first),
            cursor: first,
            segment,
            trips: RoundTrips::new(trip),
            congestion: Congestion::new(segment),
            latest: None,
            latest_trip: Duration::ZERO,
            reorders: false,
            repaired_at: None,
            duplicates: 0,
            is_selective: false,
            told: None,
            owes: false,
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

    /// Does what is due: finds out what is lost, or gives up waiting for word of it. Returns what is left to be done.
    pub(crate) fn expire(&mut self, now: Duration) -> Due {
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
            if !self.board.is_empty() {
                self.give_up_waiting();
            }
            let fruitless = self.timers.fruitless + 1;
            let timeout = Some(now + self.trips.timeout(fruitless));
            self.timers = Timers { timeout, fruitless, ..Timers::default() };
            if self.board.is_empty() {
                return Due::WindowProbe;
            }
        }
        Due::Nothing
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
            self.probes_window(packet, now) || self.is_wanted(packet, leave, now)
        };
        self.owes = !passes && (self.owes || self.told != Some(telling));
        self.told = Some(telling);
        passes
    }

    /// Whether smoltcp has acknowledged something in a packet that did not leave: the peer is to be told now.
    pub(crate) fn takes_debt(&mut self) -> bool {
        std::mem::take(&mut self.owes)
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

    /// Whether a packet asks for room in a window that is closed. It counts as sent only once it is acknowledged; until then it
    /// is asked again, whoever has thought of the first one.
    fn probes_window(&mut self, packet: &Packet, now: Duration) -> bool {
        let asks = self.window == 0 && packet.payload_len() == 1 && packet.sequence == self.end();
        if asks {
            self.timers.timeout.get_or_insert(now + self.trips.timeout(0));
        }
        asks
    }

    /// Takes note of a packet with data. Whether it goes out: with something that is new or lost, be it only its FIN.
    fn is_wanted(&mut self, packet: &Packet, leave: Leave, now: Duration) -> bool {
        let end = packet.sequence.wrapping_add(packet.sequence_len());
        self.cursor = end;
        let is_new = before(self.end(), end);
        let is_lost = |sequence| self.board.look(sequence).is_some_and(|(is_lost, _)| is_lost);
        let is_fin_lost = packet.flags.fin() && is_lost(end.wrapping_sub(1));
        let is_to_stay = match leave {
            // A longer one would pass over what is lost.
            Leave::Skip(len) => packet.payload_len() <= len as usize,
            _ => !is_lost(packet.sequence),
        };
        let is_wanted = is_new || is_fin_lost || !is_to_stay;
        if is_wanted {
            self.send(packet.sequence, end, now);
        }
        is_wanted
    }

    /// Holds everything for lost that is under way.
    fn give_up_waiting(&mut self) {
        self.congestion.timed_out(self.board.outstanding(), self.timers.fruitless == 0);
        self.board.condemn_all();
        self.repaired_at = Some(self.board.end());
        self.latest = None;
    }

    /// Takes note that these bytes leave, for the first time or not.
    fn send(&mut self, from: u32, to: u32, now: Duration) {
        if self.board.is_empty() {
            if now.saturating_sub(self.last_sent) > self.trips.timeout(0) {
                self.congestion.rested();
            }
            self.timers = Timers { timeout: Some(now + self.trips.timeout(0)), ..Timers::default() };
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

fn window_field(packet: &Packet, bytes: &[u8]) -> u16 {
    let at = packet.transport + 14;
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests;
