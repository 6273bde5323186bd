//! Tests of what goes on for a stretch of time, on a machine that is busy with other things: there, nothing need happen within a short
//! one.

use std::fmt::Display;
use std::time::Duration;

/// The first stretch.
const SHORTEST: Duration = Duration::from_millis(20);
/// By the end of such a stretch it has happened on any machine.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);

/// What succeeds in the first stretch that is long enough for it; each is twice as long as the one before.
pub(crate) fn in_time<T, E: Display>(mut attempt: impl FnMut(Duration) -> Result<T, E>) -> T {
    let mut length = SHORTEST;
    loop {
        match attempt(length) {
            Ok(done) => return done,
            Err(error) => assert!(length < LONGEST, "even within {length:?}: {error}"),
        }
        length *= 2;
    }
}
