//! Who belongs: which targets are registered and which are leaving, how they stand, and what that means for their
//! flows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use topology::{Attributes, Target, TargetGroup, TargetId, Topology};

use crate::{Health, Reason, Standing, State};

/// What becomes of a target's flows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tenure {
    /// They go on.
    Kept,
    /// They end, because the target is unhealthy: unless where its group fails open.
    Unhealthy,
    /// They end, because the target's deregistration has.
    Deregistered,
}

/// A target that is registered, or that has left and is draining.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it is.
    pub target: Target,
    /// Its group's name.
    pub group: String,
    /// How it stands.
    pub standing: Standing,
    /// When it came to its state.
    pub since: Duration,
    /// When its state ends, whatever happens: that of draining does.
    pub until: Option<Duration>,
    tenure: Tenure,
    role: Role,
    attributes: Attributes,
}

/// What a member is here for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// Nothing leads to it.
    Unused,
    /// It takes newcomers, however it is.
    Unchecked,
    /// It takes newcomers if its checks say so. How long it has been unhealthy, if it is.
    Checked { unhealthy_since: Option<Duration> },
    /// It is no longer registered.
    Leaving { since: Duration },
}

/// All members, and whose flows ended with their registration. As many as the topology ever named, at most.
///
/// It is kept by one thread, beside the packets' road.
#[derive(Default)]
pub struct Register {
    members: BTreeMap<TargetId, Member>,
    expelled: BTreeSet<TargetId>,
}

impl Register {
    /// Takes up a topology: who is new in it is registered, who is not in it begins to leave. A [`Register::review`]
    /// is to follow.
    pub fn adopt(&mut self, topology: &Topology, health: &Health, now: Duration) {
        let used: BTreeSet<TargetId> = topology.ways_of_newcomers().map(|way| way.target).collect();
        for (id, target) in topology.targets.iter() {
            let Some(group) = topology.groups.get(target.group) else { continue };
            let role = match group.health_check {
                _ if !used.contains(&id) => Role::Unused,
                None => Role::Unchecked,
                Some(_) => Role::Checked { unhealthy_since: None },
            };
            self.expelled.remove(&id);
            let member = self.members.entry(id).or_insert_with(|| Member::new(target, group, now));
            if member.stay(target, group, role) {
                health.set(id, Standing::default());
            }
        }
        for (id, member) in &mut self.members {
            if topology.targets.get(*id).is_none() {
                member.leave(topology.groups.get(member.target.group), now);
            }
        }
    }

    /// Judges all members by what their checks have found, and strikes those out that have left. The answer is when
    /// to do that again, if no check finds anything before.
    pub fn review(&mut self, health: &Health, now: Duration) -> Option<Duration> {
        self.members.iter_mut().for_each(|(id, member)| member.judge(health.standing(*id), now));
        self.members.retain(|id, member| {
            let has_left = member.has_left(now);
            if has_left && member.attributes.terminates_deregistered {
                self.expelled.insert(*id);
            }
            !has_left
        });
        self.members.values().filter_map(|member| member.until).min()
    }

    /// How a target stands.
    pub fn standing(&self, target: TargetId) -> Standing {
        let stranger = Standing::of(State::Unused, Reason::NotRegistered);
        self.members.get(&target).map_or(stranger, |member| member.standing)
    }

    /// Whether new flows may go to a target.
    pub fn takes_newcomers(&self, target: TargetId) -> bool {
        self.members.get(&target).is_some_and(|member| member.standing.state == State::Healthy)
    }

    /// Whether they may where too few targets are healthy.
    pub fn is_eligible_when_failing_open(&self, target: TargetId) -> bool {
        let role = self.members.get(&target).map(|member| member.role);
        matches!(role, Some(Role::Unchecked | Role::Checked { .. }))
    }

    /// What becomes of a target's flows.
    pub fn tenure(&self, target: TargetId) -> Tenure {
        match self.members.get(&target) {
            Some(member) => member.tenure,
            None if self.expelled.contains(&target) => Tenure::Deregistered,
            None => Tenure::Kept,
        }
    }

    /// Everybody who is registered or draining.
    pub fn members(&self) -> impl Iterator<Item = (TargetId, &Member)> {
        self.members.iter().map(|(id, member)| (*id, member))
    }
}

impl Member {
    fn new(target: &Target, group: &TargetGroup, now: Duration) -> Self {
        Self {
            target: target.clone(),
            group: group.name.clone(),
            standing: Standing::default(),
            since: now,
            until: None,
            tenure: Tenure::Kept,
            role: Role::Unused,
            attributes: group.attributes.clone(),
        }
    }

    /// It is in the topology. Whether its checks begin anew: what they found when it was last checked says nothing
    /// any more.
    fn stay(&mut self, target: &Target, group: &TargetGroup, role: Role) -> bool {
        self.target = target.clone();
        self.attributes = group.attributes.clone();
        let is_checked = |role| matches!(role, Role::Checked { .. });
        if is_checked(self.role) && is_checked(role) {
            return false;
        }
        self.role = role;
        is_checked(role)
    }

    /// It is in the topology no more, though its group may be.
    fn leave(&mut self, group: Option<&TargetGroup>, now: Duration) {
        if let Some(group) = group {
            self.attributes = group.attributes.clone();
        }
        if !matches!(self.role, Role::Leaving { .. }) {
            self.role = Role::Leaving { since: now };
        }
    }

    fn has_left(&self, now: Duration) -> bool {
        matches!(self.role, Role::Leaving { .. }) && self.until.is_some_and(|until| until <= now)
    }

    /// Draws the conclusions from what it is here for, and from what its checks have found.
    fn judge(&mut self, found: Standing, now: Duration) {
        let state = self.standing.state;
        (self.standing, self.tenure, self.until) = match &mut self.role {
            Role::Unused => (Standing::of(State::Unused, Reason::NotInUse), Tenure::Kept, None),
            Role::Unchecked => {
                (Standing::of(State::Healthy, Reason::HealthCheckDisabled), Tenure::Kept, None)
            }
            Role::Leaving { since } => {
                let standing = Standing::of(State::Draining, Reason::DeregistrationInProgress);
                (standing, Tenure::Kept, Some(*since + self.attributes.deregistration_delay))
            }
            Role::Checked { unhealthy_since } if found.state == State::Unhealthy => {
                let since = *unhealthy_since.get_or_insert(now);
                unhealthy(&self.attributes, found, since, now)
            }
            Role::Checked { unhealthy_since } => {
                *unhealthy_since = None;
                (found, Tenure::Kept, None)
            }
        };
        if self.standing.state != state {
            self.since = now;
        }
    }
}

/// What becomes of a target that has been unhealthy for a while.
fn unhealthy(
    attributes: &Attributes,
    found: Standing,
    since: Duration,
    now: Duration,
) -> (Standing, Tenure, Option<Duration>) {
    let until = since + attributes.unhealthy_draining;
    if attributes.terminates_unhealthy {
        (found, Tenure::Unhealthy, None)
    } else if attributes.unhealthy_draining.is_zero() {
        (found, Tenure::Kept, None)
    } else if now < until {
        (Standing { state: State::UnhealthyDraining, ..found }, Tenure::Kept, Some(until))
    } else {
        (found, Tenure::Unhealthy, None)
    }
}

#[cfg(test)]
mod tests;
