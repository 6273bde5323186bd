//! One run: the forwarder, its network and its peers, driven by a virtual clock, one step at a time.

mod outages;
mod steering;

use std::sync::Arc;
use std::time::Duration;

use engine::{Message, Reason, Shared};
use topology::{DeviceId, Topology};

use crate::device::{Device, Fault, NotTaken, Outage};
use crate::hosts::{Hosts, Outgoing};
use crate::intruder::{get_ahead, intrude};
use crate::invariants::{self, Invariant, Violation};
use crate::judge::{Judge, Tally};
use crate::ledger::Tuple;
use crate::network::{Agenda, Link};
use crate::packet::OwnedFrame;
use crate::plan::Plan;
use crate::recorder::{Batch, Departure};
use crate::rng::Rng;
use crate::router::{Passage, Router};
use crate::sabotage::{Sabotage, Saboteur};
use crate::scenario::{PROVIDER, Scenario};
use crate::segments::finish;
use crate::story::Story;
use crate::trace::Trace;
use crate::workers::Workers;

use steering::{Control, read_topology};

/// Nothing here takes this long: connections that have not ended by then never will.
const LONGEST: Duration = Duration::from_secs(3600);
const MOST_STEPS: u64 = 2_000_000;

/// The whole world of one seed.
pub struct World {
    now: Duration,
    steps: u64,
    rng: Rng,
    scenario: Scenario,
    shared: Arc<Shared>,
    workers: Workers,
    agenda: Agenda<Happening>,
    /// By [`DeviceId`].
    doors: Vec<Door>,
    provider: DeviceId,
    hosts: Hosts,
    judge: Judge,
    control: Control,
    saboteur: Option<Saboteur>,
    /// Whose chance decides when somebody speaks in a client's name, if anybody does.
    forger: Option<Rng>,
    offloads: Offloads,
    trace: Trace,
    story: Story,
}

/// A device, and what lies between it and the hosts behind it.
struct Door {
    device: Device,
    router: Router,
    towards: Link,
    away: Link,
}

/// Whether workers and devices leave each other work undone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offloads {
    /// They do, as agreed.
    Agreed,
    /// A device has refused a frame: all workers are about to be told.
    Refused,
    /// They do not any more, and never will again.
    Lowered,
}

/// What happens at a moment.
enum Happening {
    /// A frame reaches a device of the forwarder's.
    Arrives(DeviceId, OwnedFrame),
    /// A frame reaches the hosts behind a device.
    Reaches(DeviceId, OwnedFrame),
    /// Somebody does what he should not.
    Intrusion,
    /// A device breaks down.
    Breaks(Outage),
    /// It recovers.
    Recovers(Outage),
    /// All workers are told that no work may be left undone.
    Lowers,
    /// The operator's file changes.
    Reloads(String),
    /// The operator goes home, if all connections are over.
    GoesHome,
    /// A client whose connection was ended has waited long enough.
    Tires(usize),
}

impl World {
    /// The world of a scenario, before its first moment.
    pub fn new(scenario: Scenario, sabotage: Option<Sabotage>, mut rng: Rng) -> Result<Self, Violation> {
        let topology = Arc::new(read_topology(&scenario.file, &scenario, sabotage)?);
        let shared = Arc::new(Shared::new(Arc::clone(&topology), scenario.workers, rng.seeds()));
        let device = |namespace: &str| device_of(&topology, namespace);
        let homes: Result<Vec<DeviceId>, Violation> =
            scenario.plans.iter().map(|plan| device(scenario.consumers[plan.consumer].namespace)).collect();
        let (homes, provider) = (homes?, device(PROVIDER)?);
        let owners = scenario.plans.iter().zip(&homes).map(|(plan, home)| (plan.id, owner(plan, *home)));
        let owners = owners.collect();
        let doors = topology.namespaces.iter().map(|namespace| Door {
            device: Device::default(),
            router: scenario.router(&namespace.name, rng.fork()),
            towards: Link::new(scenario.impairment, rng.fork()),
            away: Link::new(scenario.impairment, rng.fork()),
        });
        let doors = doors.collect();
        let mut world = Self {
            now: Duration::ZERO,
            steps: 0,
            workers: Workers::start(&shared, &scenario, rng.fork()),
            agenda: agenda(&scenario),
            doors,
            provider,
            hosts: Hosts::new(&scenario, homes, provider, &mut rng),
            judge: Judge::new(&shared, &scenario, owners),
            control: Control::new(&scenario),
            saboteur: sabotage.map(|sabotage| Saboteur::new(sabotage, &shared)),
            forger: scenario.forger.clone(),
            offloads: Offloads::Agreed,
            shared,
            trace: Trace::default(),
            story: Story::default(),
            scenario,
            rng,
        };
        world.begin()?;
        Ok(world)
    }

    /// Runs until every connection is over and everything is forgotten.
    pub fn run(&mut self) -> Result<(), Violation> {
        while self.steps < MOST_STEPS && self.step()? {}
        self.hosts.all_ended_as_planned()?;
        self.nothing_is_left()
    }

    /// The virtual time.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// How many steps were taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// A digest of everything that was said so far.
    pub fn trace(&self) -> u64 {
        self.trace.digest()
    }

    /// The last things that were said.
    pub fn story(&self) -> &Story {
        &self.story
    }

    /// How many frames ended for each reason.
    pub fn reasons(&self) -> &[u64; Reason::COUNT] {
        self.judge.reasons()
    }

    /// How much has happened to targets and files, and to headers.
    pub fn tally(&self) -> Tally {
        self.judge.tally()
    }

    /// How many frames the devices have lost.
    pub fn lost(&self) -> u64 {
        self.doors.iter().map(|door| door.device.lost()).sum()
    }

    /// Whether a device has refused frames, and every worker knows.
    pub fn is_lowered(&self) -> bool {
        self.offloads == Offloads::Lowered
    }

    /// Goes on to the next moment at which something happens, and lets it happen. `false` when nothing ever will.
    fn step(&mut self) -> Result<bool, Violation> {
        let outside = [self.agenda.next(), self.hosts.deadline(), self.control.deadline()];
        let outside = outside.into_iter().flatten().min();
        let is_quiet = outside.is_none() && self.shared.flows().is_quiet();
        if is_quiet && self.nothing_is_left().is_ok() {
            return Ok(false);
        }
        let next = [outside, self.workers.deadline()].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next < LONGEST) else { return Ok(false) };
        self.steps += 1;
        self.now = self.now.max(next);
        match self.agenda.due(self.now) {
            Some(happening) => self.happen(happening)?,
            None if self.control.deadline().is_some_and(|due| due <= self.now) => self.review()?,
            None => {
                let sent = self.hosts.poll(self.now);
                self.send(sent);
                for batch in self.workers.turn(self.now) {
                    self.settle(batch)?;
                }
            }
        }
        self.judge.flows_end_in_time(self.now)?;
        Ok(true)
    }

    fn nothing_is_left(&self) -> Result<(), Violation> {
        self.judge.nothing_is_left(self.workers.terminated(), self.workers.probes())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::Arrives(device, frame) => self.arrive(device, frame),
            Happening::Reaches(device, frame) => {
                self.judge.reaches(device, &frame);
                let answers = self.hosts.input(device, &frame, &self.judge.ledger, self.now)?;
                self.send(answers);
            }
            Happening::Intrusion => {
                let unwelcome = intrude(&self.shared.topology(), &self.judge.ledger, &mut self.rng);
                self.send(unwelcome);
            }
            Happening::Breaks(outage) => self.break_down(outage)?,
            Happening::Recovers(outage) => self.recover(outage)?,
            Happening::Lowers => self.lower()?,
            Happening::Reloads(text) => self.reload(&text)?,
            Happening::GoesHome => self.go_home()?,
            Happening::Tires(client) => {
                let sent = self.hosts.tire(client, self.now);
                self.send(sent);
            }
        }
        Ok(())
    }

    /// Hosts send frames towards the forwarder.
    fn send(&mut self, frames: Outgoing) {
        for (device, mut frame) in frames {
            if let Some(saboteur) = &self.saboteur {
                saboteur.misread(&mut frame);
            }
            let ahead = self.forger.as_mut().and_then(|forger| get_ahead(&frame, forger));
            for frame in [Some(frame), ahead].into_iter().flatten() {
                if !frame.damaged {
                    self.judge.ledger.sent(device, &frame);
                }
                self.carry_in(device, &frame);
            }
        }
    }

    fn carry_in(&mut self, device: DeviceId, frame: &OwnedFrame) {
        let carried = self.doors[device.index()].towards.carry(frame);
        if carried.iter().all(|(_, frame)| frame.damaged) {
            self.judge.lost(device, frame);
        }
        for (delay, frame) in carried {
            self.agenda.note(self.now + delay, Happening::Arrives(device, frame));
        }
    }

    /// A frame is at a device. What may not be left undone any more, the kernel behind it does first.
    fn arrive(&mut self, device: DeviceId, frame: OwnedFrame) {
        let frames = if self.is_lowered() { finish(frame) } else { vec![frame] };
        let is_cut = frames.len() > 1;
        for frame in frames {
            // An error may quote any of them.
            if is_cut {
                self.judge.ledger.sent(device, &frame);
            }
            if let Some(frame) = self.doors[device.index()].device.receive(frame) {
                self.workers.arrive(device, frame, self.now);
            }
        }
    }

    /// Takes in what a worker has said: has it judged, and lets what it has sent go its way.
    fn settle(&mut self, mut batch: Batch) -> Result<(), Violation> {
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.tamper(&mut batch, &self.judge.ledger);
        }
        self.trace.batch(self.now, &batch);
        self.judge.memory_is_bounded(self.workers.terminated())?;
        let judged = self.judge.hear(&batch, self.now);
        self.heed(&batch);
        let cut_off = self.judge.take_cut_off();
        self.excuse(|hosts, _| {
            cut_off.iter().filter_map(|(client, since)| hosts.at(client, *since)).collect()
        });
        for client in self.judge.take_crowded_out() {
            self.hosts.crowd_out(&client, self.now);
        }
        let left: Result<(), Violation> =
            batch.said.departures.iter().try_for_each(|departure| self.leave(departure));
        self.story.add(self.now, batch);
        left.and(judged)
    }

    /// A frame leaves: by the device, past its router, over the link. What the router has to say comes back at once.
    fn leave(&mut self, departure: &Departure) -> Result<(), Violation> {
        let Departure { device, frame, slot } = departure;
        let is_lowered = self.is_lowered();
        let Some(door) = self.doors.get_mut(device.index()) else { return Ok(()) };
        invariants::device_is_there(slot.is_some(), door.device.has(Fault::Gone))?;
        invariants::nothing_is_left_undone(departure, is_lowered)?;
        match door.device.take(frame, &mut self.rng) {
            Ok(()) => {}
            Err(NotTaken::Lost) => return Ok(()),
            Err(NotTaken::Refused) => {
                self.refused();
                return Ok(());
            }
        }
        match door.router.pass(frame, self.now) {
            Passage::Dropped => {}
            Passage::Refused(error) => self.carry_in(*device, &error),
            Passage::Onward(pieces) => {
                for piece in pieces {
                    let carried = door.away.carry(&piece);
                    if carried.iter().all(|(_, frame)| frame.damaged) {
                        self.judge.lost(*device, &piece);
                    }
                    for (delay, frame) in carried {
                        self.agenda.note(self.now + delay, Happening::Reaches(*device, frame));
                    }
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, message: Message) -> Result<(), Violation> {
        if self.saboteur.as_ref().is_some_and(|saboteur| saboteur.swallows(message)) {
            return Ok(());
        }
        self.workers.tell(message, self.now).into_iter().try_for_each(|batch| self.settle(batch))
    }
}

fn agenda(scenario: &Scenario) -> Agenda<Happening> {
    let mut agenda = Agenda::default();
    for at in &scenario.intrusions {
        agenda.note(*at, Happening::Intrusion);
    }
    for outage in &scenario.outages {
        agenda.note(outage.begins, Happening::Breaks(*outage));
    }
    for (at, text) in &scenario.unrest.reloads {
        agenda.note(*at, Happening::Reloads(text.clone()));
    }
    if let Some((at, _)) = scenario.unrest.reloads.last() {
        agenda.note(*at, Happening::GoesHome);
    }
    agenda
}

fn owner(plan: &Plan, device: DeviceId) -> Tuple {
    Tuple {
        device,
        protocol: plan.behaviour.protocol(),
        client: plan.route.source,
        interface: plan.route.destination,
    }
}

fn device_of(topology: &Topology, namespace: &str) -> Result<DeviceId, Violation> {
    let place = topology.namespaces.iter().position(|own| own.name == namespace);
    place.map(|place| DeviceId(place as u16)).ok_or_else(|| {
        Violation::new(Invariant::SoundScenario, format!("the operator's file has no namespace {namespace}"))
    })
}
