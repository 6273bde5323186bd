//! Every order in which two workers' accesses can interleave, as far as the memory model allows it: run by `scripts/loom`.

#![cfg(loom)]
#![allow(clippy::unwrap_used)] // a model that cannot be set up may end at once

use std::time::Duration;

use flow::{Cause, FlowPath, Found, Key, Lane, LaneId, Lanes, NewFlow, Place, PoolKey, Refused, Table, Turn};
use loom::sync::Arc;
use loom::thread;
use topology::Id;
use wire::{Addr, Protocol};

/// One target, as many source ports as slots, two workers.
fn table(slots: usize) -> Table {
    let pool = PoolKey {
        protocol: Protocol::Udp,
        node: Id::new(0, 0),
        target: Addr::v4([10, 2, 0, 2]),
        target_port: 53,
    };
    let (endpoint, listener, target) = (Id::new(0, 0), Id::new(0, 0), Id::new(0, 0));
    let lane = Lane { endpoint, listener, target, pool, idle: Duration::from_secs(120) };
    Table::new(slots, 2, Lanes::new(vec![lane], slots, 2), [1, 2, 3, 4])
}

fn key(client: u16) -> Key {
    Key {
        place: Place::Interface(Id::new(0, 0)),
        protocol: Protocol::Udp,
        local_port: 53,
        remote: Addr::v4([10, 1, 0, 2]),
        remote_port: client,
    }
}

fn open(turn: &Turn<'_>, client: u16) -> Result<Found, Refused> {
    let new = NewFlow { original: key(client), lane: LaneId::new(0), path: FlowPath::Nat, preference: 0 };
    turn.open(&new, Duration::ZERO, |_| ())
}

fn model(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A reader is stopped between look-up and write, while the flow ends and its slot and port are wanted for the next one. What it has
/// found stays what it was: nobody else answers to the tuple that it is about to write.
#[test]
fn what_a_turn_has_found_is_nobody_elses_until_it_ends() {
    model(|| {
        let table = Arc::new(table(1));
        let flow = open(&table.turn(0), 1).unwrap().flow;
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
        let _if_there_is_room = open(&table.turn(0), 2);
        reader.join().unwrap();
    });
}

/// A flow that can be found is whole, by whichever key.
#[test]
fn what_is_published_is_whole() {
    model(|| {
        let table = Arc::new(table(1));
        let writer = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                open(&table.turn(0), 1).unwrap();
            })
        };
        let turn = table.turn(1);
        if let Some(found) = turn.find(&key(1)) {
            let back = turn.find(&found.onward).unwrap();
            assert_eq!((back.flow, back.onward), (found.flow, key(1)));
        }
        drop(turn);
        writer.join().unwrap();
    });
}

/// Two workers meet the same new flow: it is opened once, or not at all.
#[test]
fn a_flow_is_not_opened_twice() {
    model(|| {
        let table = Arc::new(table(2));
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || open(&table.turn(1), 1).is_ok())
        };
        let this = open(&table.turn(0), 1).is_ok();
        assert!(!(other.join().unwrap() && this));
        assert_eq!(table.turn(0).find(&key(1)).is_some(), table.len() == 1);
    });
}
