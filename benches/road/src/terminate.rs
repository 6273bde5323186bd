//! What a packet costs that ends in our own TCP, of one flow among few and among many: their peers are made of packets, and
//! say what a kernel would say.

use std::cell::RefCell;
use std::time::Duration;

use engine::Worker;
use topology::DeviceId;
use wire::{Segment, TcpFlags};

use super::Meter;
use super::packets::{
    CONSUMER, Ends, Heard, NOW, PAYLOAD, PROVIDER, Said, ends_of_answer, ends_of_consumer, partial, said,
    segment, steps_through, worker,
};

/// A table of its size: the sweep for idle flows costs each exchange the same among few and among many.
pub(super) const FILE: &str = r#"
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
/// From one exchange of a flow to its next, on average: long enough for a delayed acknowledgement, among few as among many.
const BETWEEN: Duration = Duration::from_millis(11);
/// How often those who are silent speak, unmeasured, so that they stay open: well within their idle time-out.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3000);
/// Of a sweep, as the runtime gives it.
const BUDGET: usize = 4096;

/// A request of 100 bytes, passed on to the target, and the target's acknowledgement: two packets in, and what they cause.
/// That others are open should cost nothing; that all of them speak in turn costs what it takes to bring each one's memory
/// near.
pub(super) fn exchange<M: Meter>(meter: &mut M, open: u32, active: u32) {
    let crowd = RefCell::new(Crowd::connected(open, active));
    let mut next = steps_through(active);
    meter.each(
        || {
            crowd.borrow_mut().stay_open();
            next() as usize
        },
        |number| crowd.borrow_mut().exchange(*number),
    );
    crowd.into_inner().assert_all_are_served();
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

impl Crowd {
    fn connected(open: u32, active: u32) -> Self {
        let (worker, heard, pace) = (worker(FILE), Heard::default(), BETWEEN / active);
        let mut crowd = Self { worker, now: NOW, alive: NOW, pace, heard, flows: Vec::new() };
        for number in 0..open {
            let flow = crowd.connect(number as u16 + 1);
            crowd.flows.push(flow);
            crowd.exchange(number as usize);
        }
        crowd
    }

    /// Everyone speaks, if it is time.
    fn stay_open(&mut self) {
        if self.now - self.alive > SIGN_OF_LIFE {
            (0..self.flows.len()).for_each(|number| self.exchange(number));
            self.alive = self.now;
        }
    }

    /// One exchange more of each flow gets through, and so has everything before it: its number says so.
    fn assert_all_are_served(&mut self) {
        for number in 0..self.flows.len() {
            self.heard = Heard::default();
            self.exchange(number);
            let request = self.heard.last(PROVIDER);
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
        let to_target = self.heard.last(PROVIDER);
        let node = ends_of_answer(&to_target);
        let answer = segment(TcpFlags::SYN | TcpFlags::ACK, 2000, to_target.sequence.wrapping_add(1));
        self.input(PROVIDER, &mut said(node, answer, 0));
        let to_consumer = self.heard.last(CONSUMER);
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
