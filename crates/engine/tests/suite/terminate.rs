//! The terminate path beside its bytes: what is bounded, what is remembered, what ends, and who is told.

#![allow(clippy::unwrap_used)] // what a test has sent can be parsed

use std::time::Duration;

use engine::{Event, Reason};
use flow::Cause;
use topology::DeviceId;

use crate::lab::*;

mod bounds;
mod ends;
mod greeting;
mod header;
mod together;

const FIN: u8 = 1;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One end of a connection, played by hand: its numbers, and what its packets look like.
struct End {
    device: DeviceId,
    own: (&'static str, u16),
    other: (&'static str, u16),
    next: u32,
    expected: u32,
}

impl End {
    fn packet(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
        tcp(self.own, self.other, flags, (self.next, self.expected), payload)
    }

    /// What came for it, in order.
    fn heard(&self, said: &Said) -> Vec<wire::Packet> {
        let to_us = said.sent.iter().filter(|(device, _)| *device == self.device);
        let packets = to_us.map(|(_, bytes)| wire::parse(bytes).unwrap());
        packets
            .filter(|packet| (packet.source_port, packet.destination_port) == (self.other.1, self.own.1))
            .collect()
    }

    fn hear(&mut self, said: &Said) {
        for packet in self.heard(said) {
            self.expected = packet.sequence.wrapping_add(packet.sequence_len());
        }
    }
}

/// A terminated connection: its consumer and its target.
struct Talk {
    near: End,
    far: End,
}

/// Which end of a [`Talk`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Near,
    Far,
}

impl Talk {
    /// The consumer has sent its SYN, from `port`, through the endpoint of this number.
    fn begin(lab: &mut Lab, endpoint: usize, port: u16, now: Duration) -> (Self, Said) {
        Self::begin_between(lab, endpoint, ([CLIENT, INTERFACE], port), [TARGET, NODE], now)
    }

    /// The same, between these addresses.
    fn begin_between(
        lab: &mut Lab,
        endpoint: usize,
        ([client, interface], port): ([&'static str; 2], u16),
        [target, node]: [&'static str; 2],
        now: Duration,
    ) -> (Self, Said) {
        let near = End {
            device: lab.consumers[endpoint],
            own: (client, port),
            other: (interface, 8443),
            next: 1000,
            expected: 0,
        };
        let far =
            End { device: lab.provider, own: (target, 8080), other: (node, 0), next: 7000, expected: 0 };
        let mut talk = Self { near, far };
        let said = talk.say(lab, Who::Near, SYN, &[], now);
        if let Some((_, bytes)) = said.sent.last() {
            let dialled = wire::parse(bytes).unwrap();
            talk.far.other.1 = dialled.source_port;
            talk.far.expected = dialled.sequence.wrapping_add(1);
        }
        (talk, said)
    }

    /// Both handshakes are complete.
    fn open(lab: &mut Lab, endpoint: usize, port: u16, now: Duration) -> Self {
        let (mut talk, _) = Self::begin(lab, endpoint, port, now);
        talk.say(lab, Who::Far, SYN | ACK, &[], now);
        talk.say(lab, Who::Near, ACK, &[], now);
        talk
    }

    fn end(&mut self, who: Who) -> &mut End {
        match who {
            Who::Near => &mut self.near,
            Who::Far => &mut self.far,
        }
    }

    /// One end says something, and both hear what comes of it.
    fn say(&mut self, lab: &mut Lab, who: Who, flags: u8, payload: &[u8], now: Duration) -> Said {
        let packet = self.end(who).packet(flags, payload);
        let said = lab.input_at(0, self.end(who).device, &packet, now);
        let end = self.end(who);
        end.next = end.next.wrapping_add(payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0));
        self.hear(&said);
        said
    }

    fn hear(&mut self, said: &Said) {
        self.near.hear(said);
        self.far.hear(said);
    }

    /// Time passes, and both hear what comes of it.
    fn pass(&mut self, lab: &mut Lab, until: Duration) -> Said {
        let mut said = Said::default();
        lab.pass(0, until, &mut said);
        self.hear(&said);
        said
    }

    /// `first` closes, and then the other one. What is said at the end.
    fn close(&mut self, lab: &mut Lab, first: Who, now: Duration) -> Said {
        let other = if first == Who::Near { Who::Far } else { Who::Near };
        self.say(lab, first, FIN | ACK, &[], now);
        self.say(lab, other, FIN | ACK, &[], now);
        self.say(lab, first, ACK, &[], now)
    }
}

fn closed(said: &Said) -> Vec<Cause> {
    let causes = said.events.iter().filter_map(|event| match event {
        Event::FlowClosed { cause, .. } => Some(*cause),
        _ => None,
    });
    causes.collect()
}

fn reason(said: &Said) -> Reason {
    said.verdicts[0].reason
}
