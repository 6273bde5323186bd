//! A virtual TCP peer, as small as a TCP can be that loses nothing: handshake, cumulative acknowledgement, a retransmit
//! timer that goes back to the first unacknowledged byte, the peer's window and MSS, classic path-MTU discovery, keep-alives,
//! FIN each way, RST. As a receiver it is as awkward as its [`Manner`] says: windows of any size that close, open late or
//! are taken back, any MSS, any extensions or none.
//!
//! It notices when the other side breaks what the two have agreed upon: see [`Tcp::complaint`].
//!
//! Numbers are kept relative to the initial one: SYN is 0, data begins at 1, FIN follows the data.

mod hearing;
mod manner;
mod options;
mod receiver;
mod sender;
mod speaking;

use std::time::Duration;

use wire::{Packet, TcpFlags};

use crate::packet::{OwnedFrame, Route, Shape, TcpHeader, tcp};
use crate::rng::Rng;

pub use manner::{Appetite, Extensions, Manner};
pub use options::Options;
pub use sender::{DEFAULT_MSS, LEAST_MSS, window_field};

use receiver::Receiver;
use sender::Sender;

const FIRST_TIMEOUT: Duration = Duration::from_millis(250);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(2);
const MOST_TRIES: u32 = 120;
/// How many keep-alives go unanswered before an end gives up.
const MOST_PROBES: u32 = 9;
/// How long an end that is over goes on answering the other's retransmits.
const LINGER: Duration = Duration::from_secs(60);
/// No proxy protocol's header is longer than this.
pub const LONGEST_HEADER: u32 = 127;
/// That of AWS.
const COMMON_HEADER: u32 = 100;
/// The largest super-packet's payload.
const LARGEST_SUPER: usize = 60_000;

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// SYN sent.
    Dialling,
    /// SYN received.
    Answering,
    Open,
    Over(End),
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Both sides said FIN and heard it.
    Finished,
    /// The SYN was answered with a RST.
    Refused,
    /// The other side sent a RST.
    Reset,
    /// This side did.
    Aborted,
    /// Nobody answered.
    GaveUp,
}

/// What the two ends' SYNs have agreed upon.
#[derive(Clone, Copy, Default, Debug)]
struct Agreed {
    /// By how many bits our windows are shifted, and theirs.
    scales: Option<(u8, u8)>,
    timestamps: bool,
    sack: bool,
}

/// One end of a TCP connection.
#[derive(Debug)]
pub struct Tcp {
    route: Route,
    manner: Manner,
    state: State,
    rng: Rng,
    agreed: Agreed,
    sender: Sender,
    receiver: Receiver,
    /// When it was last called.
    now: Duration,
    /// What its timestamps begin at.
    epoch: u32,
    /// The timestamp to be echoed.
    recent: u32,
    complaint: Option<String>,
    keep_alive: Option<Duration>,
    /// When the other side was last heard, and how many keep-alives it has left unanswered.
    heard: Duration,
    probes: u32,
    /// When to send again what is not acknowledged.
    timer: Option<Duration>,
    timeout: Duration,
    tries: u32,
    /// When to forget that it ever was; only once it is over.
    forgotten: Option<Duration>,
    out: Vec<OwnedFrame>,
}

impl Tcp {
    /// Opens a connection.
    pub fn dial(route: Route, manner: Manner, rng: Rng) -> Self {
        Self::new(route, manner, rng, State::Dialling)
    }

    /// Answers a SYN.
    pub fn answer(route: Route, manner: Manner, rng: Rng, syn: &Packet, bytes: &[u8]) -> Self {
        let mut tcp = Self::new(route, manner, rng, State::Answering);
        tcp.hear_syn(syn, bytes);
        tcp
    }

    fn new(route: Route, manner: Manner, mut rng: Rng, state: State) -> Self {
        let [initial, epoch] = [(); 2].map(|()| first_number(&mut rng));
        let sender = Sender::new(initial);
        Self {
            route,
            manner,
            state,
            agreed: Agreed::default(),
            sender,
            receiver: Receiver::default(),
            now: Duration::ZERO,
            epoch,
            recent: 0,
            rng,
            complaint: None,
            keep_alive: None,
            heard: Duration::ZERO,
            probes: 0,
            timer: None,
            timeout: FIRST_TIMEOUT,
            tries: 0,
            forgotten: None,
            out: Vec::new(),
        }
    }

    /// Adds to what is to be sent.
    pub fn write(&mut self, bytes: &[u8]) {
        self.sender.data.extend(bytes);
    }

    /// How much of what was written the other side has acknowledged.
    pub fn delivered(&self) -> usize {
        (self.sender.acknowledged.saturating_sub(1) as usize).min(self.sender.data.len())
    }

    /// Whether any of what was written has been sent.
    pub fn has_spoken(&self) -> bool {
        self.state == State::Open && self.sender.highest > 1
    }

    /// Takes a header, and what a window of one unit lets in, however little room it has announced: a consumer can be told of no
    /// less.
    pub fn be_lenient(&mut self) {
        let scale = self.agreed.scales.map_or(0, |(ours, _)| ours);
        self.receiver.forgive(LONGEST_HEADER + (1 << scale));
    }

    /// Takes what has arrived in order.
    pub fn read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.receiver.unread)
    }

    /// Says FIN after what was written.
    pub fn finish(&mut self) {
        self.sender.closing = true;
    }

    /// Whether it has said that it will say no more.
    pub fn is_finishing(&self) -> bool {
        self.sender.closing
    }

    /// Whether the other side has said FIN, and everything before it has arrived.
    pub fn is_closed_by_peer(&self) -> bool {
        self.receiver.closed
    }

    /// Ends it with a RST.
    pub fn abort(&mut self, now: Duration) {
        self.now = now;
        self.send(TcpFlags::RST | TcpFlags::ACK, self.sender.next, &[]);
        self.end(End::Aborted, now);
    }

    /// Asks whether the other side is still there, whenever it has been silent for so long.
    pub fn keep_alive(&mut self, every: Duration) {
        self.keep_alive = Some(every);
    }

    /// What the other side has done that it must not: sent beyond every window, left out timestamps or made them up, used what
    /// was not agreed upon, acknowledged what was never sent.
    pub fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    /// How it ended, if it has.
    pub fn end_of_it(&self) -> Option<End> {
        match self.state {
            State::Over(end) => Some(end),
            _ => None,
        }
    }

    /// Whether it is over for so long that nobody remembers it.
    pub fn is_forgotten(&self, now: Duration) -> bool {
        self.forgotten.is_some_and(|at| at <= now)
    }

    /// Whether a SYN may begin a new connection in this one's place (RFC 9293 3.10.7.4: from TIME-WAIT, beyond its numbers).
    pub fn gives_way_to(&self, syn: &Packet) -> bool {
        let beyond = syn.sequence.wrapping_sub(self.receiver.expected()) as i32;
        matches!(self.state, State::Over(_)) && (beyond > 0 || self.end_of_it() != Some(End::Finished))
    }

    /// When [`Tcp::poll`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        let open = self.state == State::Open;
        let probe = self.next_probe().filter(|_| open);
        [self.timer, self.receiver.bites.filter(|_| open), probe].into_iter().flatten().min()
    }

    /// Sends what there is to send now.
    pub fn poll(&mut self, now: Duration) -> Vec<OwnedFrame> {
        self.now = now;
        if self.timer.is_some_and(|at| at <= now) {
            self.go_back(now);
        }
        if !matches!(self.state, State::Over(_)) {
            self.receiver.bite(&self.manner, now);
            while self.send_next() {}
            let waits = self.sender.acknowledged < self.sender.highest || self.sender.has_unsent();
            self.timer = if waits { self.timer.or(Some(now + self.timeout)) } else { None };
        }
        if std::mem::take(&mut self.receiver.owes_ack) && self.state != State::Dialling {
            self.send(TcpFlags::ACK, self.sender.highest, &[]);
        }
        if self.state == State::Open && self.next_probe().is_some_and(|at| at <= now) {
            self.probe(now);
        }
        std::mem::take(&mut self.out)
    }

    /// When the next keep-alive is due: never while something is on its way.
    fn next_probe(&self) -> Option<Duration> {
        let idle = self.sender.acknowledged == self.sender.highest;
        self.keep_alive.filter(|_| idle).map(|every| self.heard + every * (self.probes + 1))
    }

    /// Sends a keep-alive: the last byte once more, or nothing in its place.
    fn probe(&mut self, now: Duration) {
        self.probes += 1;
        if self.probes > MOST_PROBES {
            self.end(End::GaveUp, now);
            return;
        }
        let before = self.sender.acknowledged - 1;
        let last = (before as usize).checked_sub(1).and_then(|at| self.sender.data.get(at)).copied();
        let byte = last.filter(|_| self.rng.per_mille(500));
        self.send(TcpFlags::ACK, before, byte.as_slice());
    }

    /// Something was acknowledged: the timer starts anew.
    fn open(&mut self) {
        self.state = State::Open;
        self.tries = 0;
        self.timeout = FIRST_TIMEOUT;
        self.timer = None;
    }

    fn end(&mut self, end: End, now: Duration) {
        self.state = State::Over(end);
        self.timer = None;
        self.forgotten = Some(now + LINGER);
    }

    fn go_back(&mut self, now: Duration) {
        self.timer = None;
        self.tries += 1;
        self.timeout = (self.timeout * 2).min(LONGEST_TIMEOUT);
        self.sender.next = self.sender.acknowledged;
        if self.tries > MOST_TRIES {
            self.end(End::GaveUp, now);
        }
    }
}

/// Any number; now and then one after which a connection soon begins again at 0: perhaps with its first byte, within a header
/// that comes before that, or with the byte after the commonest one.
fn first_number(rng: &mut Rng) -> u32 {
    if !rng.per_mille(100) {
        return rng.draw() as u32;
    }
    let before = rng.between(0, 50_000) as u32;
    0_u32.wrapping_sub(match before % 8 {
        0 => 1,
        1 => COMMON_HEADER + 1,
        2 | 3 => before % LONGEST_HEADER,
        _ => before,
    })
}

/// The answer of a host that hears nothing but SYNs.
pub fn mute_answer(route: Route, packet: &Packet) -> Option<OwnedFrame> {
    let header = TcpHeader {
        sequence: packet.sequence.swap_bytes(),
        acknowledgement: packet.sequence.wrapping_add(1),
        flags: TcpFlags::SYN | TcpFlags::ACK,
        window: u16::MAX,
        ..TcpHeader::default()
    };
    packet.flags.opens().then(|| tcp(route, &header, &[], Shape::Plain))
}

/// The RST that a host answers with where there is no connection.
pub fn refusal(route: Route, packet: &Packet) -> Option<OwnedFrame> {
    if packet.flags.rst() {
        return None;
    }
    let header = if packet.flags.ack() {
        TcpHeader { sequence: packet.acknowledgement, flags: TcpFlags::RST, ..TcpHeader::default() }
    } else {
        TcpHeader {
            acknowledgement: packet.sequence.wrapping_add(packet.sequence_len()),
            flags: TcpFlags::RST | TcpFlags::ACK,
            ..TcpHeader::default()
        }
    };
    Some(tcp(route, &header, &[], Shape::Plain))
}

#[cfg(test)]
mod tests;
