//! The flow table beside papaya and dashmap: hit, miss, insert and remove, and the road's mix of 90 % look-ups, 5 % inserts
//! and 5 % removals, at one thousand to four million live flows, on one thread and on several.
//!
//! The peers hold what a table of ours holds, two keys per flow, each leading to a copy of the flow's recipe. They are spared what
//! ours does besides: source ports, half-open shares, and memory that waits until nobody reads it.

#![allow(clippy::unwrap_used, missing_docs)] // a benchmark that cannot be set up may end at once

use std::hint::black_box;
use std::sync::Barrier;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use ahash::RandomState;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use flow::{
    Cause, Fate, FlowId, FlowPath, Key, Lane, LaneId, LaneUser, Lanes, NewFlow, Place, PoolKey, Table, Turn,
};
use topology::Id;
use wire::{Addr, Protocol};

const NOW: Duration = Duration::from_secs(1);
/// Live flows.
const SIZES: [u32; 4] = [1 << 10, 1 << 16, 1 << 20, 1 << 22];
/// Flows that each thread may open beside those that live all the time.
const SPARE: u32 = 1024;
const BATCH: usize = 8;

criterion_group!(benches, one_thread, threads);
criterion_main!(benches);

/// A table under test, as one worker uses it.
trait Flows: Sync {
    /// What a worker holds while it works; renewed now and then, as a worker's turn is.
    type Turn<'a>
    where
        Self: 'a;

    fn turn(&self, worker: usize) -> Self::Turn<'_>;
    fn look_up(turn: &Self::Turn<'_>, client: u32) -> bool;
    /// Opens this client's flow, and says what closes it.
    fn open(turn: &Self::Turn<'_>, client: u32) -> Option<Opened>;
    fn close(turn: &Self::Turn<'_>, opened: Opened);
}

/// A flow that was opened.
#[derive(Clone, Copy)]
struct Opened {
    client: u32,
    flow: Option<FlowId>,
}

/// Ours.
struct Ours {
    table: Table,
    /// By target.
    lanes: Vec<LaneId>,
}

/// A worker's turn with our table, and its lanes.
struct OurTurn<'a> {
    turn: Turn<'a>,
    ours: &'a Ours,
}

impl Flows for Ours {
    type Turn<'a> = OurTurn<'a>;

    fn turn(&self, worker: usize) -> OurTurn<'_> {
        OurTurn { turn: self.table.turn(worker), ours: self }
    }

    /// As the road does it: with a look at what is to become of the flow.
    fn look_up(OurTurn { turn, ours }: &OurTurn<'_>, client: u32) -> bool {
        turn.find(&original(client)).is_some_and(|found| ours.is_carried(found.lane))
    }

    fn open(OurTurn { turn, ours }: &OurTurn<'_>, client: u32) -> Option<Opened> {
        let new = NewFlow {
            original: original(client),
            lane: ours.lanes[lane_of(client)],
            path: FlowPath::Nat,
            preference: u64::from(client).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        let flow = turn.open(&new, NOW, |_| ()).ok()?.flow;
        Some(Opened { client, flow: Some(flow) })
    }

    fn close(OurTurn { turn, .. }: &OurTurn<'_>, opened: Opened) {
        black_box(opened.flow.and_then(|flow| turn.release(flow, Cause::Released)));
    }
}

impl Ours {
    fn is_carried(&self, lane: LaneId) -> bool {
        self.table.lanes().fate(lane) == Fate::Carried
    }
}

/// What a look-up has to copy out.
type Recipe = (Key, u32, u32, u32);

/// papaya: lock-free reads.
struct Papaya(papaya::HashMap<Key, Recipe, RandomState>);

impl Flows for Papaya {
    type Turn<'a> = papaya::HashMapRef<'a, Key, Recipe, RandomState, papaya::LocalGuard<'a>>;

    fn turn(&self, _: usize) -> Self::Turn<'_> {
        self.0.pin()
    }

    fn look_up(turn: &Self::Turn<'_>, client: u32) -> bool {
        black_box(turn.get(&original(client)).copied()).is_some()
    }

    fn open(turn: &Self::Turn<'_>, client: u32) -> Option<Opened> {
        turn.insert(reply(client), (original(client), client, 0, 0));
        turn.insert(original(client), (reply(client), client, 0, 0));
        Some(Opened { client, flow: None })
    }

    fn close(turn: &Self::Turn<'_>, opened: Opened) {
        turn.remove(&original(opened.client));
        turn.remove(&reply(opened.client));
    }
}

/// dashmap: a lock per shard.
struct Dash(dashmap::DashMap<Key, Recipe, RandomState>);

impl Flows for Dash {
    type Turn<'a> = &'a dashmap::DashMap<Key, Recipe, RandomState>;

    fn turn(&self, _: usize) -> Self::Turn<'_> {
        &self.0
    }

    fn look_up(turn: &Self::Turn<'_>, client: u32) -> bool {
        black_box(turn.get(&original(client)).map(|recipe| *recipe)).is_some()
    }

    fn open(turn: &Self::Turn<'_>, client: u32) -> Option<Opened> {
        turn.insert(reply(client), (original(client), client, 0, 0));
        turn.insert(original(client), (reply(client), client, 0, 0));
        Some(Opened { client, flow: None })
    }

    fn close(turn: &Self::Turn<'_>, opened: Opened) {
        turn.remove(&original(opened.client));
        turn.remove(&reply(opened.client));
    }
}

fn one_thread(criterion: &mut Criterion) {
    for size in SIZES {
        let mut group = criterion.benchmark_group(format!("{size} flows"));
        let ours = ours(size, 1);
        rows(&mut group, "sidegate", &ours, size);
        batches(&mut group, &ours, size);
        drop(ours);
        rows(&mut group, "papaya", &papaya(size), size);
        rows(&mut group, "dashmap", &dash(size), size);
    }
}

/// Several workers at once: the time is that of one operation on one of them.
fn threads(criterion: &mut Criterion) {
    let most = available_parallelism().map_or(1, usize::from).min(16);
    for size in [1 << 16, 1 << 20] {
        for count in [1, 2, 4, 8, 16].into_iter().filter(|count| *count <= most) {
            let mut group = criterion.benchmark_group(format!("{size} flows, {count} threads"));
            together(&mut group, "sidegate", &ours(size, count), size, count);
            together(&mut group, "papaya", &papaya(size), size, count);
            together(&mut group, "dashmap", &dash(size), size, count);
        }
    }
}

fn rows<F: Flows>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, flows: &F, size: u32) {
    let mut next = steps_through(size, 0);
    let turn = flows.turn(0);
    group.bench_function(BenchmarkId::new("hit", name), |b| b.iter(|| F::look_up(&turn, next())));
    let mut miss = || F::look_up(&turn, size + SPARE + next());
    group.bench_function(BenchmarkId::new("miss", name), |b| b.iter(&mut miss));
    drop(turn);
    group.bench_function(BenchmarkId::new("insert and remove", name), |b| {
        b.iter(|| {
            let turn = flows.turn(0);
            F::close(&turn, F::open(&turn, size).unwrap());
        });
    });
    let mut mix = Mix::new(size, 0);
    group.bench_function(BenchmarkId::new("mixed 90/5/5", name), |b| {
        b.iter_custom(|count| timed(|| mix.run(flows, count)));
    });
}

/// Look-ups of a batch, their memory asked for beforehand; the time is that of one look-up.
fn batches(group: &mut BenchmarkGroup<'_, WallTime>, ours: &Ours, size: u32) {
    let turn = ours.table.turn(0);
    let mut next = steps_through(size, 0);
    group.bench_function(BenchmarkId::new("hit, in batches of 8", "sidegate"), |b| {
        b.iter_custom(|count| {
            timed(|| {
                for _ in 0..count.div_ceil(BATCH as u64) {
                    let keys: [Key; BATCH] = std::array::from_fn(|_| original(next()));
                    turn.prefetch::<BATCH>(keys.iter().copied());
                    for key in &keys {
                        black_box(turn.find(key).is_some_and(|found| ours.is_carried(found.lane)));
                    }
                }
            })
        });
    });
}

fn together<F: Flows>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    flows: &F,
    size: u32,
    threads: usize,
) {
    group.bench_function(BenchmarkId::new("mixed 90/5/5", name), |b| {
        b.iter_custom(|count| {
            let begin = Barrier::new(threads);
            std::thread::scope(|scope| {
                let workers: Vec<_> = (0..threads)
                    .map(|worker| {
                        let begin = &begin;
                        scope.spawn(move || {
                            let mut mix = Mix::new(size, worker);
                            begin.wait();
                            timed(|| mix.run(flows, count))
                        })
                    })
                    .collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).max().unwrap()
            })
        });
    });
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// The road's mix, as one worker does it: of twenty operations eighteen look up, one opens, one closes.
struct Mix {
    worker: usize,
    first_spare: u32,
    next: Box<dyn FnMut() -> u32>,
    open: std::collections::VecDeque<Opened>,
    opened: u32,
}

impl Mix {
    fn new(size: u32, worker: usize) -> Self {
        Self {
            worker,
            first_spare: size + SPARE * worker as u32,
            next: Box::new(steps_through(size, worker as u32)),
            open: std::collections::VecDeque::new(),
            opened: 0,
        }
    }

    fn run<F: Flows>(&mut self, flows: &F, count: u64) {
        for _ in 0..count.div_ceil(20) {
            let turn = flows.turn(self.worker);
            for _ in 0..18 {
                black_box(F::look_up(&turn, (self.next)()));
            }
            self.opened = (self.opened + 1) % SPARE;
            self.open.extend(F::open(&turn, self.first_spare + self.opened));
            if self.open.len() > SPARE as usize / 4
                && let Some(oldest) = self.open.pop_front()
            {
                F::close(&turn, oldest);
            }
        }
    }
}

fn ours(size: u32, workers: usize) -> Ours {
    let last = size + SPARE * 16;
    let lanes = Lanes::new(flow::MOST_PORTS, workers);
    let ids =
        (0..=lane_of(last)).map(|number| lanes.intern(&lane(number), Duration::from_secs(350)).unwrap());
    let ids = ids.collect();
    let ours = Ours { table: Table::new(last as usize, workers, lanes, [1, 2, 3, 4]), lanes: ids };
    fill(&ours, size);
    ours
}

fn lane(number: usize) -> Lane {
    Lane {
        user: LaneUser::Endpoint { endpoint: Id::new(0), interface: Id::new(0), listener: Id::new(0) },
        target: Id::new(number),
        pool: PoolKey {
            protocol: Protocol::Udp,
            node: Id::new(0),
            target: Addr::v4((0x0a02_0000 + number as u32).to_be_bytes()),
            target_port: 8080,
        },
    }
}

fn papaya(size: u32) -> Papaya {
    let papaya =
        Papaya(papaya::HashMap::builder().capacity(size as usize * 2).hasher(RandomState::new()).build());
    fill(&papaya, size);
    papaya
}

fn dash(size: u32) -> Dash {
    let dash = Dash(dashmap::DashMap::with_capacity_and_hasher(size as usize * 2, RandomState::new()));
    fill(&dash, size);
    dash
}

fn fill<F: Flows>(flows: &F, size: u32) {
    for client in 0..size {
        F::open(&flows.turn(0), client).unwrap();
    }
}

/// Targets have 40,000 clients each.
fn lane_of(client: u32) -> usize {
    (client / 40_000) as usize
}

fn original(client: u32) -> Key {
    Key {
        place: Place::Interface(Id::new(0)),
        protocol: Protocol::Udp,
        local_port: 80,
        remote: Addr::v4((0x0a01_0000 + client / 60_000).to_be_bytes()),
        remote_port: (client % 60_000) as u16 + 1,
    }
}

fn reply(client: u32) -> Key {
    Key { place: Place::Node(Id::new(0)), local_port: 8080, ..original(client) }
}

/// Walks through the clients in an order that no prefetcher guesses.
fn steps_through(flows: u32, seed: u32) -> impl FnMut() -> u32 {
    let mut at = seed.wrapping_mul(0x9e37_79b9);
    move || {
        at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((u64::from(at.rotate_left(16)) * u64::from(flows)) >> 32) as u32
    }
}
