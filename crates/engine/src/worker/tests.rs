//! What falls between two looks of a worker's.

use flow::{Cause, Fate};
use topology::{Origin, Topology};
use wire::{Addr, SEGMENT_CAPACITY, Segment, TcpFlags};

use super::*;
use crate::contract::{Egress, HandOverFull};
use crate::verdict::Verdict;

const FILE: &str = r#"
[[service]]
name = "s"
namespace = "p"
nodes = [{ address = "10.2.9.1" }]
listeners = [{ protocol = "tcp", port = 80, forward = "g", path = "terminate" }]
[[target_group]]
name = "g"
targets = [{ address = "10.2.0.2", port = 8080 }]
[[endpoint]]
name = "e"
service = "s"
namespace = "c"
interfaces = [{ address = "10.1.9.50" }]
"#;
const CONSUMER: DeviceId = DeviceId(1);

/// Remembers nothing.
struct Nobody;

impl Output for Nobody {
    fn forward(&mut self, _: &mut Frame<'_>, _: Egress) {}

    fn emit(&mut self, _: &mut Frame<'_>, _: Egress) {}

    fn hand_over(&mut self, _: WorkerId, _: DeviceId, _: &Frame<'_>) -> Result<(), HandOverFull> {
        Ok(())
    }

    fn verdict(&mut self, _: usize, _: Verdict) {}

    fn event(&mut self, _: Event) {}
}

/// A worker that terminates one connection.
fn terminating(shared: &Arc<Shared>) -> Worker {
    let mut worker = Worker::new(Arc::clone(shared), WorkerId(0), [5, 6]);
    for device in [DeviceId(0), CONSUMER] {
        worker.message(Message::Attach(device), Duration::ZERO, &mut Nobody);
    }
    let syn = Segment { flags: TcpFlags::new(TcpFlags::SYN), sequence: 1, ..Segment::default() };
    let mut buffer = [0; SEGMENT_CAPACITY];
    let ends = [([10, 1, 0, 2], 40_000), ([10, 1, 9, 50], 80)].map(|(octets, port)| (Addr::v4(octets), port));
    let len = syn.write_between(ends[0], ends[1], &mut buffer);
    worker.input(CONSUMER, &mut [Frame::plain(&mut buffer[..len])], Duration::ZERO, &mut Nobody);
    assert_eq!(worker.terminated(), 1);
    worker
}

/// The order of the looks is told by what they are given: here, what the first one has seen is not the latest any more.
#[test]
fn what_is_sentenced_between_two_looks_is_ended_at_the_next() {
    let topology = Arc::new(Topology::parse(FILE, &Origin::new("/s.toml")).unwrap());
    let shared = Arc::new(Shared::new(Arc::clone(&topology), 1, [1, 2, 3, 4]));
    let mut worker = terminating(&shared);
    let lanes = shared.flows.lanes();
    let seen = lanes.sentences();
    shared.adopt(Arc::new(Topology::clone(&topology)), Duration::ZERO);
    lanes.iter().for_each(|(lane, _)| lanes.set_fate(lane, Fate::Ended(Cause::Deregistered)));
    worker.keep_up_since(seen, Duration::ZERO);
    assert_eq!((worker.plan.number, worker.sentences), (2, seen));
    worker.expire(Duration::ZERO, 0, &mut Nobody);
    assert_eq!(worker.terminated(), 0);
}
