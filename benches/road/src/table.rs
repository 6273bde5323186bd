//! The flow table: few flows and many, in random order.

use std::time::Duration;

use flow::{Cause, FlowPath, Key, Lane, LaneId, LaneUser, Lanes, NewFlow, Place, PoolKey, Table};
use topology::Id;
use wire::{Addr, Protocol, TcpFlags};

use super::Meter;
use super::packets::{NOW, steps_through, tcp};

/// Half of the tables' capacity.
pub(super) const MANY: u32 = 64 * 1024;

pub(super) fn turn<M: Meter>(meter: &mut M) {
    let (table, _) = filled(1);
    meter.again(|| drop(table.turn(0)));
}

pub(super) fn hit<M: Meter>(meter: &mut M, flows: u32) {
    let (table, _) = filled(flows);
    let turn = table.turn(0);
    let mut next = steps_through(flows);
    meter.again(|| turn.find(&original(next())).unwrap());
}

pub(super) fn miss<M: Meter>(meter: &mut M, flows: u32) {
    let (table, _) = filled(flows);
    let turn = table.turn(0);
    let mut next = steps_through(flows);
    meter.again(|| turn.find(&Key { local_port: 81, ..original(next()) }));
}

pub(super) fn observe<M: Meter>(meter: &mut M, flows: u32) {
    let (table, _) = filled(flows);
    let turn = table.turn(0);
    let packet = wire::parse(&tcp(1, TcpFlags::ACK, 1400)).unwrap();
    let mut next = steps_through(flows);
    meter.again(|| {
        let found = turn.find(&original(next())).unwrap();
        turn.observe(&found, &packet, NOW)
    });
}

pub(super) fn insert<M: Meter>(meter: &mut M, flows: u32) {
    let (table, lanes) = filled(flows);
    meter.again(|| {
        let turn = table.turn(0);
        let flow = turn.open(&new_flow(&lanes, flows + 1), NOW, |_| ()).unwrap().flow;
        turn.release(flow, Cause::Released)
    });
}

fn filled(flows: u32) -> (Table, Vec<LaneId>) {
    let lanes = Lanes::new(55_000, 1);
    let ids = (0..8).map(|number| lanes.intern(&lane(number), Duration::from_secs(350)).unwrap());
    let ids: Vec<LaneId> = ids.collect();
    let table = Table::new(2 * MANY as usize, 1, lanes, [1, 2, 3, 4]);
    for client in 0..flows {
        table.turn(0).open(&new_flow(&ids, client), NOW, |_| ()).unwrap();
    }
    (table, ids)
}

fn lane(number: u32) -> Lane {
    let target = Addr::v4((0x0a02_0000 + number).to_be_bytes());
    Lane {
        user: LaneUser::Endpoint { endpoint: Id::new(0), interface: Id::new(0), listener: Id::new(0) },
        target: Id::new(0),
        pool: PoolKey { protocol: Protocol::Tcp, node: Id::new(0), target, target_port: 8080 },
    }
}

fn new_flow(lanes: &[LaneId], client: u32) -> NewFlow {
    NewFlow {
        original: original(client),
        lane: lanes[client as usize / 10_000],
        path: FlowPath::Nat,
        preference: client.into(),
    }
}

fn original(client: u32) -> Key {
    Key {
        place: Place::Interface(Id::new(0)),
        protocol: Protocol::Tcp,
        local_port: 80,
        remote: Addr::v4((0x0a01_0000 + client / 60_000).to_be_bytes()),
        remote_port: (client % 60_000) as u16 + 1,
    }
}
