//! Following TCP from the middle. The tracker decides only how long a flow is remembered: every packet of a flow is
//! forwarded, whatever the tracker thinks of it.
//!
//! ```text
//!   SYN          SYN-ACK back, then anything forward        FIN both ways, or a RST
//!  Opening ─────────────────────────────▶ Established ─────────────────────▶ Closing ──▶ gone
//!     │ 30 s without an answer                 │ idle time-out                  │ 60 s of silence, less under pressure
//!     ▼                                        ▼                                ▼
//! ```
//!
//! A Closing flow that goes on talking (the RST was stray) stays for as long as it talks; a new SYN opens it again.

use std::time::Duration;

use wire::TcpFlags;

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
    /// Its tuple was needed for a new one, or its worker let go of it.
    Released,
}

impl Cause {
    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Reset => "reset",
            Self::Unanswered => "unanswered",
            Self::Idle => "idle",
            Self::Released => "released",
        }
    }

    /// All of them.
    pub const ALL: [Self; 5] = [Self::Finished, Self::Reset, Self::Unanswered, Self::Idle, Self::Released];
}

/// How long the target may take to answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long a closed flow is remembered: for late retransmits, and so that its source port stays quiet for as long as the
/// target's TIME-WAIT. To anybody else's SYN from that port the target might not listen; to the same client's it does, and
/// gives it the same port again, because the flow is still there to be opened. What runs short is given back sooner:
/// `used` is the fuller one of the table and the port's pool, in hundredths.
pub(crate) const fn linger(used: usize) -> Duration {
    match used {
        0..50 => Duration::from_secs(60),
        50..75 => Duration::from_secs(10),
        _ => Duration::from_secs(1),
    }
}

/// What the tracker remembers, in one byte of the slot's state word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Track(u8);

impl Track {
    const ANSWERED: u8 = 1;
    const ESTABLISHED: u8 = 2;
    const FIN_FORWARD: u8 = 4;
    const FIN_REPLY: u8 = 8;
    const RESET: u8 = 16;
    const FINISHED: u8 = Self::FIN_FORWARD | Self::FIN_REPLY;

    /// A TCP flow whose SYN has just been admitted.
    pub(crate) const OPENING: Self = Self(0);
    /// A UDP flow.
    pub(crate) const TALKING: Self = Self(Self::ESTABLISHED);

    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    pub(crate) const fn phase(self) -> Phase {
        if self.0 & Self::RESET != 0 || self.0 & Self::FINISHED == Self::FINISHED {
            Phase::Closing
        } else if self.0 & Self::ESTABLISHED != 0 {
            Phase::Established
        } else {
            Phase::Opening
        }
    }

    /// Why the flow ends if it ends now.
    pub(crate) const fn cause(self) -> Cause {
        match self.phase() {
            Phase::Opening => Cause::Unanswered,
            Phase::Established => Cause::Idle,
            Phase::Closing if self.0 & Self::RESET != 0 => Cause::Reset,
            Phase::Closing => Cause::Finished,
        }
    }

    /// The state after a packet with these flags.
    #[inline]
    pub(crate) fn after(self, flags: TcpFlags, direction: Direction) -> Self {
        let mut bits = self.0;
        match direction {
            Direction::Forward => {
                if bits & Self::ANSWERED != 0 && !flags.syn() {
                    bits |= Self::ESTABLISHED;
                }
                if flags.fin() {
                    bits |= Self::FIN_FORWARD;
                }
            }
            Direction::Reply => {
                if flags.syn() && flags.ack() {
                    bits |= Self::ANSWERED;
                }
                if flags.fin() {
                    bits |= Self::FIN_REPLY;
                }
            }
        }
        if flags.rst() {
            bits |= Self::RESET;
        }
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: u8 = TcpFlags::SYN;
    const ACK: u8 = TcpFlags::ACK;
    const FIN: u8 = TcpFlags::FIN;
    const RST: u8 = TcpFlags::RST;

    fn walk(steps: &[(Direction, u8)]) -> Track {
        steps
            .iter()
            .fold(Track::OPENING, |track, &(direction, flags)| track.after(TcpFlags::new(flags), direction))
    }

    use Direction::{Forward, Reply};

    #[test]
    fn a_connection_lives_and_dies() {
        assert_eq!(walk(&[(Forward, SYN)]).phase(), Phase::Opening);
        assert_eq!(walk(&[(Forward, SYN), (Forward, SYN)]).phase(), Phase::Opening);
        assert_eq!(walk(&[(Forward, SYN), (Reply, SYN | ACK)]).phase(), Phase::Opening, "not heard yet");
        let open = [(Forward, SYN), (Reply, SYN | ACK), (Forward, ACK)];
        assert_eq!(walk(&open).phase(), Phase::Established);
        let half = [&open[..], &[(Forward, FIN | ACK), (Reply, ACK)]].concat();
        assert_eq!(walk(&half).phase(), Phase::Established, "half-closed is not closed");
        let closed = walk(&[&half[..], &[(Reply, FIN | ACK)]].concat());
        assert_eq!((closed.phase(), closed.cause()), (Phase::Closing, Cause::Finished));
    }

    #[test]
    fn a_refusal_closes() {
        let refused = walk(&[(Forward, SYN), (Reply, RST | ACK)]);
        assert_eq!((refused.phase(), refused.cause()), (Phase::Closing, Cause::Reset));
    }
}
