//! The flows themselves, for `sidegate flows`: a question that picks some, and an answer of bounded length.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Carriage, FlowHeader, Traffic, Transport};

/// Which flows are asked for. What is not said fits all. Health checks' flows are never among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowFilter {
    /// Through this endpoint.
    pub endpoint: Option<String>,
    /// To a target at this address.
    pub target_address: Option<IpAddr>,
    /// To a target at this port.
    pub target_port: Option<u16>,
    /// From this consumer's address.
    pub client: Option<IpAddr>,
    /// Of this protocol.
    pub protocol: Option<Transport>,
    /// Carried in this way.
    pub path: Option<Carriage>,
    /// Which come first.
    pub sort: FlowSort,
    /// How many at most; [`FlowFilter::MOST`] is the most that can be had.
    pub limit: usize,
}

impl FlowFilter {
    /// No answer has more flows than this.
    pub const MOST: usize = 10_000;
}

impl Default for FlowFilter {
    fn default() -> Self {
        Self {
            endpoint: None,
            target_address: None,
            target_port: None,
            client: None,
            protocol: None,
            path: None,
            sort: FlowSort::default(),
            limit: 50,
        }
    }
}

/// Which flows come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowSort {
    /// Those that have carried most, both ways together.
    #[default]
    Bytes,
    /// The oldest.
    Age,
    /// Those that have been silent longest.
    Idle,
}

/// The flows that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowList {
    /// How many flows there are.
    pub total: usize,
    /// How many of them fit the question.
    pub matching: usize,
    /// The first of those, as many as were asked for.
    pub flows: Vec<FlowStatus>,
}

/// One flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowStatus {
    /// The endpoint that it came through.
    pub endpoint: String,
    /// The service that it goes to.
    pub service: String,
    /// TCP or UDP.
    pub protocol: Transport,
    /// How it is carried. A listener that splices has flows that are terminated: to targets that it did not know yet.
    pub path: Carriage,
    /// The path of its listener, which a reload may have changed since.
    pub listener_path: Carriage,
    /// Where it is in its life: `opening`, `established`, `closing`.
    pub phase: String,
    /// What its target is told of it: `client`, `interface`, and the endpoint's id; if it is.
    pub header: Option<FlowHeader>,
    /// The consumer's own address and port.
    pub client: SocketAddr,
    /// The endpoint's address, and the listener's port.
    pub interface: SocketAddr,
    /// The node's address, and the source port: whom the target sees, and by which it can be looked up here who that is.
    pub node: SocketAddr,
    /// The target.
    pub target: SocketAddr,
    /// How many seconds ago it began.
    pub age: f64,
    /// For how many seconds neither side has been heard of.
    pub idle: f64,
    /// What the consumer has sent.
    pub sent: Traffic,
    /// What it has received.
    pub received: Traffic,
}
