//! The proxy protocol's header on the nat path: what the target receives, byte for byte, and what the consumer never learns.

#![allow(clippy::unwrap_used)] // building a packet for a test cannot fail

mod beside;
mod forgotten;
mod full;
mod hidden;
mod lost;
mod placed;
mod reserved;
mod stray;
mod wrap;

use std::time::Duration;

use crate::lab::*;
use engine::{Event, Reason};
use etherparse::PacketBuilder;
use flow::{Cause, FlowPath, FlowView};
use topology::DeviceId;
use wire::{Packet, SynOptions};

const FIN: u8 = 1;
const PSH: u8 = 8;

/// Where the consumer and the target begin.
const ISN: u32 = 1000;
const THEIRS: u32 = 7000;
/// Bytes of a header.
const H: u32 = 100;
/// The header's first byte, and the consumer's, as the consumer numbers; and the target's.
const START: u32 = ISN + 1;
const THEIR_START: u32 = THEIRS + 1;
const CLIENT_PORT: u16 = 40_000;
const VPCE: &[u8; 22] = b"vpce-08d2bf15fac5001c9";

/// A TCP segment of either end.
#[derive(Clone, Copy)]
struct Segment<'a> {
    flags: u8,
    numbers: (u32, u32),
    window: u16,
    options: &'a [u8],
    payload: &'a [u8],
}

const ACKING: Segment<'_> =
    Segment { flags: ACK, numbers: (START, THEIR_START), window: 1000, options: &[], payload: &[] };
const ANSWERING: Segment<'_> = Segment { numbers: (THEIR_START, START), ..ACKING };

/// A frame that has left.
struct Left {
    device: DeviceId,
    bytes: Vec<u8>,
    packet: Packet,
}

impl Left {
    fn numbers(&self) -> (u32, u32) {
        (self.packet.sequence, self.packet.acknowledgement)
    }

    fn payload(&self) -> &[u8] {
        &self.bytes[self.packet.payload..]
    }

    fn options(&self) -> &[u8] {
        &self.bytes[self.packet.transport + 20..self.packet.payload]
    }

    fn window(&self) -> u16 {
        wire::window_of(&self.bytes, &self.packet)
    }

    fn flags(&self) -> u8 {
        self.packet.flags.bits()
    }
}

/// A consumer's flow to a target that gets a header.
struct Talk {
    lab: Lab,
    /// The port that the target sees.
    port: u16,
    /// Who gets the frames.
    worker: usize,
}

/// The lab's file, whose targets are told who their clients are.
pub(crate) fn headed(keys: &str) -> String {
    let attributes = format!("attributes = {{ \"proxy_protocol_v2.enabled\" = true{keys} }}");
    let ids = format!("ids = {{ aws = \"{}\" }}", std::str::from_utf8(VPCE).unwrap());
    FILE.replace("name = \"web\"", &format!("name = \"web\"\n{attributes}"))
        .replace("namespace = \"consumer-a\"", &format!("namespace = \"consumer-a\"\n{ids}"))
}

pub(crate) const ON_FIRST_ACK: &str =
    ", \"proxy_protocol_v2.client_to_server.header_placement\" = \"on_first_ack\"";

/// A segment's bytes.
fn written(from: (&str, u16), to: (&str, u16), segment: &Segment<'_>) -> Vec<u8> {
    let (source, destination) = (addr(from.0).v4_octets(), addr(to.0).v4_octets());
    let ip = PacketBuilder::ipv4(source, destination, 64);
    let mut tcp = ip.tcp(from.1, to.1, segment.numbers.0, segment.window);
    let has = |flag| segment.flags & flag != 0;
    tcp = if has(SYN) { tcp.syn() } else { tcp };
    tcp = if has(ACK) { tcp.ack(segment.numbers.1) } else { tcp };
    tcp = if has(FIN) { tcp.fin() } else { tcp };
    tcp = if has(RST) { tcp.rst() } else { tcp };
    let mut bytes = Vec::new();
    tcp.options_raw(segment.options).unwrap().write(&mut bytes, segment.payload).unwrap();
    bytes
}

impl Talk {
    /// One whose SYN has gone to the target.
    fn asked(file: &str, workers: usize, options: &[u8]) -> Self {
        let mut talk = Self { lab: Lab::of(file, workers), port: 0, worker: 0 };
        talk.ask(ISN, options);
        talk
    }

    /// One whose handshake is complete: the target has answered after `rtt`, with these options.
    fn begun(file: &str, options: &[u8], rtt: Duration) -> Self {
        let mut talk = Self::asked(file, 2, options);
        talk.lab.now = rtt;
        talk.answer(options);
        talk
    }

    fn new() -> Self {
        Self::begun(&headed(""), &[], Duration::ZERO)
    }

    /// The consumer's SYN goes to the target, alone.
    fn ask(&mut self, isn: u32, options: &[u8]) {
        let syn = Segment { flags: SYN, numbers: (isn, 0), options, ..ACKING };
        let left = self.forwarded(&syn, true);
        self.port = left.packet.source_port;
    }

    /// So does the target's SYN-ACK to the consumer, and the consumer's ACK to the target.
    fn answer(&mut self, options: &[u8]) {
        self.forwarded(&Segment { flags: SYN | ACK, numbers: (THEIRS, START), options, ..ACKING }, false);
        if !self.is_told_at_once() {
            self.forwarded(&ACKING, true);
        }
    }

    fn is_told_at_once(&self) -> bool {
        let topology = self.lab.shared.topology();
        let (_, web) = topology.groups.iter().find(|(_, group)| group.name == "web").unwrap();
        let proxy = web.attributes.proxy_protocol.unwrap_or_default();
        proxy.placement == topology::HeaderPlacement::OnFirstAck
    }

    /// One whose header is out, with the consumer's first bytes.
    fn out(options: &[u8], rtt: Duration) -> Self {
        let mut talk = Self::begun(&headed(""), options, rtt);
        let left = talk.consumer(&Segment { payload: b"hello", ..ACKING }).1;
        assert_eq!(left.len(), 2, "a header, and what brought it out");
        talk
    }

    fn consumer_frame(&self, segment: &Segment<'_>) -> Vec<u8> {
        written((CLIENT, CLIENT_PORT), (INTERFACE, 80), segment)
    }

    fn target_frame(&self, segment: &Segment<'_>) -> Vec<u8> {
        written((TARGET, 8080), (NODE, self.port), segment)
    }

    /// What becomes of a segment of the consumer's.
    fn consumer(&mut self, segment: &Segment<'_>) -> (Reason, Vec<Left>) {
        let frame = self.consumer_frame(segment);
        let device = self.lab.consumers[0];
        self.input(device, &frame)
    }

    /// What becomes of a segment of the target's.
    fn target(&mut self, segment: &Segment<'_>) -> (Reason, Vec<Left>) {
        let frame = self.target_frame(segment);
        let device = self.lab.provider;
        self.input(device, &frame)
    }

    fn input(&mut self, device: DeviceId, frame: &[u8]) -> (Reason, Vec<Left>) {
        let said = self.lab.input_at(self.worker, device, frame, self.lab.now);
        (said.verdicts[0].reason, left(&said))
    }

    /// A segment that goes to the other side, alone, as it does on nat too: what it is there.
    fn forwarded(&mut self, segment: &Segment<'_>, is_consumer: bool) -> Left {
        let (reason, mut left) = if is_consumer { self.consumer(segment) } else { self.target(segment) };
        assert!(matches!(reason, Reason::Forwarded | Reason::StrayForwarded), "{reason:?}");
        assert_eq!(left.len(), 1, "alone");
        let left = left.remove(0);
        assert_eq!(left.device, if is_consumer { self.lab.provider } else { self.lab.consumers[0] });
        left
    }

    fn hear_consumer(&mut self, segment: &Segment<'_>) -> Left {
        self.forwarded(segment, true)
    }

    fn hear_target(&mut self, segment: &Segment<'_>) -> Left {
        self.forwarded(segment, false)
    }

    /// The consumer resets at this number: at which numbers the target hears of it.
    fn reset(&mut self, sequence: u32) -> Vec<u32> {
        let (_, left) = self.consumer(&Segment { flags: RST, numbers: (sequence, 0), ..ACKING });
        assert!(left.iter().all(|left| left.device == self.lab.provider && left.flags() == RST));
        left.iter().map(|left| left.packet.sequence).collect()
    }

    /// Lets time pass, and says what leaves then and what is told.
    fn pass(&mut self, until: Duration) -> (Vec<Left>, Vec<Event>) {
        let mut said = Said::default();
        self.lab.pass(0, until, &mut said);
        self.lab.now = until;
        (left(&said), said.events)
    }

    /// How its flow is carried, as the table shows it.
    fn path(&self) -> FlowPath {
        self.shown().path
    }

    fn shown(&self) -> FlowView {
        let mut shown = None;
        self.lab.shared.flows().each(self.lab.now, |flow| shown = Some(*flow));
        shown.unwrap()
    }
}

fn left(said: &Said) -> Vec<Left> {
    let sent = said.sent.iter();
    let left = |(device, bytes): &(DeviceId, Vec<u8>)| Left {
        device: *device,
        packet: wire::parse(bytes).unwrap(),
        bytes: bytes.clone(),
    };
    sent.map(left).collect()
}

/// The header that the target has to get.
fn header() -> Vec<u8> {
    let header = wire::ProxyHeader {
        source: (addr(CLIENT), CLIENT_PORT),
        destination: (addr(INTERFACE), 80),
        endpoint: wire::ProxyEndpoint::Aws(std::str::from_utf8(VPCE).unwrap()),
    };
    header.to_bytes().to_vec()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Timestamps as an option, padded.
fn stamps(value: u32, echo: u32) -> Vec<u8> {
    [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat()
}

/// SACK blocks as an option, padded.
fn sack(blocks: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = vec![1, 1, 5, 2 + 8 * blocks.len() as u8];
    for (left, right) in blocks {
        bytes.extend(left.to_be_bytes());
        bytes.extend(right.to_be_bytes());
    }
    bytes
}

/// The blocks that a frame carries.
fn blocks(left: &Left) -> Vec<u32> {
    let found = wire::find_option(&left.bytes, &left.packet, wire::TcpOption::Sack);
    let bytes = found.map_or(&[][..], |range| &left.bytes[range]);
    bytes.chunks(4).map(|edge| u32::from_be_bytes(edge.try_into().unwrap())).collect()
}
