//! A lab for the engine's tests: a topology, packets, and an output that remembers.

#![allow(clippy::unwrap_used)] // setting up a test cannot fail

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{Egress, Event, HandOverFull, Message, Output, Reason, Shared, Verdict, Worker, WorkerId};
use etherparse::{PacketBuilder, TcpOptionElement};
use topology::{DeviceId, Origin, Topology};
use wire::{Addr, Checksum, Frame, Packet, Unparsed, checksum_is_valid, parse, pseudo_header};

/// Two consumers with the same addresses, one provider, both families.
pub(crate) const FILE: &str = r#"
[run]
name = "lab"
[flows]
capacity = 4096
[[service]]
name = "orders"
namespace = "provider"
nodes = [{ zone = "a", address = "10.2.9.1" }, { zone = "a", address = "fd02::9:1" }]
listeners = [
  { protocol = "tcp", port = 80, forward = "web" },
  { protocol = "tcp", port = 8443, forward = "web", path = "terminate" },
  { protocol = "udp", port = 53, forward = "dns" },
]
[[target_group]]
name = "web"
targets = [{ address = "10.2.0.2", port = 8080 }, { address = "fd02::2", port = 8080 }]
[[target_group]]
name = "dns"
targets = [{ address = "10.2.0.2", port = 5353 }, { address = "fd02::2", port = 5353 }]
[[endpoint]]
name = "orders-a"
service = "orders"
namespace = "consumer-a"
interfaces = [{ zone = "a", address = "10.1.9.50" }, { zone = "a", address = "fd01::9:50" }]
[[endpoint]]
name = "orders-b"
service = "orders"
namespace = "consumer-b"
interfaces = [{ zone = "a", address = "10.1.9.50" }, { zone = "a", address = "fd01::9:50" }]
"#;

pub(crate) const CLIENT: &str = "10.1.0.2";
pub(crate) const INTERFACE: &str = "10.1.9.50";
pub(crate) const NODE: &str = "10.2.9.1";
pub(crate) const TARGET: &str = "10.2.0.2";

pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// What a worker has said.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) sent: Vec<(DeviceId, Vec<u8>)>,
    pub(crate) handed: Vec<(WorkerId, DeviceId, Vec<u8>)>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) events: Vec<Event>,
}

impl Output for Said {
    fn forward(&mut self, _: usize, frame: &mut Frame<'_>, egress: Egress) {
        self.emit(frame, egress);
    }

    fn emit(&mut self, frame: &mut Frame<'_>, Egress::Device(device): Egress) {
        check_checksum(frame);
        self.sent.push((device, frame.bytes.to_vec()));
    }

    fn hand_over(&mut self, to: WorkerId, device: DeviceId, frame: &Frame<'_>) -> Result<(), HandOverFull> {
        self.handed.push((to, device, frame.bytes.to_vec()));
        Ok(())
    }

    fn verdict(&mut self, _slot: usize, verdict: Verdict) {
        self.verdicts.push(verdict);
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// A forwarder of some workers, attached to every device.
pub(crate) struct Lab {
    pub(crate) shared: Arc<Shared>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) provider: DeviceId,
    pub(crate) consumers: [DeviceId; 2],
    /// When [`Lab::input`] happens.
    pub(crate) now: Duration,
}

impl Lab {
    pub(crate) fn new(workers: usize) -> Self {
        Self::of(FILE, workers)
    }

    pub(crate) fn of(file: &str, workers: usize) -> Self {
        let topology = Topology::parse(file, &Origin::new(Path::new("/lab.toml"))).unwrap();
        let place = |name| DeviceId(topology.namespaces.iter().position(|n| n.name == name).unwrap() as u16);
        let (provider, consumers) = (place("provider"), [place("consumer-a"), place("consumer-b")]);
        let devices = topology.namespaces.len() as u16;
        let shared = Arc::new(Shared::new(Arc::new(topology), workers, [1, 2, 3, 4]));
        let mut workers: Vec<Worker> =
            (0..workers).map(|id| Worker::new(Arc::clone(&shared), WorkerId(id as u8), [5, 6])).collect();
        for worker in &mut workers {
            for device in 0..devices {
                worker.message(Message::Attach(DeviceId(device)), Duration::ZERO, &mut Said::default());
            }
        }
        Self { shared, workers, provider, consumers, now: Duration::ZERO }
    }

    /// Puts another file in force, and says what the workers have to say about that.
    pub(crate) fn reload(&mut self, file: &str, now: Duration) -> Said {
        let fresh = Topology::parse(file, &Origin::new(Path::new("/lab.toml"))).unwrap();
        self.shared.adopt(Arc::new(fresh.succeed(&self.shared.topology()).unwrap()), now);
        self.tell(Message::Planned, now)
    }

    /// Tells all workers something.
    pub(crate) fn tell(&mut self, message: Message, now: Duration) -> Said {
        let mut said = Said::default();
        self.workers.iter_mut().for_each(|worker| worker.message(message, now, &mut said));
        said
    }

    /// Gives worker 0 a packet, and says what became of it.
    pub(crate) fn input(&mut self, device: DeviceId, bytes: &[u8]) -> Said {
        self.input_at(0, device, bytes, self.now)
    }

    pub(crate) fn input_at(&mut self, worker: usize, device: DeviceId, bytes: &[u8], now: Duration) -> Said {
        let mut bytes = bytes.to_vec();
        let mut said = Said::default();
        self.workers[worker].input(device, &mut [Frame::plain(&mut bytes)], now, &mut said);
        assert_eq!(said.verdicts.len() + said.handed.len(), 1, "one frame, one verdict");
        said
    }

    /// Lets time pass for a worker, which does what is due when it is due.
    pub(crate) fn pass(&mut self, worker: usize, until: Duration, out: &mut impl Output) {
        loop {
            let due = self.workers[worker].next_deadline();
            if due > until {
                return;
            }
            self.workers[worker].expire(due, 1_000, out);
        }
    }

    /// As [`Lab::input`], for packets that must go through: where to, and as what.
    pub(crate) fn carried(&mut self, device: DeviceId, bytes: &[u8]) -> (DeviceId, Packet) {
        let said = self.input(device, bytes);
        assert_eq!(said.verdicts[0].reason, Reason::Forwarded);
        let (device, bytes) = &said.sent[0];
        (*device, parse(bytes).unwrap())
    }

    /// As [`Lab::input`], for packets that must not: why.
    pub(crate) fn refused(&mut self, device: DeviceId, bytes: &[u8]) -> Reason {
        let said = self.input(device, bytes);
        assert!(said.sent.is_empty(), "nothing leaves");
        said.verdicts[0].reason
    }
}

/// What leaves has a right checksum: complete, or what a partial one has to hold.
fn check_checksum(frame: &Frame<'_>) {
    let packet = match parse(frame.bytes) {
        Err(Unparsed::Fragment) => return, // tells only when it is put together, which fragments.rs does
        Err(Unparsed::Icmp) => {
            let icmp = wire::parse_icmp(frame.bytes).unwrap();
            return assert!(icmp.checksum_is_valid(frame.bytes));
        }
        parsed => parsed.unwrap(),
    };
    if frame.checksum() == Checksum::Partial {
        let at = packet.transport + packet.protocol.checksum_offset();
        let len = packet.len - packet.transport;
        let sum = pseudo_header(packet.source, packet.destination, packet.protocol, len);
        assert_eq!(frame.bytes[at..at + 2], sum.to_be_bytes());
    } else {
        assert!(checksum_is_valid(frame.bytes, &packet));
    }
}

pub(crate) fn addr(text: &str) -> Addr {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

fn ip(source: &str, destination: &str, ttl: u8) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    let (source, destination) = (addr(source), addr(destination));
    if source.is_v4() {
        PacketBuilder::ipv4(source.v4_octets(), destination.v4_octets(), ttl)
    } else {
        PacketBuilder::ipv6(source.octets(), destination.octets(), ttl)
    }
}

/// A TCP packet; a SYN carries an MSS of 8961.
pub(crate) fn tcp(
    from: (&str, u16),
    to: (&str, u16),
    flags: u8,
    numbers: (u32, u32),
    payload: &[u8],
) -> Vec<u8> {
    let mut step = ip(from.0, to.0, 64).tcp(from.1, to.1, numbers.0, 1000);
    if flags & SYN != 0 {
        step = step.syn().options(&[TcpOptionElement::MaximumSegmentSize(8961)]).unwrap();
    }
    if flags & RST != 0 {
        step = step.rst();
    }
    if flags & ACK != 0 {
        step = step.ack(numbers.1);
    }
    if flags & 1 != 0 {
        step = step.fin();
    }
    let mut bytes = Vec::new();
    step.write(&mut bytes, payload).unwrap();
    bytes
}

pub(crate) fn udp(from: (&str, u16), to: (&str, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ip(from.0, to.0, 64).udp(from.1, to.1).write(&mut bytes, payload).unwrap();
    bytes
}

/// A packet with another TTL, or hop limit.
pub(crate) fn with_ttl(mut bytes: Vec<u8>, ttl: u8) -> Vec<u8> {
    if bytes[0] >> 4 == 6 {
        bytes[7] = ttl;
        return bytes;
    }
    let mut header = etherparse::Ipv4Header::from_slice(&bytes).unwrap().0;
    header.time_to_live = ttl;
    header.header_checksum = header.calc_header_checksum();
    bytes[..20].copy_from_slice(&header.to_bytes());
    bytes
}
