//! A panic within one flow's TCP, among others.

use std::sync::Arc;
use std::time::Duration;

use flow::Cause;
use topology::{DeviceId, Origin, Topology};
use wire::{Addr, Frame, ICMP_ERROR_CAPACITY, IcmpError, SEGMENT_CAPACITY, Segment, TcpFlags};

use super::fence::tests::plant;
use crate::contract::{Egress, Event, HandOverFull, Message, Output, WorkerId};
use crate::verdict::Verdict;
use crate::{Shared, Worker};

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
const PROVIDER: DeviceId = DeviceId(0);
const CONSUMER: DeviceId = DeviceId(1);

#[derive(Default)]
struct Said {
    /// The devices that a RST went to.
    resets: Vec<DeviceId>,
    frames: usize,
    last: Vec<u8>,
    causes: Vec<Cause>,
}

impl Output for Said {
    fn forward(&mut self, _: &mut Frame<'_>, _: Egress) {}

    fn emit(&mut self, frame: &mut Frame<'_>, Egress::Device(device): Egress) {
        self.frames += 1;
        self.last = frame.bytes.to_vec();
        if wire::parse(frame.bytes).unwrap().flags.rst() {
            self.resets.push(device);
        }
    }

    fn hand_over(&mut self, _: WorkerId, _: DeviceId, _: &Frame<'_>) -> Result<(), HandOverFull> {
        Ok(())
    }

    fn verdict(&mut self, _: usize, _: Verdict) {}

    fn event(&mut self, event: Event) {
        if let Event::FlowClosed { cause, .. } = event {
            self.causes.push(cause);
        }
    }
}

/// A worker that is attached to both devices.
fn worker() -> (Arc<Shared>, Worker) {
    let topology = Topology::parse(FILE, &Origin::new("/s.toml")).unwrap();
    let shared = Arc::new(Shared::new(Arc::new(topology), 1, [1, 2, 3, 4]));
    let mut worker = Worker::new(Arc::clone(&shared), WorkerId(0), [5, 6]);
    for device in [PROVIDER, CONSUMER] {
        worker.message(Message::Attach(device), Duration::ZERO, &mut Said::default());
    }
    (shared, worker)
}

fn addr(text: &str) -> Addr {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

/// A consumer's SYN from this port, at this second.
fn syn(worker: &mut Worker, port: u16, second: u64) -> Said {
    let flags = TcpFlags::new(TcpFlags::SYN);
    let syn = Segment { flags, sequence: 1000, window: 1000, ..Segment::default() };
    let mut buffer = [0; SEGMENT_CAPACITY];
    let len = syn.write_between((addr("10.1.0.2"), port), (addr("10.1.9.50"), 80), &mut buffer);
    let mut said = Said::default();
    let now = Duration::from_secs(second);
    worker.input(CONSUMER, &mut [Frame::plain(&mut buffer[..len])], now, &mut said);
    said
}

#[test]
fn a_panic_ends_one_flow_tells_its_peers_and_leaves_the_others_alone() {
    let (shared, mut worker) = worker();
    for port in [1, 2] {
        assert_eq!(syn(&mut worker, port, 0).frames, 1, "it is dialled");
    }
    plant();
    let said = syn(&mut worker, 1, 0);
    assert_eq!((said.causes, said.resets), (vec![Cause::Panicked], vec![PROVIDER, CONSUMER]));
    assert_eq!((worker.terminated(), shared.flows().live()), (1, 1));
    let mut said = Said::default();
    worker.expire(Duration::from_secs(2), 100, &mut said);
    assert_eq!((said.frames, said.resets.len()), (1, 0), "the other one dials again");
    plant();
    worker.expire(Duration::from_secs(10), 100, &mut said);
    assert_eq!((said.causes, worker.terminated()), (vec![Cause::Panicked], 0));
    assert_eq!(syn(&mut worker, 3, 10).frames, 1, "and newcomers come in");
}

#[test]
fn an_error_about_a_segment_is_heard_behind_the_fence_too() {
    let (_, mut worker) = worker();
    let dialled = syn(&mut worker, 1, 0).last;
    let mut error = [0; ICMP_ERROR_CAPACITY];
    let len = IcmpError::TooBig(1400).write(addr("10.2.0.1"), addr("10.2.9.1"), &dialled, &mut error);
    let mut said = Said::default();
    plant();
    worker.input(PROVIDER, &mut [Frame::plain(&mut error[..len])], Duration::ZERO, &mut said);
    assert_eq!((said.causes, worker.terminated()), (vec![Cause::Panicked], 0));
}

#[test]
fn a_device_that_goes_ends_its_flows_behind_the_fence_and_their_other_ends_are_told() {
    for (is_broken, cause) in [(false, Cause::Released), (true, Cause::Panicked)] {
        let (_, mut worker) = worker();
        syn(&mut worker, 1, 0);
        let mut said = Said::default();
        if is_broken {
            plant();
        }
        worker.message(Message::Detach(CONSUMER), Duration::ZERO, &mut said);
        assert_eq!((said.causes, worker.terminated()), (vec![cause], 0));
        assert!(said.resets.contains(&PROVIDER));
    }
}
