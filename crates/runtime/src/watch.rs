//! The watch: opens devices, notices when a namespace is replaced or gone, and re-attaches.
//!
//! A TUN's descriptor keeps a deleted namespace alive: without the watch, one would go on forwarding into a ghost after
//! `ip netns del x; ip netns add x`.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};
use crossbeam::sync::WaitGroup;
use device::{DeviceError, DeviceSpec, NamespaceIdentity, Opener};
use topology::{DeviceId, Namespace};

use crate::board::Board;
use crate::command::{Command, Line};
use crate::snapshot::DeviceState;

/// The devices' own MTU: above what the path carries, so that the limit is the engine's to enforce and not hidden by the
/// consumer's kernel.
const DEVICE_MTU: u32 = 9001;
/// How often the namespaces are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is told to the watch.
pub(crate) enum Report {
    /// A queue of this device cannot be read any more, and why.
    Lost(DeviceId, String),
    /// The forwarder stops.
    Stop,
}

/// The thread that looks after the devices.
pub(crate) struct Watch {
    pub(crate) board: Arc<Board>,
    pub(crate) opener: Arc<dyn Opener>,
    pub(crate) lines: Vec<Line>,
    /// The namespace that each device is in; `None` while it is down.
    pub(crate) identities: Vec<Option<NamespaceIdentity>>,
}

impl Watch {
    /// Opens every device, or none.
    pub(crate) fn open_all(&mut self) -> Result<(), DeviceError> {
        (0..self.identities.len()).try_for_each(|index| self.open(DeviceId(index as u16)))
    }

    /// Looks after the devices until told to stop.
    pub(crate) fn run(mut self, reports: &Receiver<Report>) {
        loop {
            match reports.recv_timeout(INTERVAL) {
                Ok(Report::Lost(device, why)) => self.lost(device, &why),
                Err(RecvTimeoutError::Timeout) => self.look_around(),
                Ok(Report::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn namespace(&self, device: DeviceId) -> &Namespace {
        &self.board.topology.namespaces[device.index()]
    }

    fn look_around(&mut self) {
        for index in 0..self.identities.len() {
            let device = DeviceId(index as u16);
            let there = NamespaceIdentity::of(&self.namespace(device).path).ok();
            match (self.identities[index], there) {
                (Some(own), Some(there)) if own == there => {}
                (Some(_), Some(_)) => {
                    tracing::warn!(
                        "namespace {:?} was replaced: attaching to the new one",
                        self.namespace(device).name
                    );
                    self.close(device);
                    self.open_again(device);
                }
                (Some(_), None) => {
                    let name = &self.namespace(device).name;
                    tracing::warn!("namespace {name:?} is gone: its endpoints are down until it is back");
                    self.close(device);
                    self.board.set_device(device, DeviceState::Down("the namespace is gone".into()));
                }
                (None, Some(_)) => self.open_again(device),
                (None, None) => {}
            }
        }
    }

    /// A queue failed. If the device is down already, another worker's report came first.
    fn lost(&mut self, device: DeviceId, why: &str) {
        if self.identities[device.index()].is_none() {
            return;
        }
        tracing::warn!("the device in namespace {:?} is lost ({why})", self.namespace(device).name);
        self.close(device);
        self.board.set_device(device, DeviceState::Down(why.into()));
    }

    fn open_again(&mut self, device: DeviceId) {
        match self.open(device) {
            Ok(()) => tracing::info!("attached to namespace {:?} again", self.namespace(device).name),
            Err(error) => {
                let state = DeviceState::Down(error.to_string());
                if self.board.set_device(device, state) {
                    tracing::warn!("{error}");
                }
            }
        }
    }

    fn open(&mut self, device: DeviceId) -> Result<(), DeviceError> {
        let namespace = self.namespace(device);
        let opened = self.opener.open(&DeviceSpec {
            name: self.board.device_name.clone(),
            namespace: namespace.path.clone(),
            queues: self.lines.len(),
            mtu: DEVICE_MTU,
            routed: namespace.routed.clone(),
            local: namespace.local.clone(),
        })?;
        self.identities[device.index()] = Some(opened.namespace);
        self.board.set_opened(device, opened.offloads.to_string(), opened.queues.len());
        let done = WaitGroup::new();
        for (line, queue) in self.lines.iter().zip(opened.queues) {
            line.tell(Command::Attach(device, queue, done.clone()));
        }
        done.wait();
        Ok(())
    }

    /// Takes the device from every worker; when this returns, it is gone.
    fn close(&mut self, device: DeviceId) {
        self.identities[device.index()] = None;
        let done = WaitGroup::new();
        for line in &self.lines {
            line.tell(Command::Detach(device, done.clone()));
        }
        done.wait();
    }
}
