//! A path to a peer that receives as Linux does: a link with a rate and a queue, losses, delay; acknowledgements that are
//! selective and delayed; segments in a row that are taken at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;

use stack::{Connection, Settings, Stack};
use wire::{Checksum, Frame, Offload, parse};

use crate::segment::Segment;
use crate::world::{V4, plenty};

/// Segments that come closer together than this are acknowledged at once, up to so many.
const ROW: Duration = Duration::from_micros(30);
const LONGEST_ROW: usize = 44;
const ACK_DELAY: Duration = Duration::from_millis(40);
const WINDOW: u16 = 48_000;
const PEER_FIRST: u32 = u32::MAX - 5;
/// MSS 1460, SACK permitted, timestamps, windows shifted by 7.
const OPENING: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];

/// What the path does. What may happen is given in how many of a million segments or acknowledgements it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) trip: Duration,
    pub(crate) lost: u64,
    /// They come a quarter of a round trip late.
    pub(crate) late: u64,
    pub(crate) doubled: u64,
    pub(crate) lost_acknowledgements: u64,
    /// The peer forgets what has come out of order.
    pub(crate) reneged: u64,
    /// Whether the peer says what has come out of order.
    pub(crate) selective: bool,
    /// Bytes a second, and bytes that wait for the link.
    pub(crate) rate: u64,
    pub(crate) queue: u64,
    pub(crate) seed: u64,
}

impl Terms {
    /// A gigabit link that loses so many segments in a million.
    pub(crate) fn new(trip: Duration, lost: u64) -> Self {
        let (late, doubled, lost_acknowledgements, reneged) = Default::default();
        let (selective, rate, queue, seed) = (true, 125_000_000, 1 << 20, 1);
        Self { trip, lost, late, doubled, lost_acknowledgements, reneged, selective, rate, queue, seed }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Bytes reach the peer, the last one a FIN perhaps.
    Bytes { begin: u32, end: u32 },
    /// A packet of the peer's reaches us.
    Packet(Vec<u8>),
    /// The peer acknowledges, if as many segments have reached it.
    Acknowledge(usize),
}

/// A connection that sends, and its peer at the other end of a path.
pub(crate) struct Path {
    pub(crate) now: Duration,
    /// How many segments have left, and how many of them did not fit into the queue or were lost.
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    terms: Terms,
    ends: [SocketAddr; 2],
    stack: Stack,
    connection: Connection,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    count: u64,
    /// When the link is done with what is in its queue.
    free: Duration,
    random: u64,
    /// The number of the connection's SYN. From here on, numbers count from it.
    initial: Option<u32>,
    peer: Peer,
}

/// What the peer has received.
#[derive(Default)]
struct Peer {
    next: u32,
    /// What has come beyond, what grew last first.
    islands: Vec<(u32, u32)>,
    /// Segments since the last acknowledgement, and in all.
    row: usize,
    heard: usize,
}

impl Path {
    pub(crate) fn new(terms: Terms) -> Self {
        let ends = [V4[0], V4[1]].map(|address| address.parse().unwrap());
        let mut stack = Stack::new(Settings { connections: 1, ..Settings::new([terms.seed, 7]) }, &plenty());
        let now = Duration::from_secs(1);
        let connection = Connection::dial(&mut stack, ends[0], ends[1], now).unwrap();
        Self {
            now,
            sent: 0,
            lost: 0,
            terms,
            ends,
            stack,
            connection,
            events: BinaryHeap::new(),
            count: 0,
            free: now,
            random: terms.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            initial: None,
            peer: Peer { next: 1, ..Peer::default() },
        }
    }

    /// Sends `total` bytes and a FIN; returns how long it takes until the peer has them, or until `limit`, and how many bytes
    /// it has then.
    pub(crate) fn transfer(&mut self, total: u32, limit: Duration) -> (Duration, u32) {
        let began = self.now;
        let mut given = 0;
        let mut chunk = vec![0; 1 << 16];
        while self.peer.next < total + 2 && self.now < began + limit {
            while given < total && self.connection.writable() > 0 {
                let len = chunk.len().min((total - given) as usize);
                write_pattern(given, &mut chunk[..len]);
                given += self.connection.send(&chunk[..len]) as u32;
            }
            if given == total {
                self.connection.close();
            }
            self.poll();
            self.advance();
        }
        (self.now - began, self.peer.next - 1)
    }

    fn poll(&mut self) {
        let mut sent = Vec::new();
        let emit = &mut |frame: &mut Frame<'_>| sent.push((frame.bytes.to_vec(), frame.offload));
        self.connection.poll(&mut self.stack, self.now, emit);
        self.launch(sent);
    }

    /// Goes to what happens next, and lets it happen.
    fn advance(&mut self) {
        let due = self.connection.poll_at(&mut self.stack, self.now);
        let next = self.events.peek().map(|Reverse((at, ..))| *at);
        let Some(at) = [due, next].into_iter().flatten().min() else { panic!("nothing will happen") };
        self.now = self.now.max(at);
        if next.is_some_and(|next| next <= self.now)
            && let Some(Reverse((_, _, event))) = self.events.pop()
        {
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Bytes { begin, end } => self.arrive(begin, end),
            Event::Acknowledge(heard) if heard == self.peer.heard && self.peer.row > 0 => self.acknowledge(),
            Event::Acknowledge(_) => {}
            Event::Packet(mut bytes) => {
                let mut sent = Vec::new();
                let emit = &mut |frame: &mut Frame<'_>| sent.push((frame.bytes.to_vec(), frame.offload));
                let offload = Offload { checksum: Checksum::Verified, segmentation: None };
                let frame = Frame { offload, bytes: &mut bytes };
                self.connection.input(&mut self.stack, &frame, self.now, emit).unwrap();
                self.launch(sent);
            }
        }
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.count += 1;
        self.events.push(Reverse((self.now + delay, self.count, event)));
    }

    /// Puts what the connection sends on the link, segment by segment.
    fn launch(&mut self, sent: Vec<(Vec<u8>, Offload)>) {
        for (bytes, offload) in sent {
            let packet = parse(&bytes).unwrap();
            if packet.flags.syn() {
                self.initial = Some(packet.sequence);
                let opening = self.packet(0x12, PEER_FIRST, 1, OPENING.to_vec());
                self.after(self.terms.trip, Event::Packet(opening));
                continue;
            }
            let begin = packet.sequence.wrapping_sub(self.initial.unwrap());
            check_pattern(begin.wrapping_sub(1), &bytes[packet.payload..]);
            let end = begin + packet.sequence_len();
            let size = offload.segmentation.map_or(u32::MAX, |segmentation| segmentation.size.into());
            let mut at = begin;
            while at < end {
                let rest = (end - at).min(size);
                // A FIN is no byte.
                let next = if end - at - 1 == size && packet.flags.fin() { end } else { at + rest };
                self.launch_segment(at, next, packet.payload);
                at = next;
            }
        }
    }

    fn launch_segment(&mut self, begin: u32, end: u32, headers: usize) {
        self.sent += 1;
        let waiting = self.free.saturating_sub(self.now).as_nanos() as u64 * self.terms.rate / 1_000_000_000;
        if waiting > self.terms.queue {
            self.lost += 1;
            return;
        }
        let len = u64::from(end - begin) + headers as u64;
        self.free = self.free.max(self.now) + Duration::from_nanos(len * 1_000_000_000 / self.terms.rate);
        if self.happens(self.terms.lost) {
            self.lost += 1;
            return;
        }
        let lateness = if self.happens(self.terms.late) { self.terms.trip / 4 } else { Duration::ZERO };
        let copies = if self.happens(self.terms.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = self.free - self.now + self.terms.trip / 2 + lateness;
            self.after(delay, Event::Bytes { begin, end });
        }
    }

    fn arrive(&mut self, begin: u32, end: u32) {
        let was_whole = self.peer.islands.is_empty();
        let is_next = begin <= self.peer.next && end > self.peer.next;
        self.peer.take(begin, end);
        self.peer.heard += 1;
        self.peer.row += 1;
        if !is_next || !was_whole || self.peer.row >= LONGEST_ROW {
            self.acknowledge();
        } else {
            let delay = if self.peer.row > 1 { ROW } else { ACK_DELAY };
            self.after(delay, Event::Acknowledge(self.peer.heard));
        }
    }

    fn acknowledge(&mut self) {
        self.peer.row = 0;
        if self.happens(self.terms.reneged) {
            self.peer.islands.clear();
        }
        if self.happens(self.terms.lost_acknowledgements) {
            return;
        }
        let mut options = vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0];
        let blocks = self.peer.islands.len().min(if self.terms.selective { 3 } else { 0 });
        if blocks > 0 {
            options.extend([1, 1, 5, 2 + 8 * blocks as u8]);
            for (begin, end) in &self.peer.islands[..blocks] {
                for number in [begin, end] {
                    options.extend(number.wrapping_add(self.initial.unwrap()).to_be_bytes());
                }
            }
        }
        let packet = self.packet(0x10, PEER_FIRST.wrapping_add(1), self.peer.next, options);
        self.after(self.terms.trip / 2, Event::Packet(packet));
    }

    fn packet(&self, flags: u8, sequence: u32, acknowledged: u32, options: Vec<u8>) -> Vec<u8> {
        let acknowledgement = self.initial.unwrap().wrapping_add(acknowledged);
        Segment { flags, sequence, acknowledgement, window: WINDOW, options, payload: Vec::new() }
            .packet(self.ends[1], self.ends[0])
    }

    fn happens(&mut self, in_a_million: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 1_000_000 < in_a_million
    }
}

impl Peer {
    fn take(&mut self, mut begin: u32, mut end: u32) {
        self.islands.retain(|island| {
            let touches = island.0 <= end && begin <= island.1;
            if touches {
                (begin, end) = (begin.min(island.0), end.max(island.1));
            }
            !touches
        });
        if begin <= self.next {
            self.next = self.next.max(end);
        } else {
            self.islands.insert(0, (begin, end));
        }
    }
}

/// Each byte is known by its place; no segment size hides a slip.
fn pattern(at: u32) -> u8 {
    ((at % 65_521).wrapping_mul(2_654_435_761) >> 24) as u8
}

fn write_pattern(from: u32, bytes: &mut [u8]) {
    for (byte, at) in bytes.iter_mut().zip(from..) {
        *byte = pattern(at);
    }
}

fn check_pattern(from: u32, bytes: &[u8]) {
    assert!(bytes.iter().zip(from..).all(|(byte, at)| *byte == pattern(at)), "wrong bytes after {from}");
}
