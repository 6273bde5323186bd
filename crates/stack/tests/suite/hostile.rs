//! Arbitrary segments from the right peer, in any state: never a panic, and memory and time stay bounded.

use std::time::Duration;

use proptest::prelude::*;
use stack::{Connection, Settings, Stack};
use wire::{Checksum, Frame, Offload, TcpFlags, parse};

use crate::world::V6;

#[derive(Clone, Debug)]
enum Step {
    Segment(Segment),
    Send(usize),
    Receive(usize),
    Ready,
    Close,
    Abort,
    Wait(u64),
}

/// A segment, with its numbers relative to where the conversation is.
#[derive(Clone, Debug)]
struct Segment {
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
            Step::Segment(Segment { flags, sequence, acknowledgement, window, options, payload })
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
    fn packet(&mut self, segment: &Segment) -> Vec<u8> {
        let addresses = V6.map(|address| address.parse().unwrap());
        let [std::net::SocketAddr::V6(peer), std::net::SocketAddr::V6(own), ..] = addresses else {
            panic!("these are IPv6")
        };
        let mut options = segment.options.clone();
        options.resize(segment.options.len().next_multiple_of(4), 0);
        let header = 20 + options.len();
        let sequence = self.next.wrapping_add_signed(segment.sequence);
        let mut bytes = vec![0x60, 0, 0, 0, 0, 0, 6, 64];
        bytes[4..6].copy_from_slice(&((header + segment.payload).min(65_535) as u16).to_be_bytes());
        bytes.extend(peer.ip().octets());
        bytes.extend(own.ip().octets());
        bytes.extend(peer.port().to_be_bytes());
        bytes.extend(own.port().to_be_bytes());
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(self.heard.wrapping_add_signed(segment.acknowledgement).to_be_bytes());
        bytes.extend([((header / 4) << 4) as u8, segment.flags]);
        bytes.extend(segment.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        bytes.resize(40 + header + segment.payload, 7);
        if segment.sequence == 0 {
            let flags = TcpFlags::new(segment.flags);
            let controls = u32::from(flags.syn()) + u32::from(flags.fin());
            self.next = self.next.wrapping_add(segment.payload as u32 + controls);
        }
        bytes
    }

    fn hear(&mut self, frame: &Frame<'_>) {
        let packet = parse(frame.bytes).unwrap();
        self.heard = packet.sequence.wrapping_add(packet.sequence_len());
    }
}

fn survive(mut connection: Connection, stack: &mut Stack, steps: Vec<Step>) {
    let mut peer = Peer { next: u32::MAX - 100_000, heard: 0 };
    let mut now = Duration::ZERO;
    let mut bytes = vec![0; 200_000];
    for step in steps {
        match step {
            Step::Segment(segment) => {
                let mut packet = peer.packet(&segment);
                let offload = Offload { checksum: Checksum::Partial, segmentation: None };
                let frame = Frame { offload, bytes: &mut packet };
                let _ = connection.input(stack, &frame, now, &mut |frame| peer.hear(frame));
            }
            Step::Send(len) => _ = connection.send(&bytes[..len]),
            Step::Receive(len) => _ = connection.receive(&mut bytes[..len]),
            Step::Ready => connection.ready(),
            Step::Close => connection.close(),
            Step::Abort => connection.abort(),
            Step::Wait(millis) => now += Duration::from_millis(millis),
        }
        // A connection that has sent all that it may must not ask for attention again at once.
        let mut polls = 0;
        while polls == 0 || connection.poll_at(stack, now).is_some_and(|at| at <= now) {
            connection.poll(stack, now, &mut |frame| peer.hear(frame));
            polls += 1;
            assert!(polls < 10_000, "it spins in {:?}", connection.state());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_segment_brings_a_connection_down(dialled: bool, steps in prop::collection::vec(step(), 1..60)) {
        let mut stack = Stack::new(Settings::new([1, 2]));
        let [peer, own] = [V6[0], V6[1]].map(|address| address.parse().unwrap());
        let connection = if dialled {
            Connection::dial(&mut stack, own, peer, Duration::ZERO)
        } else {
            Connection::accept(&mut stack, own, peer, Duration::ZERO)
        };
        survive(connection, &mut stack, steps);
    }
}
