use topology::Id;

use super::*;
use crate::shares::MOST_SHARES;

const IDLE: Duration = Duration::from_secs(350);

fn lane(endpoint: usize, target: u8) -> Lane {
    let (interface, listener) = (Id::new(endpoint), Id::new(0));
    Lane {
        user: LaneUser::Endpoint { endpoint: Id::new(endpoint), interface, listener },
        target: Id::new(target.into()),
        pool: PoolKey {
            protocol: Protocol::Tcp,
            node: Id::new(0),
            target: Addr::v4([10, 2, 0, target]),
            target_port: 8080,
        },
    }
}

#[test]
fn the_same_lane_is_the_same_id_and_its_patience_may_change() {
    let lanes = Lanes::new(55_000, 1);
    let ids: Vec<LaneId> = (0..3).map(|n| lanes.intern(&lane(0, n), IDLE).unwrap()).collect();
    assert_eq!(lanes.intern(&lane(0, 1), IDLE / 2), Some(ids[1]));
    assert_eq!((lanes.idle(ids[0]), lanes.idle(ids[1])), (Tick::of(IDLE), Tick::of(IDLE / 2)));
    let listed: Vec<_> = lanes.iter().map(|(id, lane)| (id, *lane)).collect();
    assert_eq!(listed, (0..3).map(|n| (ids[n as usize], lane(0, n))).collect::<Vec<_>>());
}

#[test]
fn lanes_from_one_node_to_one_target_have_one_pool() {
    let lanes = Lanes::new(55_000, 1);
    let health_check = Lane { user: LaneUser::HealthCheck, ..lane(0, 1) };
    for lane in [lane(0, 1), lane(1, 1), health_check, lane(0, 2)] {
        let id = lanes.intern(&lane, IDLE).unwrap();
        assert!(lanes.pool(id).take(0, 0).is_some());
    }
    assert_eq!(lanes.pools().map(|pool| pool.in_use).collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn every_cause_can_be_a_fate() {
    let lanes = Lanes::new(55_000, 1);
    let id = lanes.intern(&lane(0, 1), IDLE).unwrap();
    let other = lanes.intern(&lane(0, 2), IDLE).unwrap();
    assert_eq!(lanes.fate(id), Fate::Carried);
    for cause in Cause::ALL {
        lanes.set_fate(id, Fate::Ended(cause));
        assert_eq!((lanes.fate(id), lanes.fate(other)), (Fate::Ended(cause), Fate::Carried));
    }
}

#[test]
fn sentences_are_counted_when_a_lane_ends_and_those_that_fall_together_once() {
    let lanes = Lanes::new(55_000, 1);
    let ids: Vec<LaneId> = (0..3).map(|n| lanes.intern(&lane(0, n), IDLE).unwrap()).collect();
    let (carried, removed) = (Fate::Carried, Fate::Ended(Cause::Removed));
    let unhealthy = Fate::Ended(Cause::Unhealthy);
    for (fates, count) in [
        ([carried; 3], 0),
        ([removed, carried, removed], 1),
        ([removed, carried, removed], 1),
        ([unhealthy, carried, removed], 1),
        ([carried, carried, removed], 1),
        ([unhealthy; 3], 2),
        ([carried; 3], 2),
    ] {
        lanes.set_fates(ids.iter().copied().zip(fates));
        assert!(ids.iter().zip(fates).all(|(id, fate)| lanes.fate(*id) == fate));
        assert_eq!(lanes.sentences(), count, "{fates:?}");
    }
    lanes.set_fate(ids[1], removed);
    assert_eq!(lanes.sentences(), 3);
}

/// Who adds lanes holds the lock. Nobody waits for it in vain.
#[test]
fn a_fate_that_stays_takes_no_lock() {
    let lanes = Lanes::new(55_000, 1);
    let id = lanes.intern(&lane(0, 1), IDLE).unwrap();
    let (said, heard) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let held = lanes.registry();
        scope.spawn(|| {
            lanes.set_fate(id, Fate::Carried);
            said.send(()).unwrap();
        });
        let in_time = heard.recv_timeout(Duration::from_secs(10));
        drop(held);
        assert_eq!(in_time, Ok(()));
    });
}

#[test]
fn who_is_gone_leaves_its_share_to_the_others() {
    let lanes = Lanes::new(55_000, 1);
    let ids: Vec<LaneId> = (0..2).map(|endpoint| lanes.intern(&lane(endpoint, 1), IDLE).unwrap()).collect();
    let share = lanes.share(ids[0]).unwrap();
    (0..6875).for_each(|_| share.count());
    assert!(share.is_full(), "half of a quarter");
    lanes.set_fate(ids[1], Fate::Ended(Cause::Removed));
    assert!(!share.is_full(), "all of it");
    lanes.set_fate(ids[1], Fate::Ended(Cause::Unhealthy));
    lanes.set_fate(ids[1], Fate::Carried);
    assert!(share.is_full(), "it is back");
}

#[test]
fn health_checks_have_no_part_in_the_quarter() {
    let lanes = Lanes::new(55_000, 1);
    let id = lanes.intern(&lane(0, 1), IDLE).unwrap();
    let check = lanes.intern(&Lane { user: LaneUser::HealthCheck, ..lane(0, 1) }, IDLE).unwrap();
    assert!(lanes.share(check).is_none());
    let share = lanes.share(id).unwrap();
    (0..55_000 / 4 - 1).for_each(|_| share.count());
    assert!(!share.is_full());
}

#[test]
fn there_is_a_limit_to_lanes() {
    let lanes = Lanes::new(1, 1);
    let nth = |n: usize| Lane { target: Id::new(n), ..lane(0, 1) };
    assert!((0..MOST_LANES).all(|n| lanes.intern(&nth(n), IDLE).is_some()));
    let another = Lane { user: LaneUser::HealthCheck, ..nth(0) };
    assert_eq!(lanes.intern(&another, IDLE), None);
    assert_eq!(lanes.intern(&nth(7), IDLE), Some(LaneId(7)), "what is known stays");
}

#[test]
fn there_is_a_limit_to_pools() {
    let lanes = Lanes::new(1, 1);
    let nth = |n: usize| Lane {
        user: LaneUser::HealthCheck,
        pool: PoolKey { target: Addr::v4((n as u32).to_be_bytes()), ..lane(0, 1).pool },
        ..lane(0, 1)
    };
    assert!((0..MOST_POOLS).all(|n| lanes.intern(&nth(n), IDLE).is_some()));
    assert_eq!(lanes.intern(&nth(MOST_POOLS), IDLE), None);
    assert!(lanes.intern(&Lane { target: Id::new(0), ..nth(7) }, IDLE).is_some(), "a pool that is there");
    assert_eq!(lanes.pools().count(), MOST_POOLS);
}

#[test]
fn there_is_a_limit_to_shares() {
    let lanes = Lanes::new(1, 1);
    assert!((0..MOST_SHARES).all(|endpoint| lanes.intern(&lane(endpoint, 1), IDLE).is_some()));
    assert_eq!(lanes.intern(&lane(MOST_SHARES, 1), IDLE), None);
    assert_eq!(lanes.intern(&lane(0, 2), IDLE), None);
    assert_eq!(lanes.pools().count(), 1, "and no pool is made in vain");
    let (another, check) = (Id::new(9), LaneUser::HealthCheck);
    assert!(lanes.intern(&Lane { target: another, ..lane(7, 1) }, IDLE).is_some(), "a share that is there");
    assert!(lanes.intern(&Lane { user: check, ..lane(0, 1) }, IDLE).is_some(), "it needs none");
}
