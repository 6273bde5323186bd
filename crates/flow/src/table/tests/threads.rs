use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::*;
use crate::listing::FlowView;

/// Four threads open, find and end flows as fast as they can, over few slots, so that each slot and port is re-used all
/// the time. Whatever a thread finds must be what it looked for, for as long as its turn lasts, and no port may have
/// two owners.
#[test]
fn threads_never_meet_a_stranger_in_a_slot() {
    const WORKERS: usize = 4;
    let table = table(48, WORKERS);
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
                        if let Ok(Found { flow, onward, .. }) = open(&turn, key) {
                            let port = onward.local_port;
                            let serial = u64::from(round) << 8 | (worker as u64 + 1);
                            let had = owners[usize::from(port)].swap(serial, Ordering::SeqCst);
                            failed.fetch_or(had != 0, Ordering::SeqCst);
                            mine.push((flow, key, port));
                        }
                    } else if !mine.is_empty() {
                        let (flow, _, port) = mine.swap_remove(round as usize % mine.len());
                        owners[usize::from(port)].store(0, Ordering::SeqCst);
                        failed.fetch_or(turn.release(flow, Cause::Released).is_none(), Ordering::SeqCst);
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
                    turn.release(flow, Cause::Released);
                }
            });
        }
    });
    assert!(!failed.load(Ordering::SeqCst));
    // What was gathered begins to wait, what waited is freed, and the other way round.
    for worker in (0..WORKERS).cycle().take(4 * WORKERS) {
        table.turn(worker).recycle(table.slots.len());
    }
    assert!(table.is_quiet());
    assert!(table.lanes.pools().all(|pool| pool.in_use == 0), "every port came back");
    let slots: HashSet<u32> = std::iter::from_fn(|| table.free.take(&table.slots)).collect();
    assert_eq!(slots.len(), table.slots.len(), "and so did every slot");
}

/// A client whose whole tuple, lane included, follows from its port: if any part of a listing is another's, it shows.
fn telling(worker: usize, port: u16) -> NewFlow {
    let [high, low] = port.to_be_bytes();
    let remote = Addr::v6([high, low, worker as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, worker as u8, high, low]);
    let local_port = !port;
    let original = Key {
        place: Place::Interface(Id::new(worker)),
        remote,
        local_port,
        remote_port: port,
        ..original(0, 0)
    };
    NewFlow { original, lane: LaneId(u32::from(port) % 3), path: FlowPath::Nat, preference: u64::from(port) }
}

/// Whether all that is shown belongs to one flow of [`what_is_listed_is_one_flow_whole`].
fn is_whole(table: &Table, view: &FlowView) -> bool {
    let Place::Interface(interface) = view.original.place else { return false };
    let new = telling(interface.index(), view.original.remote_port);
    (view.original, view.lane, view.path) == (new.original, new.lane, new.path)
        && view.reply.protocol == table.lanes().lane(view.lane).pool.protocol
        && view.age == secs(4)
        && (secs(3)..=secs(4)).contains(&view.silent)
        && view.forward.packets <= 2
        && view.returned == Totals::default()
}

/// A thread opens, uses and ends flows as fast as it can, over few slots, while another one looks at them from outside. (What goes
/// wrong here only now and then, `tests/loom.rs` makes sure of.)
#[test]
fn what_is_listed_is_one_flow_whole() {
    const ENOUGH: usize = 1_000_000;
    let table = table(4, 1);
    let is_done = AtomicBool::new(false);
    let torn = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut newest = None;
            for port in (0..=u16::MAX).cycle() {
                let turn = table.turn(0);
                let found = turn.open(&telling(usize::from(port & 1), port), secs(1), |_| ()).unwrap();
                (0..port % 3).for_each(|_| turn.count(&found, 100, secs(2)));
                let older = newest.replace(found.flow);
                older.map(|flow| turn.release(flow, Cause::Released).unwrap());
                if is_done.load(Ordering::SeqCst) {
                    turn.release(found.flow, Cause::Released).unwrap();
                    return;
                }
            }
        });
        let (mut listed, mut torn) = (0, None);
        while listed < ENOUGH && torn.is_none() {
            table.each(secs(5), |view| {
                listed += 1;
                torn = torn.or_else(|| Some(*view).filter(|view| !is_whole(&table, view)));
            });
        }
        is_done.store(true, Ordering::SeqCst);
        torn
    });
    assert_eq!(torn, None);
    table.each(secs(5), |view| panic!("every flow has ended: {view:?}"));
}

/// Lanes are added while threads open flows on those that are there, find them and end them.
#[test]
fn lanes_grow_while_threads_use_them() {
    const WORKERS: usize = 2;
    const LANES: u32 = 1000;
    let nth = |n: u32| {
        let pool = PoolKey { target: Addr::v4(n.to_be_bytes()), ..lane(0, Protocol::Tcp, 0).pool };
        Lane { target: Id::new(n as usize), pool, ..lane(n as usize % 7, Protocol::Tcp, 0) }
    };
    let table = Table::new(256, WORKERS, Lanes::new(600, WORKERS), [1, 2, 3, 4]);
    let lanes = table.lanes();
    assert_eq!(lanes.intern(&nth(0), secs(350)), Some(LaneId(0)));
    let newest = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (table, newest) = (&table, &newest);
            scope.spawn(move || {
                let mut client = 0;
                let mut rounds_with_all = 0;
                while rounds_with_all < 2000 {
                    let known = newest.load(Ordering::Acquire) + 1;
                    client += 1;
                    let id = LaneId(client * 31 % known);
                    let key = original(worker, client);
                    let turn = table.turn(worker);
                    // While the other thread waits for the processor in its turn, nothing that is freed can be had.
                    let Ok(opened) = turn.open(&NewFlow { lane: id, ..new_flow(key) }, secs(0), |_| ())
                    else {
                        continue;
                    };
                    let back = turn.find(&opened.onward).unwrap();
                    assert_eq!((back.onward, back.lane), (key, id));
                    assert_eq!(table.lanes().lane(id), &nth(id.0));
                    assert_eq!(opened.onward.remote, nth(id.0).pool.target);
                    let ends = [Fate::Carried, Fate::Ended(Cause::Removed)];
                    assert!(ends[..=id.0 as usize % 2].contains(&table.lanes().fate(id)));
                    assert!(table.lanes().flows(id) > 0);
                    assert_eq!(turn.release(opened.flow, Cause::Released).unwrap().target, nth(id.0).target);
                    rounds_with_all += u32::from(known == LANES);
                }
            });
        }
        for n in 1..LANES {
            let id = lanes.intern(&nth(n), secs(350)).unwrap();
            if n % 2 == 1 {
                lanes.set_fate(id, Fate::Ended(Cause::Removed));
            }
            newest.store(n, Ordering::Release);
        }
    });
    for worker in (0..WORKERS).cycle().take(4 * WORKERS) {
        table.turn(worker).recycle(table.slots.len());
    }
    assert!(table.is_quiet());
    assert_eq!(lanes.iter().count(), LANES as usize);
    assert!(lanes.iter().all(|(id, _)| lanes.flows(id) == 0 && lanes.pool(id).status().in_use == 0));
}
