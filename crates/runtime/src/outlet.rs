//! Where a worker's words become deeds: frames are written to queues, verdicts and events are counted.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use device::{Queue, Undone};
use engine::{Egress, Event, HandOverFull, Output, Verdict, WorkerId};
use topology::DeviceId;
use wire::Frame;

use crate::counters::{DeviceCounters, WorkerCounters};
use crate::outbox::{Outbox, Written};
use crate::report::{Report, Reporter};
use crate::rings::Rings;

/// A worker's access to one device.
#[derive(Default)]
pub(crate) struct Access {
    /// Its queue; none while the device is down.
    pub(crate) queue: Option<Box<dyn Queue>>,
    pub(crate) counters: Arc<DeviceCounters>,
}

/// What ties a worker's thread to the others.
pub(crate) struct Ties {
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) rings: Arc<Rings>,
    pub(crate) reporter: Reporter,
}

impl Ties {
    /// The way out, through these devices and this outbox.
    #[inline]
    pub(crate) fn outlet<'a>(&'a self, devices: &'a mut [Access], outbox: &'a mut Outbox) -> Outlet<'a> {
        Outlet { devices, outbox, ties: self }
    }
}

/// The engine's [`Output`] on real devices. Frames that it is told of wait in the outbox.
pub(crate) struct Outlet<'a> {
    devices: &'a mut [Access],
    outbox: &'a mut Outbox,
    ties: &'a Ties,
}

impl Outlet<'_> {
    /// Writes a frame that cannot wait; it overtakes none but those of the batch in hand.
    fn write(&mut self, frame: &Frame<'_>, device: DeviceId) {
        let Self { devices, outbox, ties } = self;
        let mut account = |access: &Access, written: Written<'_>| ties.account(access, &written);
        outbox.write_earlier(devices, &mut account);
        if let Some(access) = devices.get_mut(device.index()) {
            access.write(device, frame, &mut account);
        }
    }
}

impl Access {
    /// Writes a frame at once.
    #[inline]
    pub(crate) fn write(
        &mut self,
        device: DeviceId,
        frame: &Frame<'_>,
        tell: &mut impl FnMut(&Self, Written<'_>),
    ) {
        let down = || Err(ErrorKind::NotConnected.into());
        let result = self.queue.as_mut().map_or_else(down, |queue| queue.write(frame));
        tell(self, Written { device, offload: frame.offload, bytes: frame.bytes, result });
    }
}

impl Ties {
    /// Counts what has been written. A frame that was not is lost: the path promises no more. It is not written again, not even
    /// after EAGAIN, because everything else on this thread would wait for it; TCP repeats what matters.
    #[inline]
    pub(crate) fn account(&self, access: &Access, written: &Written<'_>) {
        match &written.result {
            Ok(()) => {
                access.counters.sent.add(1);
                access.counters.sent_bytes.add(written.bytes.len() as u64);
            }
            Err(error) => {
                access.counters.send_errors.add(1);
                self.not_taken(written, error);
            }
        }
    }

    #[cold]
    fn not_taken(&self, Written { device, offload, bytes, .. }: &Written<'_>, error: &io::Error) {
        tracing::trace!("a frame of {} bytes was not taken: {error}", bytes.len());
        if error.kind() == ErrorKind::InvalidInput
            && let Some(undone) = Undone::by(*offload, bytes)
        {
            self.reporter.mention(Report::Refused(*device, undone));
        }
    }
}

impl Output for Outlet<'_> {
    #[inline]
    fn forward(&mut self, slot: usize, _: &mut Frame<'_>, Egress::Device(device): Egress) {
        self.outbox.forward(device, slot);
    }

    fn emit(&mut self, frame: &mut Frame<'_>, Egress::Device(device): Egress) {
        if !self.outbox.keep(device, frame) {
            self.write(frame, device);
        }
    }

    fn hand_over(&mut self, to: WorkerId, device: DeviceId, frame: &Frame<'_>) -> Result<(), HandOverFull> {
        self.ties.rings.hand_over(to, device, frame)?;
        self.ties.counters.handed_over.add(1);
        Ok(())
    }

    #[inline]
    fn verdict(&mut self, _slot: usize, verdict: Verdict) {
        self.ties.counters.verdict(verdict.reason).add(1);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::FlowOpened { .. } => self.ties.counters.opened.add(1),
            Event::FlowClosed { cause, .. } => self.ties.counters.closed(cause).add(1),
            Event::ExpiredFlowHit { original, reply, silent } => {
                // Each is counted by its verdict; in a flood of them not each need be told.
                self.ties.reporter.mention(Report::ExpiredFlowHit(original, reply, silent));
            }
            Event::FragmentsEnded { reason, count } => self.ties.counters.verdict(reason).add(count as u64),
            Event::HealthChanged { .. } => self.ties.reporter.health_changed(),
            Event::CheckPutOff { reason, .. } => self.ties.counters.verdict(reason).add(1),
        }
    }
}

#[cfg(test)]
mod tests;
