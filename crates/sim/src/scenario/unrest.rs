//! What does not stay as it was: targets fall ill and recover, and the operator changes his file while everything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::file::{Declared, Group};
use super::{DNS, WEB};
use crate::ailment::{Ailment, Check, Course};
use crate::plan::{Behaviour, Plan, Start};
use crate::rng::Rng;

/// The first group's port for checks; each group has one of its own.
const CHECKED_AT: u16 = 7001;
/// Connections begin within so much more time than where nothing changes.
const STRETCH: u32 = 10;
/// From when on the operator changes his file, and when he has put everything back in its place.
const UNREST: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(25)];
/// How long a connection rests that is to see something change: never so short that its keep-alives give up while a device is
/// gone.
const RESTS: [Duration; 2] = [Duration::from_secs(4), Duration::from_secs(15)];

/// All of it; nothing, in a scenario where everything stays as it is.
#[derive(Clone, Default, Debug)]
pub struct Unrest {
    /// When the operator changes his file, and to what.
    pub reloads: Vec<(Duration, String)>,
    /// How the targets are that are checked, by where they are asked.
    pub courses: BTreeMap<SocketAddr, Course>,
    /// Where checks begin with a header.
    pub told: BTreeSet<u16>,
    /// The last file: nobody is checked any more.
    pub last: Option<String>,
}

impl Unrest {
    /// What will happen to `file`, which is made fit for it.
    pub(super) fn draw(file: &mut Declared, rng: &mut Rng) -> Self {
        *file = lively(file.clone(), rng);
        let moments: BTreeSet<Duration> =
            (0..rng.between(2, 8)).map(|_| UNREST[0] + rng.span(UNREST[1] - UNREST[0])).collect();
        let mut changed = file.clone();
        let mut change = |at| {
            (0..rng.between(1, 3)).for_each(|_| changed.change(rng));
            (at, changed.text())
        };
        let mut reloads: Vec<_> = moments.into_iter().map(&mut change).collect();
        reloads.push((UNREST[1], file.text()));
        let mut last = file.clone();
        last.groups.iter_mut().for_each(|group| group.check = None);
        let told = file.groups.iter().filter(|group| group.header.is_some());
        let told = told.filter_map(|group| Some(group.check?.port)).collect();
        Self { reloads, courses: draw_courses(file, rng), told, last: Some(last.text()) }
    }

    /// Spreads connections over the time in which things change.
    pub(super) fn spread(plan: &mut Plan, rng: &mut Rng) {
        if let Start::At(at) = &mut plan.start {
            *at *= STRETCH;
        }
        plan.rest = RESTS[0] + rng.span(RESTS[1] - RESTS[0]);
        plan.behaviour = match plan.behaviour {
            Behaviour::Forgotten => Behaviour::KeptAlive,
            Behaviour::Exchange if rng.per_mille(700) => Behaviour::KeptAlive,
            other => other,
        };
    }
}

impl Declared {
    /// One change.
    fn change(&mut self, rng: &mut Rng) {
        match rng.index(10) {
            0 => self.split.iter_mut().for_each(|(_, weight)| *weight = rng.between(1, 5) as u16),
            1 => {
                let emptied = rng.index(self.split.len());
                self.split.iter_mut().for_each(|(_, weight)| *weight = 1);
                self.split[emptied].1 = 0;
            }
            2 => self.toggle_an_endpoint(rng.index(self.endpoints.len())),
            3 => {
                let (_, is_closed) = &mut self.closed[rng.index(2)];
                *is_closed = !*is_closed;
            }
            _ => {
                let mut checked: Vec<_> =
                    self.groups.iter_mut().filter(|group| group.check.is_some()).collect();
                let chosen = rng.index(checked.len());
                checked[chosen].change(rng);
            }
        }
    }

    /// Takes an endpoint away, if it is not the last, or brings it back.
    fn toggle_an_endpoint(&mut self, chosen: usize) {
        let count = self.endpoints.iter().filter(|(_, is_there)| *is_there).count();
        let (_, is_there) = &mut self.endpoints[chosen];
        *is_there = !*is_there || count == 1;
    }
}

impl Group {
    fn change(&mut self, rng: &mut Rng) {
        let some_target = rng.index(self.targets.len());
        match rng.index(6) {
            0 => self.targets[some_target].weight = [0, 1, 5][rng.index(3)],
            1 => self.attributes = draw_attributes(rng),
            // Of two of one family, one stays.
            _ => {
                let [first, second, ..] = &mut self.targets[..] else { return };
                first.is_there = !first.is_there || first.address.is_ipv4() != second.address.is_ipv4();
            }
        }
    }
}

/// The same with more to choose from, and with checks.
fn lively(mut file: Declared, rng: &mut Rng) -> Declared {
    file.groups.insert(1, Group::new("blue", &WEB));
    file.split.push(("blue", 1));
    let ports = CHECKED_AT..;
    for (group, port) in file.groups.iter_mut().zip(ports) {
        if group.name == "dns" {
            group.targets = Group::new("dns", &[(WEB[1].0, DNS[0].1), DNS[0], DNS[1]]).targets;
        }
        let is_checked = match group.name.as_str() {
            "closed" | "silent" | "deaf" | "rude" => false,
            name => !name.starts_with("shop") || rng.per_mille(300),
        };
        if is_checked {
            group.check = Some(Check { port, asks_for_a_page: rng.per_mille(600) });
            group.attributes = draw_attributes(rng);
        }
    }
    file
}

fn draw_attributes(rng: &mut Rng) -> String {
    let minimum = ["\"off\"", "1", "1", "2"][rng.index(4)];
    let (terminates_unhealthy, draining) = [(true, 0), (true, 0), (false, 0), (false, 3)][rng.index(4)];
    let percentage = ["\"off\"", "\"off\"", "50", "100"][rng.index(4)];
    format!(
        "\"deregistration_delay.timeout_seconds\" = {}, \
         \"deregistration_delay.connection_termination.enabled\" = {}, \
         \"stickiness.enabled\" = {}, \
         \"target_health_state.unhealthy.connection_termination.enabled\" = {terminates_unhealthy}, \
         \"target_health_state.unhealthy.draining_interval_seconds\" = {draining}, \
         \"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count\" = {minimum}, \
         \"target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage\" = {percentage}",
        [0, 1, 6][rng.index(3)],
        rng.per_mille(500),
        rng.per_mille(300),
    )
}

/// Some are always well, some fall ill for a while, some do so again and again. In the end all are well.
fn draw_courses(file: &Declared, rng: &mut Rng) -> BTreeMap<SocketAddr, Course> {
    let mut courses = BTreeMap::new();
    for group in &file.groups {
        let Some(check) = group.check else { continue };
        for target in &group.targets {
            let course = draw_course(check, rng);
            courses.insert(SocketAddr::new(target.address, check.port), course);
        }
    }
    courses
}

fn draw_course(check: Check, rng: &mut Rng) -> Course {
    let changes = [0, 1, 3, 5][rng.index(4)];
    let moments: BTreeSet<Duration> = (0..changes).map(|_| rng.span(UNREST[1])).collect();
    let ailments = Ailment::of(check);
    let mut is_ill = false;
    let mut change = |at| {
        is_ill = !is_ill;
        (at, if is_ill { ailments[rng.index(ailments.len())] } else { Ailment::None })
    };
    let mut course: Vec<_> = moments.into_iter().map(&mut change).collect();
    course.push((UNREST[1], Ailment::None));
    Course(course)
}
