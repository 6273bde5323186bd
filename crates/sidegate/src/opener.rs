//! What makes the devices that a file asks for, whether they are to carry or to be tried.

use std::sync::Arc;

use device::{OffloadOpener, Opener, PlainOpener};
use topology::{DeviceBackend, Topology};

/// The opener of the backend that `run.device` says.
pub(crate) fn of(topology: &Topology) -> Arc<dyn Opener> {
    match topology.run.device {
        DeviceBackend::Offload => Arc::new(OffloadOpener),
        DeviceBackend::Plain => Arc::new(PlainOpener),
    }
}
