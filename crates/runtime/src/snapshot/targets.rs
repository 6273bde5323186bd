//! How the targets are, for `sidegate targets`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One target. One that was taken out of the file is there for as long as it is draining.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Its group.
    pub group: String,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its zone; without one it serves every zone.
    pub zone: Option<String>,
    /// Its share of new flows, beside the other targets' weights.
    pub weight: u16,
    /// Its state, by the real load balancer's name: `healthy`, `unhealthy.draining`.
    pub state: String,
    /// Why, by the real load balancer's name, where there is something to say: `Target.Timeout`.
    pub reason: Option<String>,
    /// The reason in a sentence, or nothing.
    pub description: String,
    /// For how many seconds it has been in this state.
    pub since: f64,
    /// Flows that go there now.
    pub flows: usize,
    /// Source ports towards it that are in use, those that are kept quiet included, from all nodes.
    pub ports_in_use: usize,
    /// How many times a newcomer found none.
    pub ports_exhausted: u64,
    /// The node that checks it, if any does.
    pub checked_from: Option<IpAddr>,
}
