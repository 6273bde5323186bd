//! What stands behind the ports of interfaces: for each a door, which leads to target groups, and through them to targets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use flow::{Lane, LaneId, LaneUser, Lanes, PoolKey};
use topology::{
    Family, Forward, InterfaceId, Listener, ListenerId, NodeId, Path, TargetGroupId, TargetId, Topology,
};
use wire::Protocol;

use crate::admit::Tuple;
use crate::homes::Homes;
use crate::selector::Selector;
use crate::verdict::Reason;

/// Selectors by what they choose from.
pub(crate) type Selectors = HashMap<(TargetGroupId, NodeId), Arc<Selector>>;

/// All doors.
pub(crate) struct Doors(HashMap<(InterfaceId, Protocol, u16), Door, RandomState>);

/// What stands behind one port of an interface.
pub struct Door {
    /// The listener.
    pub listener: ListenerId,
    /// How it carries its traffic.
    pub path: Path,
    /// How long its flows may stay silent.
    pub idle_timeout: Duration,
    /// The groups that it forwards to, as far as this interface has a node for them.
    pub(crate) branches: Box<[Branch]>,
}

/// One of the groups behind a door.
pub(crate) struct Branch {
    /// Its share of new flows, beside the door's other groups.
    pub(crate) weight: u16,
    /// Chooses among its targets.
    pub(crate) selector: Arc<Selector>,
    /// By the target's place in the selector: the lane there, unless there were too many.
    lanes: Box<[Option<LaneId>]>,
}

/// A target, and how it is reached from one interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The target.
    pub target: TargetId,
    /// The node that speaks to it.
    pub node: NodeId,
    /// The lane of flows that go there.
    pub lane: LaneId,
}

impl Door {
    /// Where a newcomer goes: its hash chooses a group, and there a target, unless that is for its address alone to choose.
    #[inline]
    pub(crate) fn choose(&self, tuple: &Tuple, keys: &RandomState) -> Result<Candidate, Reason> {
        let hash = tuple.flow_hash(keys);
        // Hashed once more: the two choices must not depend on each other.
        let branch = self.branch(keys.hash_one(hash)).ok_or(Reason::NoTarget)?;
        let hash = if branch.selector.is_sticky { tuple.client_hash(keys) } else { hash };
        branch.candidate(branch.selector.pick(hash).ok_or(Reason::NoTarget)?)
    }

    /// What its groups' weights add up to.
    pub(crate) fn weight(&self) -> u32 {
        self.branches.iter().map(|branch| u32::from(branch.weight)).sum()
    }

    /// The group that a flow with this hash goes to.
    fn branch(&self, hash: u64) -> Option<&Branch> {
        let mut left = ((u128::from(hash) * u128::from(self.weight())) >> 64) as u32;
        self.branches.iter().find(|branch| {
            let weight = u32::from(branch.weight);
            let is_it = left < weight;
            left = left.saturating_sub(weight);
            is_it
        })
    }
}

impl Branch {
    /// The target at this place of the selector.
    pub(crate) fn candidate(&self, place: usize) -> Result<Candidate, Reason> {
        let target = self.selector.targets.get(place).ok_or(Reason::NoTarget)?;
        let lane = self.lanes.get(place).copied().flatten().ok_or(Reason::LanesExhausted)?;
        Ok(Candidate { target: *target, node: self.selector.node, lane })
    }
}

impl Doors {
    /// What stands behind a port of an interface.
    #[inline]
    pub(crate) fn get(&self, interface: InterfaceId, protocol: Protocol, port: u16) -> Option<&Door> {
        self.0.get(&(interface, protocol, port))
    }
}

/// What doors are made with.
pub(crate) struct Builder<'a> {
    pub(crate) topology: &'a Topology,
    pub(crate) lanes: &'a Lanes,
    pub(crate) homes: &'a Homes,
    /// Those of the plan before.
    pub(crate) before: Option<&'a Selectors>,
    pub(crate) selectors: Selectors,
    /// How many ways to targets have no lane.
    pub(crate) missing_lanes: usize,
}

impl Builder<'_> {
    /// A door for every listener, as seen from every interface. Their selectors are kept here.
    pub(crate) fn doors(&mut self) -> Doors {
        let topology = self.topology;
        let mut doors = HashMap::with_hasher(RandomState::with_seeds(0, 0, 0, 0));
        for (id, interface) in topology.interfaces.iter() {
            let service = topology.endpoints[interface.endpoint].service;
            for &listener in &topology.services[service].listeners {
                let Listener { protocol, port, .. } = topology.listeners[listener];
                doors.insert((id, protocol, port), self.door(id, listener));
            }
        }
        Doors(doors)
    }

    fn door(&mut self, interface: InterfaceId, id: ListenerId) -> Door {
        let listener = &self.topology.listeners[id];
        let idle_timeout = listener.idle_timeout / self.topology.run.time_scale;
        let forward = listener.forward.iter();
        let branch = |forward| self.branch(interface, id, idle_timeout, forward);
        let branches = forward.filter_map(branch).collect();
        Door { listener: id, path: listener.path, idle_timeout, branches }
    }

    /// A group as it is reached from an interface: by the node of the interface's own family. A terminated connection's second
    /// half may have another, if there is no target of its own.
    fn branch(
        &mut self,
        interface: InterfaceId,
        id: ListenerId,
        idle: Duration,
        forward: &Forward,
    ) -> Option<Branch> {
        let listener = &self.topology.listeners[id];
        let (own, other) = match Family::of(self.topology.interfaces[interface].address) {
            Family::V4 => (Family::V4, Family::V6),
            Family::V6 => (Family::V6, Family::V4),
        };
        let mut selector = self.selector(interface, own, forward.group);
        if listener.path == Path::Terminate && selector.as_ref().is_none_or(|own| own.targets.is_empty()) {
            selector = self.selector(interface, other, forward.group).or(selector);
        }
        let selector = selector?;
        let user = LaneUser::Endpoint {
            endpoint: self.topology.interfaces[interface].endpoint,
            interface,
            listener: id,
        };
        let lanes = selector.targets.iter().map(|&target| {
            let pool = self.pool(listener.protocol, selector.node, target);
            self.lanes.intern(&Lane { user, target, pool }, idle)
        });
        let lanes: Box<[_]> = lanes.collect();
        self.missing_lanes += lanes.iter().filter(|lane| lane.is_none()).count();
        Some(Branch { weight: forward.weight, selector, lanes })
    }

    /// The selector for a group and the interface's node of this family, made when it is first asked for.
    fn selector(
        &mut self,
        interface: InterfaceId,
        family: Family,
        group: TargetGroupId,
    ) -> Option<Arc<Selector>> {
        let node = self.homes.node(self.topology, interface, family)?;
        let before = self.before.and_then(|before| before.get(&(group, node)));
        let make = || Arc::new(Selector::new(self.topology, group, node, before.map(AsRef::as_ref)));
        Some(Arc::clone(self.selectors.entry((group, node)).or_insert_with(make)))
    }

    fn pool(&self, protocol: Protocol, node: NodeId, target: TargetId) -> PoolKey {
        let target = &self.topology.targets[target];
        PoolKey { protocol, node, target: target.address.into(), target_port: target.port }
    }
}
