//! Who belongs, by the operator's files and by what checks have found: how each target stands, who may be sent newcomers, and
//! whose flows are to end. It is told of each reload and of each review at the moment when the forwarder's control side makes
//! it; and between two of these nothing changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use balance::{Reason, Standing, State};
use flow::Cause;
use topology::{Attributes, Family, InterfaceId, Listener, NodeId, TargetGroupId, TargetId, Topology};
use wire::Protocol;

/// All that was ever registered.
pub(super) struct Roll {
    topology: Arc<Topology>,
    members: BTreeMap<TargetId, Member>,
    now: Duration,
}

/// A target, registered or not any more.
struct Member {
    group: TargetGroupId,
    attributes: Attributes,
    /// Whether something leads to it; and whether it is asked how it is.
    is_used: bool,
    is_checked: bool,
    /// When it was removed, if it is not registered.
    left: Option<Duration>,
    found: Standing,
    /// Since when it has been known to be unhealthy, if it is.
    ill: Option<Duration>,
}

/// Where a flow comes from, and goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seat {
    pub(super) interface: InterfaceId,
    pub(super) protocol: Protocol,
    /// The listener's.
    pub(super) port: u16,
    pub(super) target: TargetId,
}

impl Roll {
    pub(super) fn new(topology: Arc<Topology>) -> Self {
        Self { topology, members: BTreeMap::new(), now: Duration::ZERO }
    }

    /// There is a new file.
    pub(super) fn adopt(&mut self, topology: &Arc<Topology>, now: Duration) {
        self.topology = Arc::clone(topology);
        let used = used(topology);
        for (id, target) in topology.targets.iter() {
            let group = &topology.groups[target.group];
            let is_used = used.contains(&id);
            let is_checked = is_used && group.health_check.is_some();
            let before = self.members.remove(&id).filter(|member| member.is_checked && member.left.is_none());
            let ill = before.filter(|_| is_checked).and_then(|member| member.ill);
            let (group, attributes) = (target.group, group.attributes.clone());
            let found = Standing::default();
            self.members
                .insert(id, Member { group, attributes, is_used, is_checked, left: None, found, ill });
        }
        let before = self.now;
        let removed = self.members.iter_mut().filter(|(id, _)| topology.targets.get(**id).is_none());
        for (_, member) in removed.filter(|(_, member)| !member.is_gone(before)) {
            member.left.get_or_insert(now);
            if let Some(group) = topology.groups.get(member.group) {
                member.attributes = group.attributes.clone();
            }
        }
    }

    /// What checks have found is looked at.
    pub(super) fn review(&mut self, found: impl Fn(TargetId) -> Standing, now: Duration) {
        self.now = now;
        for (id, member) in &mut self.members {
            member.found = found(*id);
            let is_ill = member.is_checked && member.found.state == State::Unhealthy;
            member.ill = if is_ill { member.ill.or(Some(now)) } else { None };
        }
    }

    /// Where those are asked who are checked.
    pub(super) fn checked(&self) -> BTreeMap<TargetId, SocketAddr> {
        let checked = self.members.iter().filter(|(_, member)| member.is_checked && member.left.is_none());
        let place = |id: TargetId| {
            let target = &self.topology.targets[id];
            let check = self.topology.groups[target.group].health_check.as_ref()?;
            Some(SocketAddr::new(target.address, check.port.unwrap_or(target.port)))
        };
        checked.filter_map(|(id, _)| Some((*id, place(*id)?))).collect()
    }

    /// How every target stands that is registered, or draining.
    pub(super) fn standings(&self) -> impl Iterator<Item = (TargetId, Standing)> {
        self.members
            .iter()
            .filter(|(_, member)| !member.is_gone(self.now))
            .map(|(id, member)| (*id, member.standing(self.now)))
    }

    /// Whether a newcomer may take this seat.
    pub(super) fn is_welcome(&self, seat: &Seat) -> bool {
        let topology = &self.topology;
        let leads = || {
            let group = topology.targets.get(seat.target)?.group;
            let mut forward = self.listener(seat)?.forward.iter();
            forward.find(|forward| forward.group == group && forward.weight > 0)
        };
        let Some(forward) = leads() else { return false };
        let is_in = |id| self.takes_newcomers(id) || self.fails_open(forward.group, id) && self.is_in_use(id);
        is_in(seat.target)
    }

    /// Why a flow in this seat is to end, if it is.
    pub(super) fn sentence(&self, seat: &Seat) -> Option<Cause> {
        if self.listener(seat).is_none() {
            return Some(Cause::Removed);
        }
        let member = self.members.get(&seat.target)?;
        if let Some(left) = member.left {
            let is_over = self.now >= left + member.attributes.deregistration_delay;
            return (is_over && member.attributes.terminates_deregistered).then_some(Cause::Deregistered);
        }
        let group = self.topology.targets[seat.target].group;
        let until = member.ill? + member.attributes.unhealthy_draining;
        let attributes = &member.attributes;
        let is_over =
            attributes.terminates_unhealthy || !attributes.unhealthy_draining.is_zero() && self.now >= until;
        (is_over && !self.fails_open(group, seat.target)).then_some(Cause::Unhealthy)
    }

    /// What listens where a flow came in, if that is still there.
    fn listener(&self, seat: &Seat) -> Option<&Listener> {
        let topology = &self.topology;
        let endpoint = topology.interfaces.get(seat.interface)?.endpoint;
        let service = &topology.services[topology.endpoints.get(endpoint)?.service];
        let mut listeners = service.listeners.iter().map(|id| &topology.listeners[*id]);
        listeners.find(|listener| (listener.protocol, listener.port) == (seat.protocol, seat.port))
    }

    /// Whether a target takes newcomers, however many others do.
    pub(super) fn takes_newcomers(&self, target: TargetId) -> bool {
        self.members.get(&target).is_some_and(|member| member.standing(self.now).state == State::Healthy)
    }

    fn is_in_use(&self, target: TargetId) -> bool {
        self.members.get(&target).is_some_and(|member| member.is_used && member.left.is_none())
    }

    /// Whether too few of a group's targets are healthy, as the node sees it that speaks to this one of them.
    fn fails_open(&self, group: TargetGroupId, target: TargetId) -> bool {
        let of_family = |id: &TargetId| {
            Family::of(self.topology.targets[*id].address)
                == Family::of(self.topology.targets[target].address)
        };
        let targets = self.topology.groups[group].targets.iter().copied().filter(of_family);
        let all: Vec<TargetId> = targets.filter(|id| self.is_in_use(*id)).collect();
        let healthy = all.iter().filter(|id| self.takes_newcomers(**id)).count();
        let minimum = self.topology.groups[group].attributes.routing_minimum;
        let is_enough = minimum.count.is_none_or(|count| healthy >= count as usize)
            && minimum
                .percentage
                .is_none_or(|percentage| healthy * 100 >= usize::from(percentage) * all.len());
        !is_enough
    }
}

impl Member {
    fn is_gone(&self, now: Duration) -> bool {
        self.left.is_some_and(|left| now >= left + self.attributes.deregistration_delay)
    }

    fn standing(&self, now: Duration) -> Standing {
        let drains = !self.attributes.terminates_unhealthy
            && self.ill.is_some_and(|ill| now < ill + self.attributes.unhealthy_draining);
        match self.left {
            Some(_) => Standing::of(State::Draining, Reason::DeregistrationInProgress),
            None if !self.is_used => Standing::of(State::Unused, Reason::NotInUse),
            None if !self.is_checked => Standing::of(State::Healthy, Reason::HealthCheckDisabled),
            None if drains => Standing { state: State::UnhealthyDraining, ..self.found },
            None => self.found,
        }
    }
}

/// Targets with a weight that some listener's flows can reach.
fn used(topology: &Topology) -> BTreeSet<TargetId> {
    let families: BTreeSet<bool> =
        topology.nodes.iter().map(|(_, node): (NodeId, _)| node.address.is_ipv4()).collect();
    let forwards = topology.listeners.iter().flat_map(|(_, listener)| &listener.forward);
    let targets = forwards.flat_map(|forward| &topology.groups[forward.group].targets).copied();
    let is_used = |id: &TargetId| {
        let target = &topology.targets[*id];
        target.weight > 0 && families.contains(&target.address.is_ipv4())
    };
    targets.filter(is_used).collect()
}
