//! Where a connection stands: what its packets have told the peer, so that an ACK from beside smoltcp can say it too.
//!
//! smoltcp keeps its numbers to itself; they are read off what it sends.

use wire::{Packet, Segment, SynOptions, TcpFlags, TcpOption, find_option};

/// What the peer knows of us.
#[derive(Default)]
pub(crate) struct Standing {
    /// `None` until both sides' numbers are known.
    said: Option<Said>,
    /// By how many bits our window fields are shifted after the handshake.
    scale: u8,
}

/// What our packets have said.
#[derive(Clone, Copy)]
struct Said {
    /// Where what was sent ends. A retransmit does not take back what was sent after it.
    sent: u32,
    /// What was acknowledged last.
    acknowledged: u32,
    /// The end of the widest window that was told: the peer may have sent everything before it.
    edge: u32,
    /// The peer's timestamp, as last echoed.
    echo: Option<u32>,
}

impl Standing {
    /// Takes note of a packet that leaves, as it leaves.
    pub(crate) fn note(&mut self, packet: &Packet, bytes: &[u8]) {
        if packet.flags.syn() {
            self.scale = SynOptions::read(bytes, packet).window_scale.unwrap_or(0);
        }
        if !packet.flags.ack() || packet.flags.rst() {
            return;
        }
        // A SYN's window is not scaled.
        let shift = if packet.flags.syn() { 0 } else { self.scale };
        let at = packet.transport + 14;
        let window = u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]])) << shift;
        let edge = packet.acknowledgement.wrapping_add(window);
        let end = packet.sequence.wrapping_add(packet.sequence_len());
        let acknowledged = packet.acknowledgement;
        let before = self.said.unwrap_or(Said { sent: end, acknowledged, edge, echo: None });
        self.said = Some(Said {
            sent: later(before.sent, end),
            acknowledged,
            edge: later(before.edge, edge),
            echo: find_option(bytes, packet, TcpOption::Timestamps).map(|at| word(&bytes[at.start + 4..])),
        });
    }

    /// Takes note of the peer's SYN: without an option of its own, it does not take ours.
    pub(crate) fn note_syn(&mut self, said: &SynOptions) {
        if said.window_scale.is_none() {
            self.scale = 0;
        }
    }

    /// Where what was sent ends; `None` until both sides' numbers are known.
    pub(crate) fn sent(&self) -> Option<u32> {
        self.said.map(|said| said.sent)
    }

    /// What was acknowledged last.
    pub(crate) fn acknowledged(&self) -> Option<u32> {
        self.said.map(|said| said.acknowledged)
    }

    /// The end of the widest window that was told.
    pub(crate) fn edge(&self) -> Option<u32> {
        self.said.map(|said| said.edge)
    }

    /// By how many bits our window fields are shifted after the handshake.
    pub(crate) fn scale(&self) -> u8 {
        self.scale
    }

    /// The peer's timestamp, as last echoed.
    pub(crate) fn echo(&self) -> Option<u32> {
        self.said.and_then(|said| said.echo)
    }

    /// An ACK of everything before `next`, sent at the time `timestamp`, with a window of as many bytes, or what was told before if
    /// that is more. It counts as said.
    pub(crate) fn acknowledge(&mut self, next: u32, window: u32, timestamp: u32) -> Option<Segment<'static>> {
        let said = self.said.as_mut()?;
        let edge = later(said.edge, next.wrapping_add(window));
        // A FIN may lie beyond the edge.
        let span = (edge.wrapping_sub(next) as i32).max(0) as u32;
        let field = u16::try_from(span >> self.scale).unwrap_or(u16::MAX);
        said.edge = later(said.edge, next.wrapping_add(u32::from(field) << self.scale));
        said.acknowledged = next;
        let timestamps = said.echo.map(|echo| [timestamp, echo]);
        Some(Segment {
            flags: TcpFlags::new(TcpFlags::ACK),
            sequence: said.sent,
            acknowledgement: next,
            window: field,
            options: SynOptions { timestamps, ..SynOptions::default() },
            payload: &[],
        })
    }
}

/// Whether `number` comes after `mark` in sequence space.
pub(crate) fn is_after(number: u32, mark: u32) -> bool {
    number.wrapping_sub(mark) as i32 > 0
}

fn later(a: u32, b: u32) -> u32 {
    if is_after(b, a) { b } else { a }
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().copied().map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use wire::{Addr, Protocol};

    use super::*;

    /// A segment of nothing but a header of so many bytes.
    fn segment(flags: u8, [sequence, acknowledgement]: [u32; 2], header: usize) -> Packet {
        Packet {
            source: Addr::v4([10, 0, 0, 1]),
            destination: Addr::v4([10, 0, 0, 2]),
            protocol: Protocol::Tcp,
            source_port: 1,
            destination_port: 2,
            ttl: 64,
            flags: TcpFlags::new(flags),
            sequence,
            acknowledgement,
            transport: 0,
            payload: header,
            len: header,
        }
    }

    /// Notes a segment that leaves, with this window field, a shift of 3 and timestamps.
    fn note(standing: &mut Standing, flags: u8, numbers: [u32; 2], window: u16) {
        let mut bytes = [0; 36];
        bytes[14..16].copy_from_slice(&window.to_be_bytes());
        bytes[20..36].copy_from_slice(&[3, 3, 3, 8, 10, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
        standing.note(&segment(flags, numbers, bytes.len()), &bytes);
    }

    /// After a handshake with windows in units of 8 bytes, and a window up to 80,100.
    fn standing() -> Standing {
        let mut standing = Standing::default();
        note(&mut standing, TcpFlags::SYN | TcpFlags::ACK, [4, 100], 5000);
        note(&mut standing, TcpFlags::ACK, [5, 100], 10_000);
        standing
    }

    #[test]
    fn an_acknowledgement_takes_back_nothing() {
        let mut standing = standing();
        note(&mut standing, TcpFlags::ACK, [3, 100], 1);
        assert_eq!((standing.sent(), standing.edge()), (Some(5), Some(80_100)));
        let answer = standing.acknowledge(1000, 0, 77).unwrap();
        assert_eq!((answer.sequence, answer.acknowledgement), (5, 1000));
        assert_eq!(standing.acknowledged(), Some(1000));
        assert_eq!(answer.window, 9887, "79,100 bytes, rounded down");
        assert_eq!(answer.options.timestamps, Some([77, 9]));
        assert_eq!(standing.edge(), Some(80_100));
    }

    #[test]
    fn a_wider_window_counts_as_far_as_it_can_be_told() {
        let mut standing = standing();
        assert_eq!(standing.acknowledge(1000, 100_007, 0).unwrap().window, 12_500);
        assert_eq!(standing.edge(), Some(101_000), "whole units");
        assert_eq!(standing.acknowledge(1000, u32::MAX / 4, 0).unwrap().window, u16::MAX);
        assert_eq!(standing.edge(), Some(1000 + (65_535 << 3)));
        assert_eq!(standing.acknowledge(1001 + (65_535 << 3), 0, 0).unwrap().window, 0, "past a FIN");
    }

    #[test]
    fn without_the_peers_consent_windows_are_not_scaled() {
        let mut standing = standing();
        assert_eq!(standing.scale(), 3);
        standing.note_syn(&SynOptions::default());
        assert_eq!(standing.scale(), 0);
    }
}
