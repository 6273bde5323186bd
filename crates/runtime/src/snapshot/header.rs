//! What targets are told of their clients by the proxy protocol, for `sidegate explain` and `sidegate flows`.

use serde::{Deserialize, Serialize};

/// The header that a group's targets get: the client's address and port, the endpoint's address and the listener's port, and
/// this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// When they get it: `on_first_ack_with_payload`, `on_first_ack`.
    pub placement: String,
    /// In whose words the endpoint is named: `aws`, `gcp`, `azure`.
    pub tlv: String,
    /// The endpoint's id in these words.
    pub endpoint_id: String,
}

/// A flow's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowHeader {
    /// How far it has come.
    pub state: HeaderState,
    /// The endpoint's id in it. `None` if a reload has switched the group's headers off since.
    pub endpoint_id: Option<String>,
}

/// How far a flow's header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderState {
    /// It waits for what brings it out: the connection, or the client's first bytes.
    Waiting,
    /// It has been sent.
    Sent,
    /// The flow is terminated: whatever its second connection says begins with it, and its group says when.
    Relayed,
}
