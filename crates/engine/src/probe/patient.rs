//! A target that is checked: when it is to be looked at, and what is told of it.

use std::sync::Arc;
use std::time::Duration;

use balance::{Checkup, Health, Outcome, Standing};
use topology::TargetId;

use super::checks::Check;
use crate::contract::{Event, Output};

/// New targets are all asked within this time.
const AT_FIRST: Duration = Duration::from_secs(1);
/// Later checks begin on this beat, so that those of many targets share their wake-ups: that halves what they cost.
const BEAT: Duration = Duration::from_millis(100);
/// How often it is looked at what becomes of real flows, where that counts.
const OVERHEARD_EVERY: Duration = Duration::from_secs(1);

/// A target that is checked.
pub(super) struct Patient {
    pub(super) check: Arc<Check>,
    /// The probe that asks it at the moment.
    pub(super) asked: Option<u32>,
    /// Whether it is among those that wait until there is room.
    pub(super) waits: bool,
    checkup: Checkup,
}

impl Patient {
    /// A new one. `hash` spreads the patients, over the first second and then over the interval.
    pub(super) fn new(check: &Check, hash: u64, now: Duration) -> Self {
        let first = now + Duration::from_nanos(hash % AT_FIRST.as_nanos() as u64);
        let beats = (check.how.interval.as_nanos() / BEAT.as_nanos()) as u64;
        let phase = BEAT * (hash % beats.max(1)) as u32;
        let checkup = Checkup::new(&check.how, first, phase);
        Self { check: Arc::new(check.clone()), asked: None, waits: false, checkup }
    }

    /// Who it is.
    pub(super) fn target(&self) -> TargetId {
        self.check.target
    }

    /// From now on it is asked something else, or from elsewhere. What was found stays. Returns the probe whose answer is of no
    /// use any more.
    pub(super) fn revise(&mut self, check: &Check, now: Duration) -> Option<u32> {
        self.check = Arc::new(check.clone());
        self.checkup.revise(&check.how, now);
        self.asked.take()
    }

    /// Whether it is time to ask it.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.asked.is_none() && self.checkup.due() <= now
    }

    /// When it is to be looked at, if nothing is in the way.
    pub(super) fn next_look(&self, now: Duration) -> Duration {
        let due = self.checkup.due();
        if self.check.how.passive { due.min(now + OVERHEARD_EVERY) } else { due }
    }

    /// Hears what real flows have met since it was last asked.
    pub(super) fn overhear<O: Output>(&mut self, health: &Health, out: &mut O) {
        if let Some(standing) = self.checkup.overhear(health.failures(self.target())) {
            self.tell(standing, health, out);
        }
    }

    /// A probe begins to ask it.
    pub(super) fn begin<O: Output>(&mut self, probe: u32, now: Duration, health: &Health, out: &mut O) {
        self.asked = Some(probe);
        let standing = self.checkup.begin(now);
        self.tell(standing, health, out);
    }

    /// A probe has found this.
    pub(super) fn conclude<O: Output>(&mut self, outcome: Outcome, health: &Health, out: &mut O) {
        self.asked = None;
        let standing = self.checkup.conclude(outcome);
        self.tell(standing, health, out);
    }

    fn tell<O: Output>(&self, standing: Standing, health: &Health, out: &mut O) {
        if health.set(self.target(), standing) {
            out.event(Event::HealthChanged { target: self.target() });
        }
    }
}
