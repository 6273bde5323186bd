//! What a packet costs that ends in our own TCP, of one flow among few and among many: their peers are made of packets, and
//! say what a kernel would say.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use engine::{Egress, Event, HandOverFull, Message, Output, Shared, Verdict, Worker, WorkerId};
use topology::{DeviceId, Origin, Topology};
use wire::{Addr, Frame, Packet, SEGMENT_CAPACITY, Segment, TcpFlags, parse};

use crate::{CONSUMER, NOW, PROVIDER, partial, steps_through};

/// A table of its size: the sweep for idle flows costs each exchange the same among few and among many.
const FILE: &str = r#"
[flows]
capacity = 16384
[[service]]
name = "s"
namespace = "p"
nodes = [{ address = "10.2.9.1" }]
listeners = [{ protocol = "tcp", port = 80, forward = "g", path = "terminate", idle_timeout = 6000 }]
[[target_group]]
name = "g"
targets = [{ address = "10.2.0.2", port = 8080 }]
[[endpoint]]
name = "e"
service = "s"
namespace = "c"
interfaces = [{ address = "10.1.9.50" }]
"#;
const DOOR: [u8; 4] = [10, 1, 9, 50];
const CLIENT: [u8; 4] = [10, 1, 0, 2];
const PAYLOAD: usize = 100;
/// From one exchange of a flow to its next, on average: long enough for a delayed acknowledgement, among few as among many.
const BETWEEN: Duration = Duration::from_millis(11);
/// How often those who are silent speak, unmeasured, so that they stay open: well within their idle time-out.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3000);
/// So many exchanges are measured at a time: those of the few take a fraction of the above.
const AT_A_TIME: u64 = 100_000;
/// Of a sweep, as the runtime gives it.
const BUDGET: usize = 4096;

/// A request of 100 bytes, passed on to the target, and the target's acknowledgement: two packets in, and what they cause.
/// That others are open should cost nothing; that all of them speak in turn costs what it takes to bring each one's memory
/// near.
pub(crate) fn among_many(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("terminate");
    group.throughput(Throughput::Elements(2));
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for (open, active) in [(10, 10), (10_000, 10), (10_000, 10_000)] {
        let mut crowd = Crowd::connected(open, active);
        let mut next = steps_through(active);
        let name = format!("a segment and its acknowledgement, {active} of {open} open flows active");
        group.bench_function(name, |b| b.iter_custom(|times| crowd.time(times, || next() as usize)));
        crowd.assert_all_are_served();
    }
}

/// A worker with open flows, and where their peers stand.
struct Crowd {
    worker: Worker,
    now: Duration,
    /// When everyone has spoken last.
    alive: Duration,
    /// From one exchange to the next, of whichever flow.
    pace: Duration,
    heard: Heard,
    flows: Vec<Flow>,
}

/// The last segments that both peers of a flow have said.
struct Flow {
    consumer: Segment<'static>,
    target: Segment<'static>,
    /// Where the target's packets come from and go to.
    node: Ends,
}

type Ends = ((Addr, u16), (Addr, u16));

/// What the worker says: the last packet to each side.
#[derive(Default)]
struct Heard {
    last: [Option<Packet>; 2],
}

impl Output for Heard {
    fn forward(&mut self, _: &mut Frame<'_>, _: Egress) {}
    fn emit(&mut self, frame: &mut Frame<'_>, Egress::Device(device): Egress) {
        self.last[device.index()] = parse(frame.bytes).ok();
    }
    fn hand_over(&mut self, _: WorkerId, _: DeviceId, _: &Frame<'_>) -> Result<(), HandOverFull> {
        Err(HandOverFull)
    }
    fn verdict(&mut self, _: usize, _: Verdict) {}
    fn event(&mut self, _: Event) {}
}

impl Crowd {
    fn connected(open: u32, active: u32) -> Self {
        let topology = Topology::parse(FILE, &Origin::new(Path::new("/bench.toml"))).unwrap();
        let shared = Arc::new(Shared::new(Arc::new(topology), 1, [1, 2, 3, 4]));
        let mut worker = Worker::new(shared, WorkerId(0), [5, 6]);
        let mut heard = Heard::default();
        for device in [PROVIDER, CONSUMER] {
            worker.message(Message::Attach(device), NOW, &mut heard);
        }
        let pace = BETWEEN / active;
        let mut crowd = Self { worker, now: NOW, alive: NOW, pace, heard, flows: Vec::new() };
        for number in 0..open {
            let flow = crowd.connect(number as u16 + 1);
            crowd.flows.push(flow);
            crowd.exchange(number as usize);
        }
        crowd
    }

    /// How long so many exchanges take, of flows that `next` names.
    fn time(&mut self, mut times: u64, mut next: impl FnMut() -> usize) -> Duration {
        let mut took = Duration::ZERO;
        while times > 0 {
            if self.now - self.alive > SIGN_OF_LIFE {
                (0..self.flows.len()).for_each(|number| self.exchange(number));
                self.alive = self.now;
            }
            let some = times.min(AT_A_TIME);
            let since = Instant::now();
            for _ in 0..some {
                self.exchange(next());
            }
            took += since.elapsed();
            times -= some;
        }
        took
    }

    /// One exchange more of each flow gets through, and so has everything before it: its number says so.
    fn assert_all_are_served(&mut self) {
        for number in 0..self.flows.len() {
            self.heard = Heard::default();
            self.exchange(number);
            let request = self.heard.last[PROVIDER.index()].unwrap();
            let end = request.sequence.wrapping_add(request.payload_len() as u32);
            let expected = (PAYLOAD, self.flows[number].target.acknowledgement);
            assert_eq!((request.payload_len(), end), expected, "flow {number}");
        }
    }

    /// The handshake of one flow, on either side.
    fn connect(&mut self, port: u16) -> Flow {
        let client = ends_of_consumer(port);
        let syn = segment(TcpFlags::SYN, 1000, 0);
        self.input(CONSUMER, &mut said(client, syn, 0));
        let to_target = self.heard.last[PROVIDER.index()].unwrap();
        let node =
            ((to_target.destination, to_target.destination_port), (to_target.source, to_target.source_port));
        let answer = segment(TcpFlags::SYN | TcpFlags::ACK, 2000, to_target.sequence.wrapping_add(1));
        self.input(PROVIDER, &mut said(node, answer, 0));
        let to_consumer = self.heard.last[CONSUMER.index()].unwrap();
        let consumer = segment(TcpFlags::ACK, 1001, to_consumer.sequence.wrapping_add(1));
        self.input(CONSUMER, &mut said(client, consumer, 0));
        let target = segment(TcpFlags::ACK, 2001, to_target.sequence.wrapping_add(1));
        Flow { consumer, target, node }
    }

    fn exchange(&mut self, number: usize) {
        self.now += self.pace;
        let Flow { consumer, target, node } = &mut self.flows[number];
        let mut request = said(ends_of_consumer(number as u16 + 1), *consumer, PAYLOAD);
        consumer.sequence = consumer.sequence.wrapping_add(PAYLOAD as u32);
        target.acknowledgement = target.acknowledgement.wrapping_add(PAYLOAD as u32);
        let mut acknowledgement = said(*node, *target, 0);
        self.input(CONSUMER, &mut request);
        self.input(PROVIDER, &mut acknowledgement);
        if self.worker.next_deadline() <= self.now {
            self.worker.expire(self.now, BUDGET, &mut self.heard);
        }
    }

    fn input(&mut self, device: DeviceId, (bytes, len): &mut Said) {
        self.worker.input(device, &mut [partial(&mut bytes[..*len])], self.now, &mut self.heard);
    }
}

/// A packet, and its length.
type Said = ([u8; SEGMENT_CAPACITY], usize);

/// What one end says to the other, with so many zeros.
fn said((from, to): Ends, segment: Segment<'static>, payload: usize) -> Said {
    let mut bytes = [0; SEGMENT_CAPACITY];
    let len = Segment { payload: &[0; PAYLOAD][..payload], ..segment }.write_between(from, to, &mut bytes);
    (bytes, len)
}

fn ends_of_consumer(port: u16) -> Ends {
    ((Addr::v4(CLIENT), port), (Addr::v4(DOOR), 80))
}

fn segment(flags: u8, sequence: u32, acknowledgement: u32) -> Segment<'static> {
    let flags = TcpFlags::new(flags);
    Segment { flags, sequence, acknowledgement, window: u16::MAX, ..Segment::default() }
}
