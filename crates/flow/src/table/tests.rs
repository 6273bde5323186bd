use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use topology::{Id, NodeId};
use wire::{Addr, Protocol};

use super::*;
use crate::key::Place;
use crate::ports::PoolKey;

const NODE: u32 = 0;

fn node() -> NodeId {
    Id::new(NODE as usize, 0)
}

fn target() -> Addr {
    Addr::v4([10, 2, 0, 2])
}

fn table(capacity: usize, workers: usize) -> Table {
    let pool = PoolKey { protocol: Protocol::Tcp, node: node(), target: target(), target_port: 8080 };
    Table::new(capacity, workers, Ports::new(std::iter::once(pool)), [1, 2, 3, 4])
}

fn original(interface: usize, client: u32) -> Key {
    Key {
        place: Place::Interface(Id::new(interface, 0)),
        protocol: Protocol::Tcp,
        local_port: 80,
        remote: Addr::v4((0x0a01_0000 + (client >> 16)).to_be_bytes()),
        remote_port: client as u16,
    }
}

fn new_flow(table: &Table, original: Key) -> NewFlow {
    let pool = PoolId(0);
    let port = table.ports().take(pool, u64::from(original.remote_port)).unwrap();
    NewFlow {
        original,
        reply: Key {
            place: Place::Node(node()),
            protocol: Protocol::Tcp,
            local_port: port,
            remote: target(),
            remote_port: 8080,
        },
        listener: Id::new(0, 0),
        target: Id::new(0, 0),
        pool,
        path: FlowPath::Nat,
        idle: Duration::from_secs(350),
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn both_keys_lead_to_the_flow_and_each_is_the_others_recipe() {
    let table = table(16, 1);
    let turn = table.turn(0);
    let new = new_flow(&table, original(0, 40_000));
    assert_eq!(turn.find(&new.original), None);
    let flow = turn.insert(&new, secs(0)).unwrap().flow;
    let there = turn.find(&new.original).unwrap();
    assert_eq!((there.flow, there.direction, there.onward), (flow, Direction::Forward, new.reply));
    let back = turn.find(&new.reply).unwrap();
    assert_eq!((back.flow, back.direction, back.onward), (flow, Direction::Reply, new.original));
    let elsewhere = Key { place: Place::Interface(Id::new(1, 0)), ..new.original };
    assert_eq!(turn.find(&elsewhere), None, "another consumer with the same addresses is somebody else");
}

#[test]
fn a_freed_slot_and_its_port_wait_for_every_workers_turn() {
    let table = table(1, 2);
    let reader = table.turn(1);
    let first = new_flow(&table, original(0, 1));
    let port = first.reply.local_port;
    {
        let turn = table.turn(0);
        let flow = turn.insert(&first, secs(0)).unwrap().flow;
        assert!(reader.find(&first.original).is_some());
        assert_eq!(turn.release(flow).unwrap().cause, Cause::Released);
        assert_eq!(turn.release(flow), None, "once");
        assert!(reader.find(&first.original).is_none());
    }
    let retry = || {
        let turn = table.turn(0);
        turn.recycle(1);
        turn.insert(&new_flow(&table, original(0, 2)), secs(0))
    };
    assert_eq!(retry(), Err(Refused::Full), "the reader may still hold what it found");
    assert_eq!(table.ports().in_use(), 1, "and so the first flow's port is still taken: {port}");
    drop(reader);
    assert!(retry().is_ok());
    assert_eq!(table.ports().in_use(), 1, "the refused flow's port is back, and so is the first one's");
}

#[test]
fn the_same_flow_is_not_made_twice() {
    let table = table(16, 2);
    let turn = table.turn(0);
    let original = original(0, 7);
    turn.insert(&new_flow(&table, original), secs(0)).unwrap();
    assert_eq!(turn.insert(&new_flow(&table, original), secs(0)), Err(Refused::Raced));
    assert_eq!(table.len(), 1);
    assert!(turn.find(&original).is_some(), "the first one stands");
}

#[test]
fn time_runs_out_as_the_phase_says() {
    let table = table(64, 1);
    let turn = table.turn(0);
    let life = |client, packets: &[(Direction, u8)]| {
        let new = new_flow(&table, original(0, client));
        let flow = turn.insert(&new, secs(0)).unwrap().flow;
        for (direction, flags) in packets {
            let key = if *direction == Forward { new.original } else { new.reply };
            let found = turn.find(&key).unwrap();
            turn.observe(&found, TcpFlags::new(*flags), 40, secs(0));
        }
        let ends =
            (0..=400).find_map(|now| turn.expire(flow.slot as usize, secs(now)).map(|end| (now, end.cause)));
        ends.unwrap()
    };
    use Direction::{Forward, Reply};
    let (syn, ack, fin, rst) = (TcpFlags::SYN, TcpFlags::ACK, TcpFlags::FIN, TcpFlags::RST);
    assert_eq!(life(1, &[(Forward, syn)]), (30, Cause::Unanswered));
    let open = [(Forward, syn), (Reply, syn | ack), (Forward, ack)];
    assert_eq!(life(2, &open), (350, Cause::Idle));
    assert_eq!(life(3, &[&open[..], &[(Forward, fin | ack)]].concat()), (350, Cause::Idle));
    let closed = [&open[..], &[(Forward, fin | ack), (Reply, fin | ack)]].concat();
    assert_eq!(life(4, &closed), (60, Cause::Finished));
    assert_eq!(life(5, &[(Forward, syn), (Reply, rst | ack)]), (60, Cause::Reset));
}

/// A closed flow keeps its port quiet for as long as nobody is short of ports or slots.
#[test]
fn what_runs_short_is_given_back_sooner() {
    let table = table(100, 1);
    let turn = table.turn(0);
    for (flows, remembered) in [(40, 60), (60, 10), (80, 1)] {
        let flows: Vec<_> = (0..flows)
            .map(|client| {
                let new = new_flow(&table, original(0, client));
                let flow = turn.insert(&new, secs(0)).unwrap().flow;
                let found = turn.find(&new.reply).unwrap();
                turn.observe(&found, TcpFlags::new(TcpFlags::RST), 40, secs(0));
                flow
            })
            .collect();
        let slot = flows[0].slot as usize;
        assert_eq!(turn.expire(slot, secs(remembered) - Tick::LEN), None);
        assert!(turn.expire(slot, secs(remembered)).is_some());
        drop(flows.into_iter().map(|flow| turn.release(flow)).collect::<Vec<_>>());
        table.turns.end(0);
        turn.recycle(100);
        table.turns.begin(0);
    }
}

#[test]
fn talking_keeps_a_flow_and_silence_ends_it_to_the_second() {
    let table = table(4, 1);
    let turn = table.turn(0);
    let new = NewFlow { idle: secs(120), ..new_flow(&table, original(0, 9)) };
    let udp = |key: Key| Key { protocol: Protocol::Udp, ..key };
    let new = NewFlow { original: udp(new.original), reply: udp(new.reply), ..new };
    let flow = turn.insert(&new, secs(0)).unwrap().flow;
    for now in [100, 200, 300] {
        assert_eq!(turn.expire(flow.slot as usize, secs(now)), None);
        let found = turn.find(&new.reply).unwrap();
        turn.observe(&found, TcpFlags::default(), 100, secs(now));
    }
    assert_eq!(turn.expire(flow.slot as usize, secs(419)), None);
    let ended = turn.expire(flow.slot as usize, secs(420)).unwrap();
    assert_eq!((ended.cause, ended.returned), (Cause::Idle, Totals { packets: 3, bytes: 300 }));
}

#[test]
fn a_closed_tuple_opens_again_with_its_port() {
    let table = table(4, 1);
    let turn = table.turn(0);
    let new = new_flow(&table, original(0, 5));
    let flow = turn.insert(&new, secs(0)).unwrap().flow;
    let found = turn.find(&new.reply).unwrap();
    turn.observe(&found, TcpFlags::new(TcpFlags::RST), 40, secs(1));
    assert_eq!(turn.find(&new.original).unwrap().phase, Phase::Closing);
    let before = turn.reopen(flow, secs(5)).unwrap();
    assert_eq!((before.cause, before.returned.packets), (Cause::Reset, 1));
    assert_eq!(turn.reopen(flow, secs(5)), None, "what is open is not opened");
    let again = turn.find(&new.original).unwrap();
    assert_eq!((again.phase, again.onward), (Phase::Opening, new.reply));
    assert_eq!(turn.expire(flow.slot as usize, secs(34)), None, "its clock starts anew");
    assert!(turn.expire(flow.slot as usize, secs(35)).is_some());
    assert_eq!(turn.reopen(flow, secs(36)), None, "what is gone does not open");
}

/// Four threads open, find and end flows as fast as they can, over few slots, so that each slot and port is re-used all
/// the time. Whatever a thread finds must be what it looked for, for as long as its turn lasts, and no port may have
/// two owners.
#[test]
fn errors_about_a_flow_are_rationed_and_keep_it_no_longer() {
    let table = table(16, 1);
    let turn = table.turn(0);
    let new = new_flow(&table, original(0, 1));
    let found = turn.insert(&new, secs(5)).unwrap();
    let allowed =
        |millis: u64| (0..100).filter(|_| turn.allows_error(&found, Duration::from_millis(millis))).count();
    assert_eq!(allowed(5_000), 10, "at once");
    assert_eq!(allowed(5_099), 0);
    assert_eq!(allowed(5_100), 1, "and then one every tenth of a second");
    assert_eq!(allowed(5_700), 6);
    assert_eq!(allowed(33_000), 10, "what was not used is not saved up");
    assert!(turn.expire(0, secs(35)).is_some(), "an error is no sign of life");

    let again = turn.insert(&new_flow(&table, original(0, 2)), secs(33)).unwrap();
    assert!(turn.allows_error(&again, secs(33)), "another flow has an allowance of its own");
}

#[test]
fn threads_never_meet_a_stranger_in_a_slot() {
    const WORKERS: usize = 4;
    let table = table(64, WORKERS);
    // Which flow, by a number of its own, holds each port; 0 is nobody.
    let owners: Vec<AtomicU64> = (0..=u16::MAX).map(|_| AtomicU64::new(0)).collect();
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (table, owners, failed) = (&table, &owners, &failed);
            scope.spawn(move || {
                let mut mine: Vec<(FlowId, Key, u16)> = Vec::new();
                for round in 0..20_000u32 {
                    let turn = table.turn(worker);
                    turn.recycle(1);
                    let key = original(worker, round % 500);
                    if mine.len() < 12 && turn.find(&key).is_none() {
                        let new = new_flow(table, key);
                        let port = new.reply.local_port;
                        if let Ok(Found { flow, .. }) = turn.insert(&new, secs(0)) {
                            let serial = u64::from(round) << 8 | (worker as u64 + 1);
                            let had = owners[usize::from(port)].swap(serial, Ordering::SeqCst);
                            failed.fetch_or(had != 0, Ordering::SeqCst);
                            mine.push((flow, key, port));
                        }
                    } else if !mine.is_empty() {
                        let (flow, _, port) = mine.swap_remove(round as usize % mine.len());
                        owners[usize::from(port)].store(0, Ordering::SeqCst);
                        failed.fetch_or(turn.release(flow).is_none(), Ordering::SeqCst);
                    }
                    // Everybody's flows, found by anybody, lead back to themselves.
                    let other = original((worker + 1) % WORKERS, round % 500);
                    if let Some(found) = turn.find(&other) {
                        let owner = &owners[usize::from(found.onward.local_port)];
                        let before = owner.load(Ordering::SeqCst);
                        if let Some(back) = turn.find(&found.onward) {
                            failed.fetch_or(back.onward != other, Ordering::SeqCst);
                        }
                        std::thread::yield_now();
                        let after = owner.load(Ordering::SeqCst);
                        let given_away = before != 0 && after != 0 && after != before;
                        failed.fetch_or(given_away, Ordering::SeqCst);
                    }
                }
                let turn = table.turn(worker);
                for (flow, ..) in mine {
                    turn.release(flow);
                }
            });
        }
    });
    assert!(!failed.load(Ordering::SeqCst));
    for worker in 0..WORKERS {
        table.turn(worker).recycle(table.capacity());
    }
    assert!(table.is_quiet());
    assert_eq!(table.ports().in_use(), 0, "every port came back");
    let slots: HashSet<u32> = std::iter::from_fn(|| table.free.take(&table.slots)).collect();
    assert_eq!(slots.len(), table.capacity(), "and so did every slot");
}
