//! A virtual network. Its ends are in pairs (0 and 1, 2 and 3), each pair joined by a link; every frame that leaves an end
//! is checked before it flies.

use std::net::SocketAddr;
use std::time::Duration;

use stack::{Connection, InputError, Memory, Settings, Stack, State};
use wire::{Checksum, Frame, Offload, Protocol, checksum_is_valid, parse, pseudo_header};

pub(crate) const V4: [&str; 4] = ["10.0.0.1:40000", "10.0.0.2:80", "10.1.0.1:50000", "10.1.0.2:8080"];
pub(crate) const V6: [&str; 4] = ["[fd00::1]:40000", "[fd00::2]:80", "[fd00:1::1]:50000", "[fd00:1::2]:8080"];

/// More memory than any test needs.
pub(crate) fn plenty() -> Memory {
    Memory::new(1 << 30)
}

/// What a link does to frames: how many in a thousand, and how long they take.
#[derive(Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) late: u64,
    pub(crate) damaged: u64,
}

pub(crate) struct World {
    pub(crate) now: Duration,
    /// What all stacks pay their buffers with.
    pub(crate) memory: Memory,
    pub(crate) stacks: Vec<Stack>,
    pub(crate) ends: Vec<Connection>,
    pub(crate) weather: Weather,
    /// Segments that are larger than this are lost, and their sender is told, as a router does.
    pub(crate) narrow: usize,
    /// How many times somebody was told, and believed it.
    pub(crate) told: usize,
    pub(crate) rejected: Vec<InputError>,
    /// The longest frame that has flown, and how many.
    pub(crate) longest: usize,
    pub(crate) count: usize,
    /// The last frame that each end has sent.
    pub(crate) last: Vec<Vec<u8>>,
    flying: Vec<Flying>,
    /// Events since time last moved.
    still: usize,
    random: u64,
    mtu: usize,
}

struct Flying {
    lands: Duration,
    to: usize,
    bytes: Vec<u8>,
    offload: Offload,
}

impl World {
    /// How long a frame flies.
    pub(crate) const DELAY: Duration = Duration::from_millis(5);

    /// One pair: end 0 dials, end 1 accepts.
    pub(crate) fn pair(addresses: [&str; 4], settings: Settings) -> Self {
        Self::pair_within(addresses, settings, plenty())
    }

    /// The same, with no more than this memory.
    pub(crate) fn pair_within(addresses: [&str; 4], settings: Settings, memory: Memory) -> Self {
        let mut world = Self { memory, ..Self::empty(settings) };
        world.join(addresses[0], addresses[1], settings);
        world
    }

    /// Two pairs: 0 dials 1; 2 dials 3. A relay sits between 1 and 2.
    pub(crate) fn chain(near: [&str; 4], far: [&str; 4], settings: Settings) -> Self {
        let mut world = Self::empty(settings);
        world.join(near[0], near[1], settings);
        world.join(far[2], far[3], settings);
        world
    }

    fn empty(settings: Settings) -> Self {
        Self {
            now: Duration::from_secs(1),
            memory: plenty(),
            stacks: Vec::new(),
            ends: Vec::new(),
            weather: Weather::default(),
            narrow: usize::MAX,
            told: 0,
            rejected: Vec::new(),
            longest: 0,
            count: 0,
            last: Vec::new(),
            flying: Vec::new(),
            still: 0,
            random: settings.seed[0] | 1,
            mtu: settings.mtu,
        }
    }

    fn join(&mut self, client: &str, server: &str, settings: Settings) {
        let [client, server]: [SocketAddr; 2] = [client, server].map(|address| address.parse().unwrap());
        let (mut near, mut far) = (Stack::new(settings, &self.memory), Stack::new(settings, &self.memory));
        self.ends.push(Connection::dial(&mut near, client, server, self.now).unwrap());
        self.ends.push(Connection::accept(&mut far, server, client, self.now).unwrap());
        self.stacks.extend([near, far]);
        self.last.extend([Vec::new(), Vec::new()]);
    }

    /// Runs the network, and `apps` on its ends after every event, until they say that they are done.
    pub(crate) fn run(&mut self, mut apps: impl FnMut(&mut [Connection]) -> bool) {
        loop {
            let done = apps(&mut self.ends);
            self.poll();
            if done {
                return;
            }
            let Some(next) = self.next_event() else { panic!("nothing will happen: {:?}", self.states()) };
            self.advance(next);
        }
    }

    /// Runs for as long, whatever happens.
    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        self.poll();
        while let Some(next) = self.next_event().filter(|next| *next <= end) {
            self.advance(next);
            self.poll();
        }
        self.now = end;
        self.poll();
    }

    /// Goes to the next event, and lands what has arrived by then.
    fn advance(&mut self, next: Duration) {
        self.still = if next > self.now { 0 } else { self.still + 1 };
        self.now = self.now.max(next);
        assert!(self.still < 10_000, "time stands still at {:?}: {:?}", self.now, self.states());
        assert!(self.now < Duration::from_secs(3600), "it takes for ever: {:?}", self.states());
        self.land();
    }

    pub(crate) fn states(&self) -> Vec<State> {
        self.ends.iter().map(Connection::state).collect()
    }

    fn next_event(&mut self) -> Option<Duration> {
        let timers = self.ends.iter_mut().zip(&mut self.stacks);
        let timers = timers.filter_map(|(end, stack)| end.poll_at(stack, self.now));
        timers.chain(self.flying.iter().map(|flying| flying.lands)).min()
    }

    fn poll(&mut self) {
        for at in 0..self.ends.len() {
            let mut sent = Vec::new();
            let emit = &mut |frame: &mut Frame<'_>| sent.push((frame.bytes.to_vec(), frame.offload));
            self.ends[at].poll(&mut self.stacks[at], self.now, emit);
            self.launch(at ^ 1, sent);
        }
    }

    fn land(&mut self) {
        let now = self.now;
        let (landed, flying) = std::mem::take(&mut self.flying).into_iter().partition(|f| f.lands <= now);
        self.flying = flying;
        for Flying { to, mut bytes, offload, .. } in landed {
            // Whoever has one that has failed has let go of it.
            if matches!(self.ends[to].state(), State::Failed(_)) && parse(&bytes).unwrap().flags.opens() {
                continue;
            }
            let mut sent = Vec::new();
            let emit = &mut |frame: &mut Frame<'_>| sent.push((frame.bytes.to_vec(), frame.offload));
            let frame = Frame { offload, bytes: &mut bytes };
            if let Err(error) = self.ends[to].input(&mut self.stacks[to], &frame, now, emit) {
                self.rejected.push(error);
            }
            self.launch(to ^ 1, sent);
        }
    }

    fn launch(&mut self, to: usize, sent: Vec<(Vec<u8>, Offload)>) {
        for (mut bytes, offload) in sent {
            check(&mut bytes, offload, self.mtu);
            self.longest = self.longest.max(bytes.len());
            self.count += 1;
            self.last[to ^ 1].clone_from(&bytes);
            if self.is_too_big(to ^ 1, &mut bytes, offload) {
                continue;
            }
            let copies = if self.happens(self.weather.doubled) { 2 } else { 1 };
            for _ in 0..copies {
                if self.happens(self.weather.lost) {
                    continue;
                }
                let lateness = if self.happens(self.weather.late) { Self::DELAY * 3 } else { Duration::ZERO };
                let mut bytes = bytes.clone();
                if offload.checksum == Checksum::Complete && self.happens(self.weather.damaged) {
                    *bytes.last_mut().unwrap() ^= 0x40;
                }
                self.flying.push(Flying { lands: self.now + Self::DELAY + lateness, to, bytes, offload });
            }
        }
    }

    fn is_too_big(&mut self, from: usize, bytes: &mut [u8], offload: Offload) -> bool {
        let packet = parse(bytes).unwrap();
        let too_big = Frame { offload, bytes }.wire_len(packet.payload) > self.narrow;
        if too_big && self.ends[from].lower_mtu(self.narrow, packet.sequence) {
            self.told += 1;
        }
        too_big
    }

    fn happens(&mut self, in_a_thousand: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 1000 < in_a_thousand
    }
}

/// Whether a frame is fit to be sent: parsed, its checksum what its offload state says, its segments within the MTU.
fn check(bytes: &mut [u8], offload: Offload, mtu: usize) {
    let packet = parse(bytes).unwrap();
    match offload.checksum {
        Checksum::Complete => assert!(checksum_is_valid(bytes, &packet)),
        Checksum::Partial => {
            let len = packet.len - packet.transport;
            let sum = pseudo_header(packet.source, packet.destination, Protocol::Tcp, len);
            let at = packet.transport + 16;
            assert_eq!(bytes[at..at + 2], sum.to_be_bytes());
        }
        Checksum::Verified => panic!("nobody has verified this"),
    }
    assert!(Frame { offload, bytes }.wire_len(packet.payload) <= mtu);
}

/// Bytes on their way from one connection to another, each known by its place.
pub(crate) struct Stream {
    pattern: Vec<u8>,
    total: usize,
    sent: usize,
    received: usize,
}

impl Stream {
    pub(crate) fn new(total: usize) -> Self {
        // A prime length, so that no buffer or segment size hides a slip.
        let pattern = (0..65_521u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        Self { pattern, total, sent: 0, received: 0 }
    }

    /// Sends what fits; closes after the last byte.
    pub(crate) fn send(&mut self, from: &mut Connection) {
        self.send_open(from);
        if self.sent == self.total {
            from.close();
        }
    }

    /// Sends what fits.
    pub(crate) fn send_open(&mut self, from: &mut Connection) {
        while self.sent < self.total && from.writable() > 0 {
            let at = self.sent % self.pattern.len();
            let end = self.pattern.len().min(at + self.total - self.sent);
            match from.send(&self.pattern[at..end]) {
                0 => return,
                taken => self.sent += taken,
            }
        }
    }

    /// Reads what is there, and compares.
    pub(crate) fn receive(&mut self, to: &mut Connection) {
        let mut buffer = [0; 8192];
        loop {
            let at = self.received % self.pattern.len();
            let end = buffer.len().min(self.pattern.len() - at);
            let len = to.receive(&mut buffer[..end]);
            assert!(buffer[..len] == self.pattern[at..at + len], "wrong bytes after {}", self.received);
            self.received += len;
            if len == 0 {
                return;
            }
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.received == self.total
    }
}
