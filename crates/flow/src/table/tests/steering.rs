//! Flows whose sides number differently: how they are carried, from when on, and for how long.

use std::sync::atomic::{AtomicBool, Ordering};

use wire::Scaling;

use super::*;
use crate::numbering::Numbering;

const SIDES: [Direction; 2] = [Forward, Reply];
const ESCORTED: FlowPath = FlowPath::Escorted { worker: 3, escort: 7 };
const NUMBERING: Numbering =
    Numbering { header: 100, sequence: 0xdead_beef, timestamp: 77, window: Scaling { from: 7, to: 2 } };

/// A flow that somebody escorts.
fn escorted(turn: &Turn<'_>, client: u32) -> Found {
    let new = NewFlow { path: ESCORTED, ..new_flow(original(0, client)) };
    turn.open(&new, secs(0), |_| ()).unwrap()
}

/// One that its target has refused.
fn refused(turn: &Turn<'_>, client: u32) -> Found {
    let opened = escorted(turn, client);
    for (direction, flags, numbers) in REFUSED {
        let key = if direction == Forward { original(0, client) } else { opened.onward };
        turn.observe(&turn.find(&key).unwrap(), &packet(flags, numbers), secs(0));
    }
    turn.find(&original(0, client)).unwrap()
}

/// Ends a flow, and lets its slot be used again.
fn free(table: &Table, flow: FlowId) {
    assert!(table.turn(0).release(flow, Cause::Released).is_some());
    (0..2).for_each(|_| table.turn(0).recycle(8));
}

#[test]
fn what_is_steered_is_carried_so_and_shown_so_from_both_sides() {
    let table = table(16, 1);
    let turn = table.turn(0);
    let opened = escorted(&turn, 1);
    let seen = || {
        let mut shown = Vec::new();
        table.each(secs(0), |view| shown.push((view.path, view.numbering)));
        let sides = [original(0, 1), opened.onward].map(|key| turn.find(&key).unwrap());
        shown.extend(sides.iter().map(|found| (found.path, turn.numbering(found))));
        shown
    };
    assert_eq!(seen(), [(ESCORTED, Numbering::default()); 3]);
    let header_alone = Numbering { header: 100, ..Numbering::default() };
    turn.steer(&opened, ESCORTED, &header_alone);
    assert_eq!(seen(), [(ESCORTED, header_alone); 3]);
    turn.steer(&opened, FlowPath::Shifted, &NUMBERING);
    assert_eq!(seen(), [(FlowPath::Shifted, NUMBERING); 3]);
    let at = turn.at(opened.flow).unwrap();
    assert_eq!(Some(at), turn.find(&original(0, 1)), "by its id as by its key");
    assert_eq!(turn.original(&at), original(0, 1));
    assert_eq!(turn.release(opened.flow, Cause::Released).unwrap().numbering, NUMBERING);
    assert_eq!(turn.at(opened.flow), None);
}

#[test]
fn who_has_a_slot_next_has_nothing_of_the_last_ones_numbers() {
    let table = table(1, 1);
    let first = escorted(&table.turn(0), 1);
    table.turn(0).steer(&first, FlowPath::Shifted, &NUMBERING);
    free(&table, first.flow);
    let turn = table.turn(0);
    let next = escorted(&turn, 2);
    assert_eq!(next.flow.slot, first.flow.slot);
    assert_eq!((turn.at(first.flow), turn.numbering(&next)), (None, Numbering::default()));
}

#[test]
fn a_closed_tuple_opens_again_as_a_new_flow_with_a_path_and_numbers_of_its_own() {
    for path in [FlowPath::Nat, FlowPath::Escorted { worker: 1, escort: 8 }] {
        let table = table(4, 1);
        let turn = table.turn(0);
        let closed = refused(&turn, 1);
        turn.steer(&closed, FlowPath::Shifted, &NUMBERING);
        let (again, ended) = turn.reopen(&closed, path, secs(5)).unwrap();
        assert_eq!((ended.flow, ended.cause, ended.numbering), (closed.flow, Cause::Reset, NUMBERING));
        assert_eq!((again.path, again.onward, again.phase()), (path, closed.onward, Phase::Opening));
        assert_eq!(turn.find(&original(0, 1)), Some(again));
        assert_eq!(turn.at(again.flow), Some(again));
        assert_eq!(turn.numbering(&again), Numbering::default());
        assert_eq!(turn.at(closed.flow), None, "the old one is gone");
        assert_eq!((turn.release(closed.flow, Cause::Released), table.live()), (None, 1));
        assert_eq!(turn.expire(again.flow.slot as usize, secs(34)), None);
        let unanswered = turn.expire(again.flow.slot as usize, secs(35)).unwrap();
        assert_eq!((unanswered.flow, unanswered.cause), (again.flow, Cause::Unanswered));
    }
}

/// An escort's timer may find out late. Whatever it does then, it does to nobody.
#[test]
fn what_has_ended_is_steered_no_more() {
    let late = |turn: &Turn<'_>, found: &Found| {
        turn.steer(found, FlowPath::Shifted, &NUMBERING);
        turn.advance(found, 1 << 20);
    };
    let none = Numbering::default();
    let table = table(4, 1);
    let turn = table.turn(0);
    let closed = refused(&turn, 1);
    late(&turn, &closed);
    assert_eq!(turn.numbering(&closed), NUMBERING, "a closed one still is");
    let closed = turn.find(&original(0, 1)).unwrap();
    let (again, ended) = turn.reopen(&closed, ESCORTED, secs(5)).unwrap();
    assert_eq!(ended.sent[0], 1 << 20);
    late(&turn, &closed);
    assert_eq!((turn.find(&original(0, 1)), turn.numbering(&again)), (Some(again), none));
    let ended = turn.retire(again.flow, Cause::Reset, secs(5)).unwrap();
    assert_eq!(ended.sent[0], 0);
    late(&turn, &again);
    assert_eq!((turn.numbering(&again), table.live()), (none, 0));
    turn.expire(again.flow.slot as usize, secs(15));
    late(&turn, &again);
    assert_eq!((turn.numbering(&again), table.len()), (none, 0));
}

#[test]
fn what_was_sent_in_the_consumers_name_counts_and_never_goes_back() {
    for start in [1000, u32::MAX - 50, 1 << 31] {
        let table = table(4, 1);
        let turn = table.turn(0);
        let found = escorted(&turn, 1);
        for (sent, so_far) in [(0, 0), (100, 100), (50, 100), (100, 100), (101, 101)] {
            turn.advance(&found, start.wrapping_add(sent));
            let sent = SIDES.map(|side| table.slots[found.flow.slot as usize].side(side).sent());
            assert_eq!(sent, [start.wrapping_add(so_far), 0]);
        }
    }
}

#[test]
fn what_is_escorted_or_shifted_is_followed_ends_and_makes_room_as_on_nat() {
    let table = table_with(64, 1, 64);
    let turn = table.turn(0);
    let opened = escorted(&turn, 1);
    let slot = opened.flow.slot as usize;
    assert_eq!((opened.phase(), turn.expire(slot, secs(29))), (Phase::Opening, None));
    for path in [ESCORTED, FlowPath::Shifted] {
        turn.steer(&opened, path, &NUMBERING);
        for (direction, flags, numbers) in OPEN {
            let key = if direction == Forward { original(0, 1) } else { opened.onward };
            turn.observe(&turn.find(&key).unwrap(), &packet(flags, numbers), secs(0));
        }
        assert_eq!(turn.find(&original(0, 1)).unwrap().phase(), Phase::Established);
        assert_eq!(turn.expire(slot, secs(349)), None);
    }
    let ended = turn.expire(slot, secs(350)).unwrap();
    assert_eq!((ended.cause, ended.numbering), (Cause::Idle, NUMBERING));
    assert!(table.tomb(&original(0, 1)).is_some());

    let mut crowded_out = Vec::new();
    for client in 10..30 {
        let new = NewFlow { path: ESCORTED, ..new_flow(original(0, client)) };
        turn.open(&new, secs(350), |ended| crowded_out.push(ended.original.remote_port)).unwrap();
    }
    assert_eq!(crowded_out, [10, 11, 12, 13], "a quarter of the ports");
}

/// What a client's flows number differently, if they do.
fn telling(key: &Key) -> Numbering {
    let port = u32::from(key.remote_port);
    let window = Scaling { from: (port % 15) as u8, to: (port / 15 % 15) as u8 };
    Numbering { header: (port % 128) as u8, sequence: port * 0x1_0001, timestamp: !port, window }
}

/// Each thread opens flows, escorts and settles them, closes them and opens them again as fast as it can, over few clients; and
/// looks at all others'. Whoever finds a settled flow finds its numbers.
#[test]
fn threads_see_a_shifted_flow_with_its_numbers() {
    const WORKERS: u32 = 4;
    const CLIENTS: u32 = 3;
    let table = table(64, WORKERS as usize);
    let failed = AtomicBool::new(false);
    let live = |turn: &Turn<'_>, key: Key, path: FlowPath| match turn.find(&key) {
        None => turn.open(&NewFlow { path, ..new_flow(key) }, secs(0), |_| ()).ok(),
        Some(found) => turn.reopen(&found, path, secs(0)).map(|(found, _)| found),
    };
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (table, failed) = (&table, &failed);
            scope.spawn(move || {
                for round in 0..30_000 {
                    let turn = table.turn(worker as usize);
                    turn.recycle(4);
                    let key = original(0, worker * CLIENTS + round % CLIENTS + 1);
                    let path = FlowPath::Escorted { worker: worker as u8, escort: round as u16 };
                    if let Some(found) = live(&turn, key, path) {
                        turn.steer(&found, path, &Numbering { header: 9, ..Numbering::default() });
                        turn.steer(&turn.at(found.flow).unwrap(), FlowPath::Shifted, &telling(&key));
                        turn.observe(&found, &packet(RST, (0, 0)), secs(0));
                        if round % 7 == 0 {
                            turn.release(found.flow, Cause::Released);
                        }
                    }
                    for other in 1..=WORKERS * CLIENTS {
                        let Some(found) = turn.find(&original(0, other)) else { continue };
                        let numbering = turn.numbering(&found);
                        // If it has begun anew in between, it may have none again.
                        let is_still = turn.at(found.flow).is_some();
                        let is_right = match found.path {
                            FlowPath::Shifted => numbering == telling(&original(0, other)),
                            FlowPath::Escorted { worker, .. } => u32::from(worker) == (other - 1) / CLIENTS,
                            _ => false,
                        };
                        failed.fetch_or(is_still && !is_right, Ordering::SeqCst);
                    }
                    table.each(secs(0), |view| {
                        let is_right =
                            view.path != FlowPath::Shifted || view.numbering == telling(&view.original);
                        failed.fetch_or(!is_right, Ordering::SeqCst);
                    });
                }
            });
        }
    });
    assert!(!failed.load(Ordering::SeqCst));
}
