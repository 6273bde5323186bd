//! What would become of a newcomer, and why. Asked of the same functions that admit packets, so that it cannot say anything else.

use std::net::SocketAddr;

use balance::{Register, Standing};
use topology::{DeviceId, Family, InterfaceId, ListenerId, NodeId, Path, TargetGroupId, TargetId};
use wire::Protocol;

use crate::admit::{Tuple, enter};
use crate::doors::{Branch, Door};
use crate::plan::Plan;
use crate::selector::Selector;
use crate::shared::Shared;
use crate::verdict::Reason;

/// A newcomer that somebody asks about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// The device that it would come from.
    pub device: DeviceId,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who would open.
    pub from: SocketAddr,
    /// What to.
    pub to: SocketAddr,
    /// The sequence number of the SYN. Without it, a TCP flow's target is left to chance, unless its client is sticky or there is
    /// only one.
    pub isn: Option<u32>,
}

/// What would become of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// Why it would be refused, if it would.
    pub refused: Option<Reason>,
    /// Whether there is a flow already that its packets would belong to.
    pub is_known: bool,
    /// The interface that it would come to.
    pub interface: Option<InterfaceId>,
    /// The listener there.
    pub listener: Option<ListenerId>,
    /// How it would be carried.
    pub path: Option<Path>,
    /// Where it could go.
    pub groups: Vec<GroupShare>,
    /// Where it would go, if there is no choice left.
    pub choice: Option<TargetId>,
}

/// A target group's part in a listener's new flows.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupShare {
    /// The group.
    pub group: TargetGroupId,
    /// The node that would speak to its targets.
    pub node: NodeId,
    /// Its weight beside the listener's other groups.
    pub weight: u16,
    /// What that is of all new flows, from 0 to 1.
    pub share: f64,
    /// Whether a client's address alone chooses its target.
    pub is_sticky: bool,
    /// Whether all targets take new flows because too few are healthy.
    pub is_failing_open: bool,
    /// All targets of the group.
    pub targets: Vec<TargetShare>,
}

/// A target's part.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TargetShare {
    /// The target.
    pub target: TargetId,
    /// How it stands.
    pub standing: Standing,
    /// Whether it takes new flows from here, and if not, why.
    pub eligibility: Eligibility,
    /// What it has of the group's new flows, from 0 to 1.
    pub share: f64,
}

/// Whether a target takes new flows from a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Eligibility {
    /// It does: it is in service.
    InService,
    /// It does, because too few are healthy.
    FailingOpen,
    /// It does not: its standing says why.
    OutOfService,
    /// It does not: its weight is 0.
    Weightless,
    /// It does not: its address is of the other family.
    OtherFamily,
    /// It does not: it is in another zone.
    OtherZone,
}

impl Eligibility {
    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InService => "in service",
            Self::FailingOpen => "failing open",
            Self::OutOfService => "out of service",
            Self::Weightless => "weight is 0",
            Self::OtherFamily => "other address family",
            Self::OtherZone => "other zone",
        }
    }
}

impl Shared {
    /// Says what would become of a newcomer, and why.
    pub fn explain(&self, question: &Question) -> Explanation {
        let plan = self.plan();
        let tuple = question.tuple();
        let entered = enter(&plan, &self.flows, &tuple);
        let interface = entered.ok();
        let door = interface.and_then(|id| plan.doors.get(id, tuple.protocol, tuple.destination_port));
        let groups =
            door.map_or_else(Vec::new, |door| self.register(|register| groups(&plan, door, register)));
        let is_settled = door.is_none() || question.is_settled() || leave_no_choice(&groups);
        let outcome = match self.admit(&plan, &tuple) {
            outcome if is_settled => outcome.map(|admission| Some(admission.candidate.target)),
            _ if groups.iter().all(GroupShare::is_barren) => Err(Reason::NoTarget),
            _ => Ok(None),
        };
        Explanation {
            refused: outcome.err(),
            is_known: interface.is_some_and(|interface| self.flows.has(&tuple.key(interface))),
            interface,
            listener: door.map(|door| door.listener),
            path: door.map(|door| door.path),
            groups,
            choice: outcome.ok().flatten(),
        }
    }
}

impl Question {
    fn tuple(&self) -> Tuple {
        Tuple {
            device: self.device,
            protocol: self.protocol,
            source: self.from.ip().into(),
            source_port: self.from.port(),
            destination: self.to.ip().into(),
            destination_port: self.to.port(),
            sequence: self.isn.filter(|_| self.protocol == Protocol::Tcp).unwrap_or(0),
        }
    }

    /// Whether it says all that a choice can depend on.
    fn is_settled(&self) -> bool {
        self.protocol == Protocol::Udp || self.isn.is_some()
    }
}

impl GroupShare {
    /// Whether no new flow gets through here.
    fn is_barren(&self) -> bool {
        self.share == 0.0 || self.targets.iter().all(|target| target.share == 0.0)
    }
}

/// Whether a flow through these groups goes to the same target, whatever its sequence number.
fn leave_no_choice(groups: &[GroupShare]) -> bool {
    let mut used = groups.iter().filter(|group| group.share > 0.0);
    let (Some(group), None) = (used.next(), used.next()) else { return false };
    group.is_sticky || group.targets.iter().filter(|target| target.share > 0.0).count() == 1
}

fn groups(plan: &Plan, door: &Door, register: &Register) -> Vec<GroupShare> {
    let all = f64::from(door.weight().max(1));
    let group = |branch: &Branch| GroupShare {
        group: branch.selector.group,
        node: branch.selector.node,
        weight: branch.weight,
        share: f64::from(branch.weight) / all,
        is_sticky: branch.selector.is_sticky,
        is_failing_open: branch.selector.is_failing_open(),
        targets: targets(plan, &branch.selector, register),
    };
    door.branches.iter().map(group).collect()
}

fn targets(plan: &Plan, selector: &Selector, register: &Register) -> Vec<TargetShare> {
    let shares = selector.shares();
    let target = |target: &TargetId| {
        let place = selector.targets.iter().position(|own| own == target);
        TargetShare {
            target: *target,
            standing: register.standing(*target),
            eligibility: match place {
                Some(_) => selector.eligibility(plan, *target, register),
                None => out_of_reach(plan, selector.node, *target),
            },
            share: place.and_then(|place| shares.get(place)).copied().unwrap_or(0.0),
        }
    };
    plan.topology.groups[selector.group].targets.iter().map(target).collect()
}

impl Selector {
    fn eligibility(&self, plan: &Plan, target: TargetId, register: &Register) -> Eligibility {
        if plan.topology.targets[target].weight == 0 {
            Eligibility::Weightless
        } else if register.takes_newcomers(target) {
            Eligibility::InService
        } else if self.is_failing_open() && register.is_eligible_when_failing_open(target) {
            Eligibility::FailingOpen
        } else {
            Eligibility::OutOfService
        }
    }
}

fn out_of_reach(plan: &Plan, node: NodeId, target: TargetId) -> Eligibility {
    let families = [plan.topology.nodes[node].address, plan.topology.targets[target].address].map(Family::of);
    if families[0] == families[1] { Eligibility::OtherZone } else { Eligibility::OtherFamily }
}
