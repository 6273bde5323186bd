//! Splice: the consumer's handshake is ours, the target's follows, and the flow goes on as one of nat with other numbers.

#![allow(clippy::unwrap_used)] // what a test has sent can be parsed

use std::time::Duration;

use engine::{Event, Reason};
use flow::{Cause, FlowPath};
use topology::DeviceId;
use wire::{Addr, Packet, SEGMENT_CAPACITY, Segment, SynOptions, TcpFlags};

use crate::lab::*;

mod ends;
mod flood;
mod headed;
mod meets;

const FIN: u8 = 1;
const DOOR: u16 = 90;
const CLIENT_PORT: u16 = 40_000;
/// Where the consumer begins, and the target: both numbers are about to wrap.
const ISN: u32 = u32::MAX - 3;
const THEIRS: u32 = u32::MAX - 5;
const START: u32 = ISN.wrapping_add(1);
const THEIR_START: u32 = THEIRS.wrapping_add(1);

const MODERN: SynOptions =
    SynOptions { mss: Some(1460), window_scale: Some(7), sack_permitted: true, timestamps: Some([700, 0]) };
const PLAIN: SynOptions =
    SynOptions { mss: None, window_scale: None, sack_permitted: false, timestamps: None };
/// What the target answers such a SYN with.
const ANSWER: SynOptions = SynOptions { window_scale: Some(9), timestamps: Some([90_000, 700]), ..MODERN };

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn spliced(file: &str) -> String {
    let door = format!(
        "listeners = [\n  {{ protocol = \"tcp\", port = {DOOR}, forward = \"web\", path = \"splice\" }},"
    );
    file.replace("listeners = [", &door)
}

fn segment(flags: u8, sequence: u32, acknowledgement: u32, options: SynOptions) -> Segment<'static> {
    Segment { flags: TcpFlags::new(flags), sequence, acknowledgement, window: 20_000, options, payload: &[] }
}

fn stamped(value: u32, echo: u32) -> SynOptions {
    SynOptions { timestamps: Some([value, echo]), ..PLAIN }
}

/// A frame that has left.
#[derive(Clone)]
struct Left {
    device: DeviceId,
    bytes: Vec<u8>,
    packet: Packet,
}

impl Left {
    fn numbers(&self) -> (u32, u32) {
        (self.packet.sequence, self.packet.acknowledgement)
    }

    fn flags(&self) -> u8 {
        self.packet.flags.bits()
    }

    fn window(&self) -> u16 {
        wire::window_of(&self.bytes, &self.packet)
    }

    fn options(&self) -> SynOptions {
        SynOptions::read(&self.bytes, &self.packet)
    }

    fn stamps(&self) -> [u32; 2] {
        self.options().timestamps.unwrap()
    }

    fn payload(&self) -> &[u8] {
        &self.bytes[self.packet.payload..]
    }
}

/// A consumer, a target, and what is between them.
struct Scene {
    lab: Lab,
    /// The consumer's port, and the node's that the target sees.
    ports: [u16; 2],
    /// Where we begin towards the consumer.
    ours: u32,
    events: Vec<Event>,
}

impl Scene {
    /// With a target that nobody has asked anything yet.
    fn new(file: &str) -> Self {
        Self { lab: Lab::of(&spliced(file), 2), ports: [CLIENT_PORT, 0], ours: 0, events: Vec::new() }
    }

    /// With a target that answers like this, and has done so to another client.
    fn known(file: &str, answer: SynOptions) -> Self {
        let mut scene = Self::new(file);
        scene.ports[0] = CLIENT_PORT - 1;
        scene.teach(answer);
        scene.ports = [CLIENT_PORT, 0];
        scene
    }

    /// A flow to a target of which nothing is known, which answers like this.
    fn teach(&mut self, answer: SynOptions) {
        let (reason, left) = self.consumer(&segment(SYN, 5, 0, MODERN));
        assert_eq!(reason, Reason::SpliceTerminated, "it stays terminated: what it speaks is not known yet");
        let asked = &left[0].packet;
        self.ports[1] = asked.source_port;
        let syn_ack = segment(SYN | ACK, 9, asked.sequence.wrapping_add(1), answer);
        assert_eq!(self.target(&syn_ack).0, Reason::Terminated);
    }

    /// One whose consumer has sent its SYN and been answered.
    fn answered(options: SynOptions, answer: SynOptions) -> Self {
        let mut scene = Self::known(FILE, answer);
        let left = scene.greeted(&segment(SYN, ISN, 0, options));
        scene.ours = left.packet.sequence;
        scene
    }

    /// One whose target has been asked.
    fn dialled(options: SynOptions, answer: SynOptions) -> Self {
        let mut scene = Self::answered(options, answer);
        scene.dial(stamped(710, 0));
        scene
    }

    fn dial(&mut self, options: SynOptions) -> Left {
        let (reason, mut left) = self.consumer(&segment(ACK, START, self.ours.wrapping_add(1), options));
        assert_eq!((reason, left.len()), (Reason::SpliceHandshake, 1));
        let asked = left.remove(0);
        assert_eq!((asked.device, asked.flags(), asked.packet.sequence), (self.lab.provider, SYN, ISN));
        self.ports[1] = asked.packet.source_port;
        asked
    }

    /// One whose ends have met.
    fn met() -> Self {
        let mut scene = Self::dialled(MODERN, ANSWER);
        scene.meet(ANSWER);
        scene
    }

    /// The target answers: what it gets for that, and what the consumer gets.
    fn meet(&mut self, answer: SynOptions) -> [Left; 2] {
        let (reason, left) = self.target(&segment(SYN | ACK, THEIRS, START, answer));
        assert_eq!(reason, Reason::SpliceHandshake);
        let [acked, opened]: [Left; 2] = left.try_into().ok().unwrap();
        assert_eq!((acked.device, opened.device), (self.lab.provider, self.lab.consumers[0]));
        [acked, opened]
    }

    fn frame(&self, is_consumer: bool, segment: &Segment<'_>) -> Vec<u8> {
        let end = |address: &str, port| -> (Addr, u16) { (addr(address), port) };
        let (from, to) = if is_consumer {
            (end(CLIENT, self.ports[0]), end(INTERFACE, DOOR))
        } else {
            (end(TARGET, 8080), end(NODE, self.ports[1]))
        };
        let mut buffer = [0; SEGMENT_CAPACITY];
        let len = segment.write_between(from, to, &mut buffer);
        buffer[..len].to_vec()
    }

    fn consumer(&mut self, segment: &Segment<'_>) -> (Reason, Vec<Left>) {
        let frame = self.frame(true, segment);
        self.input(self.lab.consumers[0], &frame)
    }

    fn target(&mut self, segment: &Segment<'_>) -> (Reason, Vec<Left>) {
        let frame = self.frame(false, segment);
        self.input(self.lab.provider, &frame)
    }

    fn input(&mut self, device: DeviceId, frame: &[u8]) -> (Reason, Vec<Left>) {
        let mut said = self.lab.input(device, frame);
        self.events.append(&mut said.events);
        (said.verdicts[0].reason, left(&said))
    }

    /// What we answer, alone, to a consumer whose handshake is ours.
    fn greeted(&mut self, segment: &Segment<'_>) -> Left {
        let (reason, mut left) = self.consumer(segment);
        assert_eq!((reason, left.len()), (Reason::SpliceHandshake, 1));
        assert_eq!(left[0].device, self.lab.consumers[0]);
        left.remove(0)
    }

    /// What is taken in without a word.
    fn swallowed(&mut self, is_consumer: bool, segment: &Segment<'_>) {
        let (reason, left) = if is_consumer { self.consumer(segment) } else { self.target(segment) };
        assert_eq!((reason, left.len()), (Reason::SpliceHandshake, 0));
    }

    /// What arrives on the other side, alone.
    fn carried(&mut self, is_consumer: bool, segment: &Segment<'_>) -> Left {
        let (reason, mut left) = if is_consumer { self.consumer(segment) } else { self.target(segment) };
        assert!(matches!(reason, Reason::Forwarded | Reason::StrayForwarded), "{reason:?}");
        assert_eq!(left.len(), 1);
        let left = left.remove(0);
        assert_eq!(left.device, if is_consumer { self.lab.provider } else { self.lab.consumers[0] });
        left
    }

    /// Lets time pass, and says what leaves then.
    fn pass(&mut self, until: Duration) -> Vec<Left> {
        let mut said = Said::default();
        while self.lab.now < until {
            self.lab.now = until.min(self.lab.now + Duration::from_millis(100));
            [0, 1].into_iter().for_each(|worker| self.lab.pass(worker, self.lab.now, &mut said));
        }
        self.events.append(&mut said.events);
        // The flow that taught us what the target speaks is none of ours.
        left(&said).into_iter().filter(|left| self.is_ours(&left.packet)).collect()
    }

    fn is_ours(&self, packet: &Packet) -> bool {
        packet.destination_port == self.ports[0] || packet.source_port == self.ports[1]
    }

    /// How the flow is carried, as the table shows it, if it is there.
    fn path(&self) -> Option<FlowPath> {
        let mut path = None;
        self.lab.shared.flows().each(self.lab.now, |flow| {
            if flow.original.remote_port == self.ports[0] {
                path = Some(flow.path);
            }
        });
        path
    }

    /// Why flows have ended.
    fn causes(&self) -> Vec<Cause> {
        let cause = |event: &Event| match event {
            Event::FlowClosed { cause, .. } => Some(*cause),
            _ => None,
        };
        self.events.iter().filter_map(cause).collect()
    }
}

fn left(said: &Said) -> Vec<Left> {
    let left = |(device, bytes): &(DeviceId, Vec<u8>)| Left {
        device: *device,
        packet: wire::parse(bytes).unwrap(),
        bytes: bytes.clone(),
    };
    said.sent.iter().map(left).collect()
}
