use super::*;

const UNHEALTHY: Fate = Fate::Ended(Cause::Unhealthy);

/// Whether the flow in a slot has ended, and its port is free again.
fn is_gone(table: &Table, turn: &Turn<'_>, slot: usize, now: Duration) -> bool {
    assert_eq!(turn.expire(slot, now), None, "its end has been told");
    table.is_empty()
}

#[test]
fn a_flow_ends_with_its_lane_at_the_next_sweep_and_its_port_rests() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let table = table(64, 1);
        let turn = table.turn(0);
        let key = Key { protocol, ..original(0, 1) };
        let found = match protocol {
            Protocol::Tcp => life(&turn, 1, &OPEN),
            Protocol::Udp => open(&turn, key).unwrap(),
        };
        let slot = found.flow.slot as usize;
        assert_eq!(turn.expire(slot, secs(100)), None, "it is carried");
        table.lanes().set_fate(found.lane, UNHEALTHY);
        assert_eq!(turn.expire(slot, secs(0)), None, "it has only just begun");
        let ended = turn.expire(slot, secs(100)).unwrap();
        assert_eq!((ended.flow, ended.cause, ended.original), (found.flow, Cause::Unhealthy, key));
        assert_eq!(ended.heard, Tick::of(secs(0)));
        assert_eq!((turn.find(&key), turn.find(&found.onward)), (None, None));
        assert_eq!((table.live(), table.len(), table.tomb(&key)), (0, 1, None));
        assert!(!is_gone(&table, &turn, slot, secs(110) - Tick::LEN), "however long it was silent before");
        assert!(is_gone(&table, &turn, slot, secs(110)));
    }
}

#[test]
fn who_meets_an_ended_lane_first_ends_the_flow_and_nobody_after() {
    let table = table(64, 2);
    let (turn, other) = (table.turn(0), table.turn(1));
    let found = life(&turn, 1, &OPEN);
    table.lanes().set_fate(found.lane, Fate::Ended(Cause::Deregistered));
    let ended = turn.retire(found.flow, Cause::Deregistered, secs(1)).unwrap();
    assert_eq!((ended.cause, ended.user), (Cause::Deregistered, table.lanes().lane(found.lane).user));
    assert_eq!((ended.expected, ended.sent), ([7001, 1001], [1001, 7001]));
    assert_eq!(other.retire(found.flow, Cause::Deregistered, secs(1)), None);
    assert_eq!(other.expire(found.flow.slot as usize, secs(1)), None);
    let next = open(&turn, original(0, 1)).unwrap();
    assert_ne!(next.onward.local_port, found.onward.local_port, "the target may not have heard of the end");
}

#[test]
fn what_has_closed_already_ends_as_it_would_have() {
    let table = table(64, 1);
    let turn = table.turn(0);
    let (closed, parted) = (life(&turn, 1, &REFUSED), life(&turn, 2, &REFUSED));
    turn.part(&parted).unwrap();
    table.lanes().set_fate(closed.lane, UNHEALTHY);
    for found in [&closed, &parted] {
        assert_eq!(turn.expire(found.flow.slot as usize, secs(9)), None);
    }
    assert_eq!(turn.find(&original(0, 1)), Some(closed), "its stragglers are still carried");
    assert_eq!(turn.expire(closed.flow.slot as usize, secs(10)).unwrap().cause, Cause::Reset);
    assert!(is_gone(&table, &turn, parted.flow.slot as usize, secs(10)));
}

#[test]
fn a_half_open_flow_that_ends_with_its_lane_gives_its_share_back() {
    let table = table(64, 1);
    let turn = table.turn(0);
    let found = life(&turn, 1, &[CALL]);
    let share = table.lanes.share(found.lane).unwrap();
    assert_eq!(share.half_open(), 1);
    table.lanes().set_fate(found.lane, UNHEALTHY);
    assert!(turn.expire(found.flow.slot as usize, secs(1)).is_some());
    assert_eq!(share.half_open(), 0);
    assert!(is_gone(&table, &turn, found.flow.slot as usize, secs(11)));
    assert_eq!(share.half_open(), 0);
}

#[test]
fn terminated_flows_and_probes_are_their_owners_to_end() {
    for path in [FlowPath::Terminated { worker: 0, relay: 1 }, FlowPath::Probe { worker: 0, probe: 1 }] {
        let table = table(64, 1);
        let turn = table.turn(0);
        let opened = turn.open(&NewFlow { path, ..new_flow(original(0, 1)) }, secs(0), |_| ()).unwrap();
        table.lanes().set_fate(opened.lane, Fate::Ended(Cause::Removed));
        let slot = opened.flow.slot as usize;
        assert_eq!((turn.expire(slot, secs(1000)), table.live()), (None, 1));
        assert!(turn.retire(opened.flow, Cause::Removed, secs(1000)).is_some());
        assert!(!is_gone(&table, &turn, slot, secs(1009)));
        assert!(is_gone(&table, &turn, slot, secs(1010)));
    }
}

#[test]
fn a_lane_that_is_carried_again_ends_nothing_more() {
    let table = table(64, 1);
    let turn = table.turn(0);
    let found = life(&turn, 1, &OPEN);
    table.lanes().set_fate(found.lane, UNHEALTHY);
    table.lanes().set_fate(found.lane, Fate::Carried);
    assert_eq!(turn.expire(found.flow.slot as usize, secs(1)), None);
    assert_eq!(turn.find(&original(0, 1)), Some(found));
}

#[test]
fn a_lane_counts_its_flows_until_they_end() {
    let table = table(64, 1);
    let turn = table.turn(0);
    let count = || (table.lanes().flows(LaneId(0)), table.lanes().flows(LaneId(1)), table.live());
    let flows = [1, 2].map(|client| open(&turn, original(0, client)).unwrap().flow);
    let (parted, closed) = (life(&turn, 3, &REFUSED), life(&turn, 4, &REFUSED));
    assert_eq!(count(), (4, 0, 4));
    turn.release(flows[0], Cause::Released);
    assert_eq!(count(), (3, 0, 3));
    turn.retire(flows[1], Cause::Unhealthy, secs(0));
    assert_eq!(count(), (2, 0, 2), "its port rests");
    turn.part(&parted);
    assert_eq!(count(), (1, 0, 1), "so does this one's");
    assert!(turn.expire(closed.flow.slot as usize, secs(10)).is_some());
    assert_eq!(count(), (0, 0, 0));
    for slot in 0..4 {
        assert_eq!(turn.expire(slot, secs(10)), None);
    }
    assert_eq!((count(), table.len()), ((0, 0, 0), 0));
}
