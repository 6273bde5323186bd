//! A virtual TCP peer, as small as a TCP can be that loses nothing: handshake, cumulative acknowledgement, a retransmit
//! timer that goes back to the first unacknowledged byte, the peer's window and MSS, classic path-MTU discovery, FIN each
//! way, RST.
//!
//! Numbers are kept relative to the initial one: SYN is 0, data begins at 1, FIN follows the data.

mod receiver;
mod sender;

use std::time::Duration;

use wire::{Packet, TcpFlags};

use crate::packet::{OwnedFrame, Route, Shape, TcpHeader, tcp};
use crate::rng::Rng;

use receiver::Receiver;
use sender::Sender;

const FIRST_TIMEOUT: Duration = Duration::from_millis(250);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(2);
const MOST_TRIES: u32 = 120;
/// How long an end that is over goes on answering the other's retransmits.
const LINGER: Duration = Duration::from_secs(60);
/// The largest super-packet's payload.
const LARGEST_SUPER: usize = 60_000;

/// How one end of a connection speaks.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// The MSS that it announces.
    pub mss: u16,
    /// The window that it announces: what it receives is read at once, so it never changes.
    pub window: u16,
    /// Whether it leaves checksums and segmentation to the device, sometimes.
    pub offloads: bool,
}

impl Manner {
    /// The MTU of a link whose host announces this MSS.
    pub fn mtu(&self, route: Route) -> usize {
        let mtu = usize::from(self.mss) + 40;
        if route.source.is_ipv4() { mtu } else { mtu.max(1280) }
    }
}

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

/// One end of a TCP connection.
#[derive(Debug)]
pub struct Tcp {
    route: Route,
    manner: Manner,
    state: State,
    rng: Rng,
    sender: Sender,
    receiver: Receiver,
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
        tcp.receiver.begin(syn);
        tcp.sender.hear(syn, bytes);
        tcp
    }

    fn new(route: Route, manner: Manner, mut rng: Rng, state: State) -> Self {
        let sender = Sender::new(rng.draw() as u32);
        Self {
            route,
            manner,
            state,
            rng,
            sender,
            receiver: Receiver::default(),
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
        self.send(TcpFlags::RST | TcpFlags::ACK, self.sender.next, &[]);
        self.end(End::Aborted, now);
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
        self.timer
    }

    /// Takes in a packet from the other side; its checksums have been verified.
    pub fn input(&mut self, packet: &Packet, bytes: &[u8], now: Duration) {
        match self.state {
            State::Dialling => self.hear_answer(packet, bytes, now),
            State::Answering | State::Open => self.hear(packet, bytes, now),
            State::Over(End::Finished) if packet.flags.rst() => self.forgotten = Some(now),
            // Bare acknowledgements are never answered: two ends that disagree would go on for ever.
            State::Over(End::Finished) => self.receiver.owes_ack = packet.sequence_len() > 0,
            // A connection that is gone answers like a port where there never was one.
            State::Over(_) => self.out.extend(refusal(self.route, packet)),
        }
    }

    /// Hears that one of its segments, which began at `sequence`, is too long for a link on the way. Believed only about
    /// something that is on its way (RFC 5927); the segments get shorter then, and never longer again.
    pub fn hear_too_big(&mut self, sequence: u32, mtu: usize) {
        let at = sequence.wrapping_sub(self.sender.initial);
        let is_on_its_way = (self.sender.acknowledged..self.sender.highest).contains(&at);
        let mss = mtu.saturating_sub(self.headers());
        if is_on_its_way && (1..self.sender.mss).contains(&mss) {
            self.sender.mss = mss;
            self.sender.next = self.sender.acknowledged;
        }
    }

    fn headers(&self) -> usize {
        if self.route.source.is_ipv4() { 40 } else { 60 }
    }

    /// Sends what there is to send now.
    pub fn poll(&mut self, now: Duration) -> Vec<OwnedFrame> {
        if self.timer.is_some_and(|at| at <= now) {
            self.go_back(now);
        }
        if !matches!(self.state, State::Over(_)) {
            while self.send_next() {}
            let waits = self.sender.acknowledged < self.sender.highest || self.sender.has_unsent();
            self.timer = if waits { self.timer.or(Some(now + self.timeout)) } else { None };
        }
        if std::mem::take(&mut self.receiver.owes_ack) && self.state != State::Dialling {
            self.send(TcpFlags::ACK, self.sender.next, &[]);
        }
        std::mem::take(&mut self.out)
    }

    fn hear_answer(&mut self, packet: &Packet, bytes: &[u8], now: Duration) {
        let acknowledges =
            packet.flags.ack() && packet.acknowledgement == self.sender.initial.wrapping_add(1);
        match (packet.flags.rst(), packet.flags.syn(), acknowledges) {
            (true, _, true) => self.end(End::Refused, now),
            (true, _, false) => {}
            (false, true, true) => {
                self.receiver.begin(packet);
                self.receiver.owes_ack = true;
                self.sender.hear(packet, bytes);
                self.open();
            }
            // An older connection's packet: its sender must hear that there is a new one.
            _ => self.out.extend(refusal(self.route, packet)),
        }
    }

    fn hear(&mut self, packet: &Packet, bytes: &[u8], now: Duration) {
        let flags = packet.flags;
        let ahead = packet.sequence.wrapping_sub(self.receiver.expected()) as i32;
        if flags.rst() {
            match ahead {
                0 => self.end(End::Reset, now),
                1.. if ahead < i32::from(self.manner.window) => self.receiver.owes_ack = true,
                _ => {}
            }
            return;
        }
        if flags.syn() {
            self.hear_syn_again(packet);
            return;
        }
        let acknowledged = packet.acknowledgement.wrapping_sub(self.sender.initial);
        if !flags.ack() || acknowledged > self.sender.highest {
            if flags.ack() && self.state == State::Answering {
                self.out.extend(refusal(self.route, packet));
            } else {
                self.receiver.owes_ack = packet.sequence_len() > 0;
            }
            return;
        }
        if acknowledged > self.sender.acknowledged {
            self.sender.acknowledged = acknowledged;
            self.sender.next = self.sender.next.max(acknowledged);
            self.open();
        }
        self.sender.window =
            u32::from(u16::from_be_bytes([bytes[packet.transport + 14], bytes[packet.transport + 15]]));
        self.receiver.take(packet, &bytes[packet.payload..], self.manner.window);
        if self.receiver.closed && self.sender.is_done() {
            self.end(End::Finished, now);
        }
    }

    /// The SYN that began it, once more, or a stranger's: either way the answer says where we are.
    fn hear_syn_again(&mut self, packet: &Packet) {
        if self.state == State::Answering && packet.sequence == self.receiver.initial {
            self.sender.next = 0;
        } else {
            self.receiver.owes_ack = true;
        }
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

    /// Sends the next segment, if there is one and the other side has room for it.
    fn send_next(&mut self) -> bool {
        let (next, finish) = (self.sender.next, self.sender.finish());
        match self.state {
            State::Dialling if next == 0 => self.send(TcpFlags::SYN, 0, &[]),
            State::Answering if next == 0 => self.send(TcpFlags::SYN | TcpFlags::ACK, 0, &[]),
            State::Open if next < finish => {
                let room = self.sender.room(self.tries > 0);
                let wanted = if self.manner.offloads && self.rng.per_mille(500) {
                    LARGEST_SUPER
                } else {
                    self.sender.mss
                };
                let len = room.min(wanted).min((finish - next) as usize);
                if len == 0 {
                    return false;
                }
                let at = next as usize - 1;
                let data = self.sender.data[at..at + len].to_vec();
                let last = self.sender.closing && next + len as u32 == finish;
                let fin = if last { TcpFlags::FIN } else { 0 };
                self.send(TcpFlags::ACK | fin, next, &data);
            }
            State::Open if self.sender.closing && next == finish => {
                self.send(TcpFlags::ACK | TcpFlags::FIN, next, &[]);
            }
            _ => return false,
        }
        true
    }

    /// Sends one segment that begins at `at`.
    fn send(&mut self, flags: u8, at: u32, data: &[u8]) {
        let flags_of = TcpFlags::new(flags);
        let header = TcpHeader {
            sequence: self.sender.initial.wrapping_add(at),
            acknowledgement: if flags_of.ack() { self.receiver.expected() } else { 0 },
            flags,
            window: self.manner.window,
            options: if flags_of.syn() { self.mss_option() } else { Vec::new() },
        };
        let shape = if data.len() > self.sender.mss {
            Shape::Super(self.sender.mss as u16)
        } else if self.manner.offloads && self.rng.per_mille(500) {
            Shape::Partial
        } else {
            Shape::Plain
        };
        self.out.push(tcp(self.route, &header, data, shape));
        let end = at + data.len() as u32 + u32::from(flags_of.syn()) + u32::from(flags_of.fin());
        self.sender.next = self.sender.next.max(end);
        self.sender.highest = self.sender.highest.max(end);
        if flags_of.ack() {
            self.receiver.owes_ack = false;
        }
    }

    /// The MSS option, at an even or an odd place.
    fn mss_option(&mut self) -> Vec<u8> {
        let [high, low] = self.manner.mss.to_be_bytes();
        if self.rng.per_mille(500) { vec![2, 4, high, low] } else { vec![1, 2, 4, high, low, 1, 1, 1] }
    }
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
