//! The checks of one target: when the next is due, and what their results come to.

use std::mem::discriminant;
use std::time::Duration;

use topology::HealthCheck;

use crate::{Reason, Standing, State};

/// What a check has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The target answered as it should.
    Passed,
    /// It did not, and how.
    Failed(Reason),
}

/// One target's checks: their schedule, and the thresholds between their results and its standing.
///
/// The first success puts a target in service. After that it takes so many results in a row to change what it is
/// found to be; an unhealthy one shows how it failed last.
#[derive(Debug)]
pub struct Checkup {
    terms: Terms,
    due: Duration,
    /// The target's own moment of every interval, so that not all are checked at once.
    phase: Duration,
    found: Found,
    /// Results in a row that speak against what was found.
    against: u8,
}

/// What the operator's `health_check` says about time and thresholds.
#[derive(Clone, Copy, Debug)]
struct Terms {
    interval: Duration,
    healthy_threshold: u8,
    unhealthy_threshold: u8,
    passive: bool,
}

#[derive(Clone, Copy, Debug)]
enum Found {
    Nothing { has_begun: bool },
    Healthy,
    Unhealthy(Reason),
}

impl Checkup {
    /// A target that was registered just now: its first check is due at `first`, later ones at `phase` of every
    /// interval.
    pub fn new(check: &HealthCheck, first: Duration, phase: Duration) -> Self {
        let found = Found::Nothing { has_begun: false };
        Self { terms: Terms::of(check), due: first, phase, found, against: 0 }
    }

    /// The operator has changed the check. What was found stays.
    pub fn revise(&mut self, check: &HealthCheck, now: Duration) {
        self.terms = Terms::of(check);
        self.due = self.due.min(now + self.terms.interval);
    }

    /// When the next check is due.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// A check begins. It may come to nothing: then none was made, and the next is due as usual.
    pub fn begin(&mut self, now: Duration) -> Standing {
        self.due = self.next_turn(now);
        if let Found::Nothing { has_begun } = &mut self.found {
            *has_begun = true;
        }
        self.standing()
    }

    /// A check has ended.
    pub fn conclude(&mut self, outcome: Outcome) -> Standing {
        let (found, needed) = match outcome {
            Outcome::Passed => (Found::Healthy, self.passes_needed()),
            Outcome::Failed(reason) => (Found::Unhealthy(reason), self.terms.unhealthy_threshold),
        };
        if discriminant(&found) == discriminant(&self.found) {
            self.find(found);
        } else {
            self.against = self.against.saturating_add(1);
            if self.against >= needed {
                self.find(found);
            }
        }
        self.standing()
    }

    /// So many newcomers in a row have failed since the last check. Where that counts, and there are enough of them,
    /// the target is unhealthy before a check finds out; the answer is what it is now.
    pub fn overhear(&mut self, failures: u32) -> Option<Standing> {
        let is_enough = failures >= u32::from(self.terms.unhealthy_threshold);
        if !self.terms.passive || !is_enough || !matches!(self.found, Found::Healthy) {
            return None;
        }
        self.find(Found::Unhealthy(Reason::FailedHealthChecks));
        Some(self.standing())
    }

    /// What the checks have found so far.
    pub fn standing(&self) -> Standing {
        match self.found {
            Found::Nothing { has_begun: false } => Standing::default(),
            Found::Nothing { has_begun: true } => Standing::of(State::Initial, Reason::InitialHealthChecking),
            Found::Healthy => Standing::HEALTHY,
            Found::Unhealthy(reason) => Standing::of(State::Unhealthy, reason),
        }
    }

    fn passes_needed(&self) -> u8 {
        if matches!(self.found, Found::Nothing { .. }) { 1 } else { self.terms.healthy_threshold }
    }

    fn find(&mut self, found: Found) {
        self.found = found;
        self.against = 0;
    }

    /// The target's own moment that is nearest to an interval from now: half an interval away at least.
    fn next_turn(&self, now: Duration) -> Duration {
        let interval = self.terms.interval.as_nanos().max(1);
        let earliest = now + self.terms.interval / 2;
        let past = (earliest.as_nanos() + interval - self.phase.as_nanos() % interval) % interval;
        earliest + Duration::from_nanos((interval - past) as u64)
    }
}

impl Terms {
    fn of(check: &HealthCheck) -> Self {
        Self {
            interval: check.interval,
            healthy_threshold: check.healthy_threshold,
            unhealthy_threshold: check.unhealthy_threshold,
            passive: check.passive,
        }
    }
}

#[cfg(test)]
mod tests {
    use topology::CheckProtocol;

    use super::*;
    use Outcome::{Failed, Passed};

    const MISMATCH: Outcome = Failed(Reason::ResponseCodeMismatch);
    const TIMEOUT: Outcome = Failed(Reason::Timeout);

    fn check(seconds: u64) -> HealthCheck {
        HealthCheck {
            protocol: CheckProtocol::Tcp,
            port: None,
            interval: Duration::from_secs(seconds),
            timeout: Duration::from_secs(2),
            healthy_threshold: 3,
            unhealthy_threshold: 2,
            passive: false,
        }
    }

    fn checkup() -> Checkup {
        Checkup::new(&check(10), Duration::ZERO, Duration::from_secs(7))
    }

    fn after(checkup: &mut Checkup, outcomes: &[Outcome]) -> State {
        for outcome in outcomes {
            checkup.conclude(*outcome);
        }
        checkup.standing().state
    }

    #[test]
    fn the_first_success_puts_it_in_service() {
        let mut checkup = checkup();
        assert_eq!(checkup.standing(), Standing::of(State::Initial, Reason::RegistrationInProgress));
        assert_eq!(
            checkup.begin(Duration::ZERO),
            Standing::of(State::Initial, Reason::InitialHealthChecking)
        );
        assert_eq!(checkup.conclude(TIMEOUT).state, State::Initial, "one failure says nothing yet");
        assert_eq!(checkup.conclude(Passed), Standing::HEALTHY);
    }

    #[test]
    fn later_it_takes_so_many_in_a_row() {
        let mut checkup = checkup();
        assert_eq!(after(&mut checkup, &[Passed, TIMEOUT, Passed, TIMEOUT]), State::Healthy);
        assert_eq!(after(&mut checkup, &[TIMEOUT]), State::Unhealthy);
        assert_eq!(after(&mut checkup, &[Passed, Passed, TIMEOUT, Passed, Passed]), State::Unhealthy);
        assert_eq!(after(&mut checkup, &[Passed]), State::Healthy);
        assert_eq!(
            after(&mut self::checkup(), &[TIMEOUT, TIMEOUT]),
            State::Unhealthy,
            "from the beginning, too"
        );
    }

    #[test]
    fn the_last_failure_is_the_reason() {
        let mut checkup = checkup();
        after(&mut checkup, &[TIMEOUT, MISMATCH]);
        assert_eq!(checkup.standing().reason, Some(Reason::ResponseCodeMismatch));
        after(&mut checkup, &[Passed, TIMEOUT]);
        assert_eq!(checkup.standing().reason, Some(Reason::Timeout));
    }

    #[test]
    fn the_first_check_is_at_once_and_the_others_at_a_moment_of_its_own() {
        let mut checkup = checkup();
        let mut begin = |at: f64| {
            checkup.begin(Duration::from_secs_f64(at));
            checkup.due().as_secs_f64()
        };
        assert_eq!(begin(0.0), 7.0);
        assert_eq!(begin(7.001), 17.0, "being late once moves nothing");
        assert_eq!(begin(24.0), 37.0, "being very late skips a turn");
        assert_eq!(begin(12.0), 27.0);
        assert_eq!(begin(1000.0), 1007.0);
    }

    #[test]
    fn a_reload_keeps_what_was_found() {
        let mut checkup = checkup();
        after(&mut checkup, &[Passed]);
        checkup.begin(Duration::from_secs(7));
        checkup.revise(&check(5), Duration::from_secs(8));
        assert_eq!((checkup.standing(), checkup.due()), (Standing::HEALTHY, Duration::from_secs(13)));
        checkup.begin(checkup.due());
        assert_eq!(checkup.due(), Duration::from_secs(17));
    }

    #[test]
    fn real_flows_count_where_that_is_asked_for() {
        let mut deaf = checkup();
        after(&mut deaf, &[Passed]);
        assert_eq!(deaf.overhear(100), None);

        let mut checkup = checkup();
        checkup.revise(&HealthCheck { passive: true, ..check(10) }, Duration::ZERO);
        assert_eq!(checkup.overhear(2), None, "it takes no newcomers yet");
        after(&mut checkup, &[Passed, TIMEOUT]);
        assert_eq!(checkup.overhear(1), None);
        let unwell = Standing::of(State::Unhealthy, Reason::FailedHealthChecks);
        assert_eq!(checkup.overhear(2), Some(unwell));
        assert_eq!(checkup.overhear(2), None, "that is no news");
        assert_eq!(after(&mut checkup, &[Passed, Passed]), State::Unhealthy);
        assert_eq!(after(&mut checkup, &[Passed]), State::Healthy);
    }
}
