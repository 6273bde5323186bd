//! How the fleet goes from one topology to the next, without disturbing what stays.
//!
//! What can fail comes first, and is undone if it does: new devices are opened, and new addresses are routed to those that
//! are open. Then the engine takes up the topology, and last the new devices' queues go to the workers: packets that came
//! meanwhile wait there. (On a device that was open, a packet for a new address may come a moment too early, and is dropped
//! as one for an unknown address. The other way round it would leave by whatever route the kernel has, or be refused.)
//!
//! What is gone is let go of a while later, in [`Fleet::settle`]: both ends of flows that end with it are told, and what
//! they are told needs the device, and the kernel's belief that its sender is there.

use std::mem;

use device::{DeviceError, DeviceSpec, Opened, Steering};
use topology::{DeviceId, Namespace, Topology};

use super::{Attached, Fleet, steering};
use crate::command::Command;
use crate::snapshot::DeviceState;

/// What was made ready for a topology that is not in force yet.
#[derive(Default)]
pub(crate) struct Prepared {
    /// Devices that are open for it.
    opened: Vec<(DeviceId, Option<Steering>, Opened)>,
    /// Devices to which nothing led before but what was wanted.
    widened: Vec<DeviceId>,
}

impl Fleet {
    /// Makes the devices ready for a topology, beside the one that is in force: all of them, or nothing is different.
    pub(crate) fn prepare(&mut self, next: &Topology) -> Result<Prepared, DeviceError> {
        let mut prepared = Prepared::default();
        let ready = changed(&self.board.topology(), next)
            .into_iter()
            .try_for_each(|device| self.prepare_device(next, device, &mut prepared));
        match ready {
            Ok(()) => Ok(prepared),
            Err(error) => {
                self.undo(prepared);
                Err(error)
            }
        }
    }

    /// As before. But a device on which something lingers keeps what it was given beside until that goes, too: a topology
    /// that came into force a moment ago has its time, whatever becomes of the next one.
    fn undo(&mut self, prepared: Prepared) {
        let topology = self.board.topology();
        for device in prepared.widened {
            self.settle_device(&topology, device);
        }
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
            Some(attached) => {
                if mem::replace(&mut attached.is_settled, false) {
                    prepared.widened.push(device);
                }
                attached.hold.as_mut().map_or(Ok(()), |hold| hold.widen(&spec))
            }
            // It is down. When it comes up, it is as the topology says then.
            None if was_used || !is_used(next.namespaces.get(device.index())) => Ok(()),
            None => {
                prepared.opened.push((device, spec.steering, self.opener.open(&spec)?));
                Ok(())
            }
        }
    }

    /// Brings the workers what was made ready for a topology that is in force by now.
    pub(crate) fn complete(&mut self, topology: &Topology, prepared: Prepared) {
        self.attached.resize_with(topology.namespaces.len(), || None);
        self.board.make_room(topology.namespaces.len());
        let offloads = self.offloads;
        for (device, steering, opened) in prepared.opened {
            self.attach(device, steering, opened);
        }
        if self.offloads != offloads {
            // Those that were opened before the one that has fewer.
            self.order(|done| Command::Lower(self.offloads, done));
        }
        (0..self.attached.len()).for_each(|index| self.steer(topology, DeviceId(index as u16)));
    }

    /// Lets go of all that the topology in force has no use for: routes, addresses, answers, devices. Returns whether all of
    /// it is gone.
    pub(crate) fn settle(&mut self) -> bool {
        let topology = self.board.topology();
        let mut is_gone = true;
        for index in 0..self.attached.len() {
            is_gone &= self.settle_device(&topology, DeviceId(index as u16));
        }
        is_gone
    }

    fn settle_device(&mut self, topology: &Topology, device: DeviceId) -> bool {
        let spec = self.spec(topology, device, false);
        match &mut self.attached[device.index()] {
            Some(_) if !topology.namespaces[device.index()].is_used() => {
                self.close(device);
                self.board.set_device(device, DeviceState::Down("nothing leads there any more".into()));
                true
            }
            Some(attached) => attached.settle(&spec),
            None => true,
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
    /// Has nothing lead there that is not wanted. Returns whether that is so.
    fn settle(&mut self, spec: &DeviceSpec) -> bool {
        self.is_settled = self.is_settled || self.hold.as_mut().is_none_or(|hold| hold.narrow(spec));
        self.is_settled
    }
}

/// The devices to which something else leads in the next topology.
fn changed(now: &Topology, next: &Topology) -> Vec<DeviceId> {
    let differs = |index: &usize| now.namespaces.get(*index) != next.namespaces.get(*index);
    (0..next.namespaces.len()).filter(differs).map(|index| DeviceId(index as u16)).collect()
}
