//! The choice among a group's targets, as one node has it: who is in reach, who of them takes newcomers, and the wheel that
//! says in one look which of these a flow goes to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use balance::{Register, Wheel, identity};
use topology::{Minimum, NodeId, TargetGroup, TargetGroupId, TargetId, Topology};

/// A group's targets as a node sees them.
pub(crate) struct Selector {
    pub(crate) group: TargetGroupId,
    pub(crate) node: NodeId,
    /// Whether a client's address alone chooses its target.
    pub(crate) is_sticky: bool,
    /// Those in reach, by zone and family.
    pub(crate) targets: Box<[TargetId]>,
    /// By the target's place: what the wheel knows it by, and its weight.
    declared: Box<[(u64, u16)]>,
    minimum: Minimum,
    is_failing_open: AtomicBool,
    table: ArcSwap<Table>,
}

/// Who is on the wheel.
struct Table {
    /// By the target's place; weight 0 where it takes no newcomers.
    members: Vec<(u64, u16)>,
    wheel: Wheel,
}

/// A change of who is on a selector's wheel, still to be published.
pub(crate) struct Change<'a> {
    selector: &'a Selector,
    members: Vec<(u64, u16)>,
}

impl Selector {
    /// Nobody takes newcomers yet; if `before` had the same targets, those who took them there still do.
    pub(crate) fn new(
        topology: &Topology,
        group: TargetGroupId,
        node: NodeId,
        before: Option<&Self>,
    ) -> Self {
        let targets: Box<[TargetId]> = topology.selected(group, node).into();
        let TargetGroup { name, attributes, .. } = &topology.groups[group];
        let declared = targets.iter().map(|id| &topology.targets[*id]);
        let table = before.filter(|before| before.targets == targets).map(|before| before.table.load_full());
        Self {
            group,
            node,
            is_sticky: attributes.is_sticky,
            declared: declared.map(|target| (identity(name, target), target.weight)).collect(),
            targets,
            minimum: attributes.routing_minimum,
            is_failing_open: AtomicBool::new(false),
            table: ArcSwap::new(table.unwrap_or_else(|| Arc::new(Table::of(Vec::new())))),
        }
    }

    /// The place of the target that a flow with this hash goes to.
    #[inline]
    pub(crate) fn pick(&self, hash: u64) -> Option<usize> {
        self.table.load().wheel.pick(hash)
    }

    /// Each target's share of new flows, by its place.
    pub(crate) fn shares(&self) -> Vec<f64> {
        self.table.load().wheel.shares()
    }

    /// Whether all take newcomers because too few are healthy.
    pub(crate) fn is_failing_open(&self) -> bool {
        self.is_failing_open.load(Ordering::Relaxed)
    }

    /// Finds out who takes newcomers now. What that changes on the wheel is left to [`Change::publish`].
    pub(crate) fn reckon(&self, register: &Register) -> Option<Change<'_>> {
        let count = |counts: &dyn Fn(TargetId) -> bool| self.targets.iter().filter(|id| counts(**id)).count();
        let healthy = count(&|id| register.takes_newcomers(id));
        let all = count(&|id| register.is_eligible_when_failing_open(id));
        let fails_open = all > 0 && !self.minimum.is_met(healthy, all);
        self.is_failing_open.store(fails_open, Ordering::Relaxed);
        let is_in =
            |id| register.takes_newcomers(id) || fails_open && register.is_eligible_when_failing_open(id);
        let weighed = self.targets.iter().zip(&self.declared);
        let members =
            weighed.map(|(id, (identity, weight))| (*identity, if is_in(*id) { *weight } else { 0 }));
        let members: Vec<_> = members.collect();
        (self.table.load().members != members).then_some(Change { selector: self, members })
    }
}

impl Change<'_> {
    /// From now on flows go by the new wheel.
    pub(crate) fn publish(self) {
        self.selector.table.store(Arc::new(Table::of(self.members)));
    }
}

impl Table {
    fn of(members: Vec<(u64, u16)>) -> Self {
        Self { wheel: Wheel::build(&members), members }
    }
}
