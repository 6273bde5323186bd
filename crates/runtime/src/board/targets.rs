//! The targets, as `sidegate targets` shows them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use balance::Member;
use engine::Plan;
use flow::{LaneUser, Lanes, PoolKey, PoolStatus};
use topology::TargetId;

use super::{Board, in_words, shown};
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
    let (ports_in_use, ports_exhausted) = use_of.ports(id);
    let (state, reason, description) = in_words(*standing);
    let checked_from = plan.checked_from(id).and_then(|node| plan.topology().nodes.get(node));
    TargetStatus {
        group: group.clone(),
        address: target.address,
        port: target.port,
        zone: shown(target.zone.as_ref()),
        weight: target.weight,
        state,
        reason,
        description,
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
    /// The pools that flows to a target have their ports from. Another target may have the same address behind other nodes.
    pools_towards: HashMap<TargetId, HashSet<PoolKey>>,
    pools: HashMap<PoolKey, PoolStatus>,
}

impl Use {
    fn count(lanes: &Lanes) -> Self {
        let pools = lanes.pools().map(|pool| (pool.key, pool)).collect();
        let mut count = Self { pools, ..Self::default() };
        for (id, lane) in lanes.iter().filter(|(_, lane)| lane.user != LaneUser::HealthCheck) {
            *count.flows.entry(lane.target).or_default() += lanes.flows(id);
            count.pools_towards.entry(lane.target).or_default().insert(lane.pool);
        }
        count
    }

    fn flows(&self, target: TargetId) -> usize {
        self.flows.get(&target).copied().unwrap_or(0)
    }

    /// Ports in use towards a target, and how many times a newcomer found none.
    fn ports(&self, target: TargetId) -> (usize, u64) {
        let keys = self.pools_towards.get(&target).into_iter().flatten();
        let pools = keys.filter_map(|key| self.pools.get(key));
        pools.fold((0, 0), |(in_use, exhausted), pool| (in_use + pool.in_use, exhausted + pool.exhausted))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use engine::Shared;
    use flow::{FlowPath, Key, NewFlow, Place};
    use topology::{Origin, Topology};

    use super::*;

    /// Two providers whose networks overlap: both have a target of one address and port.
    const FILE: &str = r#"
        [[service]]
        name = "a"
        namespace = "provider-a"
        nodes = [{ address = "10.2.9.1" }]
        listeners = [{ protocol = "udp", port = 53, forward = "a" }]
        [[service]]
        name = "b"
        namespace = "provider-b"
        nodes = [{ address = "10.2.9.1" }]
        listeners = [{ protocol = "udp", port = 53, forward = "b" }]
        [[target_group]]
        name = "a"
        targets = [{ address = "10.2.0.2", port = 53 }]
        [[target_group]]
        name = "b"
        targets = [{ address = "10.2.0.2", port = 53 }]
        [[endpoint]]
        name = "a"
        service = "a"
        namespace = "consumer"
        interfaces = [{ address = "10.1.9.50" }]
        [[endpoint]]
        name = "b"
        service = "b"
        namespace = "consumer"
        interfaces = [{ address = "10.1.9.51" }]
        "#;

    #[test]
    fn each_target_has_the_ports_that_its_own_flows_use() {
        let topology = Topology::parse(FILE, &Origin::new(Path::new("/two.toml"))).unwrap();
        let board = Board::new(Arc::new(Shared::new(Arc::new(topology), 1, [1, 2, 3, 4])), 1);
        let flows = board.shared.flows();
        for (id, lane) in flows.lanes().iter() {
            let LaneUser::Endpoint { interface, .. } = lane.user else { panic!("{lane:?}") };
            // One flow to the first target, two to the other.
            for nth in 0..=lane.target.index() as u16 {
                let original = Key {
                    place: Place::Interface(interface),
                    protocol: lane.pool.protocol,
                    local_port: 53,
                    remote: std::net::IpAddr::from([10, 1, 0, 2]).into(),
                    remote_port: 4000 + nth,
                };
                let new = NewFlow { original, lane: id, path: FlowPath::Nat, preference: 0 };
                flows.turn(0).open(&new, Duration::ZERO, |_| ()).unwrap();
            }
        }
        let ports: Vec<_> = board.targets().iter().map(|own| (own.group.clone(), own.ports_in_use)).collect();
        assert_eq!(ports, [("a".into(), 1), ("b".into(), 2)]);
    }
}
