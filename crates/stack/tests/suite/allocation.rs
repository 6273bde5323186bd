//! A counting allocator proves that nothing allocates once a connection exists.

#![expect(unsafe_code, reason = "a global allocator cannot be had without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use stack::{Connection, Failure, InputError, Settings, Stack, State, relay};
use wire::{FRAME_CAPACITY, Frame, Offload};

use crate::world::{V4, V6, plenty};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Frames on their way to one end, in room that was made beforehand.
struct Lane {
    room: Vec<(Box<[u8]>, usize, Offload)>,
    used: usize,
}

impl Lane {
    fn new() -> Self {
        let slot = || (vec![0; FRAME_CAPACITY].into_boxed_slice(), 0, Offload::NONE);
        Self { room: (0..128).map(|_| slot()).collect(), used: 0 }
    }

    fn push(&mut self, frame: &Frame<'_>) {
        let (bytes, len, offload) = &mut self.room[self.used];
        bytes[..frame.bytes.len()].copy_from_slice(frame.bytes);
        (*len, *offload) = (frame.bytes.len(), frame.offload);
        self.used += 1;
    }
}

/// Four ends on one stack, and a lane to each.
struct Chain {
    stack: Stack,
    ends: [Connection; 4],
    lanes: [Lane; 4],
    now: Duration,
}

impl Chain {
    fn new(addresses: [&str; 4]) -> Self {
        let [client, near, far, server] = addresses.map(|address| address.parse().unwrap());
        let mut stack = Stack::new(Settings::new([1, 2]), &plenty());
        let now = Duration::ZERO;
        let ends = [
            Connection::dial(&mut stack, client, near, now),
            Connection::accept(&mut stack, near, client, now),
            Connection::dial(&mut stack, far, server, now),
            Connection::accept(&mut stack, server, far, now),
        ]
        .map(Option::unwrap);
        Self { stack, ends, lanes: std::array::from_fn(|_| Lane::new()), now }
    }

    fn turn(&mut self) {
        self.now += Duration::from_millis(1);
        for at in 0..4 {
            for slot in 0..std::mem::take(&mut self.lanes[at].used) {
                let [lane, back] = self.lanes.get_disjoint_mut([at, at ^ 1]).unwrap();
                let (bytes, len, offload) = &mut lane.room[slot];
                let frame = Frame { offload: *offload, bytes: &mut bytes[..*len] };
                let emit = &mut |frame: &mut Frame<'_>| back.push(frame);
                let said = self.ends[at].input(&mut self.stack, &frame, self.now, emit);
                assert!(matches!(said, Ok(()) | Err(InputError::LateSyn)), "{said:?}");
            }
        }
        let [_, near, far, _] = &mut self.ends;
        relay(near, far);
        for at in 0..4 {
            let lane = &mut self.lanes[at ^ 1];
            self.ends[at].poll(&mut self.stack, self.now, &mut |frame| lane.push(frame));
            self.ends[at].poll_at(&mut self.stack, self.now);
        }
    }
}

#[test]
fn nothing_allocates_after_set_up() {
    for addresses in [V4, V6] {
        let payload = vec![7; 100_000];
        let mut sink = vec![0; 100_000];
        let mut chain = Chain::new(addresses);
        let (mut sent, mut received) = (0, 0);
        let before = ALLOCATIONS.get();
        chain.ends[3].ready();
        while !chain.ends.iter().all(|end| end.state() == State::Closed) {
            if sent < 5_000_000 {
                sent += chain.ends[0].send(&payload);
            } else {
                chain.ends[0].close();
            }
            chain.turn();
            received += chain.ends[3].receive(&mut sink);
            if chain.ends[3].state() == State::HalfClosed {
                chain.ends[3].close();
            }
        }
        assert_eq!(ALLOCATIONS.get(), before);
        assert_eq!(received, sent);
        drop(std::hint::black_box(vec![0]));
        assert!(ALLOCATIONS.get() > before, "the counter counts");
    }
}

#[test]
fn a_narrow_path_does_not_allocate() {
    for addresses in [V4, V6] {
        let payload = vec![7; 100_000];
        let mut sink = vec![0; 100_000];
        let mut chain = Chain::new(addresses);
        chain.ends[3].ready();
        while chain.ends.iter().any(|end| end.state() != State::Open) {
            chain.turn();
        }
        let mut left = chain.ends[0].send(&payload);
        chain.turn();
        let (bytes, len, _) = &chain.lanes[1].room[0];
        let first = wire::parse(&bytes[..*len]).unwrap();
        let before = ALLOCATIONS.get();
        assert!(chain.ends[0].lower_mtu(1300, first.sequence));
        while left > 0 {
            chain.turn();
            left -= chain.ends[3].receive(&mut sink);
        }
        assert_eq!(ALLOCATIONS.get(), before);
    }
}

#[test]
fn a_challenge_does_not_allocate() {
    for addresses in [V4, V6] {
        let mut chain = Chain::new(addresses);
        chain.ends[3].ready();
        while chain.ends.iter().any(|end| end.state() != State::Open) {
            chain.turn();
        }
        let [client, near] = [&chain.ends[0], &chain.ends[1]].map(Connection::local);
        chain.ends[0] = Connection::dial(&mut chain.stack, client, near, chain.now).unwrap();
        let before = ALLOCATIONS.get();
        while !chain.ends[3].state().is_over() {
            chain.turn();
        }
        assert_eq!(ALLOCATIONS.get(), before);
        assert_eq!(chain.ends[1].state(), State::Failed(Failure::Reset));
    }
}
