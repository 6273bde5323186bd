//! A topology as the road needs it. A reload makes a new plan, and workers take it up between two batches: so whatever
//! happens within a batch goes by one of them.

use std::collections::HashMap;
use std::sync::Arc;

use balance::{Register, Tenure};
use flow::{Cause, Fate, Lane, LaneUser, Lanes};
use topology::{Family, InterfaceId, ListenerId, NodeId, TargetId, Topology};

use crate::doors::{Builder, Doors, Selectors};
use crate::homes::Homes;
use crate::probe::{Check, checks};
use crate::view::View;

/// A topology, compiled: what addresses mean, what stands behind ports, who chooses targets, and what is checked.
pub struct Plan {
    /// Counts plans up, so that a worker sees that there is another.
    pub(crate) number: u64,
    pub(crate) topology: Arc<Topology>,
    pub(crate) view: View,
    pub(crate) doors: Doors,
    pub(crate) selectors: Selectors,
    pub(crate) checks: Vec<Check>,
    missing_lanes: usize,
    /// By interface and family.
    nodes_in_use: HashMap<(InterfaceId, Family), NodeId>,
}

impl Plan {
    /// Compiles a topology. What `before` knew and this one does not is still known for as long as flows have to be ended.
    pub(crate) fn new(topology: Arc<Topology>, lanes: &Lanes, homes: &Homes, before: Option<&Self>) -> Self {
        homes.adopt(&topology);
        // Before the doors, when lanes run short: who comes to a door without one is told, but a target that nobody checks
        // would silently be of no use.
        let (checks, unchecked) = checks(&topology, lanes);
        let mut builder = Builder {
            topology: &topology,
            lanes,
            homes,
            before: before.map(|before| &before.selectors),
            selectors: HashMap::default(),
            missing_lanes: 0,
        };
        let doors = builder.doors();
        let Builder { selectors, missing_lanes, .. } = builder;
        let families = [Family::V4, Family::V6];
        let ways = topology.interfaces.iter().flat_map(|(id, _)| families.map(|family| (id, family)));
        Self {
            number: before.map_or(1, |before| before.number + 1),
            view: View::new(&topology, before.map(|before| &before.view)),
            doors,
            selectors,
            checks,
            missing_lanes: missing_lanes + unchecked,
            nodes_in_use: ways
                .filter_map(|(id, family)| Some(((id, family), homes.node(&topology, id, family)?)))
                .collect(),
            topology,
        }
    }

    /// The topology that it was made of.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// The node of this family that an interface's flows leave by.
    pub fn node_in_use(&self, interface: InterfaceId, family: Family) -> Option<NodeId> {
        self.nodes_in_use.get(&(interface, family)).copied()
    }

    /// How many ways to targets find no room among the lanes: of new flows, which are refused there, and of checks, so that
    /// the target is not checked.
    pub fn missing_lanes(&self) -> usize {
        self.missing_lanes
    }

    /// The node that a target is checked from.
    pub fn checked_from(&self, target: TargetId) -> Option<NodeId> {
        let place = self.checks.binary_search_by_key(&target, |check| check.target).ok()?;
        Some(self.checks[place].node)
    }

    /// Whether what becomes of real flows counts for a target's health.
    pub(crate) fn is_overheard(&self, target: TargetId) -> bool {
        let group =
            self.topology.targets.get(target).and_then(|target| self.topology.groups.get(target.group));
        group.and_then(|group| group.health_check.as_ref()).is_some_and(|check| check.passive)
    }

    /// What becomes of the flows on a lane.
    pub(crate) fn fate(&self, lane: &Lane, register: &Register) -> Fate {
        let LaneUser::Endpoint { interface, listener, .. } = lane.user else { return Fate::Carried };
        if !self.leads(interface, listener, lane.pool.node) {
            return Fate::Ended(Cause::Removed);
        }
        match register.tenure(lane.target) {
            Tenure::Kept => Fate::Carried,
            Tenure::Unhealthy if self.is_failing_open(lane) => Fate::Carried,
            Tenure::Unhealthy => Fate::Ended(Cause::Unhealthy),
            Tenure::Deregistered => Fate::Ended(Cause::Deregistered),
        }
    }

    /// Whether there is still a way from this interface through this listener and this node.
    fn leads(&self, interface: InterfaceId, listener: ListenerId, node: NodeId) -> bool {
        let topology = &self.topology;
        let service = || {
            let endpoint = topology.interfaces.get(interface)?.endpoint;
            Some(topology.endpoints.get(endpoint)?.service)
        };
        let services = [
            topology.listeners.get(listener).map(|listener| listener.service),
            topology.nodes.get(node).map(|node| node.service),
        ];
        service().is_some_and(|service| services == [Some(service); 2])
    }

    /// Whether newcomers to its target go to all, for want of healthy ones; or nowhere, because there is no way for them any more.
    fn is_failing_open(&self, lane: &Lane) -> bool {
        let group = self.topology.targets.get(lane.target).map(|target| target.group);
        let selector = group.and_then(|group| self.selectors.get(&(group, lane.pool.node)));
        selector.is_none_or(|selector| selector.is_failing_open())
    }
}
