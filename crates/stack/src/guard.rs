//! The guard in front of smoltcp: which segments may reach it (RFC 9293 3.10.7.4, RFC 5961).
//!
//! smoltcp takes a RST anywhere in its window, an acknowledgement of bytes that it has not sent, a FIN behind bytes that it has no
//! room for, bytes after a FIN; and a segment half the sequence space away can make its arithmetic panic. None of that gets there.
//!
//! Most of what is refused is answered with an ACK that says where the connection stands. A peer that has forgotten the connection
//! answers that with a RST, which is where it belongs and ends it; to one that has not, it is a duplicate ACK. A forger learns
//! nothing, because it goes to the peer.

use std::time::Duration;

use smoltcp::socket::tcp::State as Tcp;
use wire::Packet;

use crate::InputError;
use crate::standing::{Standing, is_after};

/// The least time between two answers of a connection: forged segments do not make us send as much, and two ends that contradict
/// each other do not do so for ever.
const PAUSE: Duration = Duration::from_millis(500);

/// What becomes of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Judgement {
    /// smoltcp gets it.
    Pass,
    /// It is the peer's, but brings nothing new: a keep-alive, a FIN or a probe once more. The answer is an ACK.
    Acknowledge,
    /// Anybody may have sent it. The answer is an ACK.
    Challenge(InputError),
    /// It is not even answered.
    Ignore(InputError),
}

/// Judges a segment for a connection whose socket is in the state `tcp`, expects the number `next` and has `offered` a window up to
/// there.
pub(crate) fn judge(packet: &Packet, tcp: Tcp, next: u32, standing: &Standing, offered: u32) -> Judgement {
    match (tcp, standing.sent()) {
        // No numbers are agreed on yet. smoltcp looks closely at a SYN's answer, and a RST counts only as one.
        (Tcp::Closed | Tcp::Listen | Tcp::SynSent, _) => Judgement::Pass,
        (Tcp::SynReceived, None) => judge_before_answer(packet, next),
        _ if packet.flags.rst() => judge_reset(packet, tcp, next, standing),
        _ if packet.flags.syn() => judge_syn(packet, tcp, next),
        (_, Some(sent)) if tcp != Tcp::SynReceived && acknowledges_beyond(packet, sent) => {
            Judgement::Challenge(InputError::Unacceptable)
        }
        _ => judge_text(packet, tcp, next, standing, offered),
    }
}

/// While our answer to the peer's SYN is held, it can have nothing to say but the same again, or that it gives up.
fn judge_before_answer(packet: &Packet, next: u32) -> Judgement {
    if packet.flags.syn() || (packet.flags.rst() && packet.sequence == next) {
        Judgement::Pass
    } else {
        Judgement::Ignore(InputError::Unacceptable)
    }
}

/// A RST counts where the next byte is expected (RFC 5961 3.2), and not in TIME-WAIT (RFC 1337).
fn judge_reset(packet: &Packet, tcp: Tcp, next: u32, standing: &Standing) -> Judgement {
    let is_in_window = is_after(packet.sequence, next)
        && standing.edge().is_some_and(|edge| is_after(edge, packet.sequence));
    if tcp == Tcp::TimeWait {
        Judgement::Ignore(InputError::Unacceptable)
    } else if packet.sequence == next {
        Judgement::Pass
    } else if is_in_window {
        Judgement::Challenge(InputError::Unacceptable)
    } else {
        Judgement::Ignore(InputError::Unacceptable)
    }
}

/// A SYN is of use only while its own handshake lasts (RFC 5961 4.2). In TIME-WAIT the connection is over, and a SYN that comes
/// again once it is dropped finds its way free.
fn judge_syn(packet: &Packet, tcp: Tcp, next: u32) -> Judgement {
    let is_first = packet.sequence.wrapping_add(1) == next;
    match tcp {
        Tcp::SynReceived if is_first => Judgement::Pass,
        Tcp::TimeWait => Judgement::Ignore(InputError::LateSyn),
        // The answer to our SYN, once more: our ACK was lost.
        _ if is_first && packet.flags.ack() => Judgement::Acknowledge,
        _ => Judgement::Challenge(InputError::LateSyn),
    }
}

/// Everything else: bytes, FIN, acknowledgements.
fn judge_text(packet: &Packet, tcp: Tcp, next: u32, standing: &Standing, offered: u32) -> Judgement {
    // What comes once more lies no further back than a window, and what is new no further ahead.
    let widest = 1 << (16 + standing.scale());
    if (packet.sequence.wrapping_sub(next) as i32).unsigned_abs() > widest {
        return Judgement::Challenge(InputError::Unacceptable);
    }
    let is_empty = packet.payload_len() == 0;
    let end = packet.sequence.wrapping_add(packet.payload_len() as u32);
    let is_repeated = is_empty && is_after(next, packet.sequence);
    let has_no_room = standing.edge().is_some_and(|told| {
        // A probe of a window that is closed, or a peer that keeps to no window.
        let exceeds = !is_empty && is_after(end, told);
        // Window fields are rounded down, so that what was told before may lie beyond what smoltcp takes. It would cut that off, and
        // take the FIN behind it for the end.
        exceeds || (packet.flags.fin() && is_after(end, offered))
    });
    // What is empty passes up to the edge itself: there stands an acknowledgement of a peer that has filled the window. smoltcp,
    // which wants a number before the edge, is shown another one (`Connection::place_of`).
    if is_repeated || has_no_room {
        Judgement::Acknowledge
    } else if has_ended(tcp) && !is_empty && is_after(end, next) {
        Judgement::Challenge(InputError::Unacceptable)
    } else {
        Judgement::Pass
    }
}

/// Whether a segment acknowledges more than was `sent`.
fn acknowledges_beyond(packet: &Packet, sent: u32) -> bool {
    packet.flags.ack() && is_after(packet.acknowledgement, sent)
}

/// Whether a socket in this state has had the peer's FIN.
pub(crate) const fn has_ended(tcp: Tcp) -> bool {
    matches!(tcp, Tcp::CloseWait | Tcp::LastAck | Tcp::Closing | Tcp::TimeWait)
}

/// Spaces a connection's answers.
#[derive(Default)]
pub(crate) struct Pace {
    due: Duration,
}

impl Pace {
    /// Whether there may be an answer now; if so, the next may come later.
    pub(crate) fn step(&mut self, now: Duration) -> bool {
        let may = now >= self.due;
        if may {
            self.due = now + PAUSE;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use wire::{Addr, Protocol, TcpFlags};

    use super::*;

    /// A segment with so many bytes that begins so far from the number that is expected.
    fn segment(flags: u8, distance: i32, len: usize) -> Packet {
        Packet {
            source: Addr::v4([10, 0, 0, 1]),
            destination: Addr::v4([10, 0, 0, 2]),
            protocol: Protocol::Tcp,
            source_port: 1,
            destination_port: 2,
            ttl: 64,
            flags: TcpFlags::new(flags),
            sequence: NEXT.wrapping_add_signed(distance),
            acknowledgement: SENT,
            transport: 0,
            payload: 20,
            len: 20 + len,
        }
    }

    const NEXT: u32 = u32::MAX - 10;
    const SENT: u32 = 77;
    const ACK: u8 = TcpFlags::ACK;
    const FIN: u8 = TcpFlags::ACK | TcpFlags::FIN;

    /// Judges for an open connection that has told a window of 100 bytes, of which smoltcp has cut off five.
    fn judged(packet: Packet) -> Judgement {
        let mut standing = Standing::default();
        let told = Packet { sequence: SENT, acknowledgement: NEXT, ..segment(ACK, 0, 0) };
        let mut bytes = [0; 20];
        bytes[14..16].copy_from_slice(&100u16.to_be_bytes());
        standing.note(&told, &bytes);
        judge(&packet, Tcp::Established, NEXT, &standing, NEXT.wrapping_add(95))
    }

    #[test]
    fn bytes_pass_up_to_the_edge_that_was_told() {
        assert_eq!(judged(segment(ACK, 0, 100)), Judgement::Pass);
        assert_eq!(judged(segment(ACK, 1, 100)), Judgement::Acknowledge);
        assert_eq!(judged(segment(ACK, 100, 1)), Judgement::Acknowledge);
        assert_eq!(judged(segment(ACK, 100, 0)), Judgement::Pass, "an acknowledgement behind them");
    }

    #[test]
    fn a_fin_passes_only_if_smoltcp_takes_every_byte_before_it() {
        assert_eq!(judged(segment(FIN, 0, 95)), Judgement::Pass);
        assert_eq!(judged(segment(FIN, 0, 96)), Judgement::Acknowledge);
        assert_eq!(judged(segment(ACK, 0, 96)), Judgement::Pass, "without it, the last one is sent again");
    }

    #[test]
    fn what_is_far_away_does_not_pass_wherever_it_is() {
        for far in [65_537, i32::MAX, i32::MIN, i32::MIN + 1, -65_537] {
            assert_eq!(judged(segment(ACK, far, 10)), Judgement::Challenge(InputError::Unacceptable));
        }
        assert_eq!(judged(segment(ACK, -65_536, 10)), Judgement::Pass, "old bytes");
    }

    #[test]
    fn answers_are_half_a_second_apart() {
        let mut pace = Pace::default();
        let steps = [0, 1, 499, 500, 999, 1000].map(|millis| pace.step(Duration::from_millis(millis)));
        assert_eq!(steps, [true, false, false, true, false, true]);
    }
}
