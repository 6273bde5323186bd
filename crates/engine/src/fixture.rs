//! What the unit tests of a worker stand on: one consumer, one target, one worker, and an output that remembers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use flow::Cause;
use topology::{DeviceId, Origin, Path, Topology};
use wire::{Addr, Frame, SEGMENT_CAPACITY, Segment};

use crate::contract::{Egress, Event, HandOverFull, Message, Output, WorkerId};
use crate::verdict::Verdict;
use crate::{Shared, Worker};

pub(crate) const PROVIDER: DeviceId = DeviceId(0);
pub(crate) const CONSUMER: DeviceId = DeviceId(1);
pub(crate) const CLIENT: End = ("10.1.0.2", 40_000);
pub(crate) const INTERFACE: End = ("10.1.9.50", 80);
pub(crate) const TARGET: End = ("10.2.0.2", 8080);
pub(crate) const NODE: &str = "10.2.9.1";

const FILE: &str = r#"
[[service]]
name = "s"
namespace = "p"
nodes = [{ address = "10.2.9.1" }]
listeners = [{ protocol = "tcp", port = 80, forward = "g", path = "PATH" }]
[[target_group]]
name = "g"
targets = [{ address = "10.2.0.2", port = 8080 }]
[[endpoint]]
name = "e"
service = "s"
namespace = "c"
interfaces = [{ address = "10.1.9.50" }]
"#;

/// An address and a port.
pub(crate) type End = (&'static str, u16);

/// What a worker has said.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) sent: Vec<(DeviceId, Vec<u8>)>,
    events: Vec<Event>,
}

impl Output for Said {
    fn forward(&mut self, _: usize, frame: &mut Frame<'_>, egress: Egress) {
        self.emit(frame, egress);
    }

    fn emit(&mut self, frame: &mut Frame<'_>, Egress::Device(device): Egress) {
        self.sent.push((device, frame.bytes.to_vec()));
    }

    fn hand_over(&mut self, _: WorkerId, _: DeviceId, _: &Frame<'_>) -> Result<(), HandOverFull> {
        Ok(())
    }

    fn verdict(&mut self, _: usize, _: Verdict) {}

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

impl Said {
    /// Where RSTs have gone, and their numbers.
    pub(crate) fn resets(&self) -> Vec<(DeviceId, u32)> {
        let parsed = self.sent.iter().map(|(device, bytes)| (*device, wire::parse(bytes).unwrap()));
        parsed.filter(|(_, packet)| packet.flags.rst()).map(|(device, rst)| (device, rst.sequence)).collect()
    }

    /// Why flows have closed.
    pub(crate) fn closed(&self) -> Vec<Cause> {
        let cause = |event: &Event| match event {
            Event::FlowClosed { cause, .. } => Some(*cause),
            _ => None,
        };
        self.events.iter().filter_map(cause).collect()
    }
}

/// A worker on its own, attached to both devices, and a listener whose flows take this path.
pub(crate) fn worker(path: Path) -> (Arc<Shared>, Worker) {
    let file = FILE.replace("PATH", path.as_str());
    let topology = Topology::parse(&file, &Origin::new("/s.toml")).unwrap();
    let shared = Arc::new(Shared::new(Arc::new(topology), 1, [1, 2, 3, 4]));
    let mut worker = Worker::new(Arc::clone(&shared), WorkerId(0), [5, 6]);
    for device in [PROVIDER, CONSUMER] {
        worker.message(Message::Attach(device), Duration::ZERO, &mut Said::default());
    }
    (shared, worker)
}

pub(crate) fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

/// Gives a worker a segment.
pub(crate) fn say(
    worker: &mut Worker,
    device: DeviceId,
    [from, to]: [End; 2],
    segment: &Segment<'_>,
    now: Duration,
) -> Said {
    let mut buffer = [0; SEGMENT_CAPACITY];
    let len = segment.write_between((addr(from.0), from.1), (addr(to.0), to.1), &mut buffer);
    let mut said = Said::default();
    worker.input(device, &mut [Frame::plain(&mut buffer[..len])], now, &mut said);
    said
}
