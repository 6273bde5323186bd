//! A SYN for a connection that is under way: the challenge that answers it, and what a peer that has forgotten us makes of
//! that.

use std::time::Duration;

use stack::{Connection, Failure, InputError, Settings, Stack, State, relay};
use wire::{Checksum, Frame, Packet, TcpFlags, checksum_is_valid, parse};

use crate::opening::{opened, settings};
use crate::world::{V4, V6, World, plenty};

const RESET: State = State::Failed(Failure::Reset);
const LATE: Result<(), InputError> = Err(InputError::LateSyn);

/// Carries bytes both ways, and lets the last acknowledgements arrive.
fn talk(world: &mut World) {
    world.ends[0].send(b"question");
    world.run(|ends| ends[1].receive(&mut [0; 16]) == 8);
    world.ends[1].send(b"an answer");
    world.run(|ends| ends[0].receive(&mut [0; 16]) == 9);
    world.run_for(Duration::from_millis(100));
}

/// The client forgets its connection, and dials again from the same port.
fn forget(world: &mut World) {
    let (local, remote) = (world.ends[0].local(), world.ends[0].remote());
    world.ends[0] = Connection::dial(&mut world.stacks[0], local, remote, world.now).unwrap();
}

/// The server takes the next SYN for a new connection.
fn accept_anew(world: &mut World) {
    let (local, remote) = (world.ends[1].local(), world.ends[1].remote());
    world.ends[1] = Connection::accept(&mut world.stacks[1], local, remote, world.now).unwrap();
    world.ends[1].ready();
    world.run(|ends| ends.iter().all(|end| end.state() == State::Open));
}

/// A SYN from the client's address that is not its own.
fn another_syn(world: &World) -> Vec<u8> {
    let mut stack = Stack::new(Settings { offload: false, ..Settings::new([8, 8]) }, &plenty());
    let (local, remote) = (world.ends[0].local(), world.ends[0].remote());
    let mut dialer = Connection::dial(&mut stack, local, remote, world.now).unwrap();
    let mut syn = Vec::new();
    dialer.poll(&mut stack, world.now, &mut |frame| syn = frame.bytes.to_vec());
    syn
}

/// Gives a packet to one end; returns what it says to that, and the packet that it answers with at once.
fn tell(world: &mut World, to: usize, mut bytes: Vec<u8>) -> (Result<(), InputError>, Option<Vec<u8>>) {
    let mut answers = Vec::new();
    let said =
        world.ends[to].input(&mut world.stacks[to], &Frame::plain(&mut bytes), world.now, &mut |frame| {
            assert_eq!(frame.checksum(), Checksum::Complete);
            answers.push(frame.bytes.to_vec());
        });
    assert!(answers.len() <= 1);
    (said, answers.pop())
}

/// Parses a packet whose checksum must be right, and reads its window field.
fn read(bytes: &[u8]) -> (Packet, u16) {
    let packet = parse(bytes).unwrap();
    assert!(checksum_is_valid(bytes, &packet));
    let at = packet.transport + 14;
    (packet, u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

fn end_of(packet: &Packet) -> u32 {
    packet.sequence.wrapping_add(packet.sequence_len())
}

/// Both ends' connection, without offloads, so that packets can be read as they fly.
fn plain(addresses: [&str; 4]) -> World {
    let mut world = World::pair(addresses, Settings { offload: false, ..settings() });
    world.ends[1].ready();
    world.run(|ends| ends.iter().all(|end| end.state() == State::Open));
    world
}

#[test]
fn a_peer_that_has_forgotten_its_connection_gets_another() {
    for addresses in [V4, V6] {
        for closed in [None, Some(0), Some(1)] {
            let mut world = opened(addresses);
            talk(&mut world);
            if let Some(closed) = closed {
                world.ends[closed].close();
                world.run_for(Duration::from_millis(100));
                assert_eq!(world.ends[closed ^ 1].state(), State::HalfClosed);
            }
            forget(&mut world);
            let began = world.now;
            world.run(|ends| ends[1].state().is_over());
            assert_eq!(world.states(), [State::Opening, RESET]);
            assert_eq!(world.rejected, [InputError::LateSyn]);
            assert_eq!(world.now - began, World::DELAY * 3, "SYN, challenge, RST");
            accept_anew(&mut world);
            talk(&mut world);
        }
    }
}

#[test]
fn an_acknowledgement_that_was_delayed_does_not_shield_the_connection() {
    let mut world = opened(V4);
    talk(&mut world);
    // The challenge repeats the last acknowledgement: its RST falls short of these bytes. Theirs then does not.
    world.ends[0].send(b"not acknowledged yet");
    world.run(|ends| ends[1].readable() > 0);
    forget(&mut world);
    let began = world.now;
    world.run(|ends| ends[1].state().is_over());
    assert_eq!(world.states(), [State::Opening, RESET]);
    assert!(world.now - began < Duration::from_millis(100));
}

#[test]
fn a_relay_ends_with_the_client_that_has_forgotten_it() {
    let mut world = World::chain(V4, V6, settings());
    let relayed = |ends: &mut [Connection]| {
        let [_, near, far, _] = ends else { panic!("a chain has four ends") };
        relay(near, far);
    };
    world.ends[3].ready();
    world.run(|ends| {
        relayed(ends);
        ends.iter().all(|end| end.state() == State::Open)
    });
    forget(&mut world);
    world.run(|ends| {
        relayed(ends);
        ends[3].state().is_over()
    });
    assert_eq!(world.states(), [State::Opening, RESET, State::Failed(Failure::Aborted), RESET]);
}

#[test]
fn a_challenge_says_where_the_connection_stands() {
    for addresses in [V4, V6] {
        let mut world = plain(addresses);
        talk(&mut world);
        let [(client, _), (server, window)] = [0, 1].map(|end: usize| read(&world.last[end]));
        let syn = another_syn(&world);
        let (said, answer) = tell(&mut world, 1, syn);
        let (challenge, announced) = read(&answer.clone().unwrap());
        assert_eq!(said, LATE);
        assert_eq!((challenge.source, challenge.source_port), (server.source, server.source_port));
        assert_eq!((challenge.destination, challenge.destination_port), (client.source, client.source_port));
        assert_eq!((challenge.flags, challenge.payload_len()), (TcpFlags::new(TcpFlags::ACK), 0));
        assert_eq!((challenge.sequence, challenge.acknowledgement), (end_of(&server), end_of(&client)));
        assert_eq!(announced, window);
        // A peer that has forgotten nothing takes it for a duplicate.
        assert_eq!(tell(&mut world, 0, answer.unwrap()), (Ok(()), None));
        talk(&mut world);
    }
}

#[test]
fn what_was_sent_stays_sent_when_it_is_sent_again() {
    let mut world = plain(V4);
    // What arrives widens the congestion window; what is lost narrows it to less than was on its way.
    for lost in [0, 1000] {
        world.run_for(Duration::from_millis(500));
        world.weather.lost = lost;
        world.ends[1].send(&[7; 30_000]);
    }
    world.run_for(Duration::from_millis(10));
    let (furthest, _) = read(&world.last[1]);
    world.run_for(Duration::from_secs(3));
    let (retransmit, _) = read(&world.last[1]);
    assert!((retransmit.sequence.wrapping_sub(furthest.sequence) as i32) < 0, "it began again");
    let syn = another_syn(&world);
    let (challenge, _) = read(&tell(&mut world, 1, syn).1.unwrap());
    assert_eq!(challenge.sequence, end_of(&furthest));
}

#[test]
fn challenges_are_half_a_second_apart() {
    let mut world = plain(V4);
    let answered = |world: &mut World| {
        let (said, answer) = tell(world, 1, another_syn(world));
        assert_eq!(said, LATE);
        answer.is_some()
    };
    assert!(answered(&mut world));
    assert!(!answered(&mut world));
    world.run_for(Duration::from_millis(499));
    assert!(!answered(&mut world));
    world.run_for(Duration::from_millis(1));
    assert!(answered(&mut world));
    assert!(!answered(&mut world));
}

#[test]
fn while_opening_only_another_syn_is_challenged() {
    let mut world = World::pair(V4, Settings { offload: false, ..settings() });
    world.run_for(Duration::from_millis(100));
    let [own, other] = [world.last[0].clone(), another_syn(&world)];
    let (syn, _) = read(&own);
    assert!(syn.flags.opens());
    for syn in [&own, &other] {
        assert_eq!(tell(&mut world, 1, syn.clone()), (Ok(()), None), "nothing was said yet");
    }
    // The answer is lost.
    world.weather.lost = 1000;
    world.ends[1].ready();
    world.run_for(Duration::from_millis(100));
    let (answer, _) = read(&world.last[1]);
    assert_eq!(tell(&mut world, 1, own), (Ok(()), None), "the answer's own timer sends it again");
    let (said, challenge) = tell(&mut world, 1, other);
    let (challenge, _) = read(&challenge.unwrap());
    assert_eq!(said, LATE);
    assert_eq!((challenge.sequence, challenge.acknowledgement), (end_of(&answer), end_of(&syn)));
    world.weather.lost = 0;
    world.run(|ends| ends.iter().all(|end| end.state() == State::Open));
    talk(&mut world);
}

#[test]
fn a_peer_that_forgets_while_opening_gets_another_connection() {
    let mut world = opened(V4);
    accept_and_lose(&mut world);
    forget(&mut world);
    world.run(|ends| ends[1].state().is_over());
    assert_eq!(world.states(), [State::Opening, RESET]);
    accept_anew(&mut world);
    talk(&mut world);
}

/// Both ends begin again, and every answer to the SYN is lost for a while.
fn accept_and_lose(world: &mut World) {
    forget(world);
    let (local, remote) = (world.ends[1].local(), world.ends[1].remote());
    world.ends[1] = Connection::accept(&mut world.stacks[1], local, remote, world.now).unwrap();
    world.run_for(Duration::from_millis(100));
    world.weather.lost = 1000;
    world.ends[1].ready();
    world.run_for(Duration::from_millis(100));
    world.weather.lost = 0;
}

#[test]
fn time_wait_lets_a_syn_go_unanswered() {
    let mut world = plain(V4);
    world.ends[1].close();
    world.run(|ends| ends[0].state() == State::HalfClosed);
    let syn = another_syn(&world);
    assert!(tell(&mut world, 1, syn.clone()).1.is_some(), "until then it is challenged");
    world.ends[0].close();
    world.run(|ends| ends[1].state() == State::Closed);
    world.run_for(Duration::from_secs(1));
    assert_eq!(tell(&mut world, 1, syn), (LATE, None));
    assert_eq!(world.states()[1], State::Closed);
    // Its owner drops it, and the peer comes again.
    forget(&mut world);
    accept_anew(&mut world);
    talk(&mut world);
}

#[test]
fn two_ends_that_contradict_each_other_do_not_talk_for_ever() {
    let mut world = plain(V4);
    let mut other = World::pair(V4, Settings { offload: false, ..Settings::new([8, 8]) });
    other.ends[1].ready();
    other.run(|ends| ends.iter().all(|end| end.state() == State::Open));
    std::mem::swap(&mut world.ends[1], &mut other.ends[1]);
    std::mem::swap(&mut world.stacks[1], &mut other.stacks[1]);
    let before = world.count;
    for end in &mut world.ends {
        end.send(b"to somebody else");
    }
    world.run_for(Duration::from_secs(60));
    assert!(
        !world.rejected.is_empty() && world.rejected.iter().all(|error| *error == InputError::Unacceptable)
    );
    assert!(world.count - before < 2 * 2 * 60 + 40, "challenges, and retransmits: {}", world.count - before);
}
