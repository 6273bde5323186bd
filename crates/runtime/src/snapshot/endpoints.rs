//! The consumers' doors in detail, for `sidegate endpoints`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One endpoint, with its interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointDetail {
    /// Its name.
    pub name: String,
    /// The service behind it.
    pub service: String,
    /// The consumer's namespace.
    pub namespace: String,
    /// Whether both its own device and its service's are up.
    pub up: bool,
    /// Its addresses.
    pub interfaces: Vec<InterfaceStatus>,
    /// Flows through it now.
    pub flows: usize,
    /// What targets that are told of their clients are told that it is.
    pub ids: EndpointIds,
}

/// An endpoint's ids, in the words of each cloud's proxy protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointIds {
    /// AWS: the VPC endpoint's.
    pub aws: String,
    /// GCP: the connection's.
    pub gcp: u64,
    /// Azure: the link's.
    pub azure: u32,
}

impl From<&topology::EndpointIds> for EndpointIds {
    fn from(topology::EndpointIds { aws, gcp, azure }: &topology::EndpointIds) -> Self {
        Self { aws: aws.clone(), gcp: *gcp, azure: *azure }
    }
}

/// One address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its zone.
    pub zone: Option<String>,
    /// Its address.
    pub address: IpAddr,
    /// The node of its own family that it uses, and keeps to while that is there.
    pub node: Option<IpAddr>,
    /// Flows through it now.
    pub flows: usize,
}
