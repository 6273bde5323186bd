//! How much may be under way: CUBIC (RFC 9438), and proportional rate reduction (RFC 6937) while losses are repaired.

use std::time::Duration;

/// What a connection begins with, in segments (RFC 6928).
const FIRST_SEGMENTS: u32 = 10;
/// No window grows beyond this: nothing is under way that no buffer holds.
const LARGEST: u32 = 1 << 30;
/// What a loss leaves of the window.
const BETA: f64 = 0.7;
/// How steep the curve is, in segments per cubic second.
const STEEPNESS: f64 = 0.4;
/// By how many segments a round trip adds to what Reno would have, such that it loses nothing against Reno.
const RENO_GROWTH: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// The congestion window and what it follows from. Sizes are in bytes.
pub(super) struct Congestion {
    segment: u32,
    window: u32,
    /// Above this the window grows along the curve, and below it with every byte that arrives.
    threshold: u32,
    curve: Option<Curve>,
    /// The window before the last loss, in segments.
    plateau: f64,
    repair: Option<Repair>,
}

/// A time of growth between two losses. Sizes are in segments.
struct Curve {
    began: Duration,
    /// Where it is flat.
    plateau: f64,
    /// How long after its beginning it is on the plateau, in seconds.
    flat: f64,
    /// What Reno's window would be.
    reno: f64,
}

/// A time of repair: how much has arrived since the loss, and how much has left.
#[derive(Clone, Copy)]
struct Repair {
    /// What was under way when the loss was noticed.
    flight: u32,
    arrived: u32,
    left: u32,
}

impl Congestion {
    pub(super) fn new(segment: u32) -> Self {
        Self {
            segment,
            window: FIRST_SEGMENTS * segment,
            threshold: LARGEST,
            curve: None,
            plateau: 0.0,
            repair: None,
        }
    }

    /// How many bytes may be under way.
    pub(super) fn window(&self) -> u32 {
        self.window
    }

    pub(super) fn set_segment(&mut self, segment: u32) {
        self.segment = segment;
    }

    /// Grows: `bytes` were acknowledged when `flight` bytes were under way, and a round trip takes `trip`. A window that
    /// was not used does not grow, nor does one while a loss is repaired.
    pub(super) fn acknowledged(&mut self, bytes: u32, flight: u32, trip: Duration, now: Duration) {
        if self.repair.is_some() {
            return;
        }
        if self.window < self.threshold {
            if self.window / 2 < flight {
                self.window = self.window.saturating_add(bytes).min(self.threshold).min(LARGEST);
            }
        } else if self.window.saturating_sub(2 * self.segment) <= flight {
            self.follow_curve(bytes, trip, now);
        }
    }

    /// Shrinks once for a loss that was noticed when `flight` bytes were under way, and repairs it from here on.
    pub(super) fn lost(&mut self, flight: u32) {
        self.shrink(flight);
        self.repair = Some(Repair { flight: flight.max(1), arrived: 0, left: 0 });
    }

    /// Lets as much go as keeps the flight shrinking in proportion to what arrives: `bytes` just have, and `flying` are still
    /// under way. Where things get no worse, it may grow back to the threshold.
    pub(super) fn arrived(&mut self, bytes: u32, flying: u32, is_progress: bool) {
        let Some(repair) = &mut self.repair else { return };
        repair.arrived = repair.arrived.saturating_add(bytes);
        let room = if flying > self.threshold {
            let share = u64::from(self.threshold) * u64::from(repair.arrived) / u64::from(repair.flight);
            (share as u32).saturating_sub(repair.left)
        } else {
            let extra = if is_progress { self.segment } else { 0 };
            let owed = repair.arrived.saturating_sub(repair.left).max(bytes).saturating_add(extra);
            owed.min(self.threshold - flying)
        };
        // What was lost first is sent again at once.
        let least = if repair.left == 0 { self.segment } else { 0 };
        self.window = flying.saturating_add(room.max(least));
    }

    /// Takes note of what leaves.
    pub(super) fn sent(&mut self, bytes: u32) {
        if let Some(repair) = &mut self.repair {
            repair.left = repair.left.saturating_add(bytes);
        }
    }

    /// The loss is repaired.
    pub(super) fn repaired(&mut self) {
        if self.repair.take().is_some() {
            self.window = self.threshold;
        }
    }

    /// Nothing was heard for too long when `flight` bytes were under way. Begins again, with one segment; `is_first` says
    /// that it is not the same loss once more.
    pub(super) fn timed_out(&mut self, flight: u32, is_first: bool) {
        if is_first {
            self.shrink(flight);
        }
        self.repair = None;
        self.window = self.segment;
    }

    /// Nothing was sent for so long that what is known of the path is out of date (RFC 5681 4.1).
    pub(super) fn rested(&mut self) {
        self.window = self.window.min(FIRST_SEGMENTS * self.segment);
        self.curve = None;
    }

    fn shrink(&mut self, flight: u32) {
        let before = f64::from(flight.min(self.window)) / f64::from(self.segment);
        // A path that was shared by more connections since last time gets room for them sooner.
        self.plateau = if before < self.plateau { before * (1.0 + BETA) / 2.0 } else { before };
        self.threshold = ((before * BETA) as u32).max(2) * self.segment;
        self.curve = None;
    }

    fn follow_curve(&mut self, bytes: u32, trip: Duration, now: Duration) {
        let window = f64::from(self.window) / f64::from(self.segment);
        let plateau = self.plateau.max(window);
        let curve = self.curve.get_or_insert_with(|| Curve {
            began: now,
            plateau,
            flat: ((plateau - window) / STEEPNESS).cbrt(),
            reno: window,
        });
        let share = f64::from(bytes) / f64::from(self.window);
        curve.reno += RENO_GROWTH * share;
        let ahead = (now.saturating_sub(curve.began) + trip).as_secs_f64() - curve.flat;
        let target = (STEEPNESS * ahead.powi(3) + curve.plateau).clamp(window, 1.5 * window);
        let grown = (window + (target - window) * share).max(curve.reno);
        self.window = ((grown * f64::from(self.segment)) as u32).min(LARGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u32 = 1000;
    const TRIP: Duration = Duration::from_millis(200);

    /// Acknowledges a whole window in every round trip; returns the window after so many.
    fn grow(congestion: &mut Congestion, trips: u32, now: &mut Duration) -> u32 {
        for _ in 0..trips {
            *now += TRIP;
            let window = congestion.window();
            congestion.acknowledged(window, window, TRIP, *now);
        }
        congestion.window()
    }

    #[test]
    fn a_window_doubles_until_something_is_lost_and_then_follows_the_curve() {
        let (mut congestion, mut now) = (Congestion::new(SEGMENT), Duration::ZERO);
        assert_eq!(grow(&mut congestion, 4, &mut now), 160 * SEGMENT);
        congestion.lost(160 * SEGMENT);
        congestion.repaired();
        assert_eq!(congestion.window(), 112 * SEGMENT);
        // The plateau is reached after the cube root of 48 / 0.4 seconds.
        let before = grow(&mut congestion, 20, &mut now);
        assert!((140 * SEGMENT..160 * SEGMENT).contains(&before), "{before}");
        let after = grow(&mut congestion, 40, &mut now);
        assert!(after > 250 * SEGMENT, "{after}");
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut congestion = Congestion::new(SEGMENT);
        congestion.acknowledged(1000, 4 * SEGMENT, TRIP, TRIP);
        assert_eq!(congestion.window(), FIRST_SEGMENTS * SEGMENT);
        congestion.acknowledged(1000, 6 * SEGMENT, TRIP, TRIP);
        assert_eq!(congestion.window(), FIRST_SEGMENTS * SEGMENT + 1000);
    }

    #[test]
    fn repairs_leave_as_fast_as_the_flight_shrinks() {
        let mut congestion = Congestion { window: 100 * SEGMENT, ..Congestion::new(SEGMENT) };
        congestion.lost(100 * SEGMENT);
        let (mut flying, mut left) = (90 * SEGMENT, 0);
        // Ten are lost. Each segment that arrives may be followed by seven tenths of one.
        for _ in 0..20 {
            flying -= SEGMENT;
            congestion.arrived(SEGMENT, flying, true);
            let room = congestion.window().saturating_sub(flying) / SEGMENT * SEGMENT;
            congestion.sent(room);
            flying += room;
            left += room;
        }
        assert!((13 * SEGMENT..=14 * SEGMENT).contains(&left), "{left}");
    }

    #[test]
    fn a_time_out_begins_again_and_is_paid_for_once() {
        let mut congestion = Congestion::new(SEGMENT);
        congestion.timed_out(10 * SEGMENT, true);
        congestion.timed_out(10 * SEGMENT, false);
        assert_eq!((congestion.window(), congestion.threshold), (SEGMENT, 7 * SEGMENT));
    }
}
