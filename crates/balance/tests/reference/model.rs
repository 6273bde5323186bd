//! The table of states and reasons, said a second time and as plainly as can be: each target has a list of all that
//! has ever happened to it, and whatever is asked is answered by reading the list again.

use balance::{Outcome, Reason, Standing, State, Tenure};

use crate::file::{Attributes, File, HEALTHY_THRESHOLD, TARGETS, UNHEALTHY_THRESHOLD};

pub(crate) struct Model {
    pub(crate) now: u64,
    file: File,
    /// Those of the last file that had the group.
    attributes: Attributes,
    happened: [Vec<(u64, Happening)>; TARGETS],
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Happening {
    /// It is checked from now on.
    Enrolled,
    CheckBegan,
    CheckEnded(Outcome),
    /// A real flow came to it, and failed or not.
    Newcomer {
        failed: bool,
    },
    /// So many of them failed that it is unhealthy.
    Fell,
    Removed,
    /// Its deregistration has ended, and so have its flows or not.
    Left {
        flows_end: bool,
    },
}
use Happening::*;

/// All that can be asked about a target.
#[derive(PartialEq, Debug)]
pub(crate) struct Answer {
    pub(crate) standing: Standing,
    pub(crate) takes_newcomers: bool,
    pub(crate) is_eligible_when_failing_open: bool,
    pub(crate) tenure: Tenure,
    pub(crate) is_shown: bool,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { now: 0, file: File::empty(), attributes: Attributes::default(), happened: Default::default() }
    }

    pub(crate) fn is_checked(&self, target: usize) -> bool {
        self.file.is_checked && self.is_used(target)
    }

    pub(crate) fn reload(&mut self, file: &File) {
        let before: Vec<_> = (0..TARGETS).map(|n| (self.is_registered(n), self.is_checked(n))).collect();
        self.file = file.clone();
        if file.has_group {
            self.attributes = file.attributes.clone();
        }
        for (n, (was_registered, was_checked)) in before.into_iter().enumerate() {
            if was_registered && !self.is_registered(n) {
                self.note(n, Removed);
            }
            if !was_checked && self.is_checked(n) {
                self.note(n, Enrolled);
            }
        }
        self.part();
    }

    pub(crate) fn a_second_passes(&mut self) {
        self.now += 1;
        self.part();
    }

    pub(crate) fn check_begins(&mut self, target: usize) {
        self.note(target, CheckBegan);
    }

    pub(crate) fn check_ends(&mut self, target: usize, outcome: Outcome) {
        self.note(target, CheckEnded(outcome));
    }

    pub(crate) fn newcomer(&mut self, target: usize, failed: bool) {
        self.note(target, Newcomer { failed });
        let all = &self.happened[target];
        let in_a_row = all.iter().rev().take_while(|(_, what)| *what == Newcomer { failed: true }).count();
        if in_a_row >= UNHEALTHY_THRESHOLD && is_well(&results(all)) == Some(true) {
            self.note(target, Fell);
        }
    }

    pub(crate) fn answer(&self, target: usize) -> Answer {
        let (standing, tenure) = self.state(target);
        let (is_registered, is_used) = (self.is_registered(target), self.is_used(target));
        Answer {
            standing,
            takes_newcomers: standing.state == State::Healthy,
            is_eligible_when_failing_open: is_used,
            tenure,
            is_shown: is_registered || standing.state == State::Draining,
        }
    }

    fn state(&self, target: usize) -> (Standing, Tenure) {
        if self.is_registered(target) {
            return if !self.is_used(target) {
                (Standing::of(State::Unused, Reason::NotInUse), Tenure::Kept)
            } else if !self.file.is_checked {
                (Standing::of(State::Healthy, Reason::HealthCheckDisabled), Tenure::Kept)
            } else {
                self.state_by_checks(&self.happened[target])
            };
        }
        let stranger = Standing::of(State::Unused, Reason::NotRegistered);
        let last = self.happened[target].iter().rfind(|(_, what)| matches!(what, Removed | Left { .. }));
        match last {
            Some((_, Removed)) => {
                (Standing::of(State::Draining, Reason::DeregistrationInProgress), Tenure::Kept)
            }
            Some((_, Left { flows_end: true })) => (stranger, Tenure::Deregistered),
            _ => (stranger, Tenure::Kept),
        }
    }

    fn state_by_checks(&self, happened: &[(u64, Happening)]) -> (Standing, Tenure) {
        let results = results(happened);
        match is_well(&results) {
            None => {
                let enrolled = happened.iter().rposition(|(_, what)| *what == Enrolled).unwrap();
                let is_checking = happened[enrolled..].iter().any(|(_, what)| *what == CheckBegan);
                let reason =
                    if is_checking { Reason::InitialHealthChecking } else { Reason::RegistrationInProgress };
                (Standing::of(State::Initial, reason), Tenure::Kept)
            }
            Some(true) => (Standing { state: State::Healthy, reason: None }, Tenure::Kept),
            Some(false) => self.unhealthy(&results),
        }
    }

    fn unhealthy(&self, results: &[(u64, Happening)]) -> (Standing, Tenure) {
        let reason = results.iter().rev().find_map(|(_, what)| match what {
            CheckEnded(Outcome::Failed(reason)) => Some(*reason),
            Fell => Some(Reason::FailedHealthChecks),
            _ => None,
        });
        let unhealthy = Standing { state: State::Unhealthy, reason };
        let draining = Standing { state: State::UnhealthyDraining, reason };
        let fell = (0..results.len()).rfind(|n| is_well(&results[..*n]) != Some(false)).unwrap();
        let age = self.now - results[fell].0;
        match self.attributes {
            Attributes { terminates_unhealthy: true, .. } => (unhealthy, Tenure::Unhealthy),
            Attributes { unhealthy_draining: 0, .. } => (unhealthy, Tenure::Kept),
            Attributes { unhealthy_draining, .. } if age < unhealthy_draining => (draining, Tenure::Kept),
            _ => (unhealthy, Tenure::Unhealthy),
        }
    }

    /// Those whose delay is over leave.
    fn part(&mut self) {
        for n in 0..TARGETS {
            let last = self.happened[n].iter().rfind(|(_, what)| matches!(what, Removed | Left { .. }));
            if let Some((since, Removed)) = last
                && !self.is_registered(n)
                && self.now - since >= self.attributes.delay
            {
                self.note(n, Left { flows_end: self.attributes.terminates_deregistered });
            }
        }
    }

    fn is_registered(&self, target: usize) -> bool {
        self.file.has_group && self.file.targets[target].is_some()
    }

    fn is_used(&self, target: usize) -> bool {
        let is_near = |n: usize| self.file.targets[n].as_ref().is_some_and(|entry| entry.zone != Some("b"));
        let nobody_is_near = !(0..TARGETS).any(is_near);
        let is_reached = is_near(target) || self.file.cross_zone.unwrap_or(nobody_is_near);
        let has_weight = self.file.targets[target].as_ref().is_some_and(|entry| entry.weight > 0);
        self.file.has_group && self.file.is_forwarded && has_weight && is_reached
    }

    fn note(&mut self, target: usize, what: Happening) {
        self.happened[target].push((self.now, what));
    }
}

/// Results since it was last enrolled.
fn results(happened: &[(u64, Happening)]) -> Vec<(u64, Happening)> {
    let enrolled = happened.iter().rposition(|(_, what)| *what == Enrolled).map_or(0, |at| at + 1);
    let is_result = |what: &Happening| matches!(what, CheckEnded(_) | Fell);
    happened[enrolled..].iter().filter(|(_, what)| is_result(what)).copied().collect()
}

/// Whether a target with these results is healthy (true), unhealthy (false), or initial still (None).
fn is_well(results: &[(u64, Happening)]) -> Option<bool> {
    let ((_, last), earlier) = results.split_last()?;
    let before = is_well(earlier);
    let passed = |(_, what): &(u64, Happening)| *what == CheckEnded(Outcome::Passed);
    let in_a_row = results.iter().rev().take_while(|result| passed(result) == passed(&(0, *last))).count();
    match (before, passed(&(0, *last))) {
        (None, true) => Some(true),
        (Some(true), false) if *last == Fell => Some(false),
        (Some(false), true) if in_a_row >= HEALTHY_THRESHOLD => Some(true),
        (None | Some(true), false) if in_a_row >= UNHEALTHY_THRESHOLD => Some(false),
        _ => before,
    }
}
