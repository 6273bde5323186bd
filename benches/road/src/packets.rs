//! What the steps share: a consumer's packets, a worker that carries them, and who hears what it says.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{Egress, Event, HandOverFull, Message, Output, Reason, Shared, Verdict, Worker, WorkerId};
use topology::{DeviceId, Origin, Topology};
use wire::{Addr, Checksum, Frame, Offload, Packet, SEGMENT_CAPACITY, Segment, SynOptions, TcpFlags, parse};

pub(super) const PROVIDER: DeviceId = DeviceId(0);
pub(super) const CONSUMER: DeviceId = DeviceId(1);
pub(super) const NOW: Duration = Duration::from_secs(1);

const CLIENT: [u8; 4] = [10, 1, 0, 2];
const DOOR: [u8; 4] = [10, 1, 9, 50];
/// The longest payload of a segment that is [`said`].
pub(super) const PAYLOAD: usize = 100;

/// One that has both devices.
pub(super) fn worker(file: &str) -> Worker {
    let topology = Topology::parse(file, &Origin::new(Path::new("/bench.toml"))).unwrap();
    let shared = Arc::new(Shared::new(Arc::new(topology), 1, [1, 2, 3, 4]));
    let mut worker = Worker::new(shared, WorkerId(0), [5, 6]);
    for device in [PROVIDER, CONSUMER] {
        worker.message(Message::Attach(device), NOW, &mut Sink::default());
    }
    worker
}

/// Counts what is not forwarded.
#[derive(Default)]
pub(super) struct Sink {
    pub(super) refused: usize,
}

impl Output for Sink {
    fn forward(&mut self, _: usize, frame: &mut Frame<'_>, _: Egress) {
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

/// Keeps the last packet to each side.
#[derive(Default)]
pub(super) struct Heard {
    last: [Option<Packet>; 2],
}

impl Heard {
    pub(super) fn last(&self, device: DeviceId) -> Packet {
        self.last[device.index()].unwrap()
    }
}

impl Output for Heard {
    fn forward(&mut self, _: usize, frame: &mut Frame<'_>, egress: Egress) {
        self.emit(frame, egress);
    }
    fn emit(&mut self, frame: &mut Frame<'_>, Egress::Device(device): Egress) {
        self.last[device.index()] = parse(frame.bytes).ok();
    }
    fn hand_over(&mut self, _: WorkerId, _: DeviceId, _: &Frame<'_>) -> Result<(), HandOverFull> {
        Err(HandOverFull)
    }
    fn verdict(&mut self, _: usize, _: Verdict) {}
    fn event(&mut self, _: Event) {}
}

/// A TCP packet from the consumer, with checksums that nobody looks at.
pub(super) fn tcp(port: u16, flags: u8, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; 40 + payload];
    bytes[0] = 0x45;
    let len = (bytes.len() as u16).to_be_bytes();
    bytes[2..4].copy_from_slice(&len);
    bytes[8..10].copy_from_slice(&[64, 6]);
    bytes[12..16].copy_from_slice(&CLIENT);
    bytes[16..20].copy_from_slice(&DOOR);
    bytes[20..22].copy_from_slice(&port.to_be_bytes());
    bytes[23] = 80;
    bytes[32..34].copy_from_slice(&[0x50, flags]);
    bytes
}

/// A datagram from the consumer, with a checksum that nobody looks at.
pub(super) fn udp(port: u16) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes[0] = 0x45;
    bytes[3] = 128;
    bytes[8..10].copy_from_slice(&[64, 17]);
    bytes[12..16].copy_from_slice(&CLIENT);
    bytes[16..20].copy_from_slice(&DOOR);
    bytes[20..22].copy_from_slice(&port.to_be_bytes());
    bytes[23] = 53;
    bytes[25] = 108;
    bytes
}

pub(super) fn partial(bytes: &mut [u8]) -> Frame<'_> {
    Frame { offload: Offload { checksum: Checksum::Partial, segmentation: None }, bytes }
}

/// Where a packet comes from, and where it goes.
pub(super) type Ends = ((Addr, u16), (Addr, u16));

pub(super) fn ends_of_consumer(port: u16) -> Ends {
    ((Addr::v4(CLIENT), port), (Addr::v4(DOOR), 80))
}

/// Those of whoever answers this packet.
pub(super) fn ends_of_answer(packet: &Packet) -> Ends {
    ((packet.destination, packet.destination_port), (packet.source, packet.source_port))
}

/// A packet, and its length.
pub(super) type Said = ([u8; SEGMENT_CAPACITY], usize);

/// What one end says to the other, with so many zeros.
pub(super) fn said((from, to): Ends, segment: Segment<'static>, payload: usize) -> Said {
    let mut bytes = [0; SEGMENT_CAPACITY];
    let len = Segment { payload: &[0; PAYLOAD][..payload], ..segment }.write_between(from, to, &mut bytes);
    (bytes, len)
}

pub(super) fn segment(flags: u8, sequence: u32, acknowledgement: u32) -> Segment<'static> {
    let (flags, options) = (TcpFlags::new(flags), SynOptions::default());
    Segment { flags, sequence, acknowledgement, window: u16::MAX, options, payload: &[] }
}

/// Walks through the clients in an order that no prefetcher guesses.
pub(super) fn steps_through(clients: u32) -> impl FnMut() -> u32 {
    let mut at = 0u32;
    move || {
        at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (at >> 8) % clients
    }
}
