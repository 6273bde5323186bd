//! What targets are told of their clients.

use topology::{Endpoint, EndpointIds, EndpointWords, ProxyProtocol, TargetGroup};

use crate::snapshot::Header;

/// What a group's targets are told of the clients that have come through an endpoint, if they are.
pub(super) fn header(endpoint: &Endpoint, group: &TargetGroup) -> Option<Header> {
    let ProxyProtocol { placement, words } = group.attributes.proxy_protocol?;
    let EndpointIds { aws, gcp, azure } = &endpoint.ids;
    let endpoint_id = match words {
        EndpointWords::Aws => aws.clone(),
        EndpointWords::Gcp => gcp.to_string(),
        EndpointWords::Azure => azure.to_string(),
    };
    Some(Header { placement: placement.as_str().into(), tlv: words.as_str().into(), endpoint_id })
}
