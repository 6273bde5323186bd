//! The coarse clock that flows are timed by: tenths of a second, in 32 bits.

use std::time::Duration;

/// A moment, or a span, in tenths of a second. Moments wrap after 13 years.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tick(pub(crate) u32);

impl Tick {
    /// One tick.
    pub const LEN: Duration = Duration::from_millis(100);

    /// The tick that `time` falls into.
    #[inline]
    pub fn of(time: Duration) -> Self {
        // In 64 bits: a Duration's own milliseconds have 128, which are slow to divide.
        Self((time.as_secs() * 10 + u64::from(time.subsec_millis() / 100)) as u32)
    }

    /// How long after this moment `now` is.
    pub fn age(self, now: Duration) -> Duration {
        Self::LEN * Self::of(now).since(self)
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
