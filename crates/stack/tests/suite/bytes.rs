//! Bytes arrive, all of them, in order: sizes around the window, both ways at once, and in bad weather.

use stack::{Connection, Settings, State};

use crate::world::{Stream, V4, V6, Weather, World};

/// Sends `there` bytes from 0 to 1 and `back` from 1 to 0 at once, closes both, and returns the world afterwards.
fn transfer(addresses: [&str; 4], settings: Settings, weather: Weather, there: usize, back: usize) -> World {
    let mut world = World::pair(addresses, settings);
    world.weather = weather;
    world.ends[1].ready();
    let (mut there, mut back) = (Stream::new(there), Stream::new(back));
    world.run(|ends| {
        there.send(&mut ends[0]);
        back.send(&mut ends[1]);
        there.receive(&mut ends[1]);
        back.receive(&mut ends[0]);
        ends.iter().all(|end| end.state() == State::Closed)
    });
    assert!(there.is_complete() && back.is_complete());
    world
}

#[test]
fn sizes_around_the_window_arrive() {
    let buffer = 65_535 << 1;
    let settings = Settings { buffer, ..Settings::new([1, 2]) };
    for addresses in [V4, V6] {
        for size in [0, 1, 1447, 1448, 1449, buffer - 1, buffer, buffer + 1, 2 * buffer + 1] {
            transfer(addresses, settings, Weather::default(), size, size / 3);
        }
    }
}

#[test]
fn ten_megabytes_arrive_both_ways() {
    // Super-packets of whole segments where they may be, taken whole by the other side; single segments elsewhere.
    let (v4, v6) = (52 + 45 * 1448, 72 + 45 * 1428);
    for (addresses, offload, longest) in
        [(V4, true, v4), (V6, true, v6), (V4, false, 1500), (V6, false, 1500)]
    {
        let settings = Settings { offload, ..Settings::new([1, 2]) };
        let world = transfer(addresses, settings, Weather::default(), 10_000_000, 10_000_000);
        assert_eq!(world.longest, longest);
    }
}

#[test]
fn offloads_can_end_while_bytes_flow() {
    for addresses in [V4, V6] {
        let mut world = World::pair(addresses, Settings::new([1, 2]));
        world.ends[1].ready();
        let mut stream = Stream::new(20_000_000);
        let mut carry = |ends: &mut [Connection]| {
            stream.send(&mut ends[0]);
            stream.receive(&mut ends[1]);
            ends[1].close();
            ends.iter().all(|end| end.state() == State::Closed)
        };
        let mut events = 0;
        world.run(|ends| {
            events += 1;
            carry(ends) || events == 60
        });
        assert!(world.longest > 1500);
        assert_ne!(world.ends[0].state(), State::Closed, "there is more to send");
        for stack in &mut world.stacks {
            stack.set_offload(false);
        }
        world.longest = 0;
        // Only a complete checksum shows that a packet was damaged.
        world.weather.damaged = 10;
        world.run(carry);
        assert_eq!(world.longest, 1500);
        assert!(!world.rejected.is_empty() && stream.is_complete());
    }
}

#[test]
fn small_buffers_work() {
    for buffer in [1, 100, 4096, 65_535] {
        let settings = Settings { buffer, ..Settings::new([1, 2]) };
        transfer(V4, settings, Weather::default(), 20 * buffer, 10 * buffer);
    }
}

#[test]
fn bytes_arrive_in_bad_weather() {
    for seed in 1..=20 {
        for (addresses, offload) in [(V4, true), (V4, false), (V6, false)] {
            let settings = Settings { offload, ..Settings::new([seed, 2]) };
            let weather = Weather { lost: 20, doubled: 20, late: 50, damaged: 10 };
            let world = transfer(addresses, settings, weather, 300_000, 200_000);
            assert!(offload || !world.rejected.is_empty(), "damage is noticed (seed {seed})");
        }
    }
}
