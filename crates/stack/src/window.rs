//! How much of its buffers a connection may use, and the window that its peer is told of them.
//!
//! smoltcp offers its peer whatever a buffer has room for, and buffers are as large as bulk transfers want them. So the
//! window field of what it sends is held down to an allowance, which begins small and doubles as long as it is used up fast.
//! What was told once is taken: the right edge of the window moves left by less than a unit of the window field, which is rounded
//! down (RFC 7323 2.4), and smoltcp keeps room for what was told before.

use std::time::Duration;

use wire::Packet;

use crate::Memory;
use crate::standing::Standing;

/// What a connection may have in each of its two buffers at first.
const BEGINNING: usize = 64 << 10;

/// The same where memory is short: what the blocks that are never refused have room for, wherever it begins.
const FRUGAL: usize = 12_000;

/// An allowance that was used up within this time is doubled.
const SOON: Duration = Duration::from_secs(1);

/// How many bytes of a buffer a connection may use.
#[derive(Default)]
pub(crate) struct Allowance {
    bytes: usize,
    capacity: usize,
    /// How many bytes had gone through the buffer when it was begun, modulo 2^32, and when that was.
    mark: u32,
    since: Duration,
}

impl Allowance {
    pub(crate) fn new(capacity: usize, memory: &Memory, now: Duration) -> Self {
        Self { bytes: beginning(capacity, memory), capacity, mark: 0, since: now }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins it anew when it is used up: `passed` bytes have gone through the buffer by now. Doubles it if that was soon and there
    /// is memory enough.
    pub(crate) fn review(&mut self, passed: u32, memory: &Memory, now: Duration) {
        if (passed.wrapping_sub(self.mark) as usize) < self.bytes {
            return;
        }
        if now.saturating_sub(self.since) <= SOON && memory.is_ample() {
            self.bytes = (self.bytes * 2).min(self.capacity);
        }
        (self.mark, self.since) = (passed, now);
    }

    /// Goes back to the beginning.
    pub(crate) fn restart(&mut self, memory: &Memory) {
        self.bytes = beginning(self.capacity, memory);
    }

    /// Makes do with little, because memory was refused.
    pub(crate) fn curtail(&mut self) {
        self.bytes = self.bytes.min(FRUGAL);
    }
}

fn beginning(capacity: usize, memory: &Memory) -> usize {
    capacity.min(if memory.is_ample() { BEGINNING } else { FRUGAL })
}

/// What the peer may send.
#[derive(Default)]
pub(crate) struct Window {
    allowance: Allowance,
    /// The sequence number of the byte that the owner reads next; `None` until the peer's SYN has come.
    next: Option<u32>,
    /// As [`Window::offered`] says.
    offered: u32,
}

impl Window {
    pub(crate) fn new(allowance: Allowance) -> Self {
        Self { allowance, next: None, offered: 0 }
    }

    /// The peer's first byte will have this number.
    pub(crate) fn begin(&mut self, first: u32) {
        self.next = Some(first);
        self.allowance.mark = first;
    }

    /// The owner has read so many bytes.
    pub(crate) fn read(&mut self, bytes: usize) {
        self.next = self.next.map(|next| next.wrapping_add(bytes as u32));
    }

    /// The sequence number of the byte that the owner reads next; `None` until the peer's SYN has come.
    pub(crate) fn next(&self) -> Option<u32> {
        self.next
    }

    /// Where what smoltcp has offered ends: it takes no byte beyond. It means nothing before the first acknowledgement.
    pub(crate) fn offered(&self) -> u32 {
        self.offered
    }

    /// How many bytes may wait to be read.
    pub(crate) fn allowance(&mut self) -> &mut Allowance {
        &mut self.allowance
    }

    /// Lets it grow if the owner reads fast.
    pub(crate) fn review(&mut self, memory: &Memory, now: Duration) {
        if let Some(next) = self.next {
            self.allowance.review(next, memory, now);
        }
    }

    /// Holds down the window field of a packet that smoltcp sends. Its checksum is somebody else's.
    pub(crate) fn hold(&mut self, packet: &Packet, bytes: &mut [u8], standing: &Standing) {
        if packet.flags.rst() {
            return;
        }
        let at = packet.transport + 14;
        let field = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let scale = if packet.flags.syn() { 0 } else { standing.scale() };
        let offered = u32::from(field) << scale;
        let told = match self.next {
            Some(_) if packet.flags.ack() => {
                self.offered = packet.acknowledgement.wrapping_add(offered);
                self.tell(packet.acknowledgement, standing.edge(), scale)
            }
            _ => offered.min(self.allowance.bytes as u32),
        };
        bytes[at..at + 2].copy_from_slice(&((told >> scale) as u16).to_be_bytes());
    }

    /// The window that a peer is to be told from `acknowledged` on, in units of `scale` bits, which was told everything up to
    /// `edge`. It leaves out what smoltcp may round off: else smoltcp would not take all that was told.
    fn tell(&self, acknowledged: u32, edge: Option<u32>, scale: u8) -> u32 {
        let beyond = |edge: u32| edge.wrapping_sub(acknowledged).cast_signed();
        let most = self.allowance.bytes.min(self.allowance.capacity - ((1 << scale) - 1));
        let allowed = self.next.map_or(0, |next| beyond(next.wrapping_add(most as u32)));
        allowed.max(edge.map_or(0, beyond)).min(beyond(self.offered)).max(0).cast_unsigned()
    }

    /// The window to tell beside the acknowledgement of everything before `expected`, if the one that the peer knows, up to
    /// `edge`, has become small. smoltcp does not see to that, because it knows only what it has offered.
    pub(crate) fn update(&self, expected: u32, edge: Option<u32>, scale: u8) -> Option<u32> {
        let known = edge?.wrapping_sub(expected).cast_signed().max(0).cast_unsigned();
        let window = self.tell(expected, edge, scale);
        // Small steps are not worth a packet (RFC 9293, 3.8.6.2.2).
        (known < window / 2 && window as usize >= self.allowance.bytes / 4).then_some(window)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::{Addr, Protocol, SEGMENT_CAPACITY, Segment, TcpFlags, parse};

    use super::*;

    const CAPACITY: usize = 65_535 << 3;
    const FIRST: u32 = u32::MAX - 1_000_000;

    #[test]
    fn an_allowance_doubles_when_it_is_used_up_soon_and_memory_is_ample() {
        let memory = Memory::new(1 << 20);
        let mut allowance = Allowance::new(CAPACITY, &memory, Duration::ZERO);
        let mut passed = 0;
        let mut after = |allowance: &mut Allowance, bytes: usize, millis| {
            passed += bytes as u32;
            allowance.review(passed, &memory, Duration::from_millis(millis));
            allowance.bytes()
        };
        assert_eq!(after(&mut allowance, BEGINNING - 1, 10), BEGINNING);
        assert_eq!(after(&mut allowance, 1, 2000), BEGINNING, "it was slow");
        assert_eq!(after(&mut allowance, BEGINNING, 3000), 2 * BEGINNING);
        assert!(memory.take(900_000));
        assert_eq!(after(&mut allowance, 2 * BEGINNING, 3100), 2 * BEGINNING, "memory is short");
        memory.give_back(900_000);
        for _ in 0..5 {
            after(&mut allowance, CAPACITY, 3200);
        }
        assert_eq!(allowance.bytes(), CAPACITY);
        allowance.restart(&memory);
        assert_eq!(allowance.bytes(), BEGINNING);
        allowance.curtail();
        assert_eq!(allowance.bytes(), FRUGAL);
        assert!(memory.take(900_000));
        assert_eq!(Allowance::new(CAPACITY, &memory, Duration::ZERO).bytes(), FRUGAL);
        assert_eq!(Allowance::new(1000, &memory, Duration::ZERO).bytes(), 1000);
    }

    /// A window at work: what smoltcp would offer, and what becomes of it.
    struct Play {
        window: Window,
        standing: Standing,
        unread: usize,
        /// Where what the peer was told last ends, and the furthest that it ever was told.
        edge: u32,
        furthest: u32,
    }

    impl Play {
        fn expected(&self) -> u32 {
            self.window.next().map_or(0, |next| next.wrapping_add(self.unread as u32))
        }

        /// smoltcp sends something, with all the window that its buffer has; returns what is told.
        fn say(&mut self, flags: u8) -> u32 {
            let scale = if flags & TcpFlags::SYN == 0 { self.standing.scale() } else { 0 };
            let offered = ((CAPACITY - self.unread) >> scale).min(65_535) as u16;
            let segment = Segment {
                flags: TcpFlags::new(flags),
                acknowledgement: self.expected(),
                window: offered,
                ..Segment::default()
            };
            let mut buffer = [0; SEGMENT_CAPACITY];
            let len = segment.write_between((Addr::v4([1; 4]), 1), (Addr::v4([2; 4]), 2), &mut buffer);
            let bytes = &mut buffer[..len];
            let packet = parse(bytes).unwrap();
            self.window.hold(&packet, bytes, &self.standing);
            self.standing.note(&packet, bytes);
            let told = u16::from_be_bytes([bytes[34], bytes[35]]);
            assert!(told <= offered);
            u32::from(told) << scale
        }
    }

    /// From here on, windows are in units of `scale` bits.
    fn agree_on(standing: &mut Standing, scale: u8) {
        let syn = Packet {
            source: Addr::v4([1; 4]),
            destination: Addr::v4([2; 4]),
            protocol: Protocol::Tcp,
            source_port: 1,
            destination_port: 2,
            ttl: 64,
            flags: TcpFlags::new(TcpFlags::SYN),
            sequence: 0,
            acknowledgement: 0,
            transport: 0,
            payload: 24,
            len: 24,
        };
        let mut bytes = [0; 24];
        bytes[20..].copy_from_slice(&[3, 3, scale, 0]);
        standing.note(&syn, &bytes);
    }

    proptest! {
        #[test]
        fn what_was_told_is_taken(is_scaled: bool, steps in prop::collection::vec((0..60u8, any::<prop::sample::Index>()), 1..200)) {
            let memory = Memory::new(1 << 30);
            let window = Window::new(Allowance::new(CAPACITY, &memory, Duration::ZERO));
            let edge = FIRST.wrapping_add(65_535);
            let mut play = Play { window, standing: Standing::default(), unread: 0, edge, furthest: edge };
            play.window.begin(FIRST);
            prop_assert_eq!(play.say(TcpFlags::SYN | TcpFlags::ACK), 65_535);
            if is_scaled {
                agree_on(&mut play.standing, 3);
            }
            let unit = 1 << play.standing.scale();
            for (step, how_much) in steps {
                match step {
                    // The peer fills what it may, to some extent.
                    0..15 => play.unread += how_much.index(play.furthest.wrapping_sub(play.expected()) as usize + 1),
                    15..30 => {
                        let read = how_much.index(play.unread + 1);
                        play.unread -= read;
                        play.window.read(read);
                        play.window.review(&memory, Duration::ZERO);
                    }
                    30 => play.window.allowance().restart(&memory),
                    31 => play.window.allowance().curtail(),
                    _ => {
                        let told = play.say(TcpFlags::ACK);
                        let edge = play.expected().wrapping_add(told);
                        let moved = edge.wrapping_sub(play.edge).cast_signed();
                        prop_assert!(moved > -unit);
                        play.edge = edge;
                        if edge.wrapping_sub(play.furthest).cast_signed() > 0 {
                            play.furthest = edge;
                            let unread = play.unread as u32;
                            prop_assert!(told + unread <= play.window.allowance.bytes() as u32);
                        }
                        prop_assert!(play.window.offered().wrapping_sub(play.furthest).cast_signed() >= 0);
                    }
                }
            }
        }
    }

    #[test]
    fn an_update_is_due_when_the_peer_knows_less_than_half() {
        let memory = Memory::new(1 << 30);
        let mut window = Window::new(Allowance::new(CAPACITY, &memory, Duration::ZERO));
        window.begin(FIRST);
        window.offered = FIRST.wrapping_add(CAPACITY as u32);
        let edge = Some(FIRST.wrapping_add(BEGINNING as u32));
        let full = FIRST.wrapping_add(BEGINNING as u32);
        assert_eq!(window.update(full, edge, 0), None, "there is no room");
        window.read(BEGINNING / 4 - 1);
        assert_eq!(window.update(full, edge, 0), None, "it would be a small step");
        window.read(1);
        assert_eq!(window.update(full, edge, 0), Some(BEGINNING as u32 / 4));
        assert_eq!(window.update(FIRST.wrapping_add(BEGINNING as u32 / 2), edge, 0), None, "it knows enough");
        window.offered = full;
        assert_eq!(window.update(full, edge, 0), None, "smoltcp would not take it");
    }
}
