//! What changes while packets go on: the topology by a reload, the targets by their checks and by time. It is all put in force
//! here, by whoever steers the forwarder, never by a worker.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use balance::Register;
use flow::{Fate, LaneId};
use topology::Topology;

use crate::plan::Plan;
use crate::shared::Shared;

impl Shared {
    /// Puts a topology in force that succeeds the one that is. Says when [`Shared::review`] is due, at the latest.
    ///
    /// Every worker has to take it up before the next one is adopted, as it does at [`crate::Message::Planned`]. What is removed
    /// by one topology and there again by the next would never have been away for a worker that saw neither in between: the
    /// checks of such a target would go on where they were, while all others take it for new.
    pub fn adopt(&self, topology: Arc<Topology>, now: Duration) -> Duration {
        let register = self.locked();
        let before = self.plan();
        let plan = Plan::new(topology, self.flows.lanes(), &self.homes, Some(&before));
        self.enrol(register, Arc::new(plan), now)
    }

    /// Puts a plan in force, and registers its targets.
    pub(crate) fn enrol(
        &self,
        mut register: MutexGuard<'_, Register>,
        plan: Arc<Plan>,
        now: Duration,
    ) -> Duration {
        register.adopt(plan.topology(), &self.health, now);
        let due = register.review(&self.health, now);
        self.put_in_force(plan, &register);
        due.unwrap_or(Duration::MAX)
    }

    /// Acts upon what checks have found out, and upon time that has passed. Says when it is due again, unless something happens
    /// before.
    pub fn review(&self, now: Duration) -> Duration {
        let mut register = self.locked();
        let due = register.review(&self.health, now);
        self.put_in_force(self.plan(), &register);
        due.unwrap_or(Duration::MAX)
    }

    /// Reads in the register of the targets.
    pub fn register<T>(&self, read: impl FnOnce(&Register) -> T) -> T {
        read(&self.locked())
    }

    /// Who is pardoned is so before flows can go there by the new wheels, and who is sentenced is so after that.
    fn put_in_force(&self, plan: Arc<Plan>, register: &Register) {
        let changes: Vec<_> =
            plan.selectors.values().filter_map(|selector| selector.reckon(register)).collect();
        let lanes = self.flows.lanes();
        let fates = lanes.iter().map(|(id, lane)| (id, plan.fate(lane, register)));
        let (carried, ended): (Vec<_>, Vec<(LaneId, Fate)>) =
            fates.partition(|(_, fate)| *fate == Fate::Carried);
        lanes.set_fates(carried);
        changes.into_iter().for_each(|change| change.publish());
        let number = plan.number;
        self.plan.store(plan);
        self.latest.store(number, Ordering::Release);
        lanes.set_fates(ended);
    }

    /// If somebody has panicked with it, it may be half a step behind: whoever adopts or reviews next judges all anew.
    pub(crate) fn locked(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
