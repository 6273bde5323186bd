//! Two relayed connections, their owner, and a script that plays on them.

use std::net::SocketAddr;
use std::ops::AddAssign;
use std::time::Duration;

use stack::{Connection, InputError, Memory, Settings, Stack, relay};
use wire::{Checksum, Frame, Offload, SEGMENT_CAPACITY, checksum_is_valid, parse};

use crate::peer::Peer;
use crate::script::{Left, Script, Segment, Setting, Side, Step};

/// The consumer, the interface; the node, the target.
const V4: [&str; 4] = ["10.1.0.2:40000", "10.1.9.50:8443", "10.2.9.1:50000", "10.2.0.2:8080"];
const V6: [&str; 4] = ["[fd01::2]:40000", "[fd01::9:50]:8443", "[fd02::9:1]:50000", "[fd02::2]:8080"];

/// The most frames that one call sends.
const MOST_FRAMES: usize = 70;
/// How often the two may ask to be called again at once before that is a sleepless night.
const PATIENCE: usize = 1000;
/// How many moments of a long silence are looked at one by one.
const MOMENTS: usize = 50;
const MTU: usize = 1500;
/// What two connections need to go on at all.
const NEVER_REFUSED: usize = 64 << 10;

const MUCH: usize = 64 << 20;
const LITTLE: usize = 512 << 10;

/// What has come of a script.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Bytes that were sent to the consumer, and to the target; repeated ones count again.
    pub delivered: [usize; 2],
    /// Frames that were not taken, because they were damaged.
    pub damaged: usize,
    /// Errors about a path's MTU that were believed.
    pub lowered: usize,
    /// Scripts before whose end both connections were over.
    pub over: usize,
    /// Packets that came after that, and were answered nevertheless.
    pub parted: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.delivered.iter_mut().zip(other.delivered).for_each(|(sum, own)| *sum += own);
        self.damaged += other.damaged;
        self.lowered += other.lowered;
        self.over += other.over;
        self.parted += other.parted;
    }
}

/// Plays a script; panics if the stack does, or does what it must not.
pub fn play(script: &Script) -> Tally {
    let mut world = World::new(script.setting);
    let mut steps = script.steps.iter();
    while !world.is_over()
        && let Some(step) = steps.next()
    {
        world.step(step);
        world.attend();
    }
    world.tally.over = usize::from(world.is_over());
    world.part(steps);
    world.end()
}

struct World {
    memory: Memory,
    stack: Stack,
    /// Towards the consumer, towards the target.
    connections: [Connection; 2],
    peers: [Peer; 2],
    now: Duration,
    plain: bool,
    tally: Tally,
}

impl World {
    fn new(setting: Setting) -> Self {
        let memory = Memory::new(if setting.little_memory { LITTLE } else { MUCH });
        let offload = !setting.plain_devices;
        let settings = Settings { mtu: MTU, connections: 2, offload, ..Settings::new([1, 2]) };
        let mut stack = Stack::new(settings, &memory);
        let now = Duration::from_secs(1);
        let parsed = |address: &str| -> SocketAddr { address.parse().expect("these are addresses") };
        let [consumer, interface, ..] = if setting.consumer_v6 { V6 } else { V4 }.map(parsed);
        let [.., node, target] = if setting.target_v6 { V6 } else { V4 }.map(parsed);
        assert!(stack.has_room(), "two connections have room in an empty stack");
        let near = Connection::accept(&mut stack, interface, consumer, now).expect("there is room");
        let far = Connection::dial(&mut stack, node, target, now).expect("there is room");
        let peers = [Peer::new(Side::Consumer, consumer, interface), Peer::new(Side::Target, target, node)];
        let tally = Tally::default();
        let plain = setting.plain_devices;
        let mut world = Self { memory, stack, connections: [near, far], peers, now, plain, tally };
        world.attend();
        world
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Send(side, segment) => self.send(*side, segment),
            Step::Answer(side, payload) => {
                let segment = self.peers[*side as usize].honest(*payload);
                self.send(*side, &segment);
            }
            Step::Pass(hundredths) => self.pass(Duration::from_millis(10 * u64::from(*hundredths))),
            Step::TooBig(side, behind, mtu) => {
                let sequence = self.peers[*side as usize].under_way(*behind);
                let believed = self.connections[*side as usize].lower_mtu((*mtu).into(), sequence);
                self.tally.lowered += usize::from(believed);
            }
            Step::Rest => self.connections.iter_mut().for_each(Connection::rest),
            Step::Abort => self.connections.iter_mut().for_each(Connection::abort),
        }
    }

    fn send(&mut self, side: Side, segment: &Segment) {
        let mut bytes = self.peers[side as usize].send(segment);
        let checksum = match segment.left {
            Left::Nothing | Left::Forged => Checksum::Complete,
            Left::Verified => Checksum::Verified,
            Left::Checksum => Checksum::Partial,
        };
        let frame = Frame { offload: Offload { checksum, segmentation: None }, bytes: &mut bytes };
        let Self { stack, connections, peers, now, plain, tally, .. } = self;
        let mut outlet = Outlet::new(side, peers, *plain, tally);
        let result = connections[side as usize].input(stack, &frame, *now, &mut |frame| outlet.take(frame));
        let is_noticed = result == Err(InputError::Checksum);
        assert_eq!(is_noticed, segment.left == Left::Forged, "{result:?}");
        self.tally.damaged += usize::from(is_noticed);
    }

    /// What an owner does after each call, until there is nothing left to do.
    fn attend(&mut self) {
        for _ in 0..PATIENCE {
            let [near, far] = &mut self.connections;
            relay(near, far);
            for side in [Side::Target, Side::Consumer] {
                let Self { stack, connections, peers, now, plain, tally, .. } = self;
                let mut outlet = Outlet::new(side, peers, *plain, tally);
                connections[side as usize].poll(stack, *now, &mut |frame| outlet.take(frame));
            }
            assert!(self.memory.used() <= self.memory.limit() + NEVER_REFUSED, "more memory than there is");
            if self.is_over() || self.next_moment().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("connections that never rest: {:?}", self.connections.each_ref().map(Connection::state));
    }

    fn next_moment(&mut self) -> Option<Duration> {
        let Self { stack, connections, now, .. } = self;
        connections.iter_mut().filter_map(|connection| connection.poll_at(stack, *now)).min()
    }

    /// Time goes by; of a long time, only the first moments are looked at one by one.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..MOMENTS {
            let next = self.next_moment().filter(|next| *next < until);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            self.attend();
        }
        self.now = until;
    }

    fn is_over(&self) -> bool {
        self.connections.iter().all(|connection| connection.state().is_over())
    }

    /// What comes once both are over is answered by what is kept of them, and no further.
    fn part<'a>(&mut self, late: impl Iterator<Item = &'a Step>) {
        let partings = self.connections.each_ref().map(Connection::parting);
        for step in late {
            let Step::Send(side, segment) = step else { continue };
            let (Some(parting), own) = (partings[*side as usize], &mut self.peers[*side as usize]) else {
                continue;
            };
            let bytes = own.send(segment);
            let packet = parse(&bytes).expect("what a peer sends is a packet");
            let mut answer = [0; SEGMENT_CAPACITY];
            if let Some(len) = parting.answer(&packet, self.now, &mut answer) {
                assert!(!packet.flags.rst(), "a RST is not answered");
                own.hear_parting(&mut answer[..len]);
                self.tally.parted += 1;
            }
        }
    }

    /// Nothing is left of the two.
    fn end(mut self) -> Tally {
        self.connections.iter_mut().for_each(Connection::abort);
        self.attend();
        assert!(self.is_over(), "what is aborted is over");
        drop(self.connections);
        assert_eq!(self.stack.open(), 0, "a place that nobody has given back");
        assert!(self.stack.has_room(), "there is room again");
        drop(self.stack);
        assert_eq!(self.memory.used(), 0, "memory that nobody has given back");
        self.tally
    }
}

/// Takes what leaves during one call, and has the peer that it is for look at it.
struct Outlet<'a> {
    side: Side,
    peers: &'a mut [Peer; 2],
    plain: bool,
    tally: &'a mut Tally,
    count: usize,
}

impl<'a> Outlet<'a> {
    fn new(side: Side, peers: &'a mut [Peer; 2], plain: bool, tally: &'a mut Tally) -> Self {
        Self { side, peers, plain, tally, count: 0 }
    }

    fn take(&mut self, frame: &mut Frame<'_>) {
        self.count += 1;
        assert!(self.count <= MOST_FRAMES, "one call never ends");
        self.judge(frame);
        let [consumer, target] = &mut *self.peers;
        let (own, other) = if self.side == Side::Consumer { (consumer, target) } else { (target, consumer) };
        self.tally.delivered[self.side as usize] += own.hear(frame, other);
    }

    /// It is fit to be sent.
    fn judge(&self, frame: &mut Frame<'_>) {
        let packet = parse(frame.bytes).expect("what leaves is a packet");
        let (own, relay) = self.peers[self.side as usize].ends();
        assert_eq!((packet.source, packet.source_port), (relay.ip().into(), relay.port()));
        assert_eq!((packet.destination, packet.destination_port), (own.ip().into(), own.port()));
        assert!(frame.wire_len(packet.payload) <= MTU, "longer than the path carries");
        assert!(!self.plain || frame.offload == Offload::NONE, "work left to a device that does none");
        let partial = frame.offload.checksum == Checksum::Partial;
        assert!(partial || checksum_is_valid(frame.bytes, &packet), "a wrong checksum");
        assert!(partial || frame.offload.segmentation.is_none(), "only what has no checksum yet is cut");
    }
}
