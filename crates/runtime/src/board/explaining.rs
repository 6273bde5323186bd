//! What would become of a newcomer, as `sidegate explain` shows it.

use engine::{GroupShare as EngineGroup, TargetShare as EngineTarget};
use topology::{DeviceId, Endpoint, InterfaceId, Target, Topology};

use super::headers::header;
use super::{Board, endpoint_named, in_words, shown};
use crate::snapshot::{Entrance, Explanation, GroupShare, Question, Refusal, Speech, TargetShare, Way};

impl Board {
    /// What would become of a newcomer.
    pub(crate) fn explain(&self, question: &Question) -> Result<Explanation, String> {
        let Question { protocol, from, to, isn, .. } = *question;
        if from.is_ipv4() != to.is_ipv4() {
            return Err(format!("{from} and {to} are of different families"));
        }
        let topology = self.topology();
        let device = device(&topology, question)?;
        let told =
            self.shared.explain(&engine::Question { device, protocol: protocol.into(), from, to, isn });
        // Another topology may have come into force meanwhile: what is gone from this one is left out.
        Ok(Explanation {
            refused: told
                .refused
                .map(|reason| Refusal { reason: reason.as_str().into(), remedy: reason.remedy().into() }),
            known: told.is_known,
            entrance: told.interface.and_then(|id| entrance(&topology, id)),
            way: self.way(&topology, &told),
        })
    }

    fn way(&self, topology: &Topology, told: &engine::Explanation) -> Option<Way> {
        let listener = topology.listeners.get(told.listener?)?;
        let endpoint = topology.endpoints.get(topology.interfaces.get(told.interface?)?.endpoint)?;
        Some(Way {
            protocol: listener.protocol.into(),
            port: listener.port,
            path: listener.path.into(),
            groups: told.groups.iter().filter_map(|share| self.group(topology, endpoint, share)).collect(),
            choice: told.choice.and_then(|id| topology.targets.get(id)).map(Target::socket),
        })
    }

    fn group(&self, topology: &Topology, endpoint: &Endpoint, share: &EngineGroup) -> Option<GroupShare> {
        let node = topology.nodes.get(share.node)?;
        let group = topology.groups.get(share.group)?;
        Some(GroupShare {
            name: group.name.clone(),
            node: node.address,
            node_zone: shown(node.zone.as_ref()),
            weight: share.weight,
            share: share.share,
            fails_open: share.is_failing_open,
            sticky: share.is_sticky,
            header: header(endpoint, group),
            targets: share.targets.iter().filter_map(|share| self.target(topology, share)).collect(),
        })
    }

    fn target(&self, topology: &Topology, share: &EngineTarget) -> Option<TargetShare> {
        let target = topology.targets.get(share.target)?;
        let (state, reason, description) = in_words(share.standing);
        Some(TargetShare {
            address: target.socket(),
            zone: shown(target.zone.as_ref()),
            weight: target.weight,
            state,
            reason,
            description,
            eligibility: share.eligibility.as_str().into(),
            share: share.share,
            speech: self.shared.speech(share.target).map(Speech::from),
        })
    }
}

/// Where the newcomer would come from: the endpoint's namespace, if one is named; otherwise there has to be only one
/// endpoint with the address.
fn device(topology: &Topology, question: &Question) -> Result<DeviceId, String> {
    let address = question.to.ip();
    if let Some(name) = &question.endpoint {
        return endpoint_named(topology, name).map(|(_, endpoint)| endpoint.device);
    }
    let mut with_address = topology.interfaces.iter().filter(|(_, interface)| interface.address == address);
    match (with_address.next(), with_address.next()) {
        (None, _) => {
            Err(format!("no endpoint has the address {address}; `sidegate endpoints` lists them all"))
        }
        (Some((_, interface)), None) => Ok(interface.device),
        _ => Err(format!(
            "several endpoints have the address {address}: say with --endpoint which one is meant"
        )),
    }
}

fn entrance(topology: &Topology, id: InterfaceId) -> Option<Entrance> {
    let interface = topology.interfaces.get(id)?;
    let endpoint = topology.endpoints.get(interface.endpoint)?;
    Some(Entrance {
        endpoint: endpoint.name.clone(),
        interface: interface.address,
        zone: shown(interface.zone.as_ref()),
        service: topology.services.get(endpoint.service)?.name.clone(),
    })
}
