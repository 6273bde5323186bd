//! Where those are told who number differently.

use std::sync::Arc;
use std::time::Duration;

use flow::{Fate, FlowPath, Numbering};
use topology::{DeviceId, Origin, Topology};
use wire::{Addr, SEGMENT_CAPACITY};

use super::*;
use crate::contract::{HandOverFull, Message, WorkerId};
use crate::verdict::Verdict;
use crate::{Shared, Worker};

const FILE: &str = r#"
[[service]]
name = "s"
namespace = "p"
nodes = [{ address = "10.2.9.1" }]
listeners = [{ protocol = "tcp", port = 80, forward = "g" }]
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
const CLIENT: (&str, u16) = ("10.1.0.2", 40_000);
const INTERFACE: (&str, u16) = ("10.1.9.50", 80);
const TARGET: (&str, u16) = ("10.2.0.2", 8080);

/// Where the consumer and the target expect the next byte, as the target numbers.
const NEXT: [u32; 2] = [u32::MAX - 5, 1101];

/// What a worker has sent.
#[derive(Default)]
struct Sent(Vec<(DeviceId, Packet)>);

impl Sent {
    /// The numbers of the RSTs that have gone to a device.
    fn resets(&self, to: DeviceId) -> Vec<u32> {
        let resets = self.0.iter().filter(|(device, packet)| *device == to && packet.flags.rst());
        resets.map(|(_, packet)| packet.sequence).collect()
    }
}

impl Output for Sent {
    fn forward(&mut self, frame: &mut Frame<'_>, egress: Egress) {
        self.emit(frame, egress);
    }

    fn emit(&mut self, frame: &mut Frame<'_>, Egress::Device(device): Egress) {
        self.0.push((device, wire::parse(frame.bytes).unwrap()));
    }

    fn hand_over(&mut self, _: WorkerId, _: DeviceId, _: &Frame<'_>) -> Result<(), HandOverFull> {
        Ok(())
    }

    fn verdict(&mut self, _: usize, _: Verdict) {}

    fn event(&mut self, _: Event) {}
}

struct Lab {
    shared: Arc<Shared>,
    worker: Worker,
    node: (&'static str, u16),
}

impl Lab {
    /// With a flow whose target has answered, on whose sides the numbers differ like this.
    fn of(numbering: &Numbering) -> Self {
        let topology = Topology::parse(FILE, &Origin::new("/s.toml")).unwrap();
        let shared = Arc::new(Shared::new(Arc::new(topology), 1, [1, 2, 3, 4]));
        let mut worker = Worker::new(Arc::clone(&shared), WorkerId(0), [5, 6]);
        for device in [PROVIDER, CONSUMER] {
            worker.message(Message::Attach(device), Duration::ZERO, &mut Sent::default());
        }
        let mut lab = Self { shared, worker, node: ("10.2.9.1", 0) };
        let [consumers, targets] = NEXT;
        let said = lab.say(CONSUMER, CLIENT, INTERFACE, TcpFlags::SYN, (targets - 1, 0));
        lab.node.1 = said.0[0].1.source_port;
        let answer = (consumers.wrapping_sub(1), targets);
        lab.say(PROVIDER, TARGET, lab.node, TcpFlags::SYN | TcpFlags::ACK, answer);
        lab.say(CONSUMER, CLIENT, INTERFACE, TcpFlags::ACK, (targets, consumers));
        let mut flow = None;
        lab.shared.flows.each(Duration::ZERO, |view| flow = Some(view.flow));
        let turn = lab.shared.flows.turn(0);
        turn.steer(&turn.at(flow.unwrap()).unwrap(), FlowPath::Shifted, numbering);
        drop(turn);
        lab
    }

    fn say(
        &mut self,
        device: DeviceId,
        from: (&str, u16),
        to: (&str, u16),
        flags: u8,
        (sequence, acknowledgement): (u32, u32),
    ) -> Sent {
        let addr = |text: &str| Addr::from(text.parse::<std::net::IpAddr>().unwrap());
        let flags = TcpFlags::new(flags);
        let segment = Segment { flags, sequence, acknowledgement, ..Segment::default() };
        let mut buffer = [0; SEGMENT_CAPACITY];
        let len = segment.write_between((addr(from.0), from.1), (addr(to.0), to.1), &mut buffer);
        let mut sent = Sent::default();
        self.worker.input(device, &mut [Frame::plain(&mut buffer[..len])], Duration::ZERO, &mut sent);
        sent
    }

    fn end(&self) {
        let (lane, _) = self.shared.flows.lanes().iter().next().unwrap();
        self.shared.flows.lanes().set_fate(lane, Fate::Ended(Cause::Deregistered));
    }
}

#[test]
fn each_end_is_reset_where_it_expects_the_next_byte_by_its_own_numbers() {
    let window = wire::Scaling { from: 7, to: 2 };
    for numbering in [
        Numbering::default(),
        Numbering { header: 100, ..Numbering::default() },
        Numbering { header: 100, sequence: 1_000_000, timestamp: 77, window },
    ] {
        let at_consumer = NEXT[0].wrapping_add(numbering.sequence);
        let told = [(CONSUMER, vec![at_consumer]), (PROVIDER, vec![NEXT[1]])];

        let mut lab = Lab::of(&numbering);
        lab.end();
        let mut sent = Sent::default();
        lab.worker.expire(Duration::from_secs(1), 100, &mut sent);
        let by_the_sweep = [CONSUMER, PROVIDER].map(|device| (device, sent.resets(device)));
        assert_eq!(by_the_sweep, told, "{numbering:?}");

        let header = u32::from(numbering.header);
        let mut lab = Lab::of(&numbering);
        lab.end();
        let own = (NEXT[1] - header, at_consumer);
        let sent = lab.say(CONSUMER, CLIENT, INTERFACE, TcpFlags::ACK, own);
        let as_the_consumer_speaks = [CONSUMER, PROVIDER].map(|device| (device, sent.resets(device)));
        assert_eq!(as_the_consumer_speaks, told, "{numbering:?}");

        let mut lab = Lab::of(&numbering);
        lab.end();
        let sent = lab.say(PROVIDER, TARGET, lab.node, TcpFlags::ACK, (NEXT[0], NEXT[1]));
        let as_the_target_speaks = [CONSUMER, PROVIDER].map(|device| (device, sent.resets(device)));
        assert_eq!(as_the_target_speaks, told, "{numbering:?}");
    }
}
