//! A client, a relay's two connections, a server: whatever happens at one end is seen at the other.

use std::time::Duration;

use stack::{Failure, Moved, Settings, State, relay};

use crate::world::{Stream, V4, V6, Weather, World};

const CLIENT: usize = 0;
const SERVER: usize = 3;

fn settings() -> Settings {
    Settings::new([7, 9])
}

fn relay_between(ends: &mut [stack::Connection]) -> Moved {
    let [_, near, far, _] = ends else { panic!("a chain has four ends") };
    relay(near, far)
}

fn opened(near: [&str; 4], far: [&str; 4]) -> World {
    let mut world = World::chain(near, far, settings());
    world.ends[SERVER].ready();
    world.run(|ends| {
        relay_between(ends);
        ends.iter().all(|end| end.state() == State::Open)
    });
    world
}

#[test]
fn bytes_are_equal_whoever_closes_first() {
    for (near, far) in [(V4, V4), (V6, V6), (V4, V6)] {
        for (up, down) in [(3_000_000, 1_000), (1_000, 3_000_000), (0, 2_000_000), (2_000_000, 0)] {
            let mut world = opened(near, far);
            let (mut request, mut response) = (Stream::new(up), Stream::new(down));
            let mut total = Moved::default();
            world.run(|ends| {
                request.send(&mut ends[CLIENT]);
                response.send(&mut ends[SERVER]);
                let moved = relay_between(ends);
                total.forward += moved.forward;
                total.backward += moved.backward;
                request.receive(&mut ends[SERVER]);
                response.receive(&mut ends[CLIENT]);
                ends.iter().all(|end| end.state() == State::Closed)
            });
            assert!(request.is_complete() && response.is_complete());
            assert_eq!(total, Moved { forward: up, backward: down });
        }
    }
}

#[test]
fn a_half_close_is_carried_and_the_other_half_stays_open() {
    for (first, second) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        let mut world = opened(V4, V4);
        let mut early = Stream::new(500_000);
        world.run(|ends| {
            early.send(&mut ends[first]);
            relay_between(ends);
            early.receive(&mut ends[second]);
            ends[second].state() == State::HalfClosed
        });
        assert_eq!(world.ends[first].state(), State::Open);
        let mut late = Stream::new(500_000);
        world.run(|ends| {
            late.send(&mut ends[second]);
            relay_between(ends);
            late.receive(&mut ends[first]);
            ends.iter().all(|end| end.state() == State::Closed)
        });
        assert!(early.is_complete() && late.is_complete());
    }
}

#[test]
fn a_reset_is_carried() {
    for (first, second) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        let mut world = opened(V4, V4);
        world.ends[first].abort();
        world.run(|ends| {
            relay_between(ends);
            ends[second].state().is_over()
        });
        assert_eq!(world.ends[second].state(), State::Failed(Failure::Reset));
    }
}

#[test]
fn a_target_that_refuses_refuses_the_client() {
    for addresses in [V4, V6] {
        let mut world = World::chain(addresses, addresses, settings());
        world.run_for(Duration::from_millis(100));
        assert_eq!(world.ends[CLIENT].state(), State::Opening);
        world.ends[SERVER].abort();
        world.run(|ends| {
            relay_between(ends);
            ends[CLIENT].state().is_over()
        });
        assert_eq!(world.ends[2].state(), State::Failed(Failure::Refused));
        assert_eq!(world.ends[CLIENT].state(), State::Failed(Failure::Refused));
    }
}

#[test]
fn a_server_that_speaks_and_closes_at_once_is_heard() {
    let mut world = World::chain(V4, V4, settings());
    world.ends[SERVER].ready();
    let mut greeting = Stream::new(100);
    world.run(|ends| {
        greeting.send(&mut ends[SERVER]);
        relay_between(ends);
        greeting.receive(&mut ends[CLIENT]);
        ends[CLIENT].state() == State::HalfClosed
    });
    assert!(greeting.is_complete());
}

#[test]
fn a_reader_that_pauses_loses_nothing() {
    let mut world = opened(V4, V4);
    let mut stream = Stream::new(3_000_000);
    let server_closes = |ends: &mut [stack::Connection]| ends[SERVER].close();
    server_closes(&mut world.ends);
    world.run(|ends| {
        stream.send(&mut ends[CLIENT]);
        relay_between(ends);
        ends[SERVER].readable() > 60_000
    });
    // Windows are full along the way, and the relay's near side has seen the server's FIN.
    for _ in 0..60 {
        world.run_for(Duration::from_secs(1));
        stream.send(&mut world.ends[CLIENT]);
        relay_between(&mut world.ends);
    }
    world.run(|ends| {
        stream.send(&mut ends[CLIENT]);
        relay_between(ends);
        stream.receive(&mut ends[SERVER]);
        ends.iter().all(|end| end.state() == State::Closed)
    });
    assert!(stream.is_complete());
}

#[test]
fn bytes_are_equal_in_bad_weather() {
    for seed in 1..=10 {
        let mut world = World::chain(V4, V6, Settings { offload: seed % 2 == 0, ..Settings::new([seed, 0]) });
        world.weather = Weather { lost: 20, doubled: 20, late: 50, damaged: 10 };
        world.ends[SERVER].ready();
        let (mut request, mut response) = (Stream::new(100_000), Stream::new(300_000));
        world.run(|ends| {
            request.send(&mut ends[CLIENT]);
            response.send(&mut ends[SERVER]);
            relay_between(ends);
            request.receive(&mut ends[SERVER]);
            response.receive(&mut ends[CLIENT]);
            ends.iter().all(|end| end.state() == State::Closed)
        });
        assert!(request.is_complete() && response.is_complete());
    }
}
