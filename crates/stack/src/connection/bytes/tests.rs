//! Two connections back to back, whose rings are looked at after every step.

use std::collections::VecDeque;

use proptest::prelude::*;
use wire::Offload;

use super::*;
use crate::{Memory, Settings, State};

#[derive(Clone, Debug)]
enum Step {
    Send(usize, usize),
    Receive(usize, usize),
    /// Frames arrive at an end; the first of them is overtaken by the others.
    Carry {
        to: usize,
        overtaken: bool,
    },
    Lose(usize),
    Rest(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![1..3000usize, 1..300_000usize];
    prop_oneof![
        4 => (0..2usize, len.clone()).prop_map(|(end, len)| Step::Send(end, len)),
        4 => (0..2usize, len).prop_map(|(end, len)| Step::Receive(end, len)),
        8 => (0..2usize, prop::bool::weighted(0.2)).prop_map(|(to, overtaken)| Step::Carry { to, overtaken }),
        1 => (0..2usize).prop_map(Step::Lose),
        1 => (0..2usize).prop_map(Step::Rest),
        2 => (1..500u64).prop_map(Step::Wait),
    ]
}

/// Two ends of one connection, and what flies between them.
struct Pair {
    memory: Memory,
    stack: Stack,
    ends: [Connection; 2],
    flying: [VecDeque<(Vec<u8>, Offload)>; 2],
    /// How many bytes each end has sent, and received.
    sent: [usize; 2],
    received: [usize; 2],
    now: Duration,
}

impl Pair {
    fn open(limit: usize) -> Self {
        let memory = Memory::new(limit);
        let mut stack = Stack::new(Settings { connections: 2, ..Settings::new([1, 2]) }, &memory);
        let [here, there] = ["10.0.0.1:40000", "10.0.0.2:80"].map(|address| address.parse().unwrap());
        let now = Duration::ZERO;
        let client = Connection::dial(&mut stack, here, there, now).unwrap();
        let mut server = Connection::accept(&mut stack, there, here, now).unwrap();
        server.ready();
        let (sent, received) = ([0; 2], [0; 2]);
        let mut pair =
            Self { memory, stack, ends: [client, server], flying: Default::default(), sent, received, now };
        pair.poll();
        while pair.ends.iter().any(|end| end.state() != State::Open) {
            pair.carry(0, false);
            pair.carry(1, false);
        }
        pair
    }

    /// The byte at a place in what an end sends. No buffer or segment size hides a slip, because 251 is prime.
    fn byte(end: usize, at: usize) -> u8 {
        (at % 251) as u8 ^ end as u8
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Send(end, len) => {
                let at = self.sent[end];
                let bytes: Vec<u8> = (at..at + len).map(|at| Self::byte(end, at)).collect();
                self.sent[end] += self.ends[end].send(&bytes);
            }
            Step::Receive(end, len) => {
                let mut bytes = vec![0; len];
                let len = self.ends[end].receive(&mut bytes);
                for byte in &bytes[..len] {
                    assert_eq!(*byte, Self::byte(end ^ 1, self.received[end]));
                    self.received[end] += 1;
                }
            }
            Step::Carry { to, overtaken } => self.carry(to, overtaken),
            Step::Lose(to) => self.flying[to].clear(),
            Step::Rest(end) => self.ends[end].rest(),
            Step::Wait(millis) => self.now += Duration::from_millis(millis),
        }
        self.poll();
        self.check();
    }

    fn carry(&mut self, to: usize, overtaken: bool) {
        if overtaken && !self.flying[to].is_empty() {
            self.flying[to].rotate_left(1);
        }
        for (mut bytes, offload) in std::mem::take(&mut self.flying[to]) {
            let back = &mut self.flying[to ^ 1];
            let frame = Frame { offload, bytes: &mut bytes };
            let emit = &mut |frame: &mut Frame<'_>| back.push_back((frame.bytes.to_vec(), frame.offload));
            let said = self.ends[to].input(&mut self.stack, &frame, self.now, emit);
            assert!(matches!(said, Ok(()) | Err(InputError::NoMemory)), "{said:?}");
        }
        self.poll();
    }

    fn poll(&mut self) {
        for (end, flying) in self.ends.iter_mut().zip(self.flying.iter_mut().rev()) {
            let emit = &mut |frame: &mut Frame<'_>| flying.push_back((frame.bytes.to_vec(), frame.offload));
            end.poll(&mut self.stack, self.now, emit);
        }
    }

    fn check(&self) {
        let slots = self.ends.each_ref().map(|end| &end.berth.slot);
        assert_eq!(self.memory.used(), slots.iter().map(|slot| slot.charged()).sum::<usize>());
        assert!(self.memory.used() <= self.memory.limit() + 2 * (32 << 10));
    }

    /// The same, and asks the kernel.
    fn check_closely(&self) {
        self.check();
        assert!(self.ends.iter().all(|end| end.berth.slot.is_paid_for()));
    }

    /// Lets everything that was sent arrive; time must not be what it needs.
    fn finish(&mut self) {
        let mut rounds = 0;
        while self.received != [self.sent[1], self.sent[0]] {
            for end in [0, 1] {
                self.take(&Step::Carry { to: end, overtaken: false });
                self.take(&Step::Receive(end, 1 << 20));
            }
            self.now += Duration::from_millis(100);
            rounds += 1;
            assert!(rounds < 10_000, "it takes for ever");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_in_memory_is_paid_for_and_every_byte_arrives(
        limit in prop_oneof![Just(1usize << 30), 0..400_000usize],
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut pair = Pair::open(limit);
        for few in steps.chunks(8) {
            for step in few {
                pair.take(step);
            }
            pair.check_closely();
        }
        pair.finish();
        pair.check_closely();
        for end in &mut pair.ends {
            end.rest();
        }
        pair.poll();
        pair.check_closely();
    }
}

#[test]
fn rest_gives_back_what_is_not_needed() {
    let mut pair = Pair::open(1 << 30);
    pair.take(&Step::Send(0, 50_000));
    while pair.ends[1].readable() < 50_000 {
        pair.carry(1, false);
        pair.carry(0, false);
        pair.now += Duration::from_millis(1);
    }
    assert!(pair.memory.used() >= 100_000);
    for end in &mut pair.ends {
        end.rest();
    }
    assert!(pair.memory.used() >= 50_000, "unread bytes stay");
    pair.finish();
    pair.ends[1].rest();
    pair.carry(0, false);
    pair.ends[0].rest();
    assert_eq!(pair.memory.used(), 0);
    pair.take(&Step::Send(1, 50_000));
    pair.finish();
}

#[test]
fn light_traffic_does_not_keep_a_ring_in_memory() {
    let mut pair = Pair::open(1 << 30);
    for _ in 0..2000 {
        pair.take(&Step::Send(0, 1000));
        pair.carry(1, false);
        pair.take(&Step::Receive(1, 1000));
        pair.carry(0, false);
        pair.now += Duration::from_millis(30);
        // Twice the allowance, of the ring that sends and of the one that receives.
        assert!(pair.memory.used() <= 4 * (64 << 10));
    }
    pair.finish();
}
