//! Following TCP from the middle. The tracker decides only how long a flow is remembered: every packet of a flow is
//! forwarded, whatever the tracker thinks of it.
//!
//! ```text
//!   SYN          SYN-ACK back, then its ACK forward     both FINs acknowledged, or a RST
//!  Opening ─────────────────────────────▶ Established ─────────────────────▶ Closing ──▶ gone
//!     │ 30 s without an answer                 │ idle time-out                  │ 60 s of silence (10 after a RST),
//!     ▼                                        ▼                                ▼ less under pressure
//! ```
//!
//! A middlebox's idea of the window is approximate, so a packet is *plausible* when its numbers are near those that the flow
//! has shown. What is not changes nothing: neither a stray nor a forged packet ends a flow, or keeps it. A RST counts
//! when it is exactly where the next byte is expected; near that, it makes the flow *suspect*: it is forgotten
//! after 10 s, unless either side goes on. (A receiver answers such a RST with a challenge ACK, and the connection lives.)
//! A FIN counts once the other side has acknowledged it. A Closing flow that goes on talking stays for as long as it talks.

use std::time::Duration;

use wire::Packet;

use crate::key::Direction;

/// Where a flow is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The consumer's SYN has been seen; the target has not answered and been heard.
    Opening,
    /// Both sides talk. UDP begins here.
    Established,
    /// Both sides have said FIN, or one RST.
    Closing,
}

/// Why a flow is no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Both sides had finished.
    Finished,
    /// One side had reset it.
    Reset,
    /// The target never answered.
    Unanswered,
    /// Nothing was said for the listener's idle time-out.
    Idle,
    /// It was half-open, and its place was needed.
    CrowdedOut,
    /// A device of its own is gone.
    Released,
    /// It was terminated, and the TCP that did so has failed over it.
    Panicked,
    /// Its target was found unhealthy.
    Unhealthy,
    /// Its target was taken out of its group.
    Deregistered,
    /// Its listener, endpoint, interface or node was taken out of the configuration.
    Removed,
    /// Its target never acknowledged the proxy protocol's header.
    HeaderUnheard,
    /// Its target does not speak what the consumer had been told that it speaks.
    Mismatched,
}

impl Cause {
    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Reset => "reset",
            Self::Unanswered => "unanswered",
            Self::Idle => "idle",
            Self::CrowdedOut => "crowded_out",
            Self::Released => "released",
            Self::Panicked => "panicked",
            Self::Unhealthy => "unhealthy",
            Self::Deregistered => "deregistered",
            Self::Removed => "removed",
            Self::HeaderUnheard => "header_unheard",
            Self::Mismatched => "mismatched",
        }
    }

    /// All of them, in their order.
    pub const ALL: [Self; 12] = [
        Self::Finished,
        Self::Reset,
        Self::Unanswered,
        Self::Idle,
        Self::CrowdedOut,
        Self::Released,
        Self::Panicked,
        Self::Unhealthy,
        Self::Deregistered,
        Self::Removed,
        Self::HeaderUnheard,
        Self::Mismatched,
    ];
}

/// How long the target may take to answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long a flow is remembered after a RST, or what may have been one.
pub(crate) const AFTER_RESET: Duration = Duration::from_secs(10);

/// How long a closed flow is remembered: for late retransmits, and so that its source port stays quiet for as long as the
/// target's TIME-WAIT. To anybody else's SYN from that port the target might not listen; to the same client's it does, and
/// gives it the same port again, because the flow is still there to be opened. What runs short is given back sooner:
/// `used` is the fuller one of the table and the port's pool, in hundredths.
pub(crate) const fn linger(used: usize) -> Duration {
    match used {
        0..50 => Duration::from_secs(60),
        50..75 => AFTER_RESET,
        _ => Duration::from_secs(1),
    }
}

/// How far from what a flow has shown a plausible number may lie: 64 MiB, more than what is in flight anywhere, and one
/// part in thirty-two of what a blind forger would have to guess from.
const NEAR: u32 = 1 << 26;
/// A RST up to this far beyond what its sender has sent may be the real thing.
const RESET_NEAR: u32 = 1 << 16;
/// The most payload that a SYN brings: it is one packet.
const SYN_PAYLOAD: u32 = u16::MAX as u32;

/// A flow's numbers as a packet of one direction meets them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Edges {
    /// The end of what the packet's sender has sent.
    pub(crate) sent: u32,
    /// What the packet's sender has acknowledged.
    pub(crate) acknowledged: u32,
    /// The end of what the other side has sent.
    pub(crate) other_sent: u32,
    /// What the other side has acknowledged.
    pub(crate) other_acknowledged: u32,
}

/// What a packet has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) track: Track,
    pub(crate) sent: u32,
    pub(crate) acknowledged: u32,
    pub(crate) sign: Sign,
}

/// What a packet tells about its flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// It belongs to the flow: a sign of life.
    Plausible,
    /// Its numbers are nowhere near the flow's.
    Stray,
}

/// What the tracker remembers, in one byte of the slot's state word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Track(u8);

impl Track {
    const ANSWERED: u8 = 1;
    const ESTABLISHED: u8 = 2;
    const FIN: [u8; 2] = [4, 8];
    const FIN_HEARD: [u8; 2] = [16, 32];
    const RESET: u8 = 64;
    const SUSPECT: u8 = 128;
    const FINISHED: u8 = Self::FIN_HEARD[0] | Self::FIN_HEARD[1];

    /// A TCP flow whose SYN has just been admitted.
    pub(crate) const OPENING: Self = Self(0);
    /// A UDP flow, or one that is followed elsewhere.
    pub(crate) const TALKING: Self = Self(Self::ESTABLISHED);

    /// A flow that has ended like this, if its port is to be quiet for a while: its ends have closed it, or we reset them in
    /// mid-conversation. Then the target may not have heard of it, and go on answering; or be in the midst of it, and take a
    /// new client's SYN for one of the old one's.
    pub(crate) const fn closed(cause: Cause) -> Option<Self> {
        match cause {
            Cause::Finished => Some(Self(Self::FINISHED)),
            Cause::Reset
            | Cause::Unhealthy
            | Cause::Deregistered
            | Cause::Removed
            | Cause::HeaderUnheard
            | Cause::Mismatched => Some(Self(Self::RESET)),
            Cause::Unanswered | Cause::Idle | Cause::CrowdedOut | Cause::Released | Cause::Panicked => None,
        }
    }

    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    const fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }

    pub(crate) const fn phase(self) -> Phase {
        if self.has(Self::RESET) || self.has(Self::FINISHED) {
            Phase::Closing
        } else if self.has(Self::ESTABLISHED) {
            Phase::Established
        } else {
            Phase::Opening
        }
    }

    /// Whether its target has not answered the consumer's SYN.
    pub(crate) const fn awaits_answer(self) -> bool {
        !self.has(Self::ANSWERED) && matches!(self.phase(), Phase::Opening)
    }

    pub(crate) const fn is_reset(self) -> bool {
        self.has(Self::RESET)
    }

    pub(crate) const fn is_suspect(self) -> bool {
        self.has(Self::SUSPECT)
    }

    /// Why the flow ends if it ends now.
    pub(crate) const fn cause(self) -> Cause {
        match self.phase() {
            _ if self.has(Self::RESET) || self.has(Self::SUSPECT) => Cause::Reset,
            Phase::Opening => Cause::Unanswered,
            Phase::Established => Cause::Idle,
            Phase::Closing => Cause::Finished,
        }
    }

    /// Follows a TCP packet.
    #[inline]
    pub(crate) fn after(self, packet: &Packet, direction: Direction, edges: Edges) -> Step {
        let flags = packet.flags;
        if flags.rst() {
            self.after_reset(packet, direction, edges)
        } else if flags.syn() {
            self.after_syn(packet, direction, edges)
        } else {
            self.after_segment(packet, direction, edges)
        }
    }

    #[inline]
    fn after_segment(self, packet: &Packet, direction: Direction, edges: Edges) -> Step {
        let end = packet.sequence.wrapping_add(packet.sequence_len());
        if distance(end, edges.sent) > NEAR {
            return Step::nothing(self, edges, Sign::Stray);
        }
        let (mine, theirs) = (direction as usize, 1 - direction as usize);
        let mut bits = self.0 & !Self::SUSPECT;
        let mut step = Step::nothing(self, edges, Sign::Plausible);
        // After its FIN a side sends nothing more.
        if bits & Self::FIN[mine] == 0 && is_after(end, edges.sent) {
            step.sent = end;
        }
        if packet.flags.fin() && end == step.sent {
            bits |= Self::FIN[mine];
        }
        if packet.flags.ack() && !is_after(packet.acknowledgement, edges.other_sent) {
            // The first one comes after nothing.
            if self.phase() == Phase::Opening || is_after(packet.acknowledgement, edges.acknowledged) {
                step.acknowledged = packet.acknowledgement;
            }
            let up_to_date = packet.acknowledgement == edges.other_sent;
            if up_to_date && bits & Self::FIN[theirs] != 0 {
                bits |= Self::FIN_HEARD[theirs];
            }
            // Whoever acknowledges the target's SYN-ACK has seen it.
            if up_to_date && bits & Self::ANSWERED != 0 && direction == Direction::Forward {
                bits |= Self::ESTABLISHED;
            }
        }
        step.track = Self(bits);
        step
    }

    /// A SYN opens; a SYN-ACK answers it, if it acknowledges it. Once the flow stands, neither means anything. A target need
    /// not take a SYN's payload (Fast Open): then it acknowledges less than was sent, and the consumer sends it again. Nor does
    /// a consumer say it again with its SYN: a target that has heard the first one acknowledges more than the last one had.
    fn after_syn(self, packet: &Packet, direction: Direction, edges: Edges) -> Step {
        if self.phase() != Phase::Opening {
            return Step::nothing(self, edges, Sign::Stray);
        }
        let answers = packet.flags.ack();
        let untaken = edges.other_sent.wrapping_sub(packet.acknowledgement);
        let may_be_untaken = if direction == Direction::Reply { SYN_PAYLOAD } else { 0 };
        if answers && untaken > may_be_untaken {
            return Step::nothing(self, edges, Sign::Stray);
        }
        let bits = match direction {
            Direction::Reply if answers => self.0 | Self::ANSWERED,
            // Both opened at once: the consumer's SYN-ACK acknowledges the target's SYN.
            Direction::Forward if answers && self.has(Self::ANSWERED) => self.0 | Self::ESTABLISHED,
            _ => self.0,
        };
        let end = packet.sequence.wrapping_add(packet.sequence_len());
        let is_shorter =
            direction == Direction::Forward && edges.sent != 0 && edges.sent.wrapping_sub(end) <= SYN_PAYLOAD;
        Step {
            track: Self(bits),
            sent: if is_shorter { edges.sent } else { end },
            acknowledged: if answers { packet.acknowledgement } else { edges.acknowledged },
            sign: Sign::Plausible,
        }
    }

    fn after_reset(self, packet: &Packet, direction: Direction, edges: Edges) -> Step {
        let refuses = self.awaits_answer() && direction == Direction::Reply;
        let exact = if refuses && packet.flags.ack() {
            packet.acknowledgement == edges.other_sent
        } else {
            packet.sequence == edges.sent || packet.sequence == edges.other_acknowledged
        };
        let near = !is_after(edges.other_acknowledged, packet.sequence)
            && !is_after(packet.sequence, edges.sent.wrapping_add(RESET_NEAR));
        let mut step = Step::nothing(self, edges, Sign::Stray);
        if exact {
            step.track = Self(self.0 | Self::RESET);
        } else if near && self.phase() == Phase::Established {
            step.track = Self(self.0 | Self::SUSPECT);
        } else {
            return step;
        }
        step.sign = Sign::Plausible;
        step
    }
}

impl Step {
    fn nothing(track: Track, edges: Edges, sign: Sign) -> Self {
        Self { track, sent: edges.sent, acknowledged: edges.acknowledged, sign }
    }
}

/// Whether sequence number `a` comes after `b`.
#[inline]
pub(crate) fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}

/// How far apart two sequence numbers are.
#[inline]
fn distance(a: u32, b: u32) -> u32 {
    (a.wrapping_sub(b) as i32).unsigned_abs()
}

#[cfg(test)]
mod tests;
