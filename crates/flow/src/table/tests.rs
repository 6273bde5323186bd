mod fates;
mod probes;
mod steering;
mod threads;

use std::time::Duration;

use topology::Id;
use wire::{Addr, Packet, Protocol, TcpFlags};

use super::*;
use crate::key::Place;
use crate::lanes::{Fate, Lane, PoolKey};
use crate::tick::Tick;

/// Lanes 0 and 1: two endpoints' ways to one target; lane 2: a way by UDP.
fn table_with(capacity: usize, workers: usize, ports: usize) -> Table {
    let lanes = Lanes::new(ports, workers);
    for (number, (endpoint, protocol)) in
        [(0, Protocol::Tcp), (1, Protocol::Tcp), (0, Protocol::Udp)].into_iter().enumerate()
    {
        let idle = secs(if protocol == Protocol::Udp { 120 } else { 350 });
        assert_eq!(lanes.intern(&lane(endpoint, protocol, 2), idle), Some(LaneId(number as u32)));
    }
    Table::new(capacity, workers, lanes, [1, 2, 3, 4])
}

/// An endpoint's way to the target 10.2.0.`target`.
fn lane(endpoint: usize, protocol: Protocol, target: u8) -> Lane {
    let (interface, listener) = (Id::new(endpoint), Id::new(0));
    let target_address = Addr::v4([10, 2, 0, target]);
    Lane {
        user: LaneUser::Endpoint { endpoint: Id::new(endpoint), interface, listener },
        target: Id::new(target.into()),
        pool: PoolKey { protocol, node: Id::new(0), target: target_address, target_port: 8080 },
    }
}

fn table(capacity: usize, workers: usize) -> Table {
    table_with(capacity, workers, 55_000)
}

fn original(interface: usize, client: u32) -> Key {
    Key {
        place: Place::Interface(Id::new(interface)),
        protocol: Protocol::Tcp,
        local_port: 80,
        remote: Addr::v4((0x0a01_0000 + (client >> 16)).to_be_bytes()),
        remote_port: client as u16,
    }
}

fn new_flow(original: Key) -> NewFlow {
    let lane = LaneId(if original.protocol == Protocol::Udp { 2 } else { 0 });
    NewFlow { original, lane, path: FlowPath::Nat, preference: u64::from(original.remote_port) }
}

fn packet(flags: u8, numbers: (u32, u32)) -> Packet {
    Packet {
        source: Addr::v4([10, 0, 0, 1]),
        destination: Addr::v4([10, 0, 0, 2]),
        protocol: Protocol::Tcp,
        source_port: 1,
        destination_port: 2,
        ttl: 64,
        flags: TcpFlags::new(flags),
        sequence: numbers.0,
        acknowledgement: numbers.1,
        transport: 20,
        payload: 40,
        len: 40,
    }
}

fn open(turn: &Turn<'_>, key: Key) -> Result<Found, Refused> {
    turn.open(&new_flow(key), secs(0), |_| ())
}

/// A flow, and what its packets say: numbers begin at 1,000 and 7,000.
fn life(turn: &Turn<'_>, client: u32, packets: &[(Direction, u8, (u32, u32))]) -> Found {
    let opened = open(turn, original(0, client)).unwrap();
    for (direction, flags, numbers) in packets {
        let key = if *direction == Forward { original(0, client) } else { opened.onward };
        let found = turn.find(&key).unwrap();
        turn.observe(&found, &packet(*flags, *numbers), secs(0));
    }
    turn.find(&original(0, client)).unwrap()
}

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;
const FIN: u8 = TcpFlags::FIN;
const RST: u8 = TcpFlags::RST;
const CALL: (Direction, u8, (u32, u32)) = (Forward, SYN, (1000, 0));
const OPEN: [(Direction, u8, (u32, u32)); 3] =
    [CALL, (Reply, SYN | ACK, (7000, 1001)), (Forward, ACK, (1001, 7001))];
const REFUSED: [(Direction, u8, (u32, u32)); 2] = [CALL, (Reply, RST | ACK, (0, 1001))];

use Direction::{Forward, Reply};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn both_keys_lead_to_the_flow_and_each_is_the_others_recipe() {
    let table = table(16, 1);
    let turn = table.turn(0);
    let key = original(0, 40_000);
    assert_eq!(turn.find(&key), None);
    let opened = open(&turn, key).unwrap();
    assert_eq!(turn.find(&key), Some(opened));
    let back = turn.find(&opened.onward).unwrap();
    assert_eq!((back.flow, back.direction, back.onward), (opened.flow, Reply, key));
    let elsewhere = Key { place: Place::Interface(Id::new(1)), ..key };
    assert_eq!(turn.find(&elsewhere), None, "another consumer with the same addresses is somebody else");
}

#[test]
fn a_freed_port_waits_for_every_workers_turn() {
    let table = table_with(16, 2, 1);
    let reader = table.turn(1);
    {
        let turn = table.turn(0);
        let flow = open(&turn, original(0, 1)).unwrap().flow;
        assert!(reader.find(&original(0, 1)).is_some());
        assert_eq!(turn.release(flow, Cause::Released).unwrap().cause, Cause::Released);
        assert_eq!(turn.release(flow, Cause::Released), None, "once");
        assert!(reader.find(&original(0, 1)).is_none());
    }
    let retry = || open(&table.turn(0), original(0, 2));
    assert_eq!(retry(), Err(Refused::Ports), "the reader may still hold what it found");
    assert_eq!(retry(), Err(Refused::Ports));
    drop(reader);
    assert!(retry().is_ok());
}

#[test]
fn the_same_flow_is_not_made_twice() {
    let table = table(16, 2);
    let turn = table.turn(0);
    let first = open(&turn, original(0, 7)).unwrap();
    assert_eq!(open(&turn, original(0, 7)), Err(Refused::Raced));
    assert_eq!(table.len(), 1);
    assert_eq!(turn.find(&original(0, 7)), Some(first), "the first one stands");
}

#[test]
fn time_runs_out_as_the_phase_says() {
    let table = table(64, 1);
    let turn = table.turn(0);
    let ends = |client, packets: &[_]| {
        let slot = life(&turn, client, packets).flow.slot as usize;
        (0..=400).find_map(|now| turn.expire(slot, secs(now)).map(|end| (now, end.cause))).unwrap()
    };
    assert_eq!(ends(1, &[CALL]), (30, Cause::Unanswered));
    assert_eq!(ends(2, &OPEN), (350, Cause::Idle));
    let half = [&OPEN[..], &[(Forward, FIN | ACK, (1001, 7001)), (Reply, ACK, (7001, 1002))]].concat();
    assert_eq!(ends(3, &half), (350, Cause::Idle));
    let rest = [(Reply, FIN | ACK, (7001, 1002)), (Forward, ACK, (1002, 7002))];
    assert_eq!(ends(4, &[&half[..], &rest].concat()), (60, Cause::Finished));
    assert_eq!(ends(5, &REFUSED), (10, Cause::Reset));
    assert_eq!(ends(6, &[&OPEN[..], &[(Reply, RST, (7050, 0))]].concat()), (10, Cause::Reset), "a suspect");
    assert_eq!(ends(7, &[&OPEN[..], &[(Reply, RST, (1 << 30, 0))]].concat()), (350, Cause::Idle), "a stray");
}

/// A closed flow keeps its port quiet for as long as nobody is short of ports or slots.
#[test]
fn what_runs_short_is_given_back_sooner() {
    let closed = [
        &OPEN[..],
        &[(Forward, FIN | ACK, (1001, 7001)), (Reply, FIN | ACK, (7001, 1002)), (Forward, ACK, (1002, 7002))],
    ]
    .concat();
    let table = table(100, 1);
    for (flows, remembered) in [(40, 60), (60, 10), (80, 1)] {
        let turn = table.turn(0);
        let flows: Vec<_> = (0..flows).map(|client| life(&turn, client, &closed).flow).collect();
        let slot = flows[0].slot as usize;
        assert_eq!(turn.expire(slot, secs(remembered) - Tick::LEN), None);
        assert!(turn.expire(slot, secs(remembered)).is_some());
        drop(flows.into_iter().map(|flow| turn.release(flow, Cause::Released)).collect::<Vec<_>>());
        drop(turn);
        table.turn(0).recycle(100);
    }
}

#[test]
fn talking_keeps_a_flow_and_silence_ends_it_to_the_second() {
    let table = table(4, 1);
    let turn = table.turn(0);
    let key = Key { protocol: Protocol::Udp, ..original(0, 9) };
    let opened = open(&turn, key).unwrap();
    let slot = opened.flow.slot as usize;
    let datagram = Packet { protocol: Protocol::Udp, len: 100, ..packet(0, (0, 0)) };
    for now in [100, 200, 300] {
        assert_eq!(turn.expire(slot, secs(now)), None);
        turn.observe(&turn.find(&opened.onward).unwrap(), &datagram, secs(now));
    }
    assert_eq!(turn.expire(slot, secs(419)), None);
    let ended = turn.expire(slot, secs(420)).unwrap();
    assert_eq!((ended.cause, ended.returned), (Cause::Idle, Totals { packets: 3, bytes: 300 }));
}

#[test]
fn what_is_implausible_does_not_keep_a_flow() {
    for (sequence, end) in [(1001, 700), (1 << 30, 350)] {
        let table = table(4, 1);
        let turn = table.turn(0);
        let found = life(&turn, 1, &OPEN);
        assert_eq!(turn.expire(found.flow.slot as usize, secs(349)), None);
        turn.observe(&found, &packet(ACK, (sequence, 7001)), secs(350));
        let gone = (350..).find(|now| turn.expire(found.flow.slot as usize, secs(*now)).is_some());
        assert_eq!(gone, Some(end));
    }
}

#[test]
fn a_closed_tuple_opens_again_with_its_port() {
    let table = table(4, 1);
    let turn = table.turn(0);
    let closed = life(&turn, 5, &REFUSED);
    assert_eq!(closed.phase(), Phase::Closing);
    let before = turn.reopen(&closed, FlowPath::Nat, secs(5)).unwrap().1;
    assert_eq!((before.cause, before.returned.packets), (Cause::Reset, 1));
    assert_eq!(turn.reopen(&closed, FlowPath::Nat, secs(5)), None, "what is open is not opened");
    let again = turn.find(&original(0, 5)).unwrap();
    assert_eq!((again.phase(), again.onward), (Phase::Opening, closed.onward));
    let slot = closed.flow.slot as usize;
    assert_eq!(turn.expire(slot, secs(34)), None, "its clock starts anew");
    assert!(turn.expire(slot, secs(35)).is_some());
    assert_eq!(turn.reopen(&closed, FlowPath::Nat, secs(36)), None, "what is gone does not open");
}

#[test]
fn a_closed_tuple_that_goes_elsewhere_leaves_its_port_quiet() {
    let table = table(4, 1);
    let turn = table.turn(0);
    let closed = life(&turn, 5, &REFUSED);
    assert_eq!(turn.part(&closed).unwrap().cause, Cause::Reset);
    assert_eq!(turn.part(&closed), None, "once");
    assert_eq!(
        (turn.find(&original(0, 5)), turn.find(&closed.onward)),
        (None, None),
        "neither side finds it"
    );
    assert_eq!(turn.reopen(&closed, FlowPath::Nat, secs(1)), None);
    let new = open(&turn, original(0, 5)).unwrap();
    assert_ne!(new.onward.local_port, closed.onward.local_port, "its port is kept");
    assert_eq!(turn.expire(closed.flow.slot as usize, secs(10)), None, "its end has been told");
    assert_eq!(table.len(), 1, "its port's time is up");
    assert_eq!(turn.find(&original(0, 5)), Some(new));
}

#[test]
fn a_terminated_flow_that_its_ends_have_closed_leaves_its_port_quiet() {
    for (cause, rest) in [(Cause::Finished, 60), (Cause::Reset, 10)] {
        let table = table(16, 1);
        let turn = table.turn(0);
        let path = FlowPath::Terminated { worker: 0, relay: 7 };
        let opened = turn.open(&NewFlow { path, ..new_flow(original(0, 1)) }, secs(0), |_| ()).unwrap();
        let slot = opened.flow.slot as usize;
        assert_eq!(turn.expire(slot, secs(1000)), None, "it is its owner's to end");
        let ended = turn.retire(opened.flow, cause, secs(0));
        assert_eq!((turn.find(&original(0, 1)), turn.find(&opened.onward)), (None, None));
        assert_eq!(ended.map(|ended| (ended.flow, ended.cause)), Some((opened.flow, cause)));
        for now in [secs(rest) - Tick::LEN, secs(rest)] {
            assert_eq!(turn.expire(slot, now), None, "that has been told");
            assert_eq!(table.len(), usize::from(now < secs(rest)), "{cause:?}, {now:?}");
            assert_eq!(table.live(), 0, "its port is no flow");
        }
    }
}

#[test]
fn an_endpoint_has_a_share_of_a_quarter_of_the_ports_for_flows_that_are_half_open() {
    // A quarter of 160 is 40, and two endpoints share it.
    let table = table_with(1000, 1, 160);
    let turn = table.turn(0);
    let lane =
        |endpoint, client| NewFlow { lane: LaneId(endpoint as u32), ..new_flow(original(endpoint, client)) };
    let mut out = Vec::new();
    let answered = life(&turn, 0, &OPEN);
    for client in 1..=30 {
        turn.open(&lane(0, client), secs(0), |ended| out.push(ended)).unwrap();
    }
    let clients: Vec<u16> = out.iter().map(|ended| ended.original.remote_port).collect();
    assert_eq!(clients, (1..=10).collect::<Vec<u16>>(), "the oldest go first");
    assert!(out.iter().all(|ended| ended.cause == Cause::CrowdedOut));
    turn.open(&lane(1, 1), secs(0), |_| panic!("the other endpoint has its own share")).unwrap();
    assert_eq!(turn.find(&original(0, 0)), Some(answered), "an established flow never goes");
}

#[test]
fn a_full_table_refuses_only_when_every_flow_is_established() {
    let table = table(8, 1);
    let turn = table.turn(0);
    for client in 0..6 {
        life(&turn, client, &OPEN);
    }
    for client in 6..8 {
        life(&turn, client, &[CALL]);
    }
    let mut out = Vec::new();
    for client in 8..10 {
        let found = turn.open(&new_flow(original(0, client)), secs(0), |ended| out.push(ended)).unwrap();
        for (direction, flags, numbers) in OPEN {
            let key = if direction == Forward { original(0, client) } else { found.onward };
            turn.observe(&turn.find(&key).unwrap(), &packet(flags, numbers), secs(0));
        }
    }
    assert_eq!(out.iter().map(|ended| ended.original.remote_port).collect::<Vec<_>>(), [6, 7]);
    assert_eq!(open(&turn, original(0, 10)), Err(Refused::Full));
    assert_eq!(table.len(), 8);
}

#[test]
fn errors_about_a_flow_are_rationed_and_keep_it_no_longer() {
    let table = table(16, 1);
    let turn = table.turn(0);
    let found = turn.open(&new_flow(original(0, 1)), secs(5), |_| ()).unwrap();
    let allowed =
        |millis: u64| (0..100).filter(|_| turn.allows_error(&found, Duration::from_millis(millis))).count();
    assert_eq!(allowed(5_000), 10, "at once");
    assert_eq!(allowed(5_099), 0);
    assert_eq!(allowed(5_100), 1, "and then one every tenth of a second");
    assert_eq!(allowed(5_700), 6);
    assert_eq!(allowed(33_000), 10, "what was not used is not saved up");
    assert!(turn.expire(0, secs(35)).is_some(), "an error is no sign of life");

    let again = turn.open(&new_flow(original(0, 2)), secs(33), |_| ()).unwrap();
    assert!(turn.allows_error(&again, secs(33)), "another flow has an allowance of its own");
}
