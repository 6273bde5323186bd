//! Threads: one worker per queue on mio, attach and detach, hand-over rings, counters.
//!
//! [`Forwarder::start`] opens one device per namespace and starts one thread per worker; each thread owns one queue of
//! every device and runs the engine's worker to completion: read, carry, write, again. A further thread, the watch, looks
//! after the devices and the targets' health, and takes up other topologies. They meet in channels (`command.rs`), in rings
//! of frames (`rings.rs`) and in counters that one thread writes and anybody may read (`counters.rs`).

mod board;
mod chronicle;
mod command;
mod counters;
mod desk;
mod fleet;
mod forwarder;
mod loops;
mod observer;
mod outbox;
mod outlet;
mod pin;
mod reload;
mod report;
mod rings;
mod snapshot;
mod watch;

pub use fleet::answers;
pub use forwarder::{Forwarder, RunError, Stopper};
pub use observer::{Observer, Successions};
pub use reload::ReloadError;
pub use snapshot::{
    Carriage, Change, ChangeKind, DeviceState, DeviceStatus, EndpointDetail, EndpointIds, EndpointStatus,
    Entrance, Explanation, FlowFilter, FlowHeader, FlowList, FlowSort, FlowStatus, FlowsStatus,
    ForwardStatus, GroupShare, Header, HeaderState, InterfaceStatus, ListenerStatus, NodeStatus, PoolStatus,
    Question, Refusal, Reloaded, ServiceStatus, Snapshot, Speech, TargetShare, TargetStatus, TerminateStatus,
    Traffic, Transport, VerdictCount, Way, WorkerStatus,
};
