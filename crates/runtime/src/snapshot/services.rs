//! What providers publish and how it does, for `sidegate services`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Carriage, Transport};

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Where its load balancer lives.
    pub namespace: String,
    /// Whether its device is up.
    pub up: bool,
    /// Its load balancer's addresses.
    pub nodes: Vec<NodeStatus>,
    /// What it listens on.
    pub listeners: Vec<ListenerStatus>,
    /// How many endpoints lead to it.
    pub endpoints: usize,
    /// Flows to it now.
    pub flows: usize,
}

/// One address of a service's load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its zone.
    pub zone: Option<String>,
    /// Its address.
    pub address: IpAddr,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// TCP or UDP.
    pub protocol: Transport,
    /// The port at the endpoint's address.
    pub port: u16,
    /// How its flows are carried.
    pub path: Carriage,
    /// How many seconds a flow may stay silent.
    pub idle_timeout: f64,
    /// Where its flows go.
    pub forward: Vec<ForwardStatus>,
    /// Flows through it now.
    pub flows: usize,
}

/// A target group behind a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardStatus {
    /// The group.
    pub group: String,
    /// Its share of new flows, beside the listener's other groups.
    pub weight: u16,
    /// How many of its targets are healthy.
    pub healthy: usize,
    /// Of how many.
    pub targets: usize,
}
