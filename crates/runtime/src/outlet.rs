//! Where a worker's words become deeds: frames are written to queues, verdicts and events are counted.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use device::{Queue, Undone};
use engine::{Egress, Event, HandOverFull, Output, Verdict, WorkerId};
use topology::DeviceId;
use wire::Frame;

use crate::counters::{DeviceCounters, WorkerCounters};
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
    /// The way out, through these devices.
    #[inline]
    pub(crate) fn outlet<'a>(&'a self, devices: &'a mut [Access]) -> Outlet<'a> {
        Outlet { devices, ties: self }
    }
}

/// The engine's [`Output`] on real devices.
pub(crate) struct Outlet<'a> {
    devices: &'a mut [Access],
    ties: &'a Ties,
}

impl Outlet<'_> {
    #[inline]
    fn write(&mut self, frame: &Frame<'_>, Egress::Device(device): Egress) {
        // The engine sends nothing to a device that the worker was never given.
        let Some(Access { queue, counters }) = self.devices.get_mut(device.index()) else { return };
        let Some(queue) = queue else {
            counters.send_errors.add(1);
            return;
        };
        match queue.write(frame) {
            Ok(()) => {
                counters.sent.add(1);
                counters.sent_bytes.add(frame.bytes.len() as u64);
            }
            Err(error) => {
                counters.send_errors.add(1);
                self.not_taken(frame, device, &error);
            }
        }
    }

    /// A frame is lost, and counted: the path promises no more. It is not written again, not even after EAGAIN, because
    /// everything else on this thread would wait for it; TCP repeats what matters.
    #[cold]
    fn not_taken(&self, frame: &Frame<'_>, device: DeviceId, error: &io::Error) {
        tracing::trace!("a frame of {} bytes was not taken: {error}", frame.bytes.len());
        if error.kind() == ErrorKind::InvalidInput
            && let Some(undone) = Undone::by(frame)
        {
            self.ties.reporter.mention(Report::Refused(device, undone));
        }
    }
}

impl Output for Outlet<'_> {
    #[inline]
    fn forward(&mut self, frame: &mut Frame<'_>, egress: Egress) {
        self.write(frame, egress);
    }

    fn emit(&mut self, frame: &mut Frame<'_>, egress: Egress) {
        self.write(frame, egress);
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
