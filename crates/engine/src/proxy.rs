//! Which targets are told who their clients are, and the header that tells them.

use flow::{Key, Lane, LaneUser};
use topology::{EndpointWords, HeaderPlacement, ProxyProtocol, TargetId, Topology};
use wire::{ProxyBytes, ProxyEndpoint, ProxyHeader};

use crate::plan::Plan;

/// What a group's targets are told of their clients, if anything.
pub(crate) fn protocol_of(topology: &Topology, target: TargetId) -> Option<ProxyProtocol> {
    let group = topology.targets.get(target)?.group;
    topology.groups.get(group)?.attributes.proxy_protocol
}

/// The header that a TCP flow on this lane begins with towards its target, and when the target gets it; `None` if it gets none.
/// It speaks of the client's side of the flow, of which `original` is the key: also where the target's is of the other family.
pub(crate) fn header_of(plan: &Plan, lane: &Lane, original: &Key) -> Option<(ProxyBytes, HeaderPlacement)> {
    let ProxyProtocol { placement, words } = protocol_of(&plan.topology, lane.target)?;
    let LaneUser::Endpoint { endpoint, .. } = lane.user else { return None };
    let ids = &plan.topology.endpoints.get(endpoint)?.ids;
    let header = ProxyHeader {
        source: (original.remote, original.remote_port),
        destination: (plan.view.locate(original.place)?.address, original.local_port),
        endpoint: match words {
            EndpointWords::Aws => ProxyEndpoint::Aws(&ids.aws),
            EndpointWords::Gcp => ProxyEndpoint::Gcp(ids.gcp),
            EndpointWords::Azure => ProxyEndpoint::Azure(ids.azure),
        },
    };
    Some((header.to_bytes(), placement))
}
