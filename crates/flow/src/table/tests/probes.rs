use super::*;

const OWN: [u8; 4] = [10, 2, 9, 1];

/// A table with two targets' lanes of health checks, and nothing else.
fn table_of_checks() -> Table {
    let lanes = Lanes::new(1, 1);
    for target in [2, 3] {
        let lane = Lane { user: LaneUser::HealthCheck, ..lane(0, Protocol::Tcp, target) };
        lanes.intern(&lane, secs(10)).unwrap();
    }
    Table::new(16, 1, lanes, [1, 2, 3, 4])
}

fn probe(lane: u32) -> NewFlow {
    let original = Key::of_probe(Id::new(0), Addr::v4(OWN));
    NewFlow { original, lane: LaneId(lane), path: FlowPath::Probe { worker: 0, probe: lane }, preference: 0 }
}

#[test]
fn a_probe_is_found_by_what_its_target_answers_and_by_nothing_else() {
    let table = table_of_checks();
    let turn = table.turn(0);
    // Each target's pool has one port, the same: two probes that differ in their targets only.
    for lane in [0, 1] {
        let opened = turn.open(&probe(lane), secs(0), |_| ()).unwrap();
        let found = turn.find(&opened.onward).unwrap();
        assert_eq!((found.flow, found.direction), (opened.flow, Reply));
        assert_eq!((found.path, found.lane), (probe(lane).path, LaneId(lane)));
        assert_eq!(opened.onward.remote, table.lanes().lane(LaneId(lane)).pool.target);
        assert!(table.has(&opened.onward), "what it has sent is known for our own");
        for local_port in [0, opened.onward.local_port] {
            let forged = Key { local_port, ..probe(lane).original };
            assert_eq!((turn.find(&forged), table.has(&forged)), (None, false));
        }
    }
    assert_eq!(table.live(), 2);
}

#[test]
fn a_probe_is_not_followed_and_its_port_rests_when_it_has_finished() {
    let table = table_of_checks();
    let turn = table.turn(0);
    let opened = turn.open(&probe(0), secs(0), |_| ()).unwrap();
    assert_eq!(opened.phase(), Phase::Established);
    turn.observe(&turn.find(&opened.onward).unwrap(), &packet(ACK, (7001, 1001)), secs(0));
    assert_eq!(turn.retire(opened.flow, Cause::Finished, secs(5)).unwrap().user, LaneUser::HealthCheck);
    assert_eq!(turn.find(&opened.onward), None);
    let free_again = (5..).find(|now| {
        turn.expire(opened.flow.slot as usize, secs(*now));
        table.is_empty()
    });
    assert_eq!(free_again, Some(6), "its pool is full: a second");
}
