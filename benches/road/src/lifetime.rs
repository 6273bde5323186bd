//! What a terminated connection costs from its SYN to its end, in the segments that two kernels send: a byte of greeting from
//! the target, and a FIN each way.

use std::time::Duration;

use engine::Worker;
use topology::DeviceId;
use wire::{Packet, Segment, SynOptions, TcpFlags};

use super::Meter;
use super::packets::{
    CONSUMER, Ends, Heard, NOW, PROVIDER, Said, ends_of_answer, ends_of_consumer, partial, said, segment,
    worker,
};
use super::terminate::FILE;

/// How many of its packets come in.
pub(super) const PACKETS: u64 = 8;
/// From one connection to the next: a closed flow is remembered for a minute, and the table has room for all of these.
const PACE: Duration = Duration::from_millis(10);
/// Of a sweep, as the runtime gives it.
const BUDGET: usize = 4096;
const SYN_OPTIONS: SynOptions =
    SynOptions { mss: Some(8460), window_scale: Some(7), sack_permitted: true, timestamps: Some([1, 0]) };

/// Who sends the first FIN.
#[derive(Clone, Copy)]
pub(super) enum Closer {
    /// It greets and closes at once: both are there when the worker looks.
    Target,
    Consumer,
}

/// Connections, one after the other.
pub(super) fn connection<M: Meter>(meter: &mut M, closer: Closer) {
    let mut stage = Stage { worker: worker(FILE), heard: Heard::default(), now: NOW };
    let mut port = 0;
    meter.each(
        || {
            port = port % 60_000 + 1;
            port
        },
        |port| stage.connection(*port, closer),
    );
}

/// A worker between two ends.
struct Stage {
    worker: Worker,
    heard: Heard,
    now: Duration,
}

impl Stage {
    fn connection(&mut self, port: u16, closer: Closer) {
        const ACK: u8 = TcpFlags::ACK;
        self.wait();
        let mut consumer = Peer::new(CONSUMER, ends_of_consumer(port));
        self.input(CONSUMER, [consumer.says(TcpFlags::SYN, 0)]);
        let mut target = Peer::new(PROVIDER, ends_of_answer(&self.heard.last(PROVIDER)));
        target.hears(&self.heard);
        self.input(PROVIDER, [target.says(TcpFlags::SYN | ACK, 0)]);
        consumer.hears(&self.heard);
        target.hears(&self.heard);
        self.input(CONSUMER, [consumer.says(ACK, 0)]);
        let greeting = target.says(TcpFlags::PSH | ACK, 1);
        match closer {
            Closer::Target => self.input(PROVIDER, [greeting, target.says(TcpFlags::FIN | ACK, 0)]),
            Closer::Consumer => self.input(PROVIDER, [greeting]),
        }
        consumer.hears(&self.heard);
        self.input(CONSUMER, [consumer.says(ACK, 0)]);
        self.input(CONSUMER, [consumer.says(TcpFlags::FIN | ACK, 0)]);
        target.hears(&self.heard);
        match closer {
            Closer::Target => self.input(PROVIDER, [target.says(ACK, 0)]),
            Closer::Consumer => {
                self.input(PROVIDER, [target.says(TcpFlags::FIN | ACK, 0)]);
                consumer.hears(&self.heard);
                self.input(CONSUMER, [consumer.says(ACK, 0)]);
            }
        }
        assert_eq!(self.worker.terminated(), 0, "it has come to its end");
    }

    fn wait(&mut self) {
        self.now += PACE;
        if self.worker.next_deadline() <= self.now {
            self.worker.expire(self.now, BUDGET, &mut self.heard);
        }
    }

    /// One batch of packets.
    fn input<const N: usize>(&mut self, device: DeviceId, mut batch: [Said; N]) {
        let mut frames = batch.each_mut().map(|(bytes, len)| partial(&mut bytes[..*len]));
        self.worker.input(device, &mut frames, self.now, &mut self.heard);
    }
}

/// One end, and where it stands.
struct Peer {
    device: DeviceId,
    ends: Ends,
    sequence: u32,
    acknowledgement: u32,
}

impl Peer {
    fn new(device: DeviceId, ends: Ends) -> Self {
        Self { device, ends, sequence: 1000, acknowledgement: 0 }
    }

    /// Takes note of the last packet that came to it.
    fn hears(&mut self, heard: &Heard) {
        let packet: Packet = heard.last(self.device);
        self.acknowledgement = packet.sequence.wrapping_add(packet.sequence_len());
    }

    /// Its next segment.
    fn says(&mut self, flags: u8, payload: usize) -> Said {
        let timestamps = SynOptions { timestamps: Some([1, 1]), ..SynOptions::default() };
        let options = if flags & TcpFlags::SYN == 0 { timestamps } else { SYN_OPTIONS };
        let segment = Segment { options, ..segment(flags, self.sequence, self.acknowledgement) };
        let takes_a_number = flags & (TcpFlags::SYN | TcpFlags::FIN) != 0;
        self.sequence += payload as u32 + u32::from(takes_a_number);
        said(self.ends, segment, payload)
    }
}
