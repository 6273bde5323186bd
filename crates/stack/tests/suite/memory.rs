//! What connections keep in memory: windows that are held down, slow readers, the limit.

use std::time::Duration;

use stack::{Connection, Memory, Settings, Stack, State};
use wire::{Frame, parse};

use crate::world::{Stream, V4, V6, World, plenty};

/// The least that a connection may have in each of its buffers as long as memory is not short.
const ALLOWANCE: usize = 64 << 10;
/// What a connection is never refused.
const LEAST: usize = 32 << 10;
/// Where buffers end.
const CAPACITY: usize = 65_535 << 3;

fn opened(addresses: [&str; 4], limit: usize) -> World {
    let settings = Settings { connections: 8, ..Settings::new([3, 5]) };
    let mut world = World::pair_within(addresses, settings, Memory::new(limit));
    world.ends[1].ready();
    world.run(|ends| ends.iter().all(|end| end.state() == State::Open));
    world
}

/// The window that an end has told last, in bytes.
fn told(world: &World, end: usize) -> usize {
    let bytes = &world.last[end];
    let at = parse(bytes).unwrap().transport + 14;
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]])) << 3
}

#[test]
fn a_window_opens_as_bulk_is_seen() {
    for addresses in [V4, V6] {
        let mut world = opened(addresses, 1 << 30);
        assert!(told(&world, 0) <= ALLOWANCE);
        let mut stream = Stream::new(4_000_000);
        world.run(|ends| {
            stream.send(&mut ends[0]);
            stream.receive(&mut ends[1]);
            stream.is_complete()
        });
        assert!(told(&world, 1) > CAPACITY * 3 / 4, "{}", told(&world, 1));
        assert!(world.memory.used() <= 2 * CAPACITY.next_multiple_of(4096));
    }
}

#[test]
fn a_window_stays_small_where_memory_is_short() {
    let mut world = opened(V4, 400_000);
    let mut stream = Stream::new(4_000_000);
    let memory = world.memory.clone();
    world.run(|ends| {
        stream.send(&mut ends[0]);
        stream.receive(&mut ends[1]);
        assert!(memory.used() <= 400_000 + 2 * LEAST);
        stream.is_complete()
    });
    assert!(told(&world, 1) <= 4 * ALLOWANCE, "{}", told(&world, 1));
}

#[test]
fn a_reader_that_stands_still_holds_up_its_sender() {
    let mut world = opened(V4, 1 << 30);
    let mut stream = Stream::new(1_000_000);
    for _ in 0..60 {
        stream.send(&mut world.ends[0]);
        world.run_for(Duration::from_secs(1));
    }
    assert!(world.ends[1].readable() <= ALLOWANCE && world.ends[1].readable() > ALLOWANCE - 3000);
    assert!(world.memory.used() <= 4 * ALLOWANCE, "twice the allowance of either buffer");
    let began = world.now;
    world.run(|ends| {
        stream.send(&mut ends[0]);
        stream.receive(&mut ends[1]);
        stream.is_complete()
    });
    assert!(world.now - began < Duration::from_secs(2), "the window opens without a probe");
}

#[test]
fn a_slow_reader_gets_everything_and_takes_little() {
    for addresses in [V4, V6] {
        let mut world = opened(addresses, 1 << 30);
        let mut stream = Stream::new(600_000);
        let mut received = 0;
        while received < 600_000 {
            stream.send(&mut world.ends[0]);
            // 20 KB/s: an allowance lasts longer than a second.
            received += world.ends[1].receive(&mut [0; 1000]);
            world.run_for(Duration::from_millis(50));
            // What fills the reader's buffer at first looks like bulk to its sender.
            assert!(world.memory.used() <= 2 * ALLOWANCE + 2 * 2 * ALLOWANCE);
            assert!(world.now < Duration::from_secs(60), "it goes on at the reader's pace: {received}");
        }
    }
}

#[test]
fn at_the_limit_everything_still_arrives() {
    for limit in [0, 100_000] {
        let mut world = opened(V4, limit);
        let (mut there, mut back) = (Stream::new(1_000_000), Stream::new(500_000));
        let memory = world.memory.clone();
        world.run(|ends| {
            there.send(&mut ends[0]);
            back.send(&mut ends[1]);
            there.receive(&mut ends[1]);
            back.receive(&mut ends[0]);
            assert!(memory.used() <= limit + 2 * LEAST);
            there.is_complete() && back.is_complete()
        });
        assert_eq!(memory.refusals() > 0, limit > 0, "from the beginning, it asks for no more than it gets");
    }
}

#[test]
fn a_rest_gives_memory_back_and_ends_by_itself() {
    let mut world = opened(V4, 1 << 30);
    for _ in 0..3 {
        let mut stream = Stream::new(3_000_000);
        while !stream.is_complete() {
            stream.send_open(&mut world.ends[0]);
            stream.receive(&mut world.ends[1]);
            world.run_for(World::DELAY);
        }
        world.run_for(Duration::from_secs(1));
        assert!(world.memory.used() > CAPACITY);
        world.ends.iter_mut().for_each(Connection::rest);
        assert_eq!(world.memory.used(), 0);
    }
}

/// A connection through which 8,000 bytes go, and that is dropped then.
fn come_and_go(stack: &mut Stack, now: &mut Duration, bytes: &mut [u8]) {
    let [here, there] = [V4[0], V4[1]].map(|address| address.parse().unwrap());
    let client = Connection::dial(stack, here, there, *now).unwrap();
    let server = Connection::accept(stack, there, here, *now).unwrap();
    let (mut ends, mut received) = ([client, server], 0);
    ends[1].ready();
    while received < 8_000 {
        for at in 0..2 {
            let [from, to] = ends.get_disjoint_mut([at, at ^ 1]).unwrap();
            let mut flying = Vec::new();
            from.poll(stack, *now, &mut |frame| flying.push((frame.bytes.to_vec(), frame.offload)));
            for (mut bytes, offload) in flying {
                to.input(stack, &Frame { offload, bytes: &mut bytes }, *now, &mut |_| {}).unwrap();
            }
        }
        if ends[0].state() == State::Open && received == 0 && ends[0].unacknowledged() == 0 {
            ends[0].send(&bytes[..8_000]);
        }
        received += ends[1].receive(bytes);
        *now += Duration::from_millis(1);
    }
}

/// How many pages the kernel has had to find for this thread.
fn page_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    after_name.split_whitespace().nth(7).unwrap().parse().unwrap()
}

#[test]
fn connections_that_come_and_go_use_the_same_pages() {
    let mut stack = Stack::new(Settings::new([1, 2]), &plenty());
    let (mut now, mut bytes) = (Duration::ZERO, vec![7; 8_000]);
    let mut faults_of = |count| {
        let before = page_faults();
        (0..count).for_each(|_| come_and_go(&mut stack, &mut now, &mut bytes));
        page_faults() - before
    };
    let first = faults_of(10);
    let others = faults_of(200);
    assert!(first >= 4 && others < 20, "{first} for 10 connections, {others} for 200");
}

#[test]
fn a_stack_has_room_for_so_many_connections() {
    let memory = plenty();
    let mut stack = Stack::new(Settings { connections: 3, ..Settings::new([1, 2]) }, &memory);
    let [here, there] = [V4[0], V4[1]].map(|address| address.parse().unwrap());
    let dial = |stack: &mut Stack| Connection::dial(stack, here, there, Duration::ZERO);
    assert_eq!((stack.places(), stack.open(), stack.has_room()), (3, 0, true));
    let first = dial(&mut stack);
    assert!(stack.has_room());
    let others = [dial(&mut stack), dial(&mut stack)];
    assert!(first.is_some() && others.iter().all(Option::is_some));
    assert_eq!((stack.open(), stack.has_room()), (3, false));
    assert!(dial(&mut stack).is_none());
    assert!(Connection::accept(&mut stack, here, there, Duration::ZERO).is_none());
    drop(others);
    assert_eq!((stack.open(), stack.has_room()), (1, true));
    assert!(dial(&mut stack).is_some());
    // A connection outlives its stack.
    drop(stack);
    assert_eq!(first.map(|first| first.state()), Some(State::Opening));
    assert_eq!(memory.used(), 0);
}

#[test]
fn there_is_no_room_without_memory_for_what_two_connections_need() {
    for (limit, has_room) in [(2 * LEAST, true), (2 * LEAST - 1, false)] {
        let stack = Stack::new(Settings::new([1, 2]), &Memory::new(limit));
        assert_eq!(stack.has_room(), has_room);
    }
}
