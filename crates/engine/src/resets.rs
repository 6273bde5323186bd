//! RSTs are answered at a limited rate: whoever sends rubbish must not make us send as much.

use std::time::Duration;

use wire::{Frame, Packet, RESET_CAPACITY};

/// RSTs per second, and at once, of one worker.
const PER_SECOND: u32 = 1000;

/// Builds RSTs as long as its bucket has tokens.
pub(crate) struct Resets {
    tokens: u32,
    filled: Duration,
    buffer: [u8; RESET_CAPACITY],
}

impl Resets {
    pub(crate) fn new() -> Self {
        Self { tokens: PER_SECOND, filled: Duration::ZERO, buffer: [0; RESET_CAPACITY] }
    }

    /// The RST that answers `packet`; `None` if the rate is used up or a RST must not be answered.
    pub(crate) fn answer(&mut self, packet: &Packet, now: Duration) -> Option<Frame<'_>> {
        self.refill(now);
        self.tokens = self.tokens.checked_sub(1)?;
        let len = wire::write_reset(packet, &mut self.buffer)?;
        Some(Frame::plain(&mut self.buffer[..len]))
    }

    fn refill(&mut self, now: Duration) {
        // A token is a millisecond; what is less than one is left for the next time.
        let earned = now.saturating_sub(self.filled).as_millis().min(u128::from(PER_SECOND)) as u32;
        if earned == PER_SECOND {
            self.filled = now;
        } else {
            self.filled += Duration::from_millis(u64::from(earned));
        }
        self.tokens = (self.tokens + earned).min(PER_SECOND);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stray() -> Packet {
        let mut bytes = [0u8; 40];
        bytes[..4].copy_from_slice(&[0x45, 0, 0, 40]);
        bytes[8..10].copy_from_slice(&[64, 6]);
        bytes[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        bytes[20..24].copy_from_slice(&[0, 1, 0, 2]);
        bytes[32..34].copy_from_slice(&[0x50, 0x10]);
        wire::parse(&bytes).unwrap()
    }

    #[test]
    fn a_second_holds_a_thousand() {
        let mut resets = Resets::new();
        let sent = |resets: &mut Resets, now| {
            (0..5000).filter(|_| resets.answer(&stray(), Duration::from_millis(now)).is_some()).count()
        };
        assert_eq!(sent(&mut resets, 0), 1000);
        assert_eq!(sent(&mut resets, 0), 0);
        assert_eq!(sent(&mut resets, 100), 100);
        assert_eq!(sent(&mut resets, 60_000), 1000, "the bucket does not overflow");
    }
}
