//! A worker's thread: wait until a queue can be read, an order comes or a timer is due; then run to completion.
//!
//! Edge-triggered: a queue that is ready is read until it is empty. A budget keeps one busy queue from starving the
//! others; what is left over is taken up again after the others had their turn, without sleeping in between.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use crossbeam::channel::{Receiver, Sender};
use device::Queue;
use engine::{Message, Worker, WorkerId};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use topology::DeviceId;
use wire::{FRAME_CAPACITY, Frame};

use crate::command::Command;
use crate::counters::WorkerCounters;
use crate::outlet::Outlet;
use crate::rings::Rings;
use crate::watch::Report;

/// The token that wakes a thread for orders and for frames handed to it. Devices have their own place as token.
pub(crate) const WAKE: Token = Token(usize::MAX);
/// Small frames that are carried together.
const BATCH: usize = 8;
/// A frame longer than this is carried at once: reading on would push it out of the cache.
const SMALL: usize = 4096;
/// Frames read from one queue before the others have their turn.
const BUDGET: usize = 256;
/// Flows looked at before frames have their turn again.
const EXPIRE_BUDGET: usize = 4096;

/// Everything that a worker's thread owns.
pub(crate) struct Loop {
    pub(crate) id: WorkerId,
    pub(crate) worker: Worker,
    pub(crate) poll: Poll,
    pub(crate) commands: Receiver<Command>,
    pub(crate) reports: Sender<Report>,
    pub(crate) rings: Arc<Rings>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) origin: Instant,
    pub(crate) desk: Desk,
}

/// The queues, and what is known about them.
pub(crate) struct Desk {
    queues: Box<[Option<Box<dyn Queue>>]>,
    ready: Box<[bool]>,
    buffers: Box<[Box<[u8]>]>,
}

impl Desk {
    pub(crate) fn new(devices: usize) -> Self {
        Self {
            queues: (0..devices).map(|_| None).collect(),
            ready: vec![false; devices].into(),
            buffers: (0..BATCH).map(|_| vec![0; FRAME_CAPACITY].into()).collect(),
        }
    }
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
        let mut events = Events::with_capacity(64);
        loop {
            match self.poll.poll(&mut events, self.patience()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => self.counters.wakeups.add(1),
            }
            let mut woken = false;
            for event in &events {
                match event.token() {
                    WAKE => woken = true,
                    Token(device) => self.desk.ready[device] = true,
                }
            }
            if woken && self.obey()? == Next::Stop {
                return Ok(());
            }
            for device in 0..self.desk.ready.len() {
                if self.desk.ready[device] {
                    self.drain(DeviceId(device as u16));
                }
            }
            self.expire();
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// How long to wait for events: not at all while there is work, else until the next timer.
    fn patience(&self) -> Option<Duration> {
        if self.desk.ready.contains(&true) {
            return Some(Duration::ZERO);
        }
        Some(self.worker.next_deadline().saturating_sub(self.now()))
    }

    /// Reads a queue until it is empty or the budget is spent.
    #[inline]
    fn drain(&mut self, device: DeviceId) {
        let mut budget = BUDGET;
        while budget > 0 {
            match self.carry_batch(device) {
                0 => {
                    self.desk.ready[device.index()] = false;
                    return;
                }
                carried => budget = budget.saturating_sub(carried),
            }
        }
    }

    /// Reads a batch and carries it. Returns how many frames were read; 0 says that the queue is empty.
    #[inline]
    fn carry_batch(&mut self, device: DeviceId) -> usize {
        let Desk { queues, buffers, .. } = &mut self.desk;
        let Some(queue) = &mut queues[device.index()] else { return 0 };
        let counters = self.counters.device(device);
        let mut frames: ArrayVec<Frame<'_>, BATCH> = ArrayVec::new();
        let mut broken = 0;
        for buffer in buffers.iter_mut() {
            match queue.read(buffer) {
                Ok(Some((len, offload))) => {
                    counters.received.add(1);
                    counters.received_bytes.add(len as u64);
                    frames.push(Frame { offload, bytes: &mut buffer[..len] });
                    if len > SMALL {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    counters.receive_errors.add(1);
                    if error.kind() == io::ErrorKind::InvalidData {
                        broken += 1;
                        continue;
                    }
                    // The watch finds out what happened; a full mailbox means that it is at it already.
                    drop(self.reports.try_send(Report::Lost(device, error.to_string())));
                    break;
                }
            }
        }
        let carried = frames.len();
        if carried > 0 {
            self.counters.frames.add(carried as u64);
            self.counters.batches.add(1);
            let now = self.origin.elapsed();
            let mut outlet = Outlet { queues, counters: &self.counters, rings: &self.rings };
            self.worker.input(device, &mut frames, now, &mut outlet);
        }
        carried + broken
    }

    /// Carries what other workers have handed over; what they hand over meanwhile wakes us again.
    fn receive_handed(&mut self) {
        for _ in 0..self.rings.look(self.id) {
            let Some(mut handed) = self.rings.take(self.id) else { return };
            let now = self.now();
            let mut outlet =
                Outlet { queues: &mut self.desk.queues, counters: &self.counters, rings: &self.rings };
            let mut frames = [Frame { offload: handed.offload, bytes: &mut handed.bytes }];
            self.worker.input(handed.device, &mut frames, now, &mut outlet);
            self.rings.give_back(handed);
        }
    }

    fn expire(&mut self) {
        let now = self.now();
        if self.worker.next_deadline() <= now {
            let mut outlet =
                Outlet { queues: &mut self.desk.queues, counters: &self.counters, rings: &self.rings };
            self.worker.expire(now, EXPIRE_BUDGET, &mut outlet);
        }
    }

    /// Carries out what has been ordered, and takes in what has been handed over.
    fn obey(&mut self) -> io::Result<Next> {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Attach(device, queue, done) => {
                    self.attach(device, queue)?;
                    drop(done);
                }
                Command::Detach(device, done) => {
                    self.detach(device)?;
                    drop(done);
                }
                Command::Stop => return Ok(Next::Stop),
            }
        }
        self.receive_handed();
        Ok(Next::Go)
    }

    fn attach(&mut self, device: DeviceId, queue: Box<dyn Queue>) -> io::Result<()> {
        let fd = queue.as_fd().as_raw_fd();
        let token = Token(device.index());
        self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        self.desk.queues[device.index()] = Some(queue);
        self.desk.ready[device.index()] = true;
        self.tell_worker(Message::Attach(device));
        Ok(())
    }

    fn detach(&mut self, device: DeviceId) -> io::Result<()> {
        self.tell_worker(Message::Detach(device));
        self.desk.ready[device.index()] = false;
        if let Some(queue) = self.desk.queues[device.index()].take() {
            self.poll.registry().deregister(&mut SourceFd(&queue.as_fd().as_raw_fd()))?;
        }
        Ok(())
    }

    fn tell_worker(&mut self, message: Message) {
        let now = self.now();
        let mut outlet =
            Outlet { queues: &mut self.desk.queues, counters: &self.counters, rings: &self.rings };
        self.worker.message(message, now, &mut outlet);
    }
}
