//! How the fleet goes from one topology to the next, without disturbing what stays.
//!
//! What can fail comes first, and is undone if it does: new devices are opened, and new addresses are routed to those that
//! are open. Then the engine takes up the topology, and last the new devices' queues go to the workers: packets that came
//! meanwhile wait there. (On a device that was open, a packet for a new address may come a moment too early, and is dropped
//! as one for an unknown address. The other way round it would leave by whatever route the kernel has, or be refused.)
//!
//! What is gone is let go of a while later, in [`Fleet::settle`]: both ends of flows that end with it are told, and what
//! they are told needs the device, and the kernel's belief that its sender is there.

use device::{DeviceError, DeviceSpec, Opened};
use topology::{DeviceId, Namespace, Topology};

use super::{Attached, Fleet, steering};
use crate::command::Command;
use crate::snapshot::DeviceState;

/// Devices that are open for a topology that is not in force yet.
pub(crate) struct Prepared(Vec<(DeviceId, Opened)>);

impl Fleet {
    /// Makes the devices ready for a topology, beside the one that is in force: all of them, or nothing is different.
    pub(crate) fn prepare(&mut self, next: &Topology) -> Result<Prepared, DeviceError> {
        let mut prepared = Prepared(Vec::new());
        let ready = changed(&self.board.topology(), next)
            .into_iter()
            .try_for_each(|device| self.prepare_device(next, device, &mut prepared));
        if let Err(error) = ready {
            self.settle();
            return Err(error);
        }
        Ok(prepared)
    }

    fn prepare_device(
        &mut self,
        next: &Topology,
        device: DeviceId,
        prepared: &mut Prepared,
    ) -> Result<(), DeviceError> {
        let spec = self.spec(next, device, false);
        let is_used = |namespace: Option<&Namespace>| namespace.is_some_and(Namespace::is_used);
        let was_used = is_used(self.board.topology().namespaces.get(device.index()));
        match self.attached.get_mut(device.index()).and_then(Option::as_mut) {
            Some(attached) => attached.prepare(&spec),
            // It is down. When it comes up, it is as the topology says then.
            None if was_used || !is_used(next.namespaces.get(device.index())) => Ok(()),
            None => {
                prepared.0.push((device, self.opener.open(&spec)?));
                Ok(())
            }
        }
    }

    /// Brings the workers what was made ready for a topology that is in force by now.
    pub(crate) fn complete(&mut self, topology: &Topology, prepared: Prepared) {
        self.attached.resize_with(topology.namespaces.len(), || None);
        self.board.make_room(topology.namespaces.len());
        let offloads = self.offloads;
        for (device, opened) in prepared.0 {
            self.attach(topology, device, opened);
        }
        if self.offloads != offloads {
            // Those that were opened before the one that has fewer.
            self.order(|done| Command::Lower(self.offloads, done));
        }
        (0..self.attached.len()).for_each(|index| self.steer(topology, DeviceId(index as u16)));
    }

    /// Lets go of all that the topology in force has no use for: routes, addresses, answers, devices.
    pub(crate) fn settle(&mut self) {
        let topology = self.board.topology();
        for (index, namespace) in topology.namespaces.iter().enumerate() {
            let device = DeviceId(index as u16);
            let spec = self.spec(&topology, device, false);
            match &mut self.attached[index] {
                Some(_) if !namespace.is_used() => {
                    self.close(device);
                    self.board.set_device(device, DeviceState::Down("nothing leads there any more".into()));
                }
                Some(attached) => attached.settle(&spec),
                None => {}
            }
        }
    }

    /// Clients may speak now where only targets' answers came in before, or the other way round.
    fn steer(&mut self, topology: &Topology, device: DeviceId) {
        let wanted = steering(topology, device);
        let Some(attached) = &mut self.attached[device.index()] else { return };
        if attached.steering != wanted
            && let Some(hold) = &attached.hold
        {
            attached.steering = wanted;
            self.board.set_steering(device, hold.steer(wanted).to_string());
        }
    }
}

impl Attached {
    /// Has what a topology wants lead to the device, beside what leads there now.
    fn prepare(&mut self, spec: &DeviceSpec) -> Result<(), DeviceError> {
        self.is_settled = false;
        self.hold.as_mut().map_or(Ok(()), |hold| hold.widen(spec))
    }

    /// Has nothing lead there that is not wanted.
    fn settle(&mut self, spec: &DeviceSpec) {
        let was_settled = std::mem::replace(&mut self.is_settled, true);
        if let Some(hold) = self.hold.as_mut().filter(|_| !was_settled) {
            hold.narrow(spec);
        }
    }
}

/// The devices to which something else leads in the next topology.
fn changed(now: &Topology, next: &Topology) -> Vec<DeviceId> {
    let differs = |index: &usize| now.namespaces.get(*index) != next.namespaces.get(*index);
    (0..next.namespaces.len()).filter(differs).map(|index| DeviceId(index as u16)).collect()
}
