//! What goes wrong with devices, and what the workers are told of it.

use std::time::Duration;

use engine::Message;
use topology::{DeviceId, Path};

use super::{Happening, Offloads, World, owner};
use crate::device::{Fault, Outage};
use crate::invariants::{self, Violation};
use crate::plan::Plan;
use crate::scenario::path_of;

/// It takes so long at most until all workers are told that a device has refused a frame.
const WORD: Duration = Duration::from_millis(10);

impl World {
    pub(super) fn break_down(&mut self, outage: Outage) -> Result<(), Violation> {
        let device = DeviceId(outage.device as u16);
        self.doors[outage.device].device.break_down(outage.fault);
        self.agenda.note(outage.ends, Happening::Recovers(outage));
        if outage.fault != Fault::Gone {
            return Ok(());
        }
        self.tell(Message::Detach(device))?;
        invariants::nothing_is_cut_off(self.judge.ledger.cut_off(device))
    }

    /// What begins from now on must succeed again. A terminated connection that was there before may have lost an end.
    pub(super) fn recover(&mut self, outage: Outage) -> Result<(), Violation> {
        let device = DeviceId(outage.device as u16);
        let waited = self.doors[outage.device].device.recover(outage.fault);
        for frame in waited {
            self.workers.arrive(device, frame, self.now);
        }
        if outage.fault != Fault::Gone || self.doors[outage.device].device.has(Fault::Gone) {
            return Ok(());
        }
        self.tell(Message::Attach(device))?;
        let provider = self.provider;
        let ledger = &self.judge.ledger;
        // Whoever is spliced has lost some packets; but the first who comes to a target is terminated.
        let is_terminated = |plan: &Plan, home| match path_of(plan) {
            Path::Nat => false,
            Path::Splice => ledger.was_terminated(&owner(plan, home)),
            Path::Terminate => true,
        };
        let is_hit = |plan: &Plan, home| is_terminated(plan, home) && [home, provider].contains(&device);
        let sent = self.hosts.give_up(is_hit, self.now);
        self.send(sent);
        Ok(())
    }

    /// A device does not keep its word. Frames that were on their way when all were released from it say so again.
    pub(super) fn refused(&mut self) {
        if self.offloads == Offloads::Agreed {
            self.offloads = Offloads::Refused;
            self.agenda.note(self.now + self.rng.span(WORD), Happening::Lowers);
        }
    }

    /// All devices, and the workers' own TCP, get by without offloads from now on.
    pub(super) fn lower(&mut self) -> Result<(), Violation> {
        self.offloads = Offloads::Lowered;
        self.tell(Message::Offload(false))
    }
}
