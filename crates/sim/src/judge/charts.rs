//! What checks may have found: for each target that is checked, what can be known of it, from what it does with those who
//! ask. Where the network loses something, more than one thing can; each thing that is seen leaves fewer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use balance::{Reason, Standing, State};
use topology::TargetId;

use crate::ailment::{Course, Finding, INTERVAL, THRESHOLD, TIMEOUT};
use crate::invariants::{Violation, check_is_due, health_follows_table, health_is_told};

/// A worker is not always there at the moment.
const SLACK: Duration = Duration::from_secs(1);
/// Everybody is asked so soon after having been registered.
const AT_FIRST: Duration = Duration::from_secs(1);

/// What can be known of all targets that are checked.
pub(super) struct Charts {
    courses: BTreeMap<SocketAddr, Course>,
    network: Network,
    charts: BTreeMap<TargetId, Chart>,
}

/// What may come between a target and those who ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    /// Something may be lost.
    pub(super) is_lossy: bool,
    /// The provider's device may be gone for a while: then checks come to nothing.
    pub(super) is_cut: bool,
}

/// What can be known of one target.
struct Chart {
    /// Where it is asked.
    at: SocketAddr,
    possible: BTreeSet<Knowledge>,
    /// As it was last seen to be.
    seen: Standing,
    /// The port that the last question came from, and when that was.
    asked: Option<(u16, Duration)>,
    /// Between when and when it is to be asked next.
    due: (Duration, Duration),
}

/// What may be known of a target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Knowledge {
    found: Found,
    /// Results in a row that speak against it.
    against: u8,
    /// Whether the last question's answer is in it.
    is_concluded: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Registered,
    Asked,
    Well,
    Ill(Finding),
}

impl Charts {
    pub(super) fn new(courses: BTreeMap<SocketAddr, Course>, network: Network) -> Self {
        Self { courses, network, charts: BTreeMap::new() }
    }

    /// From now on these are checked, and nobody else is.
    pub(super) fn adopt(
        &mut self,
        checked: &BTreeMap<TargetId, SocketAddr>,
        now: Duration,
    ) -> Result<(), Violation> {
        for (target, chart) in &self.charts {
            check_is_due(*target, now, (Duration::ZERO, chart.due.1))?;
        }
        self.charts.retain(|target, _| checked.contains_key(target));
        for (target, at) in checked {
            self.charts.entry(*target).or_insert_with(|| Chart::new(*at, now));
        }
        Ok(())
    }

    /// A check cannot begin now.
    pub(super) fn put_off(&mut self, target: TargetId, now: Duration) {
        if let Some(chart) = self.charts.get_mut(&target) {
            chart.due = (now, now + INTERVAL);
        }
    }

    /// A SYN leaves for where a target is checked: a question, if it is not the last one's once more. All that the last one
    /// can have found out is found out by then.
    pub(super) fn asked(&mut self, at: SocketAddr, port: u16, now: Duration) -> Result<(), Violation> {
        let network = self.network;
        let Some((target, chart)) = self.charts.iter_mut().find(|(_, chart)| chart.at == at) else {
            return Ok(());
        };
        if chart.asked.is_some_and(|(last, since)| last == port && now < since + TIMEOUT) {
            return Ok(());
        }
        check_is_due(*target, now, chart.due)?;
        if chart.asked.is_some() {
            chart.conclude(&self.courses, network, now);
            chart.possible.retain(|known| known.is_concluded || network.is_cut);
            chart.recognise(*target)?;
        }
        chart.possible = chart.possible.iter().map(|known| known.once_asked()).collect();
        chart.asked = Some((port, now));
        chart.due = (now + INTERVAL / 2, now + INTERVAL * 3 / 2 + SLACK);
        Ok(())
    }

    /// What is known of a target is said to have changed.
    pub(super) fn changed(
        &mut self,
        target: TargetId,
        standing: Standing,
        now: Duration,
    ) -> Result<(), Violation> {
        let network = self.network;
        let chart = self.charts.get_mut(&target);
        health_is_told(target, chart.as_ref().map(|chart| chart.seen), standing)?;
        let Some(chart) = chart else { return Ok(()) };
        chart.conclude(&self.courses, network, now);
        chart.seen = standing;
        chart.recognise(target)
    }

    /// Nothing changes in silence.
    pub(super) fn compare(&self, standing: impl Fn(TargetId) -> Standing) -> Result<(), Violation> {
        self.charts.iter().try_for_each(|(target, chart)| {
            health_follows_table(*target, standing(*target), [chart.seen].into_iter())
        })
    }
}

impl Chart {
    fn new(at: SocketAddr, now: Duration) -> Self {
        let known = Knowledge { found: Found::Registered, against: 0, is_concluded: true };
        Self {
            at,
            possible: BTreeSet::from([known]),
            seen: known.standing(),
            asked: None,
            due: (now, now + AT_FIRST + SLACK),
        }
    }

    /// Adds what the last question may have found out by now.
    fn conclude(&mut self, courses: &BTreeMap<SocketAddr, Course>, network: Network, now: Duration) {
        let (Some((_, since)), Some(course)) = (self.asked, courses.get(&self.at)) else { return };
        let is_over = now >= since + TIMEOUT;
        let until = now.min(since + TIMEOUT);
        let found = course.during(since, until).map(|ailment| ailment.finding());
        let lost = (network.is_lossy || network.is_cut).then_some(Finding::Timeout);
        let findings: BTreeSet<Finding> =
            found.chain(lost).filter(|finding| is_over || *finding != Finding::Timeout).collect();
        let open: Vec<Knowledge> =
            self.possible.iter().copied().filter(|known| !known.is_concluded).collect();
        for known in open {
            self.possible.extend(findings.iter().map(|finding| known.after(*finding)));
        }
    }

    /// Forgets what cannot be, now that it is seen how the target stands.
    fn recognise(&mut self, target: TargetId) -> Result<(), Violation> {
        let seen = self.seen;
        health_follows_table(target, seen, self.possible.iter().map(Knowledge::standing))?;
        self.possible.retain(|known| known.standing() == seen);
        Ok(())
    }
}

impl Knowledge {
    fn once_asked(self) -> Self {
        let found = if self.found == Found::Registered { Found::Asked } else { self.found };
        Self { found, is_concluded: false, ..self }
    }

    /// By the table of how the real load balancer behaves: the first success puts a target in service; after that it takes so
    /// many results in a row.
    fn after(self, finding: Finding) -> Self {
        let is_well = finding == Finding::Well;
        let concluded = |found, against| Self { found, against, is_concluded: true };
        match self.found {
            Found::Registered | Found::Asked if is_well => concluded(Found::Well, 0),
            Found::Well if is_well => concluded(Found::Well, 0),
            Found::Ill(_) if !is_well => concluded(Found::Ill(finding), 0),
            _ if self.against + 1 < THRESHOLD => concluded(self.found, self.against + 1),
            _ => concluded(if is_well { Found::Well } else { Found::Ill(finding) }, 0),
        }
    }

    fn standing(&self) -> Standing {
        match self.found {
            Found::Registered => Standing::of(State::Initial, Reason::RegistrationInProgress),
            Found::Asked => Standing::of(State::Initial, Reason::InitialHealthChecking),
            Found::Well => Standing { state: State::Healthy, reason: None },
            Found::Ill(finding) => Standing { state: State::Unhealthy, reason: finding.reason() },
        }
    }
}
