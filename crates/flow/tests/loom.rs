//! Every order in which two workers' accesses can interleave, as far as the memory model allows it: run by `scripts/loom`.

#![cfg(loom)]
#![allow(clippy::unwrap_used)] // a model that cannot be set up may end at once

use std::time::Duration;

use flow::{
    Cause, Fate, FlowPath, Found, Key, Lane, LaneUser, Lanes, NewFlow, Numbering, Place, PoolKey, Refused,
    Table,
};
use loom::sync::Arc;
use loom::thread;
use topology::Id;
use wire::{Addr, Packet, Protocol, Scaling, TcpFlags};

/// One target, as many source ports as slots, two workers.
fn table(slots: usize) -> Table {
    table_of(Protocol::Udp, slots)
}

fn table_of(protocol: Protocol, slots: usize) -> Table {
    let pool = PoolKey { protocol, node: Id::new(0), target: Addr::v4([10, 2, 0, 2]), target_port: 53 };
    let lane = Lane { user: LaneUser::HealthCheck, target: Id::new(0), pool };
    let lanes = Lanes::new(slots, 2);
    lanes.intern(&lane, Duration::from_secs(120)).unwrap();
    Table::new(slots, 2, lanes, [1, 2, 3, 4])
}

fn key(client: u8) -> Key {
    Key {
        place: Place::Interface(Id::new(0)),
        protocol: Protocol::Udp,
        local_port: 53,
        remote: Addr::v4([10, 1, 0, client]),
        remote_port: client.into(),
    }
}

fn open(table: &Table, worker: usize, client: u8) -> Result<Found, Refused> {
    let (lane, _) = table.lanes().iter().next().unwrap();
    let new = NewFlow { original: key(client), lane, path: FlowPath::Nat, preference: 0 };
    table.turn(worker).open(&new, Duration::ZERO, |_| ())
}

fn model(model: impl Fn() + Sync + Send + 'static) {
    bounded(3, model);
}

/// Tries every order in which the threads are interrupted so many times. (Who only reads is a thread of its own: the first one is
/// interrupted less often than that.)
fn bounded(interruptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    // Taking the lists of lanes apart at the end takes more than the usual thousand.
    builder.max_branches = 10_000;
    builder.check(model);
}

/// A reader is stopped between look-up and write, while the flow ends and its slot and port are wanted for the next one. What it has
/// found stays what it was: nobody else answers to the tuple that it is about to write.
#[test]
fn what_a_turn_has_found_is_nobody_elses_until_it_ends() {
    model(|| {
        let table = Arc::new(table(1));
        let flow = open(&table, 0, 1).unwrap().flow;
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let turn = table.turn(1);
                if let Some(found) = turn.find(&key(1)) {
                    let back = turn.find(&found.onward);
                    assert!(back.is_none_or(|back| back.onward == key(1)));
                }
            })
        };
        table.turn(0).release(flow, Cause::Released);
        table.turn(0).recycle(1);
        // With its port and its slot; or not yet.
        let _if_there_is_room = open(&table, 0, 2);
        reader.join().unwrap();
    });
}

/// A flow that can be found is whole, by whichever key.
#[test]
fn what_is_published_is_whole() {
    model(|| {
        let table = Arc::new(table(1));
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let turn = table.turn(1);
                if let Some(found) = turn.find(&key(1)) {
                    let back = turn.find(&found.onward).unwrap();
                    assert_eq!((back.flow, back.onward), (found.flow, key(1)));
                }
            })
        };
        open(&table, 0, 1).unwrap();
        reader.join().unwrap();
    });
}

/// A sweep ends a flow that its opener has not put into the index yet, or only by one of its keys: nothing of it is left there that
/// would stand in the way of the client's next flow.
#[test]
fn a_flow_that_ends_while_it_is_published_leaves_nothing_behind() {
    const LATER: Duration = Duration::from_secs(1000);
    for fate in [Fate::Carried, Fate::Ended(Cause::Removed)] {
        bounded(2, move || {
            let table = Arc::new(table(2));
            let (lane, _) = table.lanes().iter().next().unwrap();
            table.lanes().set_fate(lane, fate);
            let sweeper = {
                let table = Arc::clone(&table);
                thread::spawn(move || table.turn(1).expire(0, LATER).is_some())
            };
            let opened = open(&table, 0, 1);
            if sweeper.join().unwrap() {
                assert!(open(&table, 0, 1).is_ok(), "after {opened:?}");
            } else {
                opened.unwrap();
            }
        });
    }
}

/// Two workers meet the same new flow: it is opened once, or not at all.
#[test]
fn a_flow_is_not_opened_twice() {
    model(|| {
        let table = Arc::new(table(2));
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || open(&table, 1, 1).is_ok())
        };
        let this = open(&table, 0, 1).is_ok();
        assert!(!(other.join().unwrap() && this));
        assert_eq!(table.turn(0).find(&key(1)).is_some(), table.len() == 1);
    });
}

/// Somebody lists the flows, from outside of any turn, while one ends and its slot becomes the next one's: what is shown is one
/// flow, whole.
#[test]
fn what_is_listed_is_whole() {
    // A listing reads much without an order: each word doubles what there is to try.
    bounded(1, || {
        let table = Arc::new(table(1));
        let flow = open(&table, 0, 1).unwrap().flow;
        let lister = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                table.each(Duration::ZERO, |view| {
                    assert_eq!(view.original, key(view.original.remote_port as u8));
                    assert_eq!(view.flow == flow, view.original == key(1));
                });
            })
        };
        table.turn(0).release(flow, Cause::Released);
        table.turn(0).recycle(1);
        open(&table, 0, 2).unwrap();
        lister.join().unwrap();
    });
}

const NUMBERING: Numbering =
    Numbering { header: 100, sequence: 1 << 31, timestamp: 77, window: Scaling { from: 7, to: 2 } };

fn tcp_key() -> Key {
    Key { protocol: Protocol::Tcp, ..key(1) }
}

fn escorted_by(worker: u8) -> FlowPath {
    FlowPath::Escorted { worker, escort: 7 }
}

/// A table with a TCP flow that worker 0 escorts.
fn with_an_escorted_flow() -> (Arc<Table>, Found) {
    let table = table_of(Protocol::Tcp, 1);
    let (lane, _) = table.lanes().iter().next().unwrap();
    let new = NewFlow { original: tcp_key(), lane, path: escorted_by(0), preference: 0 };
    let opened = table.turn(0).open(&new, Duration::ZERO, |_| ()).unwrap();
    (Arc::new(table), opened)
}

/// As [`with_an_escorted_flow`], but it was settled, and the consumer has reset it.
fn with_a_closed_flow() -> (Arc<Table>, Found) {
    let (table, opened) = with_an_escorted_flow();
    let turn = table.turn(0);
    turn.steer(&opened, FlowPath::Shifted, &NUMBERING);
    let reset = Packet {
        source: tcp_key().remote,
        destination: tcp_key().remote,
        protocol: Protocol::Tcp,
        source_port: 1,
        destination_port: 53,
        ttl: 64,
        flags: TcpFlags::new(TcpFlags::RST),
        sequence: 0,
        acknowledgement: 0,
        transport: 20,
        payload: 40,
        len: 40,
    };
    turn.observe(&opened, &reset, Duration::ZERO);
    let closed = turn.find(&tcp_key()).unwrap();
    drop(turn);
    (table, closed)
}

/// A flow's numbers are settled while another worker carries its packets.
#[test]
fn a_shifted_flow_is_never_seen_without_its_numbers() {
    model(|| {
        let (table, opened) = with_an_escorted_flow();
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let turn = table.turn(1);
                let found = turn.find(&tcp_key()).unwrap();
                if found.path == FlowPath::Shifted {
                    assert_eq!(turn.numbering(&found), NUMBERING);
                }
            })
        };
        table.turn(0).steer(&opened, FlowPath::Shifted, &NUMBERING);
        reader.join().unwrap();
    });
}

/// A closed tuple opens again while another worker has found the old flow, or the new one: each has its own path and numbers.
#[test]
fn a_flow_that_opens_again_is_the_old_one_or_the_new_one() {
    model(|| {
        let (table, closed) = with_a_closed_flow();
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let turn = table.turn(1);
                let Some(found) = turn.find(&tcp_key()) else { return };
                let seen = (found.path, turn.numbering(&found));
                if found.flow != closed.flow {
                    assert_eq!(seen, (escorted_by(0), Numbering::default()));
                } else if turn.at(found.flow).is_some() {
                    assert_eq!(
                        seen,
                        (FlowPath::Shifted, NUMBERING),
                        "it has not ended while it was looked at"
                    );
                }
            })
        };
        let (again, _) = table.turn(0).reopen(&closed, escorted_by(0), Duration::ZERO).unwrap();
        reader.join().unwrap();
        assert_eq!(table.turn(0).find(&tcp_key()), Some(again));
    });
}

/// Two workers open a closed tuple again at once: one does, and it is carried as that one says.
#[test]
fn a_closed_tuple_is_opened_again_once() {
    bounded(2, || {
        let (table, closed) = with_a_closed_flow();
        let again = move |table: &Table, worker: u8| {
            let opened = table.turn(worker.into()).reopen(&closed, escorted_by(worker), Duration::ZERO);
            opened.map(|(found, _)| found)
        };
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || again(&table, 1))
        };
        let (this, other) = (again(&table, 0), other.join().unwrap());
        assert!(this.is_some() != other.is_some());
        assert_eq!(table.turn(0).find(&tcp_key()), this.or(other));
    });
}
