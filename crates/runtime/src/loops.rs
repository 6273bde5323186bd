//! A worker's thread: wait until a queue can be read, an order comes or a timer is due; then run to completion.
//!
//! Edge-triggered: a queue that is ready is read until it is empty. A budget keeps one busy queue from starving the
//! others; what is left over is taken up again after the others had their turn, without sleeping in between.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use crossbeam::channel::Receiver;
use device::{Offloads, Queue, Ring, Undone};
use engine::{Message, Worker, WorkerId};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use topology::DeviceId;
use wire::{FRAME_CAPACITY, Frame};

use crate::command::Command;
use crate::counters::DeviceCounters;
use crate::outbox::Outbox;
use crate::outlet::{Access, Ties};
use crate::report::Report;

/// The token that wakes a thread for orders and for frames handed to it. Devices have their own place as token.
pub(crate) const WAKE: Token = Token(usize::MAX);
/// Frames that are read, carried and written together.
pub(crate) const BATCH: usize = 8;
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
    pub(crate) ties: Ties,
    pub(crate) origin: Instant,
    pub(crate) desk: Desk,
}

/// The devices, and what is known about them: of all that the worker was ever given a queue of.
pub(crate) struct Desk {
    devices: Vec<Access>,
    ready: Vec<bool>,
    buffers: Box<[Box<[u8]>]>,
    outbox: Outbox,
}

impl Desk {
    pub(crate) fn new(ring: Option<Ring>) -> Self {
        let buffers = (0..BATCH).map(|_| vec![0; FRAME_CAPACITY].into()).collect();
        Self { devices: Vec::new(), ready: Vec::new(), buffers, outbox: Outbox::new(ring) }
    }

    /// The place of a device, which is made if need be.
    fn place(&mut self, device: DeviceId) -> &mut Access {
        let places = self.devices.len().max(device.index() + 1);
        self.devices.resize_with(places, Access::default);
        self.ready.resize(places, false);
        &mut self.devices[device.index()]
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
                _ => self.ties.counters.wakeups.add(1),
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
            self.ties.counters.terminated.set(self.worker.terminated() as u64);
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
        let Desk { devices, buffers, outbox, .. } = &mut self.desk;
        let Access { queue, counters } = &mut devices[device.index()];
        let Some(queue) = queue else { return 0 };
        let Batch { mut frames, broken, failure } = read_batch(queue.as_mut(), buffers, counters);
        let carried = frames.len();
        if carried > 0 {
            self.ties.counters.frames.add(carried as u64);
            self.ties.counters.batches.add(1);
            let now = self.origin.elapsed();
            let mut outlet = self.ties.outlet(devices, outbox);
            self.worker.input(device, &mut frames, now, &mut outlet);
            outlet.finish(&frames);
        }
        drop(frames);
        if let Some(error) = failure {
            self.lose(device, &error);
        }
        carried + broken
    }

    /// Carries what other workers have handed over; what they hand over meanwhile wakes us again.
    fn receive_handed(&mut self) {
        for _ in 0..self.ties.rings.look(self.id) {
            let Some(mut handed) = self.ties.rings.take(self.id) else { return };
            let now = self.now();
            let mut outlet = self.ties.outlet(&mut self.desk.devices, &mut self.desk.outbox);
            let mut frames = [Frame { offload: handed.offload, bytes: &mut handed.bytes }];
            self.worker.input(handed.device, &mut frames, now, &mut outlet);
            outlet.finish(&frames);
            self.ties.rings.give_back(handed);
        }
    }

    fn expire(&mut self) {
        let now = self.now();
        if self.worker.next_deadline() <= now {
            let mut outlet = self.ties.outlet(&mut self.desk.devices, &mut self.desk.outbox);
            self.worker.expire(now, EXPIRE_BUDGET, &mut outlet);
            outlet.finish(&[]);
        }
    }

    /// Carries out what has been ordered, and takes in what has been handed over.
    fn obey(&mut self) -> io::Result<Next> {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Attach(device, queue, counters, done) => {
                    self.attach(device, queue, counters)?;
                    drop(done);
                }
                Command::Detach(device, done) => {
                    self.detach(device)?;
                    drop(done);
                }
                Command::Lower(offloads, done) => {
                    self.lower(offloads);
                    drop(done);
                }
                Command::Planned(done) => {
                    self.tell_worker(Message::Planned);
                    drop(done);
                }
                Command::Stop => return Ok(Next::Stop),
            }
        }
        self.receive_handed();
        Ok(Next::Go)
    }

    fn attach(
        &mut self,
        device: DeviceId,
        queue: Box<dyn Queue>,
        counters: Arc<DeviceCounters>,
    ) -> io::Result<()> {
        let fd = queue.as_fd().as_raw_fd();
        let token = Token(device.index());
        self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        *self.desk.place(device) = Access { queue: Some(queue), counters };
        self.desk.ready[device.index()] = true;
        self.tell_worker(Message::Attach(device));
        Ok(())
    }

    fn detach(&mut self, device: DeviceId) -> io::Result<()> {
        self.tell_worker(Message::Detach(device));
        self.close(device)
    }

    /// Closes a queue that is of no use any more, and tells the watch, which opens the device anew.
    fn lose(&mut self, device: DeviceId, error: &io::Error) {
        // It is closed, whether epoll knew it or not.
        drop(self.close(device));
        self.ties.reporter.tell(Report::Lost(device, error.to_string()));
    }

    fn close(&mut self, device: DeviceId) -> io::Result<()> {
        let place = self.desk.place(device);
        let queue = place.queue.take();
        self.desk.ready[device.index()] = false;
        if let Some(queue) = queue {
            self.poll.registry().deregister(&mut SourceFd(&queue.as_fd().as_raw_fd()))?;
        }
        Ok(())
    }

    /// The devices, and the worker's own TCP, get by with these offloads from now on.
    fn lower(&mut self, offloads: Offloads) {
        for index in 0..self.desk.devices.len() {
            if let Some(queue) = &mut self.desk.devices[index].queue
                && let Err(error) = queue.set_offloads(offloads)
            {
                self.lose(DeviceId(index as u16), &error);
            }
        }
        self.tell_worker(Message::Offload(offloads.allow(Undone::Tcp)));
    }

    fn tell_worker(&mut self, message: Message) {
        let now = self.now();
        let mut outlet = self.ties.outlet(&mut self.desk.devices, &mut self.desk.outbox);
        self.worker.message(message, now, &mut outlet);
        outlet.finish(&[]);
    }
}

/// What one go at a queue has brought.
struct Batch<'a> {
    frames: ArrayVec<Frame<'a>, BATCH>,
    /// Packets that made no sense.
    broken: usize,
    /// Why there will be no more.
    failure: Option<io::Error>,
}

#[inline]
fn read_batch<'a>(
    queue: &mut dyn Queue,
    buffers: &'a mut [Box<[u8]>],
    counters: &DeviceCounters,
) -> Batch<'a> {
    let mut batch = Batch { frames: ArrayVec::new(), broken: 0, failure: None };
    for buffer in buffers {
        match queue.read(buffer) {
            Ok(Some((len, offload))) => {
                counters.received.add(1);
                counters.received_bytes.add(len as u64);
                batch.frames.push(Frame { offload, bytes: &mut buffer[..len] });
            }
            Ok(None) => break,
            Err(error) => {
                counters.receive_errors.add(1);
                if error.kind() == io::ErrorKind::InvalidData {
                    batch.broken += 1;
                    continue;
                }
                batch.failure = Some(error);
                break;
            }
        }
    }
    batch
}
