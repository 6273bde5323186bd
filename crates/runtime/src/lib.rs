//! Threads: one worker per queue on mio, attach and detach, hand-over rings, counters.
//!
//! [`Forwarder::start`] opens one device per namespace and starts one thread per worker; each thread owns one queue of
//! every device and runs the engine's worker to completion: read, carry, write, again. A further thread watches the
//! namespaces. They meet in channels (`command.rs`), in rings of frames (`rings.rs`) and in counters that one
//! thread writes and anybody may read (`counters.rs`).

mod board;
mod command;
mod counters;
mod forwarder;
mod loops;
mod outlet;
mod pin;
mod rings;
mod snapshot;
mod watch;

pub use forwarder::{Forwarder, Observer, RunError, Stopper};
pub use snapshot::{
    DeviceState, DeviceStatus, EndpointStatus, FlowsStatus, PoolStatus, Snapshot, TerminateStatus, Traffic,
    VerdictCount, WorkerStatus,
};
pub use watch::answers;
