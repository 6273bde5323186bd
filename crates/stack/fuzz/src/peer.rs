//! One hostile peer: what it has sent, what it has heard, and what it may be told.

use std::net::SocketAddr;

use wire::{Frame, Packet, TcpFlags, checksum_is_valid, parse};

use crate::packet::{Header, MOST_PAYLOAD, build};
use crate::script::{Base, Left, Segment, Side};

/// MSS 1460, and windows shifted by seven bits.
const OFFER: [u8; 8] = [2, 4, 0x05, 0xb4, 1, 3, 3, 7];
/// Without an MSS option a segment carries 536 bytes; and no announcement brings it below 48.
const DEFAULT_MSS: u16 = 536;
/// The largest shift of a window.
const MOST_SHIFT: u8 = 14;

/// A peer.
pub(crate) struct Peer {
    side: Side,
    own: SocketAddr,
    relay: SocketAddr,
    initial: u32,
    /// What follows all that it has sent in order.
    next: u32,
    /// Every segment's first number and how many it takes up, from the first SYN on.
    sent: Vec<(u32, u32)>,
    /// The SYNs that may have begun its stream.
    beginnings: Vec<u32>,
    /// Some of its stream has been passed on: no later SYN has begun it.
    has_begun: bool,
    /// What its SYNs have said; `None` once they disagree, or are too odd to say.
    offer: Option<Offer>,
    has_opened: bool,
    has_finished: bool,
    /// The largest MSS that it has announced.
    mss: u16,
    /// The furthest number, counted from the relay's first, that its windows have had room for.
    granted: u64,
    heard: Heard,
}

/// What the relay has said.
#[derive(Default)]
struct Heard {
    /// Its initial number.
    initial: Option<u32>,
    /// What follows the last that it has said.
    end: u32,
    acknowledged: Option<u32>,
    /// The furthest end of its window.
    edge: Option<u32>,
    /// By how many bits its windows are shifted, if it has said so.
    shift: Option<u8>,
}

/// What a SYN offers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Offer {
    mss: Option<u16>,
    shift: Option<u8>,
}

impl Peer {
    pub(crate) fn new(side: Side, own: SocketAddr, relay: SocketAddr) -> Self {
        // Numbers wrap around soon.
        let initial = if side == Side::Consumer { u32::MAX - 3_000 } else { 0x7fff_f000 };
        Self {
            side,
            own,
            relay,
            initial,
            next: initial,
            sent: Vec::new(),
            beginnings: Vec::new(),
            has_begun: false,
            offer: None,
            has_opened: false,
            has_finished: false,
            mss: DEFAULT_MSS,
            granted: 0,
            heard: Heard::default(),
        }
    }

    /// Both ends, this peer's first.
    pub(crate) fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.own, self.relay)
    }

    /// The number of what the relay has under way, so far from its end.
    pub(crate) fn under_way(&self, behind: i16) -> u32 {
        self.heard.end.wrapping_add_signed(behind.into())
    }

    /// What somebody who plays by the rules would say next.
    pub(crate) fn honest(&self, payload: u16) -> Segment {
        let segment = Segment { window: u16::MAX, ..Segment::default() };
        let opening = Segment { options: OFFER.to_vec(), ..segment.clone() };
        match (self.has_opened, self.side, self.heard.initial) {
            (false, Side::Consumer, _) => Segment { flags: TcpFlags::SYN, ..opening },
            (false, Side::Target, Some(_)) => Segment { flags: TcpFlags::SYN | TcpFlags::ACK, ..opening },
            _ => Segment { flags: TcpFlags::ACK, payload, ..segment },
        }
    }

    /// Sends a segment: the packet, as it leaves.
    pub(crate) fn send(&mut self, segment: &Segment) -> Vec<u8> {
        let base = match segment.base {
            Base::Next => self.next,
            Base::Acknowledged => self.heard.acknowledged.unwrap_or(self.initial),
            Base::Edge => self.heard.edge.unwrap_or(self.initial),
            Base::Initial => self.initial,
        };
        let flags = TcpFlags::new(segment.flags);
        let acknowledges = flags.ack();
        let header = Header {
            sequence: base.wrapping_add_signed(segment.shift.into()),
            acknowledgement: if acknowledges { self.under_way(segment.acknowledgement) } else { 0 },
            flags: segment.flags,
            window: segment.window,
            options: &segment.options,
        };
        let len = usize::from(segment.payload).min(MOST_PAYLOAD);
        let first = header.sequence.wrapping_add(u32::from(flags.syn()));
        let payload: Vec<u8> = (0..len as u32).map(|at| self.byte(first.wrapping_add(at))).collect();
        let mut packet = build(self.own, self.relay, &header, &payload, segment.left != Left::Checksum);
        if segment.left == Left::Forged {
            // A sum notices every single byte.
            packet.iter_mut().last().into_iter().for_each(|byte| *byte = !*byte);
        } else {
            self.note(segment, &header, flags, len as u32);
        }
        packet
    }

    /// The byte that goes with a number.
    fn byte(&self, sequence: u32) -> u8 {
        let mixed = (sequence ^ self.initial).wrapping_mul(0x9e37_79b1);
        (mixed >> 24) as u8 ^ (mixed >> 13) as u8
    }

    /// Remembers what it has sent.
    fn note(&mut self, segment: &Segment, header: &Header<'_>, flags: TcpFlags, len: u32) {
        let taken = len + u32::from(flags.syn()) + u32::from(flags.fin());
        self.has_finished |= flags.fin();
        if taken > 0 {
            self.sent.push((header.sequence, taken));
        }
        if segment.base == Base::Next && segment.shift == 0 && !flags.rst() {
            self.next = self.next.wrapping_add(taken);
        }
        if flags.syn() {
            self.offer_again(&segment.options);
            if !self.has_begun {
                self.beginnings.push(header.sequence);
            }
        }
        self.grant(header, flags);
    }

    fn offer_again(&mut self, options: &[u8]) {
        let offer = Offer::read(options);
        self.offer = if self.has_opened { self.offer.filter(|before| Some(*before) == offer) } else { offer };
        self.has_opened = true;
        let odd = offer.is_none().then_some(u16::MAX);
        self.mss = self.mss.max(odd.or(offer.and_then(|offer| offer.mss)).unwrap_or(DEFAULT_MSS));
    }

    /// Notes how far the relay may send now. What it acknowledges must have been sent, or it will not be believed.
    fn grant(&mut self, header: &Header<'_>, flags: TcpFlags) {
        let first = self.heard.initial.unwrap_or_default();
        let acknowledged = if flags.ack() { header.acknowledgement.wrapping_sub(first) } else { 1 };
        if acknowledged <= self.heard.end.wrapping_sub(first).max(1) {
            let shift = self.offer.map_or(MOST_SHIFT, |offer| offer.shift.unwrap_or(0));
            let shift = if flags.syn() && self.offer.is_some() { 0 } else { shift };
            let edge = u64::from(acknowledged) + (u64::from(header.window) << shift);
            self.granted = self.granted.max(edge);
        }
    }

    /// The relay sends it a frame. Returns how much data was in it.
    pub(crate) fn hear(&mut self, frame: &Frame<'_>, other: &mut Peer) -> usize {
        let packet = parse(frame.bytes).expect("what leaves is a packet");
        if packet.flags.rst() {
            return 0;
        }
        if packet.flags.syn() {
            let initial = *self.heard.initial.get_or_insert(packet.sequence);
            assert_eq!(initial, packet.sequence, "a connection begins once");
            self.heard.shift = Offer::read(&frame.bytes[packet.transport + 20..packet.payload])
                .expect("what we offer is what others understand")
                .shift;
        }
        let end = packet.sequence.wrapping_add(packet.sequence_len());
        let is_news = self.heard.end.wrapping_sub(end) as i32;
        if is_news < 0 || packet.flags.syn() && self.heard.end == 0 {
            self.heard.end = end;
        }
        if packet.flags.ack() {
            self.hear_acknowledgement(&packet, frame.bytes);
        }
        self.hear_data(&packet, frame, other)
    }

    /// What is kept of a connection answers once more: with an ACK of what it has acknowledged before, or more of that.
    pub(crate) fn hear_parting(&mut self, answer: &mut [u8]) {
        let packet = parse(answer).expect("an answer is a packet");
        assert!(checksum_is_valid(answer, &packet), "a wrong checksum");
        assert_eq!((packet.flags.bits(), packet.payload_len()), (TcpFlags::ACK, 0), "an ACK and no more");
        assert_eq!(packet.sequence, self.heard.end, "it stands where the connection has ended");
        self.hear_number(packet.acknowledgement);
    }

    fn hear_number(&mut self, acknowledged: u32) {
        if self.heard.acknowledged != Some(acknowledged) {
            let is_true = |first: &u32| acknowledged.wrapping_sub(*first) <= self.reach(*first);
            assert!(self.beginnings.iter().any(is_true), "{acknowledged} was acknowledged and never sent");
            self.heard.acknowledged = Some(acknowledged);
        }
    }

    fn hear_acknowledgement(&mut self, packet: &Packet, bytes: &[u8]) {
        let acknowledged = packet.acknowledgement;
        self.hear_number(acknowledged);
        // A SYN's window is not shifted, so that a repeated one may have to say less than has been said since.
        let is_repeated = packet.flags.syn() && self.heard.edge.is_some();
        let Some(shift) = self.shift_of(packet).filter(|_| !is_repeated) else { return };
        let field = u16::from_be_bytes([bytes[packet.transport + 14], bytes[packet.transport + 15]]);
        let edge = acknowledged.wrapping_add(u32::from(field) << shift);
        let back = self.heard.edge.map_or(0, |before| before.wrapping_sub(edge) as i32);
        assert!(back < 1 << shift, "the window was taken back by {back} bytes");
        if back < 0 || self.heard.edge.is_none() {
            self.heard.edge = Some(edge);
        }
    }

    /// By how much this packet's window is shifted, if that is beyond doubt.
    fn shift_of(&self, packet: &Packet) -> Option<u8> {
        match (self.offer?.shift, self.heard.shift) {
            (Some(_), Some(shift)) if !packet.flags.syn() => Some(shift),
            _ => Some(0),
        }
    }

    /// How many numbers have been sent without a gap, from this one on.
    fn reach(&self, first: u32) -> u32 {
        let mut reach = 0;
        let further = |reach: i32, (start, len): &(u32, u32)| {
            let start = start.wrapping_sub(first) as i32;
            (start <= reach).then(|| start.saturating_add(*len as i32)).filter(|end| *end > reach)
        };
        while let Some(end) = self.sent.iter().filter_map(|piece| further(reach, piece)).max() {
            reach = end;
        }
        // Where there are bytes behind a FIN, it may be taken to follow them.
        reach as u32 + u32::from(self.has_finished)
    }

    fn hear_data(&mut self, packet: &Packet, frame: &Frame<'_>, other: &mut Peer) -> usize {
        let payload = &frame.bytes[packet.payload..];
        if payload.is_empty() {
            return 0;
        }
        let initial = self.heard.initial.expect("data follows a SYN");
        let at = packet.sequence.wrapping_sub(initial);
        let end = u64::from(at) + payload.len() as u64;
        assert!(end <= self.granted + 1, "{end} was sent, and there was room for {}", self.granted);
        let segment = frame.wire_len(packet.payload) - packet.payload;
        assert!(segment <= usize::from(self.mss), "a segment of {segment} bytes, not of {}", self.mss);
        other.has_begun = true;
        let beginnings = std::mem::take(&mut other.beginnings);
        let fits = |first: &u32| {
            let from = first.wrapping_add(at);
            payload.iter().zip(0..).all(|(byte, nth)| *byte == other.byte(from.wrapping_add(nth)))
        };
        other.beginnings = beginnings.into_iter().filter(fits).collect();
        assert!(!other.beginnings.is_empty(), "bytes at {at} that nobody has sent there");
        payload.len()
    }
}

impl Offer {
    /// Reads options that are in no way odd.
    fn read(mut options: &[u8]) -> Option<Self> {
        let mut offer = Self::default();
        while let [kind, rest @ ..] = options {
            options = match (kind, rest) {
                (0, _) => rest.iter().all(|byte| *byte == 0).then_some(&rest[rest.len()..])?,
                (1, _) => rest,
                (2, [4, high, low, next @ ..]) if offer.mss.is_none() => {
                    offer.mss = Some(u16::from_be_bytes([*high, *low]));
                    next
                }
                (3, [3, shift @ 0..=MOST_SHIFT, next @ ..]) if offer.shift.is_none() => {
                    offer.shift = Some(*shift);
                    next
                }
                (4, [2, next @ ..]) => next,
                (8, [10, next @ ..]) => next.get(8..)?,
                _ => return None,
            };
        }
        Some(offer)
    }
}
