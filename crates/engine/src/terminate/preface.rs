//! What is said to a target ahead of its client's bytes: the header that says who the client is.

use stack::{Connection, State};
use topology::HeaderPlacement;
use wire::ProxyBytes;

/// A header that is still to be said, or the rest of it.
pub(super) struct Preface {
    rest: ProxyBytes,
    placement: HeaderPlacement,
}

impl Preface {
    /// All of this header, at its time.
    pub(super) fn new(header: ProxyBytes, placement: HeaderPlacement) -> Self {
        Self { rest: header, placement }
    }

    /// As [`stack::relay`]; but the consumer's bytes, and its end, wait until all of this is said.
    pub(super) fn relay(&mut self, consumer: &mut Connection, target: &mut Connection) {
        if self.is_due(consumer) {
            let said = target.send(&self.rest);
            self.rest.drain(..said);
            if !self.rest.is_empty() {
                stack::carry(target, consumer);
                return;
            }
        }
        stack::relay(consumer, target);
    }

    /// Whether it is time for it: there are bytes for it to go ahead of, or the consumer's first ACK is enough.
    fn is_due(&self, consumer: &Connection) -> bool {
        let stands = matches!(consumer.state(), State::Open | State::HalfClosed);
        stands && (self.placement == HeaderPlacement::OnFirstAck || consumer.readable() > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stack::{Memory, Settings, Stack};
    use wire::Frame;

    use super::*;

    const CLIENT: usize = 0;
    const CONSUMER: usize = 1;
    const TARGET: usize = 2;
    const SERVER: usize = 3;
    const HEADER: [u8; 100] = [b'h'; 100];

    /// A client and a server, and the relay's two connections between them, whose buffers hold no more than so many bytes.
    struct Chain {
        stack: Stack,
        ends: [Connection; 4],
        preface: Preface,
        heard: Vec<u8>,
        is_deaf: bool,
        now: Duration,
    }

    impl Chain {
        fn new(placement: HeaderPlacement, buffer: usize) -> Self {
            let settings = Settings { buffer, connections: 4, ..Settings::new([1, 2]) };
            let mut stack = Stack::new(settings, &Memory::new(1 << 20));
            let addresses = ["10.0.0.1:1000", "10.0.0.2:80", "10.1.0.1:2000", "10.1.0.2:8080"];
            let [client, consumer, target, server] = addresses.map(|address| address.parse().unwrap());
            let now = Duration::ZERO;
            let ends = [
                Connection::dial(&mut stack, client, consumer, now),
                Connection::accept(&mut stack, consumer, client, now),
                Connection::dial(&mut stack, target, server, now),
                Connection::accept(&mut stack, server, target, now),
            ];
            let mut ends = ends.map(Option::unwrap);
            ends[SERVER].ready();
            let preface = Preface::new(HEADER.into(), placement);
            Self { stack, ends, preface, heard: Vec::new(), is_deaf: false, now }
        }

        /// Each end speaks once, the relay carries across, and the server reads what has come, unless it is deaf.
        fn turn(&mut self) {
            for from in [CLIENT, SERVER, CONSUMER, TARGET] {
                let mut flying = Vec::new();
                let mut emit = |frame: &mut Frame<'_>| flying.push((frame.bytes.to_vec(), frame.offload));
                self.ends[from].poll(&mut self.stack, self.now, &mut emit);
                for (mut bytes, offload) in flying {
                    let frame = Frame { offload, bytes: &mut bytes };
                    self.ends[from ^ 1].input(&mut self.stack, &frame, self.now, &mut |_| {}).unwrap();
                }
                let [_, consumer, target, server] = &mut self.ends;
                self.preface.relay(consumer, target);
                let mut buffer = [0; 64];
                let room = if self.is_deaf { 0 } else { buffer.len() };
                let read = server.receive(&mut buffer[..room]);
                self.heard.extend_from_slice(&buffer[..read]);
            }
            self.now += Duration::from_millis(20);
        }

        fn turn_until(&mut self, is_enough: impl Fn(&Self) -> bool) {
            for _ in 0..200 {
                if is_enough(self) {
                    return;
                }
                self.turn();
            }
            panic!("it never comes to that; the server has heard {:?}", self.heard);
        }
    }

    #[test]
    fn it_goes_ahead_of_the_bytes_and_of_the_end_however_little_is_taken_at_once() {
        for placement in [HeaderPlacement::OnFirstAckWithPayload, HeaderPlacement::OnFirstAck] {
            for buffer in [7, 50, 99, 100, 101, 1000] {
                let mut chain = Chain::new(placement, buffer);
                chain.turn_until(|chain| chain.ends[CLIENT].state() == State::Open);
                assert_eq!(chain.ends[CLIENT].send(b"hello"), 5);
                chain.ends[CLIENT].close();
                chain.turn_until(|chain| chain.ends[SERVER].state() == State::HalfClosed);
                assert_eq!(chain.heard, [&HEADER[..], b"hello"].concat(), "{placement:?}, {buffer}");
            }
        }
    }

    #[test]
    fn without_a_byte_from_the_consumer_it_is_said_on_the_first_ack_or_never() {
        let placements =
            [(HeaderPlacement::OnFirstAckWithPayload, &[][..]), (HeaderPlacement::OnFirstAck, &HEADER)];
        for (placement, heard) in placements {
            for buffer in [50, 1000] {
                let mut chain = Chain::new(placement, buffer);
                chain.turn_until(|chain| chain.ends[CLIENT].state() == State::Open);
                chain.ends[CLIENT].close();
                chain.turn_until(|chain| chain.ends[SERVER].state() == State::HalfClosed);
                assert_eq!(chain.heard, heard, "{placement:?}, {buffer}");
            }
        }
    }

    #[test]
    fn what_the_target_says_meanwhile_is_carried() {
        for placement in [HeaderPlacement::OnFirstAckWithPayload, HeaderPlacement::OnFirstAck] {
            let mut chain = Chain::new(placement, 30);
            chain.is_deaf = true;
            chain.turn_until(|chain| chain.ends[CLIENT].state() == State::Open);
            assert_eq!(chain.ends[SERVER].send(b"welcome"), 7);
            chain.turn_until(|chain| chain.ends[CLIENT].readable() == 7);
            let said = chain.ends[SERVER].readable();
            assert_eq!(said, if placement == HeaderPlacement::OnFirstAck { 30 } else { 0 });
        }
    }
}
