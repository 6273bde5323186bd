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
