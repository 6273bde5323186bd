//! What each step of a packet's road costs: parse, table, tracking, rewrite, counters, and the whole, on `nat` and on `terminate`.

#![allow(clippy::unwrap_used, missing_docs)] // a benchmark that cannot be set up may end at once

mod terminate;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrayvec::ArrayVec;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use engine::{Egress, Event, HandOverFull, Message, Output, Reason, Shared, Verdict, Worker, WorkerId};
use flow::{Cause, FlowPath, Key, Lane, LaneId, LaneUser, Lanes, NewFlow, Place, PoolKey, Table};
use topology::{DeviceId, Id, Origin, Topology};
use wire::{Addr, Checksum, Frame, Offload, Protocol, Rewrite, Segmentation, SegmentationKind};

const FILE: &str = r#"
[[service]]
name = "s"
namespace = "p"
nodes = [{ address = "10.2.9.1" }]
listeners = [{ protocol = "tcp", port = 80, forward = "g" }, { protocol = "udp", port = 53, forward = "g" }]
[[target_group]]
name = "g"
targets = [{ address = "10.2.0.2", port = 8080 }, { address = "10.2.0.3", port = 8080 }]
[[endpoint]]
name = "e"
service = "s"
namespace = "c"
interfaces = [{ address = "10.1.9.50" }]
"#;
const PROVIDER: DeviceId = DeviceId(0);
const CONSUMER: DeviceId = DeviceId(1);
const NOW: Duration = Duration::from_secs(1);
const FLOWS: u32 = 64 * 1024;

criterion_group!(benches, steps, table, whole, terminate::among_many);
criterion_main!(benches);

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    let bytes = tcp(1, 0x10, 1400);
    group.bench_function("parse", |b| b.iter(|| wire::parse(black_box(&bytes))));
    let packet = wire::parse(&bytes).unwrap();
    let rewrite = Rewrite {
        source: Addr::v4([10, 2, 9, 1]),
        source_port: 40_000,
        destination: Addr::v4([10, 2, 0, 2]),
        destination_port: 8080,
    };
    for (name, checksum) in
        [("rewrite, complete", Checksum::Complete), ("rewrite, partial", Checksum::Partial)]
    {
        let mut bytes = bytes.clone();
        group.bench_function(name, |b| {
            b.iter(|| {
                let offload = Offload { checksum, segmentation: None };
                rewrite.apply(&mut Frame { offload, bytes: black_box(&mut bytes) }, &packet);
            });
        });
    }
    let counter = AtomicU64::new(0);
    group.bench_function("count", |b| {
        b.iter(|| counter.store(counter.load(Ordering::Relaxed) + black_box(1), Ordering::Relaxed));
    });
    group.bench_function("clock", |b| b.iter(std::time::Instant::now));
}

fn table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    for flows in [1024, FLOWS] {
        let (table, lanes) = filled(flows);
        let turn = table.turn(0);
        let mut next = steps_through(flows);
        group.bench_function(format!("hit, {flows} flows"), |b| {
            b.iter(|| turn.find(&original(next())).unwrap());
        });
        let mut next = steps_through(flows);
        group.bench_function(format!("miss, {flows} flows"), |b| {
            b.iter(|| turn.find(&Key { local_port: 81, ..original(next()) }));
        });
        let mut next = steps_through(flows);
        group.bench_function(format!("hit and observe, {flows} flows"), |b| {
            let packet = wire::parse(&tcp(1, 0x10, 1400)).unwrap();
            b.iter(|| {
                let found = turn.find(&original(next())).unwrap();
                turn.observe(&found, &packet, NOW)
            });
        });
        drop(turn);
        group.bench_function(format!("insert and release, {flows} flows"), |b| {
            b.iter(|| {
                let turn = table.turn(0);
                let flow = turn.open(&new_flow(&lanes, flows + 1), NOW, |_| ()).unwrap().flow;
                turn.release(flow, Cause::Released)
            });
        });
    }
    let (table, _) = filled(1);
    group.bench_function("turn", |b| b.iter(|| drop(table.turn(0))));
}

fn whole(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("whole");
    let mut worker = worker();
    let mut open = tcp(1, 0x02, 0);
    let offload = Offload { checksum: Checksum::Partial, segmentation: None };
    worker.input(CONSUMER, &mut [Frame { offload, bytes: &mut open }], NOW, &mut Sink::default());
    for (name, len, segment) in
        [("known flow, 1,400 bytes", 1400, None), ("known flow, 40 KB super-packet", 40_000, Some(8345))]
    {
        let fresh = tcp(1, 0x10, len);
        let mut bytes = fresh.clone();
        let segmentation =
            segment.map(|size| Segmentation { kind: SegmentationKind::Tcp4, ecn: false, size });
        let offload = Offload { checksum: Checksum::Partial, segmentation };
        let mut sink = Sink::default();
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| {
            b.iter(|| {
                bytes[..40].copy_from_slice(&fresh[..40]);
                worker.input(CONSUMER, &mut [Frame { offload, bytes: &mut bytes }], NOW, &mut sink);
            });
        });
        assert_eq!(sink.refused, 0);
    }
    known_among_many(&mut group);
    group.bench_function("new flow: SYN and RST, and its expiry", |b| {
        let (mut port, mut now) = (0, NOW);
        b.iter_batched(
            || {
                port = port % 60_000 + 1;
                (tcp(port, 0x02, 0), tcp(port, 0x04, 0))
            },
            |(mut syn, mut rst)| {
                // A closed flow is remembered for a minute; each expiry sees a tenth of the slots, and here there are few.
                now += Duration::from_secs(61);
                worker.expire(now, 4096, &mut Sink::default());
                let offload = Offload { checksum: Checksum::Partial, segmentation: None };
                worker.input(CONSUMER, &mut [Frame { offload, bytes: &mut syn }], now, &mut Sink::default());
                worker.input(CONSUMER, &mut [Frame { offload, bytes: &mut rst }], now, &mut Sink::default());
            },
            BatchSize::SmallInput,
        );
    });
    let mut stray = tcp(1, 0x02, 0);
    stray[23] = 99;
    group.bench_function("refused: no listener", |b| {
        let offload = Offload { checksum: Checksum::Partial, segmentation: None };
        b.iter(|| {
            let frame = Frame { offload, bytes: &mut stray };
            worker.input(CONSUMER, &mut [frame], NOW, &mut Sink::default());
        });
    });
}

#[derive(Default)]
struct Sink {
    refused: usize,
}

impl Output for Sink {
    fn forward(&mut self, frame: &mut Frame<'_>, _: Egress) {
        black_box(frame);
    }
    fn emit(&mut self, frame: &mut Frame<'_>, _: Egress) {
        black_box(frame);
    }
    fn hand_over(&mut self, _: WorkerId, _: DeviceId, _: &Frame<'_>) -> Result<(), HandOverFull> {
        Err(HandOverFull)
    }
    fn verdict(&mut self, _: usize, verdict: Verdict) {
        self.refused += usize::from(verdict.reason != Reason::Forwarded);
    }
    fn event(&mut self, _: Event) {}
}

fn worker() -> Worker {
    let topology = Topology::parse(FILE, &Origin::new(Path::new("/bench.toml"))).unwrap();
    let shared = Arc::new(Shared::new(Arc::new(topology), 1, [1, 2, 3, 4]));
    let mut worker = Worker::new(shared, WorkerId(0), [5, 6]);
    for device in [PROVIDER, CONSUMER] {
        worker.message(Message::Attach(device), NOW, &mut Sink::default());
    }
    worker
}

/// Packets of known flows in random order, one by one and in batches: the time is that of one packet.
fn known_among_many(group: &mut BenchmarkGroup<'_, WallTime>) {
    const CLIENTS: u32 = 50_000;
    let mut worker = worker();
    let mut sink = Sink::default();
    for client in 0..CLIENTS {
        let mut first = udp(client as u16 + 1);
        worker.input(CONSUMER, &mut [partial(&mut first)], NOW, &mut sink);
    }
    for size in [1, 8] {
        let mut next = steps_through(CLIENTS);
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(format!("one of 50,000 known flows, {size} at a time"), |b| {
            b.iter_batched_ref(
                || (0..size).map(|_| udp(next() as u16 + 1)).collect::<Vec<_>>(),
                |packets| {
                    let mut frames: ArrayVec<Frame<'_>, 8> =
                        packets.iter_mut().map(|bytes| partial(bytes)).collect();
                    worker.input(CONSUMER, &mut frames, NOW, &mut sink);
                },
                BatchSize::SmallInput,
            );
        });
    }
    assert_eq!(sink.refused, 0);
}

/// A datagram from the consumer, with a checksum that nobody looks at.
fn udp(port: u16) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes[0] = 0x45;
    bytes[3] = 128;
    bytes[8..10].copy_from_slice(&[64, 17]);
    bytes[12..20].copy_from_slice(&[10, 1, 0, 2, 10, 1, 9, 50]);
    bytes[20..22].copy_from_slice(&port.to_be_bytes());
    bytes[23] = 53;
    bytes[25] = 108;
    bytes
}

fn partial(bytes: &mut [u8]) -> Frame<'_> {
    Frame { offload: Offload { checksum: Checksum::Partial, segmentation: None }, bytes }
}

/// A TCP packet from the consumer, with checksums that nobody looks at.
fn tcp(port: u16, flags: u8, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; 40 + payload];
    bytes[0] = 0x45;
    let len = (bytes.len() as u16).to_be_bytes();
    bytes[2..4].copy_from_slice(&len);
    bytes[8..10].copy_from_slice(&[64, 6]);
    bytes[12..20].copy_from_slice(&[10, 1, 0, 2, 10, 1, 9, 50]);
    bytes[20..22].copy_from_slice(&port.to_be_bytes());
    bytes[23] = 80;
    bytes[32..34].copy_from_slice(&[0x50, flags]);
    bytes
}

fn filled(flows: u32) -> (Table, Vec<LaneId>) {
    let lanes = Lanes::new(55_000, 1);
    let ids = (0..8).map(|number| lanes.intern(&lane(number), Duration::from_secs(350)).unwrap());
    let ids: Vec<LaneId> = ids.collect();
    let table = Table::new(2 * FLOWS as usize, 1, lanes, [1, 2, 3, 4]);
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

/// Walks through the clients in an order that no prefetcher guesses.
fn steps_through(flows: u32) -> impl FnMut() -> u32 {
    let mut at = 0u32;
    move || {
        at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (at >> 8) % flows
    }
}
