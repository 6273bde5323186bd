//! A worker's thread: wait until a queue has brought something, an order comes or a timer is due; then run to completion.
//!
//! The ring brings no more than its buffers hold. A queue that is read by itself has a budget, so that it does not starve the others; what is
//! left over is taken up again after they had their turn, without sleeping in between.

use std::io;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use crossbeam::channel::Receiver;
use device::{Packet, Undone};
use engine::{Message, Worker, WorkerId};
use topology::DeviceId;

use crate::command::Command;
use crate::desk::{BATCH, Desk};
use crate::outlet::Ties;
use crate::report::Report;

/// Frames of one queue before the others have their turn.
const BUDGET: usize = 256;
/// Flows looked at before frames have their turn again.
const EXPIRE_BUDGET: usize = 4096;

/// Everything that a worker's thread owns.
pub(crate) struct Loop {
    pub(crate) id: WorkerId,
    pub(crate) worker: Worker,
    pub(crate) commands: Receiver<Command>,
    pub(crate) ties: Ties,
    pub(crate) origin: Instant,
    pub(crate) desk: Desk,
}

/// Whether a thread goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

impl Loop {
    /// Runs until told to stop. The queues are closed when it returns.
    pub(crate) fn run(mut self) -> io::Result<()> {
        if let Err(error) = self.desk.take_ring()
            && self.id.index() == 0
        {
            tracing::info!(
                "io_uring is not to be had here, so packets are read and written one by one: {error}"
            );
        }
        loop {
            let news = self.desk.wait(self.patience(), &self.ties)?;
            self.ties.counters.wakeups.add(1);
            for (device, error) in news.lost {
                self.lose(device, &error)?;
            }
            if news.is_woken && self.obey()? == Next::Stop {
                return self.desk.flush(&self.ties);
            }
            for device in 0..self.desk.places() {
                self.drain(DeviceId(device as u16))?;
            }
            self.expire()?;
            self.ties.counters.terminated.set(self.worker.terminated() as u64);
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// How long there is nothing to do if nothing comes: until the next timer.
    fn patience(&self) -> Duration {
        self.worker.next_deadline().saturating_sub(self.now())
    }

    /// Carries what a device has brought until there is no more, or the budget is spent.
    #[inline]
    fn drain(&mut self, device: DeviceId) -> io::Result<()> {
        let mut budget = BUDGET;
        while budget > 0 && self.desk.has_work(device) {
            let batch = self.desk.next(device);
            budget = budget.saturating_sub(batch.len());
            if !batch.packets.is_empty() {
                self.ties.counters.frames.add(batch.packets.len() as u64);
                self.ties.counters.batches.add(1);
                self.carry(device, batch.packets)?;
            }
        }
        Ok(())
    }

    /// Carries packets that came from a device.
    #[inline]
    fn carry(&mut self, device: DeviceId, mut packets: ArrayVec<Packet, BATCH>) -> io::Result<()> {
        let now = self.now();
        let mut frames: ArrayVec<_, BATCH> = packets.iter_mut().map(Packet::frame).collect();
        self.worker.input(device, &mut frames, now, &mut self.desk.outlet(&self.ties));
        let shapes: ArrayVec<_, BATCH> =
            frames.iter().map(|frame| (frame.offload, frame.bytes.len())).collect();
        drop(frames);
        for (packet, (offload, len)) in packets.iter_mut().zip(shapes) {
            packet.reshape(offload, len);
        }
        self.desk.settle(packets, &self.ties)
    }

    /// Carries what other workers have handed over; what they hand over meanwhile wakes us again.
    fn receive_handed(&mut self) -> io::Result<()> {
        for _ in 0..self.ties.rings.look(self.id) {
            let Some(handed) = self.ties.rings.take(self.id) else { break };
            let mut packet = self.desk.room();
            packet.copy(handed.offload, &handed.bytes);
            let device = handed.device;
            self.ties.rings.give_back(handed);
            self.carry(device, ArrayVec::from_iter([packet]))?;
        }
        Ok(())
    }

    fn expire(&mut self) -> io::Result<()> {
        let now = self.now();
        if self.worker.next_deadline() > now {
            return Ok(());
        }
        self.worker.expire(now, EXPIRE_BUDGET, &mut self.desk.outlet(&self.ties));
        self.desk.settle(ArrayVec::new(), &self.ties)
    }

    /// Carries out what has been ordered, and takes in what has been handed over.
    fn obey(&mut self) -> io::Result<Next> {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Attach(device, queue, counters, done) => {
                    self.desk.attach(device, queue, counters);
                    self.tell_worker(Message::Attach(device))?;
                    drop(done);
                }
                Command::Detach(device, answer) => {
                    self.tell_worker(Message::Detach(device))?;
                    if let Some(queue) = self.desk.detach(device, &self.ties)? {
                        // Who asked waits; if not, the queue is closed here.
                        drop(answer.send(queue));
                    }
                }
                // The devices, and the worker's own TCP, get by with these offloads from now on.
                Command::Lower(offloads, done) => {
                    self.desk.lower(offloads);
                    self.tell_worker(Message::Offload(offloads.allow(Undone::Tcp)))?;
                    drop(done);
                }
                Command::Planned(done) => {
                    self.tell_worker(Message::Planned)?;
                    drop(done);
                }
                Command::Stop => return Ok(Next::Stop),
            }
        }
        self.receive_handed()?;
        Ok(Next::Go)
    }

    /// Gives up a queue that is of no use any more, and tells the watch, which opens the device anew.
    fn lose(&mut self, device: DeviceId, error: &io::Error) -> io::Result<()> {
        let queue = self.desk.detach(device, &self.ties)?;
        self.ties.reporter.tell(Report::Lost(device, queue, error.to_string()));
        Ok(())
    }

    fn tell_worker(&mut self, message: Message) -> io::Result<()> {
        let now = self.now();
        self.worker.message(message, now, &mut self.desk.outlet(&self.ties));
        self.desk.settle(ArrayVec::new(), &self.ties)
    }
}
