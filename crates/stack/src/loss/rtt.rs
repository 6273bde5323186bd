//! How long a round trip takes (RFC 6298), and how long it may be before a packet is held for lost.

use std::time::Duration;

use super::Micros;

/// Before the first round trip is measured, and the longest wait of all.
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The least that is added to a round trip: as in Linux, more than a delayed acknowledgement takes.
const LEAST_MARGIN: Duration = Duration::from_millis(200);
/// How long a peer may keep the acknowledgement of a single segment to itself.
const ACK_DELAY: Duration = Duration::from_millis(200);
const LEAST_PROBE_DELAY: Duration = Duration::from_millis(5);
/// At least so fine are the times at which things were sent.
const LEAST_GRAIN: Micros = 50;

/// What is known of round trips.
#[derive(Default)]
pub(super) struct RoundTrips {
    smooth: Option<Duration>,
    variation: Duration,
    least: Duration,
    /// How many times something was held for lost that was only late.
    hasty: u32,
}

impl RoundTrips {
    /// With the first of them, if it was measured.
    pub(super) fn new(first: Option<Duration>) -> Self {
        let mut trips = Self::default();
        first.into_iter().for_each(|trip| trips.sample(trip));
        trips
    }

    pub(super) fn sample(&mut self, trip: Duration) {
        match self.smooth {
            None => {
                self.smooth = Some(trip);
                self.variation = trip / 2;
                self.least = trip;
            }
            Some(smooth) => {
                self.variation = (self.variation * 3 + smooth.abs_diff(trip)) / 4;
                self.smooth = Some((smooth * 7 + trip) / 8);
                self.least = self.least.min(trip);
            }
        }
    }

    /// Whether no packet can have made its way in this time.
    pub(super) fn is_too_short(&self, trip: Duration) -> bool {
        trip < self.least
    }

    /// The smoothed round trip; zero until one was measured.
    pub(super) fn smooth(&self) -> Duration {
        self.smooth.unwrap_or_default()
    }

    /// How long an acknowledgement is waited for after the timer has gone off `fruitless` times.
    pub(super) fn timeout(&self, fruitless: u32) -> Duration {
        let timeout =
            self.smooth.map_or(FIRST_TIMEOUT, |smooth| smooth + LEAST_MARGIN.max(self.variation * 4));
        timeout.saturating_mul(1 << fruitless.min(16)).min(LONGEST_TIMEOUT)
    }

    /// How long there may be silence before the last segment is sent again to find out (RFC 8985 7.2).
    pub(super) fn probe_delay(&self, is_single: bool) -> Option<Duration> {
        let delay = LEAST_PROBE_DELAY + self.smooth? * 2;
        Some(if is_single { delay + ACK_DELAY } else { delay })
    }

    /// Takes note that something was held for lost that was only late.
    pub(super) fn be_patient(&mut self) {
        self.hasty = self.hasty.saturating_add(1);
    }

    /// How much later than others a packet may arrive where packets overtake each other (RFC 8985 6.2).
    pub(super) fn lateness(&self) -> Duration {
        (self.least / 4).saturating_mul(self.hasty.saturating_add(1)).min(self.smooth())
    }

    /// What is sent within this time counts as sent at once.
    pub(super) fn grain(&self) -> Micros {
        ((self.smooth().as_micros() / 16) as Micros).max(LEAST_GRAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn timeouts_follow_the_round_trips() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.timeout(0), FIRST_TIMEOUT);
        assert_eq!(trips.probe_delay(false), None);
        for _ in 0..100 {
            trips.sample(80 * MS);
        }
        assert_eq!(trips.smooth(), 80 * MS);
        assert_eq!(trips.timeout(0), 280 * MS);
        assert_eq!(trips.timeout(2), 1120 * MS);
        assert_eq!(trips.timeout(40), LONGEST_TIMEOUT);
        assert_eq!(trips.lateness(), 20 * MS);
        trips.be_patient();
        assert_eq!(trips.lateness(), 40 * MS);
        trips.sample(2000 * MS);
        assert!(trips.timeout(0) > 2000 * MS, "a sudden delay makes it patient");
    }
}
