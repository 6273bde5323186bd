//! Where a worker's words become deeds: frames are written to queues, verdicts and events are counted.

use device::Queue;
use engine::{Egress, Event, HandOverFull, Output, Verdict, WorkerId};
use topology::DeviceId;
use wire::Frame;

use crate::counters::WorkerCounters;
use crate::rings::Rings;

/// One worker's queues, by device.
pub(crate) type Queues = [Option<Box<dyn Queue>>];

/// The engine's [`Output`] on real devices.
pub(crate) struct Outlet<'a> {
    pub(crate) queues: &'a mut Queues,
    pub(crate) counters: &'a WorkerCounters,
    pub(crate) rings: &'a Rings,
}

impl Outlet<'_> {
    #[inline]
    fn write(&mut self, frame: &Frame<'_>, Egress::Device(device): Egress) {
        let counters = self.counters.device(device);
        let Some(queue) = &mut self.queues[device.index()] else {
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
                tracing::trace!("a frame of {} bytes was not taken: {error}", frame.bytes.len());
            }
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
        self.rings.hand_over(to, device, frame)?;
        self.counters.handed_over.add(1);
        Ok(())
    }

    #[inline]
    fn verdict(&mut self, _slot: usize, verdict: Verdict) {
        self.counters.verdict(verdict.reason).add(1);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::FlowOpened { .. } => self.counters.opened.add(1),
            Event::FlowClosed { cause, .. } => self.counters.closed(cause).add(1),
        }
    }
}
