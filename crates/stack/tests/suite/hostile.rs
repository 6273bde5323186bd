//! Arbitrary segments from the right peer, in any state: never a panic, and memory and time stay bounded. Of all RSTs, one ends
//! the connection.

use std::time::Duration;

use proptest::prelude::*;
use stack::{Connection, Failure, InputError, Settings, Stack, State};
use wire::{Checksum, Frame, Offload, TcpFlags, parse};

use crate::segment::Segment;
use crate::world::{V4, V6, World, plenty};

#[derive(Clone, Debug)]
enum Step {
    Segment(Near),
    Send(usize),
    Receive(usize),
    Ready,
    Close,
    Abort,
    Wait(u64),
}

/// A segment, with its numbers relative to where the conversation is.
#[derive(Clone, Debug, Default)]
struct Near {
    flags: u8,
    sequence: i32,
    acknowledgement: i32,
    window: u16,
    options: Vec<u8>,
    payload: usize,
}

/// Mostly numbers near the edges that matter, sometimes any.
fn distance() -> impl Strategy<Value = i32> {
    prop_oneof![
        6 => -2..3i32,
        2 => -70_000..300_000i32,
        1 => any::<i32>(),
        1 => prop::sample::select(vec![i32::MIN, i32::MIN + 1, i32::MAX - 1, i32::MAX, 1 << 30]),
    ]
}

fn segment() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![4 => Just(0x10u8), 2 => Just(0x02), 2 => Just(0x12), 2 => Just(0x11), 1 => Just(0x14), 1 => any::<u8>()];
    let window = prop_oneof![Just(0u16), Just(1), Just(u16::MAX), any::<u16>()];
    let options = prop_oneof![
        Just(vec![]),
        Just(vec![2, 4, 5, 180, 3, 3, 14, 0]),
        Just(vec![2, 4, 0, 1, 3, 3, 255, 0]),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    let payload = prop_oneof![3 => Just(0usize), 2 => 1..2000usize, 1 => 30_000..65_000usize];
    (flags, distance(), distance(), window, options, payload).prop_map(
        |(flags, sequence, acknowledgement, window, options, payload)| {
            Step::Segment(Near { flags, sequence, acknowledgement, window, options, payload })
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => segment(),
        3 => (0..200_000usize).prop_map(Step::Send),
        3 => (0..200_000usize).prop_map(Step::Receive),
        2 => Just(Step::Ready),
        1 => Just(Step::Close),
        1 => prop::bool::weighted(0.1).prop_map(|abort| if abort { Step::Abort } else { Step::Close }),
        2 => (0..20_000u64).prop_map(Step::Wait),
    ]
}

/// What the hostile peer knows: where its own numbers are, and what it last heard.
struct Peer {
    next: u32,
    heard: u32,
}

impl Peer {
    fn packet(&mut self, near: &Near) -> Vec<u8> {
        let [peer, own] = [V6[0], V6[1]].map(|address| address.parse().unwrap());
        let segment = Segment {
            flags: near.flags,
            sequence: self.next.wrapping_add_signed(near.sequence),
            acknowledgement: self.heard.wrapping_add_signed(near.acknowledgement),
            window: near.window,
            options: near.options.clone(),
            payload: vec![7; near.payload],
        };
        if near.sequence == 0 {
            let flags = TcpFlags::new(near.flags);
            let controls = u32::from(flags.syn()) + u32::from(flags.fin());
            self.next = self.next.wrapping_add(near.payload as u32 + controls);
        }
        segment.packet(peer, own)
    }

    fn hear(&mut self, frame: &Frame<'_>) {
        let packet = parse(frame.bytes).unwrap();
        self.heard = packet.sequence.wrapping_add(packet.sequence_len());
    }
}

/// One connection, and the peer that torments it.
struct Torment {
    stack: Stack,
    connection: Connection,
    peer: Peer,
    now: Duration,
}

impl Torment {
    fn new(dialled: bool) -> Self {
        let mut stack = Stack::new(Settings::new([1, 2]), &plenty());
        let [peer, own] = [V6[0], V6[1]].map(|address| address.parse().unwrap());
        let now = Duration::ZERO;
        let open = if dialled { Connection::dial } else { Connection::accept };
        let connection = open(&mut stack, own, peer, now).unwrap();
        Self { stack, connection, peer: Peer { next: u32::MAX - 100_000, heard: 0 }, now }
    }

    /// After a handshake.
    fn opened() -> Self {
        let mut torment = Self::new(false);
        let options = vec![2, 4, 5, 160, 4, 2, 3, 3, 7, 0];
        torment.step(Step::Segment(Near { flags: TcpFlags::SYN, options, ..Near::default() }));
        torment.step(Step::Ready);
        torment.step(Step::Segment(Near { flags: TcpFlags::ACK, window: 100, ..Near::default() }));
        assert_eq!(torment.connection.state(), State::Open);
        torment
    }

    fn step(&mut self, step: Step) {
        let Self { stack, connection, peer, now } = self;
        let mut bytes = vec![0; 200_000];
        match step {
            Step::Segment(segment) => {
                let mut packet = peer.packet(&segment);
                let offload = Offload { checksum: Checksum::Partial, segmentation: None };
                let frame = Frame { offload, bytes: &mut packet };
                let _ = connection.input(stack, &frame, *now, &mut |frame| peer.hear(frame));
            }
            Step::Send(len) => _ = connection.send(&bytes[..len]),
            Step::Receive(len) => _ = connection.receive(&mut bytes[..len]),
            Step::Ready => connection.ready(),
            Step::Close => connection.close(),
            Step::Abort => connection.abort(),
            Step::Wait(millis) => *now += Duration::from_millis(millis),
        }
        // A connection that has sent all that it may must not ask for attention again at once.
        let mut polls = 0;
        while polls == 0 || connection.poll_at(stack, *now).is_some_and(|at| at <= *now) {
            connection.poll(stack, *now, &mut |frame| peer.hear(frame));
            polls += 1;
            assert!(polls < 10_000, "it spins in {:?}", connection.state());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_segment_brings_a_connection_down(dialled: bool, steps in prop::collection::vec(step(), 1..60)) {
        let mut torment = Torment::new(dialled);
        steps.into_iter().for_each(|step| torment.step(step));
    }

    #[test]
    fn no_segment_brings_an_open_connection_down(steps in prop::collection::vec(step(), 1..60)) {
        let mut torment = Torment::opened();
        steps.into_iter().for_each(|step| torment.step(step));
    }

    #[test]
    fn one_reset_ends_a_connection(sequence in distance(), flags: u8, taken in 0..3000usize, payload in 0..2usize) {
        let mut torment = Torment::opened();
        torment.step(Step::Segment(Near { flags: TcpFlags::ACK, payload: taken, ..Near::default() }));
        let flags = flags & !(TcpFlags::SYN | TcpFlags::FIN) | TcpFlags::RST;
        torment.step(Step::Segment(Near { flags, sequence, payload, ..Near::default() }));
        let ended = torment.connection.state() == State::Failed(Failure::Reset);
        prop_assert_eq!(ended, sequence == 0);
    }
}

/// What smoltcp would drop, nobody around it may hear either: they would not agree any more.
#[test]
fn what_was_damaged_below_tcp_is_not_heard() {
    let mut world = World::pair(V4, Settings::new([1, 2]));
    world.ends[1].ready();
    world.run(|ends| ends.iter().all(|end| end.state() == State::Open));
    let now = world.now;
    let mut hear = |bytes: &mut [u8]| {
        let offload = Offload { checksum: Checksum::Verified, segmentation: None };
        world.ends[1].input(&mut world.stacks[1], &Frame { offload, bytes }, now, &mut |_| {})
    };
    let mut bytes = world.last[0].clone();
    assert_eq!(hear(&mut bytes), Ok(()));
    bytes[8] ^= 1; // the TTL
    assert_eq!(hear(&mut bytes), Err(InputError::Checksum));
}
