//! sidegate as a peer: between the two networks, which have no other way to each other.

use std::path::Path;

use anyhow::Result;
use benches::process::Program;
use benches::sidegate_file::SidegateFile;
use topology::{DeviceBackend, Path as Road};

use crate::lab::Lab;

/// How it takes part.
#[derive(Clone, Copy)]
pub(super) struct Sidegate {
    road: Road,
    device: DeviceBackend,
    workers: u8,
    /// Whether targets get a header of the proxy protocol.
    pub(super) header: bool,
}

/// As an operator has it: both cores.
pub(super) const NAT: Sidegate =
    Sidegate { road: Road::Nat, device: DeviceBackend::Offload, workers: 2, header: false };
/// The same on another path.
pub(super) const SPLICE: Sidegate = Sidegate { road: Road::Splice, ..NAT };
/// The same on the third one.
pub(super) const TERMINATE: Sidegate = Sidegate { road: Road::Terminate, ..NAT };

impl Sidegate {
    pub(super) const fn with_header(self) -> Self {
        Self { header: true, ..self }
    }

    pub(super) const fn with_one_worker(self) -> Self {
        Self { workers: 1, ..self }
    }

    /// With a device that any kernel gets right. It has one queue, so there is one worker.
    pub(super) const fn plain(self) -> Self {
        Self { device: DeviceBackend::Plain, ..self.with_one_worker() }
    }

    /// Starts it, and waits until it forwards.
    pub(super) fn start(self, name: &str, lab: &Lab, binary: &Path) -> Result<Program> {
        // An instance's name is a short one.
        let name = name.strip_prefix("sidegate-").unwrap_or(name);
        let file = SidegateFile {
            instance: &format!("bench-{}-{}-{name}", std::process::id(), lab.mtu),
            consumer: lab.consumer.name(),
            provider: lab.provider.name(),
            device: self.device,
            workers: self.workers,
            mtu: lab.mtu,
            path: self.road,
            header: self.header,
        };
        lab.stage.start_sidegate(binary, &file.text())
    }
}
