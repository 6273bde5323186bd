//! The control side, as the forwarder's own does it: takes up the operator's files, and reviews the targets whenever a check has
//! changed something, or time has.

use std::sync::Arc;
use std::time::Duration;

use engine::{Event, Message};
use topology::{Origin, Topology};

use super::{Happening, World};
use crate::hosts::Hosts;
use crate::invariants::{Invariant, Violation};
use crate::recorder::Batch;
use crate::sabotage::{Sabotage, Saboteur};
use crate::scenario::Scenario;

/// It is another thread that reviews: it comes so much later at most.
const LATE: Duration = Duration::from_millis(50);
/// A client whose connection was ended, and who has not heard of it, gives up after this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the operator looks whether he can go home; and when he does in any case: what is not over then never will be.
const SOON: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(300);

/// What the control side has still to do.
pub(super) struct Control {
    /// When the next review is due, if one is.
    due: Option<Duration>,
    /// The last file, to be taken up when all connections are over.
    last: Option<String>,
}

impl Control {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self { due: None, last: scenario.unrest.last.clone() }
    }

    /// When a review is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.due
    }

    fn call(&mut self, at: Duration) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

impl World {
    /// The first file is in force.
    pub(super) fn begin(&mut self) -> Result<(), Violation> {
        let due = self.shared.review(self.now);
        self.control.due = Some(due).filter(|due| *due < Duration::MAX);
        self.judge.adopt(self.now)
    }

    /// The operator's file has changed.
    pub(super) fn reload(&mut self, text: &str) -> Result<(), Violation> {
        let before = self.shared.topology();
        let topology = read_topology(text, &self.scenario, self.saboteur.as_ref().map(Saboteur::sabotage))?;
        let unsound = |why: String| Violation::new(Invariant::SoundScenario, why);
        let topology = topology.succeed(&before).map_err(|refused| unsound(refused.to_string()))?;
        let unchangeable = before.unchangeable(&topology);
        if !unchangeable.is_empty() {
            return Err(unsound(unchangeable.join(", ")));
        }
        let due = self.shared.adopt(Arc::new(topology), self.now);
        self.meddle();
        self.control.due = Some(due).filter(|due| *due < Duration::MAX);
        self.judge.adopt(self.now)?;
        self.excuse(|hosts, topology| hosts.at_removed(topology));
        self.tell(Message::Planned)
    }

    /// Acts upon what checks have found out, and upon time that has passed. The workers may hear of it at once, or notice.
    pub(super) fn review(&mut self) -> Result<(), Violation> {
        let due = self.shared.review(self.now);
        self.meddle();
        self.control.due = Some(due).filter(|due| *due < Duration::MAX);
        self.judge.review(self.now)?;
        if self.rng.per_mille(500) { self.tell(Message::Planned) } else { Ok(()) }
    }

    /// Takes the checks away, once there is nothing that they are good for.
    pub(super) fn go_home(&mut self) -> Result<(), Violation> {
        if !self.hosts.are_over() && self.now < LATEST {
            self.agenda.note(self.now + SOON, Happening::GoesHome);
            return Ok(());
        }
        self.control.last.take().map_or(Ok(()), |text| self.reload(&text))
    }

    /// Listens for what concerns the control side.
    pub(super) fn heed(&mut self, batch: &Batch) {
        let mut events = batch.said.events.iter();
        if events.any(|event| matches!(event, Event::HealthChanged { .. })) {
            self.control.call(self.now + self.rng.span(LATE));
        }
    }

    /// Whoever cannot end as planned because of what has changed gives up, sooner or later.
    pub(super) fn excuse(&mut self, whom: impl FnOnce(&Hosts, &Topology) -> Vec<usize>) {
        for client in whom(&self.hosts, &self.shared.topology()) {
            self.agenda.note(self.now + PATIENCE, Happening::Tires(client));
        }
    }

    fn meddle(&self) {
        if let Some(saboteur) = &self.saboteur {
            saboteur.meddle();
        }
    }
}

pub(super) fn read_topology(
    text: &str,
    scenario: &Scenario,
    sabotage: Option<Sabotage>,
) -> Result<Topology, Violation> {
    let text = sabotage.map_or(text.into(), |sabotage| sabotage.misread_file(text));
    let mut topology = Topology::parse(&text, &Origin::new("simulated.toml"))
        .map_err(|problems| Violation::new(Invariant::SoundScenario, format!("{problems:?}\n{text}")))?;
    scenario.scarcity.apply(&mut topology);
    Ok(topology)
}
