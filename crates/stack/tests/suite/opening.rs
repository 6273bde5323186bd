//! Opening and ending: the withheld handshake, refusals, resets, closing in every order.

use std::time::Duration;

use stack::{Connection, Failure, InputError, Settings, Stack, State};
use wire::{Frame, Offload, mss_of, parse};

use crate::world::{Stream, V4, V6, World, plenty};

pub(crate) fn settings() -> Settings {
    Settings::new([3, 5])
}

pub(crate) fn opened(addresses: [&str; 4]) -> World {
    let mut world = World::pair(addresses, settings());
    world.ends[1].ready();
    world.run(|ends| ends.iter().all(|end| end.state() == State::Open));
    world
}

#[test]
fn the_handshake_waits_for_ready() {
    for addresses in [V4, V6] {
        let mut world = World::pair(addresses, settings());
        world.run_for(Duration::from_secs(20));
        assert_eq!(world.states(), [State::Opening; 2]);
        assert!(world.count > 3, "the client goes on asking");
        world.ends[1].ready();
        world.run(|ends| ends.iter().all(|end| end.state() == State::Open));
    }
}

#[test]
fn what_the_peers_syn_has_said_is_told_once() {
    for addresses in [V4, V6] {
        let mut world = World::pair(addresses, settings());
        world.run_for(Duration::from_millis(100));
        assert_eq!(world.ends[0].take_syn_options(), None, "it was not answered yet");
        world.ends[1].ready();
        world.run(|ends| ends.iter().all(|end| end.state() == State::Open));
        for end in &mut world.ends {
            let options = end.take_syn_options().unwrap();
            let mss = if addresses == V4 { 1460 } else { 1440 };
            assert_eq!((options.mss, options.window_scale), (Some(mss), Some(3)));
            assert!(options.sack_permitted && options.timestamps.is_some());
            assert_eq!(end.take_syn_options(), None);
        }
    }
}

#[test]
fn a_held_connection_asks_for_no_attention() {
    let mut world = World::pair(V4, settings());
    world.run_for(Duration::from_millis(500));
    let now = world.now;
    assert_eq!(world.ends[1].poll_at(&mut world.stacks[1], now), None);
    world.ends[1].ready();
    assert_eq!(world.ends[1].poll_at(&mut world.stacks[1], now), Some(now));
}

#[test]
fn a_connection_aborted_before_it_was_answered_refuses_the_dialer() {
    for addresses in [V4, V6] {
        let mut world = World::pair(addresses, settings());
        world.run_for(Duration::from_millis(100));
        world.ends[1].abort();
        world.run(|ends| ends[0].state().is_over());
        assert_eq!(world.states(), [State::Failed(Failure::Refused), State::Failed(Failure::Aborted)]);
    }
}

#[test]
fn a_client_that_gives_up_resets_what_waits_for_it() {
    for give_up_after in [100, 1500] {
        let mut world = World::pair(V4, settings());
        world.run_for(Duration::from_millis(give_up_after));
        world.ends[0].abort();
        world.run(|ends| ends[1].state().is_over());
        assert_eq!(world.states(), [State::Failed(Failure::Aborted), State::Failed(Failure::Reset)]);
    }
}

#[test]
fn impossible_addresses_are_refused_at_once() {
    let mut stack = Stack::new(settings(), &plenty());
    let mut dial = |from: &str, to: &str| {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let mut connection = Connection::dial(&mut stack, from, to, Duration::ZERO).unwrap();
        connection.poll(&mut stack, Duration::ZERO, &mut |_| ());
        connection.state()
    };
    let refused = State::Failed(Failure::Refused);
    assert_eq!(dial("10.0.0.1:1", "10.0.0.2:80"), State::Opening);
    assert_eq!(dial("10.0.0.1:1", "[::ffff:10.0.0.2]:80"), State::Opening, "mapped IPv4 is IPv4");
    assert_eq!(dial("10.0.0.1:1", "[fd00::1]:80"), refused);
    assert_eq!(dial("10.0.0.1:1", "0.0.0.0:80"), refused);
    assert_eq!(dial("10.0.0.1:1", "224.0.0.1:80"), refused);
    assert_eq!(dial("10.0.0.1:1", "255.255.255.255:80"), refused);
    assert_eq!(dial("10.0.0.1:0", "10.0.0.2:80"), refused);
    assert_eq!(dial("10.0.0.1:1", "10.0.0.2:0"), refused);
}

#[test]
fn frames_of_others_and_damaged_ones_are_rejected() {
    let mut stack = Stack::new(Settings { offload: false, ..settings() }, &plenty());
    let [client, server, other] = [V4[0], V4[1], V4[2]].map(|address| address.parse().unwrap());
    let mut syn = Vec::new();
    let mut dialer = Connection::dial(&mut stack, client, server, Duration::ZERO).unwrap();
    dialer.poll(&mut stack, Duration::ZERO, &mut |frame| syn = frame.bytes.to_vec());
    let mut input = |local, remote, bytes: &[u8], offload| {
        let mut connection = Connection::accept(&mut stack, local, remote, Duration::ZERO).unwrap();
        let frame = Frame { offload, bytes: &mut bytes.to_vec() };
        connection.input(&mut stack, &frame, Duration::ZERO, &mut |_| panic!("there is nothing to say"))
    };
    assert_eq!(input(server, client, &syn, Offload::NONE), Ok(()));
    assert_eq!(input(server, other, &syn, Offload::NONE), Err(InputError::Stray));
    assert_eq!(input(other, client, &syn, Offload::NONE), Err(InputError::Stray));
    assert_eq!(input(server, client, &syn[..30], Offload::NONE), Err(InputError::Stray));
    syn[24] ^= 1;
    assert_eq!(input(server, client, &syn, Offload::NONE), Err(InputError::Checksum));
    let vouched = Offload { checksum: wire::Checksum::Verified, ..Offload::NONE };
    assert_eq!(input(server, client, &syn, vouched), Ok(()));
}

#[test]
fn the_mss_follows_from_the_mtu() {
    for (addresses, mtu, mss) in [(V4, 1500, 1460), (V6, 1500, 1440), (V4, 8405, 8365), (V4, 0, 1240)] {
        let mut stack = Stack::new(Settings { mtu, ..settings() }, &plenty());
        let [client, server] = [addresses[0], addresses[1]].map(|address| address.parse().unwrap());
        let mut dialer = Connection::dial(&mut stack, client, server, Duration::ZERO).unwrap();
        let mut announced = None;
        dialer.poll(&mut stack, Duration::ZERO, &mut |frame| {
            announced = mss_of(frame.bytes, &parse(frame.bytes).unwrap());
        });
        assert_eq!(announced, Some(mss));
    }
}

#[test]
fn closing_works_in_every_order() {
    for addresses in [V4, V6] {
        for order in [[0, 1], [1, 0]] {
            let mut world = opened(addresses);
            let [first, second] = order;
            world.ends[first].close();
            world.run(|ends| ends[second].state() == State::HalfClosed);
            assert_eq!(world.ends[first].state(), State::Open);
            // The half that is still open carries bytes.
            let mut stream = Stream::new(1_000_000);
            world.run(|ends| {
                stream.send(&mut ends[second]);
                stream.receive(&mut ends[first]);
                ends.iter().all(|end| end.state() == State::Closed)
            });
            assert!(stream.is_complete());
        }
        let mut world = opened(addresses);
        world.ends.iter_mut().for_each(Connection::close);
        world.run(|ends| ends.iter().all(|end| end.state() == State::Closed));
    }
}

#[test]
fn a_connection_that_is_over_asks_for_no_attention() {
    let mut world = opened(V4);
    for end in [0, 1] {
        world.ends[end].close();
        world.run_for(Duration::from_secs(1));
    }
    assert_eq!(world.states(), [State::Closed; 2]);
    let now = world.now;
    for end in [0, 1] {
        assert_eq!(world.ends[end].poll_at(&mut world.stacks[end], now), None);
    }
}

#[test]
fn a_close_while_opening_waits_for_the_handshake() {
    let mut world = World::pair(V4, settings());
    world.ends.iter_mut().for_each(Connection::close);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.states(), [State::Opening; 2]);
    world.ends[1].ready();
    world.run(|ends| ends.iter().all(|end| end.state() == State::Closed));
}

#[test]
fn an_abort_resets_the_peer() {
    for addresses in [V4, V6] {
        let mut world = opened(addresses);
        world.ends[0].send(b"lost");
        world.ends[0].abort();
        world.run(|ends| ends[1].state().is_over());
        assert_eq!(world.states(), [State::Failed(Failure::Aborted), State::Failed(Failure::Reset)]);
        world.run_for(Duration::from_secs(60));
        assert_eq!(world.states(), [State::Failed(Failure::Aborted), State::Failed(Failure::Reset)]);
    }
}

#[test]
fn bytes_outlive_time_wait_until_they_are_read() {
    let mut world = opened(V4);
    world.ends[0].close();
    world.run(|ends| ends[1].state() == State::HalfClosed);
    world.ends[1].send(b"late reader");
    world.ends[1].close();
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.states(), [State::Open, State::Closed]);
    let mut buffer = [0; 32];
    assert_eq!(world.ends[0].receive(&mut buffer), 11);
    assert_eq!(world.ends[0].state(), State::Closed);
}

#[test]
fn the_last_acknowledgement_leaves_with_the_next_poll() {
    let mut world = opened(V4);
    world.ends[0].close();
    world.run(|ends| ends[1].state() == State::HalfClosed);
    world.ends[1].send(b"bytes and FIN in one segment");
    world.ends[1].close();
    world.run(|ends| {
        ends[0].receive(&mut [0; 64]);
        ends[0].state() == State::Closed
    });
    // Now the owner may drop it: what the peer still needs is on its way.
    world.run_for(World::DELAY);
    assert_eq!(world.ends[1].state(), State::Closed);
}
