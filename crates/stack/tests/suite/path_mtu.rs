//! A path that carries less than the MTU: its errors are believed if they are about a segment that is under way.

use std::time::Duration;

use stack::{Settings, State};
use wire::parse;

use crate::world::{Stream, V4, V6, World};

#[test]
fn a_transfer_survives_a_path_that_becomes_narrow() {
    for (addresses, offload) in [(V4, true), (V4, false), (V6, true), (V6, false)] {
        let settings = Settings { mtu: 8000, offload, ..Settings::new([3, 5]) };
        let mut world = World::pair(addresses, settings);
        world.ends[1].ready();
        let (mut there, mut back) = (Stream::new(5_000_000), Stream::new(5_000_000));
        for mtu in [8000, 6000, 1400] {
            world.narrow = mtu;
            let mut steps = 0;
            world.run(|ends| {
                there.send(&mut ends[0]);
                back.send(&mut ends[1]);
                there.receive(&mut ends[1]);
                back.receive(&mut ends[0]);
                steps += 1;
                let passed = steps == 15 && mtu != 1400;
                passed || ends.iter().all(|end| end.state() == State::Closed)
            });
        }
        assert!(there.is_complete() && back.is_complete());
        assert!((4..400).contains(&world.told), "both were told, twice, and took heed: {}", world.told);
    }
}

/// An opened pair whose first end has just sent `len` bytes; with the number that they begin with.
fn sending(addresses: [&str; 4], len: usize) -> (World, u32) {
    let mut world = World::pair(addresses, Settings { offload: false, ..Settings::new([3, 5]) });
    world.ends[1].ready();
    world.run(|ends| ends.iter().all(|end| end.state() == State::Open));
    world.ends[0].send(&vec![7; len]);
    world.run_for(Duration::ZERO);
    let first = parse(&world.last[0]).unwrap();
    (world, first.sequence)
}

#[test]
fn only_an_error_about_what_is_under_way_is_believed() {
    for addresses in [V4, V6] {
        let (mut world, first) = sending(addresses, 1000);
        let end = &mut world.ends[0];
        for (sequence, believed) in [
            (first.wrapping_sub(1), false),
            (first, true),
            (first.wrapping_add(999), true),
            (first.wrapping_add(1000), false),
            (first.wrapping_add(1 << 31), false),
        ] {
            assert_eq!(end.lower_mtu(1400, sequence), believed, "{}", sequence.wrapping_sub(first) as i32);
        }
        world.run_for(Duration::from_secs(1));
        assert!(!world.ends[0].lower_mtu(1400, first), "it is acknowledged");
    }
}

#[test]
fn an_error_about_a_syn_is_not_believed() {
    let mut world = World::pair(V4, Settings::new([3, 5]));
    world.run_for(Duration::ZERO);
    let syn = parse(&world.last[0]).unwrap();
    assert!(!world.ends[0].lower_mtu(1400, syn.sequence));
}

#[test]
fn the_mtu_only_falls_and_not_below_what_every_path_carries() {
    for (addresses, least) in [(V4, 576), (V6, 1280)] {
        for (told, longest) in [([1400, 1450], 1400), ([0, 9000], least), ([9000, 9000], 1500)] {
            let (mut world, first) = sending(addresses, 1);
            for mtu in told {
                assert!(world.ends[0].lower_mtu(mtu, first));
            }
            world.ends[0].send(&[7; 5000]);
            world.longest = 0;
            world.run_for(Duration::from_secs(1));
            assert_eq!(world.longest, longest, "told {told:?}");
        }
    }
}
