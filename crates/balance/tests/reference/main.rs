//! States and reasons follow the table: whatever checks, real flows and reloads do to the targets of a group,
//! [`Checkup`], [`Health`] and [`Register`] say at every second what a naive model says.

#![cfg(test)]

mod file;
mod model;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use balance::{Checkup, Health, Outcome, Reason, Register, Standing};
use proptest::prelude::*;
use topology::{TargetId, Topology};

use file::{File, TARGETS};
use model::{Answer, Model};

#[derive(Clone, Debug)]
enum Action {
    Wait(u64),
    BeginCheck(usize),
    Check(usize, Outcome),
    /// Which of them failed.
    Newcomers(usize, Vec<bool>),
    Reload(File),
}

fn action() -> impl Strategy<Value = Action> {
    let target = || 0..TARGETS;
    const REASONS: [Reason; 3] = [Reason::Timeout, Reason::ResponseCodeMismatch, Reason::FailedHealthChecks];
    let failed = prop::sample::select(&REASONS).prop_map(Outcome::Failed);
    let outcome = prop_oneof![Just(Outcome::Passed), failed];
    prop_oneof![
        3 => (1..30u64).prop_map(Action::Wait),
        1 => target().prop_map(Action::BeginCheck),
        10 => (target(), outcome).prop_map(|(target, outcome)| Action::Check(target, outcome)),
        2 => (target(), prop::collection::vec(any::<bool>(), 1..5)).prop_map(|(target, failed)| Action::Newcomers(target, failed)),
        2 => File::any().prop_map(Action::Reload),
    ]
}

/// The code under test, driven as the engine drives it, beside the model.
struct World {
    model: Model,
    topology: Topology,
    ids: BTreeMap<usize, TargetId>,
    checkups: BTreeMap<usize, Checkup>,
    health: Health,
    register: Register,
    /// When the register has to be asked again.
    deadline: Option<Duration>,
}

impl World {
    fn new() -> Self {
        Self {
            model: Model::new(),
            topology: File::empty().parse(),
            ids: BTreeMap::new(),
            checkups: BTreeMap::new(),
            health: Health::default(),
            register: Register::default(),
            deadline: None,
        }
    }

    fn take(&mut self, action: Action) {
        match action {
            Action::Wait(seconds) => (0..seconds).for_each(|_| self.a_second_passes()),
            Action::BeginCheck(target) => self.begin_check(target),
            Action::Check(target, outcome) => self.check(target, outcome),
            Action::Newcomers(target, failed) => {
                failed.into_iter().for_each(|failed| self.newcomer(target, failed));
            }
            Action::Reload(file) => self.reload(&file),
        }
        self.compare();
    }

    fn a_second_passes(&mut self) {
        self.model.a_second_passes();
        if self.deadline.is_some_and(|deadline| deadline <= self.now()) {
            self.review();
        }
        self.compare();
    }

    fn reload(&mut self, file: &File) {
        self.model.reload(file);
        self.topology = file.parse().succeed(&self.topology).unwrap();
        self.register.adopt(&self.topology, &self.health, self.now());
        self.review();
        for (id, target) in self.topology.targets.iter() {
            if let Some(n) = (0..TARGETS).find(|n| target.address == address(*n)) {
                assert_eq!(*self.ids.entry(n).or_insert(id), id, "the same target is the same id");
            }
        }
        self.checkups.retain(|n, _| self.model.is_checked(*n));
        for n in (0..TARGETS).filter(|n| self.model.is_checked(*n)) {
            let group = &self.topology.groups[self.topology.targets[self.ids[&n]].group];
            let check = group.health_check.as_ref().unwrap();
            let first = self.now();
            self.checkups.entry(n).or_insert_with(|| Checkup::new(check, first, Duration::ZERO));
        }
    }

    fn begin_check(&mut self, target: usize) {
        let now = self.now();
        let Some(checkup) = self.checkups.get_mut(&target) else { return };
        self.model.check_begins(target);
        let found = checkup.begin(now);
        self.hear(target, found);
    }

    fn check(&mut self, target: usize, outcome: Outcome) {
        self.begin_check(target);
        let Some(checkup) = self.checkups.get_mut(&target) else { return };
        self.model.check_ends(target, outcome);
        let found = checkup.conclude(outcome);
        self.hear(target, found);
    }

    fn newcomer(&mut self, target: usize, failed: bool) {
        let Some(checkup) = self.checkups.get_mut(&target) else { return };
        self.model.newcomer(target, failed);
        self.health.overheard(self.ids[&target], failed);
        if let Some(found) = checkup.overhear(self.health.failures(self.ids[&target])) {
            self.hear(target, found);
        }
    }

    /// What is no news is not looked into.
    fn hear(&mut self, target: usize, found: Standing) {
        if self.health.set(self.ids[&target], found) {
            self.review();
        }
    }

    fn review(&mut self) {
        self.deadline = self.register.review(&self.health, self.now());
    }

    fn compare(&self) {
        for (n, id) in &self.ids {
            let answer = Answer {
                standing: self.register.standing(*id),
                takes_newcomers: self.register.takes_newcomers(*id),
                is_eligible_when_failing_open: self.register.is_eligible_when_failing_open(*id),
                tenure: self.register.tenure(*id),
                is_shown: self.register.members().any(|(member, _)| member == *id),
            };
            assert_eq!(answer, self.model.answer(*n), "target {n} at {} s", self.model.now);
        }
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.model.now)
    }
}

fn address(target: usize) -> IpAddr {
    IpAddr::from([10, 2, 0, target as u8])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn states_and_reasons_follow_the_table(first in File::any(), actions in prop::collection::vec(action(), 1..80)) {
        let mut world = World::new();
        world.take(Action::Reload(first));
        actions.into_iter().for_each(|action| world.take(action));
    }
}
