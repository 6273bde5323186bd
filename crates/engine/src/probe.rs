//! Health checks: each worker asks its share of the targets, from a node's address through that node's device.
//!
//! ```text
//!   a target's moment ─▶ a flow ─▶ our own TCP ─▶ (TLS ─▶) what is asked ─▶ what is found ─▶ Health, HealthChanged
//!   (balance::Checkup)   (a port)  (stack)                                      └─▶ the connection closes, politely
//! ```
//!
//! A probe is a flow like others, on a lane of its own kind, so that its answers find their way and its port is nobody else's.
//! What is no fault of the target's is not held against it: where its node's device is down, or no port, place in the table
//! or connection is left, a check is put off and its target stays what it was found to be. So does that of a probe that
//! panics: its check comes to nothing, and the end of its flow tells of it.

mod attend;
mod checks;
mod head;
mod page;
mod patient;
mod single;
mod tls;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use flow::{Cause, FlowPath, Found, Key, NewFlow, Turn};
use rustls::ClientConfig;
use stack::{Memory, Settings, Stack};
use topology::{DeviceId, TargetId};
use wire::Frame;

use crate::attached::Attached;
use crate::contract::{Event, Output, WorkerId};
use crate::expiry::tell_target;
use crate::plan::Plan;
use crate::shared::Shared;
use crate::terminate::partings::Partings;
use crate::verdict::Reason;
use crate::wheel::Wheel;
use crate::worker::close;

pub(crate) use checks::{Check, checks};

use page::Page;
use patient::Patient;
use single::Probe;

/// Connections that a worker's probes have at once, those that are closing included.
const CAPACITY: usize = 1024;
/// Bytes of each of a connection's two buffers.
const BUFFER: usize = 16 << 10;
/// When a check that could not begin is tried again.
const SOON: Duration = Duration::from_secs(1);
/// Probes and targets attended to before frames have their turn again.
const AT_ONCE: usize = 64;

/// What a prober works with, and others do too.
pub(crate) struct Ground<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) plan: &'a Plan,
    pub(crate) turn: &'a Turn<'a>,
    pub(crate) attached: &'a Attached,
    pub(crate) partings: &'a mut Partings,
}

/// A worker's health checks.
pub(crate) struct Prober {
    worker: WorkerId,
    workers: usize,
    stack: Stack,
    tls: Option<Arc<ClientConfig>>,
    /// Keys each target's moment of the interval, and the ports that are tried first.
    keys: RandomState,
    /// By place: a target's index, divided by the number of workers.
    patients: Vec<Option<Patient>>,
    /// When each patient is to be looked at.
    schedule: Wheel,
    /// Patients whose check waits until there is room for it, the longest-waiting first.
    waiting: VecDeque<u32>,
    /// By place.
    probes: Vec<Option<Box<Probe>>>,
    vacant: Vec<u32>,
    /// When each probe is to be attended to.
    timers: Wheel,
    /// How many probes there have been.
    begun: u64,
}

impl Prober {
    /// The prober of this worker, with nobody to ask. `seed` is that of all the worker's TCP.
    pub(crate) fn new(shared: &Shared, worker: WorkerId, seed: [u64; 2]) -> Self {
        let [a, b] = seed;
        let settings = Settings {
            mtu: usize::from(shared.topology().run.mss_ceiling) + 40,
            buffer: BUFFER,
            connections: CAPACITY,
            offload: false,
            ..Settings::new(seed)
        };
        let stack = Stack::new(settings, &Memory::new(2 * BUFFER * CAPACITY));
        let places = stack.places() as u32;
        Self {
            worker,
            workers: shared.workers(),
            stack,
            tls: tls::config(),
            keys: RandomState::with_seeds(a, b, !a, !b),
            patients: Vec::new(),
            schedule: Wheel::new(),
            waiting: VecDeque::new(),
            probes: (0..places).map(|_| None).collect(),
            vacant: (0..places).rev().collect(),
            timers: Wheel::new(),
            begun: 0,
        }
    }

    /// Takes up the checks of a new plan, as far as they are this worker's. Who is asked the same as before notices nothing; of
    /// whom something else is asked, what was found stays.
    pub(crate) fn take_up(&mut self, checks: &[Check], now: Duration) {
        let (worker, workers) = (self.worker.index(), self.workers);
        let own = || checks.iter().filter(|check| check.target.index() % workers == worker);
        let kept: HashSet<TargetId> = own().map(|check| check.target).collect();
        for place in 0..self.patients.len() {
            if self.patients[place].as_ref().is_some_and(|patient| !kept.contains(&patient.check.target)) {
                self.discharge(place as u32, now);
            }
        }
        for check in own() {
            self.admit(check, now);
        }
    }

    /// Takes in a packet of the probe at this place.
    pub(crate) fn input<O: Output>(
        &mut self,
        ground: &mut Ground<'_>,
        place: u32,
        found: &Found,
        frame: &Frame<'_>,
        now: Duration,
        out: &mut O,
    ) -> Reason {
        let mut reason = Reason::NoFlow;
        if self.probe(place).is_some_and(|probe| probe.flow == found.flow) {
            let acquaintances = &ground.shared.acquaintances;
            self.attend(ground, place, now, out, |probe, stack, gate| {
                reason = probe.input(stack, frame, now, gate);
                if let Some(options) = probe.take_syn_options() {
                    acquaintances.learn(probe.target(), &options);
                }
            });
        }
        reason
    }

    /// Asks whose moment has come, and attends to probes whose time has, so many at once.
    pub(crate) fn expire<O: Output>(&mut self, ground: &mut Ground<'_>, now: Duration, out: &mut O) {
        self.timers.advance(now);
        for _ in 0..AT_ONCE {
            let Some(place) = self.timers.take_due() else { break };
            self.attend(ground, place, now, out, |_, _, _| {});
        }
        self.schedule.advance(now);
        for _ in 0..AT_ONCE {
            let Some(place) = self.next_waiting().or_else(|| self.schedule.take_due()) else { break };
            self.look_at(ground, place, now, out);
        }
    }

    /// When [`Prober::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let is_awaited = self.has_room() && !self.waiting.is_empty();
        let at_once = is_awaited.then_some(Duration::ZERO);
        [at_once, self.timers.next(), self.schedule.next()].into_iter().flatten().min()
    }

    /// The device is gone: what is being asked through it comes to nothing.
    pub(crate) fn detach(&mut self, device: DeviceId, now: Duration) {
        for place in 0..self.probes.len() as u32 {
            if self.probe(place).is_some_and(|probe| probe.check.device == device) {
                self.cut_off(place, now);
            }
        }
    }

    /// How many probes there are, those that are closing included.
    pub(crate) fn len(&self) -> usize {
        self.probes.len() - self.vacant.len()
    }
}

/// Patients.
impl Prober {
    fn admit(&mut self, check: &Check, now: Duration) {
        let place = check.target.index() / self.workers;
        if place >= self.patients.len() {
            self.patients.resize_with(place + 1, || None);
        }
        let hash = self.keys.hash_one(check.target);
        let mut useless = None;
        match &mut self.patients[place] {
            Some(patient) if *patient.check == *check => return,
            Some(patient) => useless = patient.revise(check, now),
            vacant => *vacant = Some(Patient::new(check, hash, now)),
        }
        if let Some(probe) = useless {
            self.cut_off(probe, now);
        }
        self.file(place as u32, now);
    }

    fn discharge(&mut self, place: u32, now: Duration) {
        self.schedule.remove(place);
        self.waiting.retain(|waiting| *waiting != place);
        let patient = self.patients[place as usize].take();
        if let Some(probe) = patient.and_then(|patient| patient.asked) {
            self.cut_off(probe, now);
        }
    }

    /// Sees to it that a patient is looked at in time.
    fn file(&mut self, place: u32, now: Duration) {
        if let Some(patient) = self.patient(place) {
            let next = patient.next_look(now);
            self.schedule.set(place, next, now);
        }
    }

    /// Hears what others say of a patient; asks it how it is, if it is time to.
    fn look_at<O: Output>(&mut self, ground: &mut Ground<'_>, place: u32, now: Duration, out: &mut O) {
        let Some(patient) = self.patient(place) else { return };
        patient.overhear(&ground.shared.health, out);
        if patient.is_due(now)
            && let Err(reason) = self.ask(ground, place, now, out)
        {
            self.put_off(place, reason, out);
        }
        let Some(patient) = self.patient(place).filter(|patient| !patient.waits) else { return };
        let next = patient.next_look(now);
        // It is due, and cannot be asked now.
        let next = if next <= now { now + SOON } else { next };
        self.schedule.set(place, next, now);
    }

    /// A check cannot begin, for no fault of its target. Where it is for want of room, it waits its turn.
    fn put_off<O: Output>(&mut self, place: u32, reason: Reason, out: &mut O) {
        let Some(patient) = self.patient(place) else { return };
        let (target, waits) = (patient.target(), patient.waits);
        if reason == Reason::ChecksFull {
            patient.waits = true;
            if waits {
                return;
            }
            self.waiting.push_back(place);
        }
        out.event(Event::CheckPutOff { target, reason });
    }

    /// Sends a probe to a patient.
    fn ask<O: Output>(
        &mut self,
        ground: &mut Ground<'_>,
        place: u32,
        now: Duration,
        out: &mut O,
    ) -> Result<(), Reason> {
        let Some(patient) = self.patient(place) else { return Ok(()) };
        let check = Arc::clone(&patient.check);
        if !ground.attached.has(check.device) {
            return Err(Reason::EgressDown);
        }
        let probe = *self.vacant.last().ok_or(Reason::ChecksFull)?;
        let page = Page::of(&check, self.tls.as_ref())?;
        let found = self.open(ground, &check, probe, now, out)?;
        let Some(dialled) = Probe::dial(&mut self.stack, &check, page, &found, now) else {
            ground.turn.release(found.flow, Cause::Released);
            return Err(Reason::ChecksFull);
        };
        self.vacant.pop();
        self.probes[probe as usize] = Some(Box::new(dialled));
        if let Some(patient) = self.patient(place) {
            patient.begin(probe, now, &ground.shared.health, out);
        }
        self.attend(ground, probe, now, out, |_, _, _| {});
        Ok(())
    }

    /// Opens the flow of a probe, from another port each time.
    fn open<O: Output>(
        &mut self,
        ground: &mut Ground<'_>,
        check: &Check,
        probe: u32,
        now: Duration,
        out: &mut O,
    ) -> Result<Found, Reason> {
        self.begun += 1;
        let new = NewFlow {
            original: Key::of_probe(check.node, check.from.into()),
            lane: check.lane,
            path: FlowPath::Probe { worker: self.worker.0, probe },
            preference: self.keys.hash_one((check.target, self.begun)),
        };
        let opened = ground.turn.open(&new, now, |crowded_out| {
            tell_target(ground.plan, ground.attached, &crowded_out, out);
            close(Some(crowded_out), out);
        });
        let found = opened?;
        ground.partings.prepare();
        ground.partings.forget(&found.onward);
        Ok(found)
    }

    /// Who has waited for room for longest, if there is some.
    fn next_waiting(&mut self) -> Option<u32> {
        let place = if self.has_room() { self.waiting.pop_front()? } else { return None };
        self.patient(place)?.waits = false;
        Some(place)
    }

    fn patient(&mut self, place: u32) -> Option<&mut Patient> {
        self.patients.get_mut(place as usize)?.as_mut()
    }
}

#[cfg(test)]
mod tests;
