//! The coarse clock that flows are timed by: tenths of a second, in 32 bits.

use std::time::Duration;

/// A moment, or a span, in tenths of a second. Moments wrap after 13 years.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tick(pub(crate) u32);

impl Tick {
    /// One tick.
    pub const LEN: Duration = Duration::from_millis(100);

    /// The tick that `time` falls into.
    pub fn of(time: Duration) -> Self {
        Self((time.as_millis() / Self::LEN.as_millis()) as u32)
    }

    /// Ticks from `earlier` until this one; none if it lies in the future (another worker's clock read a moment ago).
    pub(crate) fn since(self, earlier: Self) -> u32 {
        let elapsed = self.0.wrapping_sub(earlier.0);
        if elapsed > u32::MAX / 2 { 0 } else { elapsed }
    }

    /// The later of two moments.
    pub(crate) fn latest(self, other: Self) -> Self {
        if self.since(other) > 0 { self } else { other }
    }
}
