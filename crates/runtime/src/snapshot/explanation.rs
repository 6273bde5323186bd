//! What would become of a newcomer and why, for `sidegate explain`.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Carriage, Header, Transport};

/// A packet that could come: the first of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The endpoint in whose namespace it is sent; it need not be told if only one endpoint has the address.
    pub endpoint: Option<String>,
    /// TCP or UDP.
    pub protocol: Transport,
    /// Who sends it, and from which port.
    pub from: SocketAddr,
    /// To which address and port.
    pub to: SocketAddr,
    /// The SYN's sequence number, where the choice of a target depends on it.
    pub isn: Option<u32>,
}

/// What would become of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Why it would be refused; without that it is admitted.
    pub refused: Option<Refusal>,
    /// Whether there is such a flow already: then its packets go where that leads.
    pub known: bool,
    /// The interface that it comes to, if the address is one.
    pub entrance: Option<Entrance>,
    /// What stands behind the interface's port, if anything does: also of a newcomer that is refused.
    pub way: Option<Way>,
}

/// Why a newcomer would be refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The reason's name, under which such packets are counted.
    pub reason: String,
    /// What the operator can do about it, if anything.
    pub remedy: String,
}

/// The interface that a newcomer comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entrance {
    /// The endpoint's name.
    pub endpoint: String,
    /// The interface's address.
    pub interface: IpAddr,
    /// The interface's zone.
    pub zone: Option<String>,
    /// The service behind it.
    pub service: String,
}

/// What stands behind a port of an interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// The listener's protocol.
    pub protocol: Transport,
    /// The listener's port.
    pub port: u16,
    /// How its flows are carried.
    pub path: Carriage,
    /// The groups that the newcomer may go to.
    pub groups: Vec<GroupShare>,
    /// The target that it goes to, where that is determined.
    pub choice: Option<SocketAddr>,
}

/// A group that a newcomer may go to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupShare {
    /// The group.
    pub name: String,
    /// The node that speaks to its targets.
    pub node: IpAddr,
    /// The node's zone.
    pub node_zone: Option<String>,
    /// Its weight beside the listener's other groups.
    pub weight: u16,
    /// Its share of the listener's new flows: 0 to 1.
    pub share: f64,
    /// Whether too few of its targets are healthy, so that all are used.
    pub fails_open: bool,
    /// Whether the client's address alone chooses the target.
    pub sticky: bool,
    /// What its targets are told of the client, if they are.
    pub header: Option<Header>,
    /// All its targets, also those that the node does not use.
    pub targets: Vec<TargetShare>,
}

/// A target of such a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetShare {
    /// Its address and port.
    pub address: SocketAddr,
    /// Its zone.
    pub zone: Option<String>,
    /// Its weight beside the group's other targets.
    pub weight: u16,
    /// Its state, by the real load balancer's name.
    pub state: String,
    /// Why, by the real load balancer's name.
    pub reason: Option<String>,
    /// The reason in a sentence, or nothing.
    pub description: String,
    /// Whether it takes new flows from the node, or why it does not: `in service`, `failing open`, `other zone`.
    pub eligibility: String,
    /// Its share of the group's new flows: 0 to 1.
    pub share: f64,
    /// How it speaks TCP, as far as that is known: what a listener that splices has to know.
    pub speech: Option<Speech>,
}

/// How a target speaks TCP, as its last answer to a SYN of sidegate's own, which offers everything, has told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speech {
    /// The largest segment that it takes, if it says so.
    pub mss: Option<u16>,
    /// By how many bits its windows are shifted, if it scales them.
    pub window_scale: Option<u8>,
    /// Whether it does selective acknowledgement.
    pub sack: bool,
    /// Whether it does timestamps.
    pub timestamps: bool,
}

impl From<engine::Speech> for Speech {
    fn from(engine::Speech { mss, window_scale, sack, timestamps }: engine::Speech) -> Self {
        Self { mss, window_scale, sack, timestamps }
    }
}
