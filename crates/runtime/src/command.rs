//! What is told to a worker's thread, and how it is woken for it.

use std::sync::Arc;

use crossbeam::channel::Sender;
use crossbeam::sync::WaitGroup;
use device::{Offloads, Queue};
use mio::Waker;
use topology::DeviceId;

use crate::counters::DeviceCounters;

/// An order to a worker's thread. A `WaitGroup`, or the way for an answer, is let go of when it has been carried out.
pub(crate) enum Command {
    /// Here is your queue of this device, and where you count what passes there.
    Attach(DeviceId, Box<dyn Queue>, Arc<DeviceCounters>, WaitGroup),
    /// Hand back your queue of this device, if you have one.
    Detach(DeviceId, Sender<Box<dyn Queue>>),
    /// This is all that may be left undone from now on, on every device.
    Lower(Offloads, WaitGroup),
    /// There is a new plan, or flows are to end that nobody may be heard of.
    Planned(WaitGroup),
    /// Close everything and end.
    Stop,
}

/// The way to one worker's thread.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) commands: Sender<Command>,
    pub(crate) waker: Arc<Waker>,
}

impl Line {
    /// Sends an order. A thread that has ended gets none: whatever the order held is dropped here.
    pub(crate) fn tell(&self, command: Command) {
        if self.commands.send(command).is_ok()
            && let Err(error) = self.waker.wake()
        {
            tracing::error!("a worker could not be woken: {error}");
        }
    }
}
