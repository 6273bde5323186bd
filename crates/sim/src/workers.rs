//! The virtual workers: the engine's own [`Worker`]s, each with its queues, its ring, and the moment of its next turn.
//!
//! A worker's turn is what a thread of the real forwarder does between two waits: frames that were handed over, frames
//! from its queues in small batches, then whatever is due. When a turn ends, the worker sleeps until its own deadline or
//! until a frame wakes it: nobody looks at its deadline again meanwhile.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use engine::{Message, Shared, Worker, WorkerId};
use stack::Numbers;
use topology::{DeviceId, Path};
use wire::Frame;

use crate::packet::OwnedFrame;
use crate::plan::{Plan, Start};
use crate::recorder::{Batch, Recorder, Ring};
use crate::rng::Rng;
use crate::scenario::{Scenario, path_of};

const LARGEST_BATCH: u64 = 8;
/// Flows that one turn looks at.
const BUDGET: usize = 64;
/// A worker with a deadline in the past comes round again this soon.
const AGAIN: Duration = Duration::from_micros(10);
/// One frame in this many goes to any worker, as if its flow had just been steered elsewhere.
const ASTRAY_PER_MILLE: u32 = 100;

/// In so many scenarios of a thousand, one connection's numbers begin again at 0, perhaps, as a consumer sees them.
const WRAPPING_PER_MILLE: u32 = 500;
/// What a target says at least before they do.
const BEFORE: u32 = 1000;
/// Keys that are tried.
const KEYS: usize = 200_000;

/// All workers of one forwarder.
pub struct Workers {
    workers: Vec<Worker>,
    desks: Vec<Desk>,
    rings: Vec<Ring>,
    stall: Duration,
    rng: Rng,
}

/// What waits for one worker.
#[derive(Default)]
struct Desk {
    frames: VecDeque<(DeviceId, OwnedFrame)>,
    wakes: Option<Duration>,
}

impl Workers {
    /// Workers that have every device, and what each said when it was told so.
    pub fn start(shared: &Arc<Shared>, scenario: &Scenario, mut rng: Rng) -> Self {
        let Scenario { ring, stall, scarcity, .. } = *scenario;
        let count = shared.workers();
        let mut rings: Vec<Ring> = (0..count).map(|_| Ring::new(ring)).collect();
        let wrapping = key_of_a_wrap(scenario, rng.clone().fork());
        let mut key = || {
            let own = rng.seeds();
            wrapping.unwrap_or(own)
        };
        let mut workers: Vec<Worker> =
            (0..count as u8).map(|id| Worker::new(Arc::clone(shared), WorkerId(id), key())).collect();
        for worker in &mut workers {
            scarcity.limit(worker);
            for device in 0..shared.topology().namespaces.len() as u16 {
                let mut recorder = Recorder::new(&mut rings, None);
                worker.message(Message::Attach(DeviceId(device)), Duration::ZERO, &mut recorder);
            }
        }
        let desks = workers.iter().map(|_| Desk { wakes: Some(Duration::ZERO), ..Desk::default() }).collect();
        Self { workers, desks, rings, stall, rng }
    }

    /// Tells all workers something. What they have not yet read of a device that is gone is gone with it.
    pub fn tell(&mut self, message: Message, now: Duration) -> Vec<Batch> {
        if let Message::Detach(gone) = message {
            for desk in &mut self.desks {
                desk.frames.retain(|(device, _)| *device != gone);
            }
        }
        let mut batches = Vec::new();
        for worker in 0..self.workers.len() {
            let mut recorder = Recorder::new(&mut self.rings, None);
            self.workers[worker].message(message, now, &mut recorder);
            batches.push(Batch { said: recorder.finish(&[]), ..Batch::default() });
            self.sleep(worker, now);
        }
        batches
    }

    /// A frame arrives at a device: by the hash of its bytes' tuple at one worker's queue, mostly.
    pub fn arrive(&mut self, device: DeviceId, frame: OwnedFrame, now: Duration) {
        let astray = self.rng.per_mille(ASTRAY_PER_MILLE);
        let worker = if astray { self.rng.index(self.workers.len()) } else { self.steer(&frame) };
        self.desks[worker].frames.push_back((device, frame));
        self.wake(worker, now);
    }

    /// How many connections are terminated, each of which has two halves.
    pub fn terminated(&self) -> usize {
        self.workers.iter().map(Worker::terminated).sum()
    }

    /// How many health checks are under way.
    pub fn probes(&self) -> usize {
        self.workers.iter().map(Worker::probes).sum()
    }

    /// When the next turn begins.
    pub fn deadline(&self) -> Option<Duration> {
        self.desks.iter().filter_map(|desk| desk.wakes).min()
    }

    /// The turn that is due at `now`, as its batches; what a timer has brought about is a batch without frames.
    pub fn turn(&mut self, now: Duration) -> Vec<Batch> {
        let Some(worker) = self.desks.iter().position(|desk| desk.wakes.is_some_and(|at| at <= now)) else {
            return Vec::new();
        };
        self.desks[worker].wakes = None;
        let mut batches = Vec::new();
        while let Some((device, frame)) = self.rings[worker].pop() {
            batches.push(self.input(worker, device, vec![frame], now));
        }
        while let Some((device, frames)) = self.next_batch(worker) {
            batches.push(self.input(worker, device, frames, now));
        }
        if self.workers[worker].next_deadline() <= now {
            batches.push(self.expire(worker, now));
        }
        self.sleep(worker, now);
        batches
    }

    /// Frames of one device. One that is damaged or an intruder's is alone in its batch, so that what comes of it is known
    /// to be its doing.
    fn next_batch(&mut self, worker: usize) -> Option<(DeviceId, Vec<OwnedFrame>)> {
        let most = self.rng.between(1, LARGEST_BATCH) as usize;
        let waiting = &mut self.desks[worker].frames;
        let (device, first) = waiting.pop_front()?;
        let mut batch = vec![first];
        let may_join = |next: Option<&(DeviceId, OwnedFrame)>| {
            next.is_some_and(|(of, frame)| *of == device && frame.is_honest())
        };
        while batch.len() < most && batch[0].is_honest() && may_join(waiting.front()) {
            batch.extend(waiting.pop_front().map(|(_, frame)| frame));
        }
        Some((device, batch))
    }

    fn input(&mut self, worker: usize, device: DeviceId, frames: Vec<OwnedFrame>, now: Duration) -> Batch {
        let mut working = frames.clone();
        let mut views: Vec<Frame<'_>> = working.iter_mut().map(OwnedFrame::borrow).collect();
        let mut recorder = Recorder::new(&mut self.rings, frames.first());
        self.workers[worker].input(device, &mut views, now, &mut recorder);
        Batch { device: Some(device), said: recorder.finish(&views), frames }
    }

    fn expire(&mut self, worker: usize, now: Duration) -> Batch {
        let mut recorder = Recorder::new(&mut self.rings, None);
        self.workers[worker].expire(now, BUDGET, &mut recorder);
        Batch { said: recorder.finish(&[]), ..Batch::default() }
    }

    /// The turn ends: wakes whoever got frames, and notes when this one wants to be woken.
    fn sleep(&mut self, worker: usize, now: Duration) {
        for other in 0..self.rings.len() {
            if !self.rings[other].is_empty() {
                self.wake(other, now);
            }
        }
        let deadline = self.workers[worker].next_deadline().max(now + AGAIN);
        let desk = &mut self.desks[worker];
        desk.wakes = Some(mem::take(&mut desk.wakes).map_or(deadline, |wakes: Duration| wakes.min(deadline)));
    }

    /// Sooner or later, as threads are: but never later than it would have woken anyway.
    fn wake(&mut self, worker: usize, now: Duration) {
        let at = now + self.rng.span(self.stall);
        let wakes = &mut self.desks[worker].wakes;
        *wakes = Some(wakes.map_or(at, |before| before.min(at)));
    }

    /// The queue that a device's own hash picks: of ports where there are some, otherwise of the first bytes.
    fn steer(&self, frame: &OwnedFrame) -> usize {
        let hash = match wire::parse(&frame.bytes) {
            Ok(packet) => u32::from(packet.source_port) * 31 + u32::from(packet.destination_port),
            Err(_) => frame.bytes.iter().take(40).map(|byte| u32::from(*byte)).sum(),
        };
        (hash as usize / 3) % self.workers.len()
    }
}

/// A key by which the numbers that a spliced flow's consumer is told begin again at 0 in the midst of what its target says.
/// Nothing else decides about them.
fn key_of_a_wrap(scenario: &Scenario, mut rng: Rng) -> Option<[u64; 2]> {
    let spliced = scenario.plans.iter().filter(|plan| path_of(plan) == Path::Splice);
    let talkative = spliced.max_by_key(|plan| plan.download).filter(|_| rng.per_mille(WRAPPING_PER_MILLE))?;
    let (Start::At(begins), Plan { route, download, .. }) = (talkative.start, talkative) else { return None };
    let heard = begins + scenario.impairment.latency;
    // The numbers go on while a worker is away.
    let soon = BEFORE + (scenario.stall.as_nanos() >> 6) as u32..*download as u32;
    if soon.is_empty() {
        return None;
    }
    let begins = |key| Numbers::new(key).begin(route.destination, route.source, heard).sequence;
    (0..KEYS).map(|_| rng.seeds()).find(|key| soon.contains(&begins(*key).wrapping_neg()))
}
