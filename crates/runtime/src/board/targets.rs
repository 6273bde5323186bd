//! The targets, as `sidegate targets` shows them.

use std::collections::HashMap;
use std::time::Duration;

use balance::Member;
use engine::Plan;
use flow::{LaneUser, Lanes};
use topology::TargetId;
use wire::Addr;

use super::{Board, shown};
use crate::snapshot::TargetStatus;

impl Board {
    /// How the targets are: all that are registered, and those that are draining.
    pub(crate) fn targets(&self) -> Vec<TargetStatus> {
        let plan = self.shared.plan();
        let use_of = Use::count(self.shared.flows().lanes());
        let now = self.now();
        let mut targets: Vec<TargetStatus> = self.shared.register(|register| {
            register.members().map(|(id, member)| status(&plan, &use_of, id, member, now)).collect()
        });
        targets.sort_by(|a, b| (&a.group, a.address, a.port).cmp(&(&b.group, b.address, b.port)));
        targets
    }
}

fn status(plan: &Plan, use_of: &Use, id: TargetId, member: &Member, now: Duration) -> TargetStatus {
    let Member { target, group, standing, since, .. } = member;
    let (ports_in_use, ports_exhausted) = use_of.ports(target.address.into(), target.port);
    let checked_from = plan.checked_from(id).and_then(|node| plan.topology().nodes.get(node));
    TargetStatus {
        group: group.clone(),
        address: target.address,
        port: target.port,
        zone: shown(target.zone.as_ref()),
        weight: target.weight,
        state: standing.state.as_str().into(),
        reason: standing.reason.map(|reason| reason.as_str().into()),
        description: standing.reason.map(|reason| reason.description().into()).unwrap_or_default(),
        since: now.saturating_sub(*since).as_secs_f64(),
        flows: use_of.flows(id),
        ports_in_use,
        ports_exhausted,
        checked_from: checked_from.map(|node| node.address),
    }
}

/// How targets are used.
#[derive(Default)]
struct Use {
    flows: HashMap<TargetId, usize>,
    ports: HashMap<(Addr, u16), (usize, u64)>,
}

impl Use {
    fn count(lanes: &Lanes) -> Self {
        let mut count = Self::default();
        for (id, lane) in lanes.iter().filter(|(_, lane)| lane.user != LaneUser::HealthCheck) {
            *count.flows.entry(lane.target).or_default() += lanes.flows(id);
        }
        for pool in lanes.pools() {
            let (in_use, exhausted) = count.ports.entry((pool.key.target, pool.key.target_port)).or_default();
            *in_use += pool.in_use;
            *exhausted += pool.exhausted;
        }
        count
    }

    fn flows(&self, target: TargetId) -> usize {
        self.flows.get(&target).copied().unwrap_or(0)
    }

    fn ports(&self, address: Addr, port: u16) -> (usize, u64) {
        self.ports.get(&(address, port)).copied().unwrap_or_default()
    }
}
