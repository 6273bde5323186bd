//! What a running forwarder looks like from outside, as plain data.

mod endpoints;
mod explanation;
mod flows;
mod header;
mod reloaded;
mod services;
mod targets;
mod words;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use endpoints::{EndpointDetail, EndpointIds, InterfaceStatus};
pub use explanation::{Entrance, Explanation, GroupShare, Question, Refusal, Speech, TargetShare, Way};
pub use flows::{FlowFilter, FlowList, FlowSort, FlowStatus};
pub use header::{FlowHeader, Header, HeaderState};
pub use reloaded::{Change, ChangeKind, Reloaded};
pub use services::{ForwardStatus, ListenerStatus, NodeStatus, ServiceStatus};
pub use targets::TargetStatus;
pub use words::{Carriage, Transport};

/// Everything that `sidegate status` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The instance's name.
    pub instance: String,
    /// The process that runs it.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime: f64,
    /// In how many seconds a topology that was accepted takes effect, if one is to.
    pub reload_in: Option<f64>,
    /// Its devices, in the topology's order.
    pub devices: Vec<DeviceStatus>,
    /// The consumers' doors.
    pub endpoints: Vec<EndpointStatus>,
    /// Its workers.
    pub workers: Vec<WorkerStatus>,
    /// Its flow table.
    pub flows: FlowsStatus,
    /// Its own TCP.
    pub terminate: TerminateStatus,
    /// Frames by what became of them, every reason, also those that never happened.
    pub verdicts: Vec<VerdictCount>,
}

impl Snapshot {
    /// How packets find their queue, on the devices that are up: each way once.
    pub fn steering(&self) -> String {
        let mut ways = Vec::new();
        for device in self.devices.iter().filter(|device| device.is_up()) {
            let way = device.steering.as_str();
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        ways.join(", ")
    }
}

/// One device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// The namespace, as the operator wrote it.
    pub namespace: String,
    /// The device's name there.
    pub name: String,
    /// Whether packets flow.
    pub state: DeviceState,
    /// The offloads in use, the same on all devices: what the kernel granted on each and has kept to. With a reason, if there
    /// are fewer than there were, or none by choice. Empty while the device is down.
    pub offloads: String,
    /// How packets find their queue, and why not by flow or by port, if that was wanted. Empty while the device is down.
    pub steering: String,
    /// How many queues it has.
    pub queues: usize,
    /// What came from the namespace.
    pub received: Traffic,
    /// What went into it.
    pub sent: Traffic,
    /// Frames that the kernel refused to take.
    pub send_errors: u64,
    /// Reads that failed.
    pub receive_errors: u64,
}

impl DeviceStatus {
    /// Whether packets flow.
    pub fn is_up(&self) -> bool {
        self.state == DeviceState::Up
    }
}

/// Whether a device carries packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// It does.
    Up,
    /// It does not, and why.
    Down(String),
}

/// Frames and bytes; a super-packet is one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Bytes of IP.
    pub bytes: u64,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// The service behind it.
    pub service: String,
    /// Whether both its own device and its service's are up.
    pub up: bool,
}

/// One worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Frames that it has carried.
    pub frames: u64,
    /// Batches that they came in.
    pub batches: u64,
    /// Times that it woke up.
    pub wakeups: u64,
    /// Frames that it handed to other workers.
    pub handed_over: u64,
}

/// The flow table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowsStatus {
    /// Flows now.
    pub live: usize,
    /// Flows at most.
    pub capacity: usize,
    /// Flows ever opened.
    pub opened: u64,
    /// Flows ended, by cause.
    pub closed: BTreeMap<String, u64>,
    /// Source ports in use, those that are kept quiet included.
    pub ports_in_use: usize,
    /// The same, by who uses them.
    pub pools: Vec<PoolStatus>,
}

/// The TCP that ends here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminateStatus {
    /// Connections that are terminated now: each is one to its consumer, and one to its target.
    pub live: u64,
    /// Bytes of memory that their buffers take.
    pub memory: usize,
    /// Bytes that they may take.
    pub memory_limit: usize,
}

/// One node's source ports towards one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The node's address.
    pub node: IpAddr,
    /// The target's.
    pub target: SocketAddr,
    /// Ports in use.
    pub in_use: usize,
    /// How many times a newcomer found none.
    pub exhausted: u64,
}

/// Frames that ended for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCount {
    /// The reason's name.
    pub reason: String,
    /// What kind of end it is: `carried`, `answered`, `kept`, `ignored`, `dropped`.
    pub outcome: String,
    /// How many frames.
    pub count: u64,
    /// What the operator can do about it, if anything.
    pub remedy: String,
}
