//! What a worker works with: its devices, what they have brought, and what waits to leave.
//!
//! Packets come and go by io_uring. Where the kernel lends none, or a queue does not go along, each is read and written by itself, as
//! mio says that there is something; edge-triggered: a queue that is ready is read until it is empty.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use device::{Offloads, Packet, Queue, Ring, Told};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use topology::DeviceId;

use crate::counters::DeviceCounters;
use crate::outbox::Outbox;
use crate::outlet::{Access, Outlet, Ties};

/// The token that wakes a thread for orders and for frames handed to it. Devices have their own place as token.
pub(crate) const WAKE: Token = Token(usize::MAX);
/// Frames that are carried together.
pub(crate) const BATCH: usize = 8;
/// What mio tells at a time.
const EVENTS: usize = 64;
/// How long the kernel may take to leave off reading a queue. It does so at once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A worker's devices, and the ways to them.
pub(crate) struct Desk {
    ring: Option<Ring>,
    poll: Poll,
    events: Events,
    devices: Vec<Access>,
    /// What has come by the ring, by device.
    arrived: Vec<VecDeque<Packet>>,
    /// Which queues may have something, of those that are read by themselves.
    ready: Vec<bool>,
    outbox: Outbox,
    news: News,
}

/// What has happened beside packets.
#[derive(Default)]
pub(crate) struct News {
    /// Orders or frames have come from other threads.
    pub(crate) is_woken: bool,
    /// Queues that are of no use any more, and why.
    pub(crate) lost: Vec<(DeviceId, io::Error)>,
}

impl News {
    /// A queue is lost, for the first of all reasons.
    fn lose(&mut self, device: DeviceId, error: io::Error) {
        if self.lost.iter().all(|(lost, _)| *lost != device) {
            self.lost.push((device, error));
        }
    }
}

/// What one go at a device has brought.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) packets: ArrayVec<Packet, BATCH>,
    /// How many more made no sense.
    pub(crate) broken: usize,
}

impl Desk {
    pub(crate) fn new(poll: Poll) -> Self {
        let (devices, arrived, ready, news) = Default::default();
        let (events, outbox) = (Events::with_capacity(EVENTS), Outbox::new());
        Self { ring: None, poll, events, devices, arrived, ready, outbox, news }
    }

    /// Has packets come and go by io_uring, if the kernel lends that to the calling thread, which has the desk from now on.
    pub(crate) fn take_ring(&mut self) -> io::Result<()> {
        let mut ring = Ring::new()?;
        ring.watch(&self.poll)?;
        self.ring = Some(ring);
        Ok(())
    }

    /// Takes a device's queue, and counters for what passes there. One that cannot be listened to is lost.
    pub(crate) fn attach(&mut self, device: DeviceId, queue: Box<dyn Queue>, counters: Arc<DeviceCounters>) {
        self.make_place(device);
        self.devices[device.index()] = Access { queue: Some(queue), counters };
        self.listen(device);
    }

    /// Lets go of a device's queue, if there is one. To close it is for a thread that packets do not wait for: the kernel takes its time.
    pub(crate) fn detach(&mut self, device: DeviceId, ties: &Ties) -> io::Result<Option<Box<dyn Queue>>> {
        self.make_place(device);
        // What waits may be for this queue.
        self.flush(ties)?;
        let end = Instant::now() + AT_ONCE;
        while let Some(ring) = self.ring.as_mut().filter(|ring| ring.reads(device.0)) {
            if Instant::now() > end {
                self.do_without_ring(&ErrorKind::TimedOut.into(), ties);
                break;
            }
            ring.stop(device.0);
            self.turn(AT_ONCE, ties)?;
        }
        for packet in mem::take(&mut self.arrived[device.index()]) {
            self.outbox.discard(packet);
        }
        self.ready[device.index()] = false;
        // What was said of this queue is not to be taken for the next one's.
        self.news.lost.retain(|(lost, _)| *lost != device);
        let queue = self.devices[device.index()].queue.take();
        if let Some(queue) = &queue
            && !self.is_read_by_ring(&**queue)
        {
            // Epoll may not know it.
            drop(self.poll.registry().deregister(&mut SourceFd(&queue.as_fd().as_raw_fd())));
        }
        Ok(queue)
    }

    /// Tells the devices to get by with these offloads from now on. One that does not is lost.
    pub(crate) fn lower(&mut self, offloads: Offloads) {
        for (index, Access { queue, .. }) in self.devices.iter_mut().enumerate() {
            if let Some(Err(error)) = queue.as_mut().map(|queue| queue.set_offloads(offloads)) {
                self.news.lose(DeviceId(index as u16), error);
            }
        }
    }

    /// The worker's way out.
    #[inline]
    pub(crate) fn outlet<'a>(&'a mut self, ties: &'a Ties) -> Outlet<'a> {
        ties.outlet(&mut self.devices, &mut self.outbox)
    }

    /// The worker has said all that it has to say about these packets: what it has said leaves, now or with the next wait.
    #[inline]
    pub(crate) fn settle(&mut self, packets: ArrayVec<Packet, BATCH>, ties: &Ties) -> io::Result<()> {
        self.outbox.take_in(packets);
        if self.ring.is_none() {
            self.outbox.write(&mut self.devices, |access, written| ties.account(access, &written));
        } else if !self.outbox.has_room() {
            self.flush(ties)?;
        }
        Ok(())
    }

    /// Waits until there is something to do, but no longer than that; not at all while there is. What waits to leave does so first.
    pub(crate) fn wait(&mut self, patience: Duration, ties: &Ties) -> io::Result<News> {
        let has_work = (0..self.devices.len()).any(|device| self.has_work(DeviceId(device as u16)));
        let has_news = self.news.is_woken || !self.news.lost.is_empty();
        let patience = if has_work || has_news { Duration::ZERO } else { patience };
        // Only here: what comes while there is still work would have to be kept.
        if let Some(ring) = &mut self.ring {
            while ring.wants_room() {
                ring.lend(self.outbox.room());
            }
        }
        self.turn(patience, ties)?;
        Ok(mem::take(&mut self.news))
    }

    /// What waits to leave does so.
    pub(crate) fn flush(&mut self, ties: &Ties) -> io::Result<()> {
        self.turn(Duration::ZERO, ties)
    }

    /// How many devices there are places for.
    pub(crate) fn places(&self) -> usize {
        self.devices.len()
    }

    /// Whether a device has brought something, or may have.
    #[inline]
    pub(crate) fn has_work(&self, device: DeviceId) -> bool {
        !self.arrived[device.index()].is_empty() || self.ready[device.index()]
    }

    /// The next packets of a device.
    #[inline]
    pub(crate) fn next(&mut self, device: DeviceId) -> Batch {
        let arrived = &mut self.arrived[device.index()];
        if !arrived.is_empty() {
            let packets = arrived.drain(..arrived.len().min(BATCH)).collect();
            return Batch { packets, broken: 0 };
        }
        let batch = if self.ready[device.index()] { self.read(device) } else { Batch::default() };
        self.ready[device.index()] &= batch.len() > 0;
        batch
    }

    /// Room for a packet that comes from elsewhere.
    pub(crate) fn room(&mut self) -> Packet {
        self.outbox.room()
    }

    /// Reads a queue that has to be read by itself.
    fn read(&mut self, device: DeviceId) -> Batch {
        let mut batch = Batch::default();
        let Access { queue: Some(queue), counters } = &mut self.devices[device.index()] else { return batch };
        while !batch.packets.is_full() {
            let mut packet = self.outbox.room();
            match packet.read_from(&mut **queue) {
                Ok(true) => {
                    counters.count_in(packet.bytes().len());
                    batch.packets.push(packet);
                    continue;
                }
                Ok(false) => {}
                Err(error) => {
                    counters.receive_errors.add(1);
                    if error.kind() == ErrorKind::InvalidData {
                        batch.broken += 1;
                        self.outbox.discard(packet);
                        continue;
                    }
                    self.news.lose(device, error);
                }
            }
            self.outbox.discard(packet);
            break;
        }
        batch
    }

    /// A place for a device, if there is none yet.
    fn make_place(&mut self, device: DeviceId) {
        let places = self.devices.len().max(device.index() + 1);
        self.devices.resize_with(places, Access::default);
        self.arrived.resize_with(places, VecDeque::new);
        self.ready.resize(places, false);
    }

    fn is_read_by_ring(&self, queue: &dyn Queue) -> bool {
        self.ring.is_some() && queue.file().is_some()
    }

    /// Begins to read a device's queue.
    fn listen(&mut self, device: DeviceId) {
        let Some(queue) = &self.devices[device.index()].queue else { return };
        let listening = if let (Some(ring), Some(file)) = (&mut self.ring, queue.file()) {
            ring.read(device.0, file)
        } else {
            let (fd, token) = (queue.as_fd().as_raw_fd(), Token(device.index()));
            self.ready[device.index()] = true;
            self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)
        };
        if let Err(error) = listening {
            self.news.lose(device, error);
        }
    }

    /// What waits leaves, and what there is comes in; where there is nothing, waits for it.
    #[inline]
    fn turn(&mut self, patience: Duration, ties: &Ties) -> io::Result<()> {
        let Self { ring: Some(ring), devices, arrived, outbox, news, .. } = self else {
            return self.look(patience);
        };
        let mut is_ready = false;
        let turned = outbox.turn(
            ring,
            devices,
            patience,
            |access, written| ties.account(access, &written),
            |devices, told| match told {
                Told::Arrived(device, packet) => {
                    devices[usize::from(device)].counters.count_in(packet.bytes().len());
                    arrived[usize::from(device)].push_back(packet);
                }
                Told::Broken(device) => devices[usize::from(device)].counters.receive_errors.add(1),
                Told::Ended(device, Some(error)) => {
                    devices[usize::from(device)].counters.receive_errors.add(1);
                    news.lose(DeviceId(device), error);
                }
                Told::Ready => is_ready = true,
                Told::Ended(..) | Told::Written(..) => {}
            },
        );
        if let Err(error) = turned {
            self.do_without_ring(&error, ties);
            return Ok(());
        }
        if is_ready { self.look(Duration::ZERO) } else { Ok(()) }
    }

    /// Asks mio what is ready: for all of it, as the ring tells only of what comes later.
    fn look(&mut self, mut patience: Duration) -> io::Result<()> {
        loop {
            match self.poll.poll(&mut self.events, Some(patience)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &self.events {
                match event.token() {
                    WAKE => self.news.is_woken = true,
                    Token(device) => self.ready[device] = true,
                }
            }
            if self.events.iter().count() < EVENTS {
                return Ok(());
            }
            patience = Duration::ZERO;
        }
    }

    /// The kernel does not go along.
    #[cold]
    fn do_without_ring(&mut self, error: &io::Error, ties: &Ties) {
        tracing::warn!("io_uring is of no use here, so packets are read and written one by one: {error}");
        self.ring = None;
        self.outbox.write(&mut self.devices, |access, written| ties.account(access, &written));
        for device in 0..self.devices.len() {
            // The others have never known the ring.
            let queue = self.devices[device].queue.as_ref();
            if queue.is_some_and(|queue| queue.file().is_some()) {
                self.listen(DeviceId(device as u16));
            }
        }
    }
}

impl Batch {
    /// How many packets there were, whatever came of them.
    pub(crate) fn len(&self) -> usize {
        self.packets.len() + self.broken
    }
}

#[cfg(test)]
mod tests;
