//! Time: the owner's `Duration` as smoltcp's `Instant`, and the clock behind TCP timestamps.

use std::cell::Cell;
use std::time::Duration;

use smoltcp::time::Instant;

/// The beginning of the owner's time.
pub(crate) const ORIGIN: Instant = Instant::ZERO;

/// The owner's time, for smoltcp.
pub(crate) fn instant(now: Duration) -> Instant {
    Instant::from_micros_const(now.as_micros() as i64)
}

/// smoltcp's time, for the owner.
pub(crate) fn duration(at: Instant) -> Duration {
    Duration::from_micros(at.total_micros().max(0) as u64)
}

thread_local! {
    // smoltcp asks a bare `fn` for a timestamp, which can hold no clock of its own: each call into it leaves one here.
    static TIMESTAMP: Cell<u32> = const { Cell::new(0) };
}

/// A timestamp: milliseconds, from a beginning of the connection's own.
pub(crate) fn milliseconds(now: Duration, offset: u32) -> u32 {
    (now.as_millis() as u32).wrapping_add(offset)
}

/// Sets the timestamp that packets carry from here on.
pub(crate) fn set_timestamp(now: Duration, offset: u32) {
    TIMESTAMP.set(milliseconds(now, offset));
}

/// The timestamp that [`set_timestamp`] has left.
pub(crate) fn timestamp() -> u32 {
    TIMESTAMP.get()
}
