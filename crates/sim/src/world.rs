//! One run: the forwarder, its network and its peers, driven by a virtual clock, one step at a time.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engine::{Reason, Shared};
use topology::{DeviceId, Origin, Topology};
use wire::parse;

use crate::client::{Client, Ended};
use crate::intruder::intrude;
use crate::invariants::{self, Invariant, Violation};
use crate::ledger::{Ledger, Tuple};
use crate::network::{Agenda, Link};
use crate::packet::{OwnedFrame, checksums_are_right, route_of};
use crate::plan::{Behaviour, Plan, Start};
use crate::provider::Provider;
use crate::recorder::{Batch, Departure};
use crate::rng::Rng;
use crate::sabotage::{Sabotage, Saboteur};
use crate::scenario::{PROVIDER, Scenario};
use crate::story::Story;
use crate::trace::Trace;
use crate::workers::Workers;

/// Nothing here takes this long: connections that have not ended by then never will.
const LONGEST: Duration = Duration::from_secs(1200);
const MOST_STEPS: u64 = 2_000_000;

/// The whole world of one seed.
pub struct World {
    now: Duration,
    steps: u64,
    rng: Rng,
    shared: Arc<Shared>,
    workers: Workers,
    agenda: Agenda<Happening>,
    /// By device: towards the forwarder, and away from it.
    links: Vec<[Link; 2]>,
    clients: Vec<Client>,
    /// Each client's device.
    homes: Vec<DeviceId>,
    provider: Provider,
    provider_device: DeviceId,
    ledger: Ledger,
    saboteur: Option<Saboteur>,
    trace: Trace,
    story: Story,
    reasons: [u64; Reason::COUNT],
}

/// What happens at a moment.
enum Happening {
    /// A frame reaches a device of the forwarder's.
    Arrives(DeviceId, OwnedFrame),
    /// A frame reaches the hosts behind a device.
    Reaches(DeviceId, OwnedFrame),
    /// Somebody does what he should not.
    Intrusion,
}

impl World {
    /// The world of a scenario, before its first moment.
    pub fn new(scenario: Scenario, sabotage: Option<Sabotage>, mut rng: Rng) -> Result<Self, Violation> {
        let topology =
            Topology::parse(&scenario.file, &Origin::new("simulated.toml")).map_err(|problems| {
                Violation::new(Invariant::SoundScenario, format!("{problems:?}\n{}", scenario.file))
            })?;
        let topology = Arc::new(topology);
        let shared = Arc::new(Shared::new(Arc::clone(&topology), scenario.workers, rng.seeds()));
        let device = |namespace: &str| device_of(&topology, namespace);
        let homes: Result<Vec<DeviceId>, Violation> =
            scenario.plans.iter().map(|plan| device(scenario.consumers[plan.consumer].namespace)).collect();
        let homes = homes?;
        let owners = scenario.plans.iter().zip(&homes).map(|(plan, home)| (plan.id, owner(plan, *home)));
        let mut link = || Link::new(scenario.impairment, rng.fork());
        let links = topology.namespaces.iter().map(|_| [link(), link()]).collect();
        let mut agenda = Agenda::default();
        for at in scenario.intrusions {
            agenda.note(at, Happening::Intrusion);
        }
        Ok(Self {
            now: Duration::ZERO,
            steps: 0,
            ledger: Ledger::new(&topology, owners.collect::<BTreeMap<_, _>>()),
            workers: Workers::start(&shared, scenario.ring, scenario.stall, rng.fork()),
            agenda,
            links,
            provider_device: device(PROVIDER)?,
            clients: scenario.plans.iter().map(|plan| Client::new(plan.clone(), rng.fork())).collect(),
            provider: Provider::new(Rc::from(scenario.plans), scenario.open, rng.fork()),
            homes,
            saboteur: sabotage.map(|sabotage| Saboteur::new(sabotage, &shared)),
            shared,
            trace: Trace::default(),
            story: Story::default(),
            reasons: [0; Reason::COUNT],
            rng,
        })
    }

    /// Runs until every connection is over and everything is forgotten.
    pub fn run(&mut self) -> Result<(), Violation> {
        while self.steps < MOST_STEPS && self.step()? {}
        self.all_ended_as_planned()?;
        let flows = self.shared.flows();
        invariants::nothing_is_left(flows.len(), flows.ports().in_use(), self.ledger.live_flows())
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
        &self.reasons
    }

    /// Goes on to the next moment at which something happens, and lets it happen. `false` when nothing ever will.
    fn step(&mut self) -> Result<bool, Violation> {
        let clients = self.clients.iter().filter_map(Client::deadline).min();
        let outside = [self.agenda.next(), clients, self.provider.deadline()].into_iter().flatten().min();
        if outside.is_none() && self.shared.flows().is_quiet() {
            return Ok(false);
        }
        let next = [outside, self.workers.deadline()].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next < LONGEST) else { return Ok(false) };
        self.steps += 1;
        self.now = self.now.max(next);
        match self.agenda.due(self.now) {
            Some(Happening::Arrives(device, frame)) => self.workers.arrive(device, frame, self.now),
            Some(Happening::Reaches(device, frame)) => self.reaches(device, &frame)?,
            Some(Happening::Intrusion) => self.intrusion(),
            None => {
                self.poll_hosts();
                for batch in self.workers.turn(self.now) {
                    self.settle(batch)?;
                }
            }
        }
        Ok(true)
    }

    fn poll_hosts(&mut self) {
        for index in 0..self.clients.len() {
            if self.clients[index].deadline().is_some_and(|at| at <= self.now) {
                self.poll_client(index);
            }
        }
        let sent = self.provider.poll(self.now);
        self.send(self.provider_device, sent);
    }

    fn poll_client(&mut self, index: usize) {
        let sent = self.clients[index].poll(self.now);
        self.send(self.homes[index], sent);
        if self.clients[index].ended().is_some() {
            let over = self.clients[index].plan.id;
            let followers = self.clients.iter_mut();
            followers
                .filter(|client| matches!(client.plan.start, Start::After(before, _) if before == over))
                .for_each(|client| client.follow(self.now));
        }
    }

    /// Hosts behind a device send frames towards the forwarder.
    fn send(&mut self, device: DeviceId, frames: Vec<OwnedFrame>) {
        for frame in frames {
            if let Ok(packet) = parse(&frame.bytes) {
                self.ledger.sent(device, &packet);
            }
            self.carry_in(device, &frame);
        }
    }

    fn carry_in(&mut self, device: DeviceId, frame: &OwnedFrame) {
        for (delay, frame) in self.links[device.index()][0].carry(frame) {
            self.agenda.note(self.now + delay, Happening::Arrives(device, frame));
        }
    }

    fn intrusion(&mut self) {
        match intrude(self.shared.topology(), &self.ledger, &mut self.rng) {
            Some((device, frame)) if frame.damaged => self.carry_in(device, &frame),
            Some((device, frame)) => self.send(device, vec![frame]),
            None => {}
        }
    }

    /// A frame reaches the hosts behind a device. What is damaged they drop, as any kernel does.
    fn reaches(&mut self, device: DeviceId, frame: &OwnedFrame) -> Result<(), Violation> {
        let Ok(packet) = parse(&frame.bytes) else { return Ok(()) };
        if !checksums_are_right(frame, &packet) {
            return Ok(());
        }
        if self.ledger.sight_of(device, &packet).is_some() {
            let answers = self.provider.input(&packet, &frame.bytes, self.now)?;
            self.send(device, answers);
            return Ok(());
        }
        let route = route_of(&packet);
        let newest = (0..self.clients.len()).rev().find(|index| {
            let client = &self.clients[*index];
            let own = (client.plan.route.source, client.plan.route.destination);
            client.has_begun() && self.homes[*index] == device && own == (route.destination, route.source)
        });
        if let Some(index) = newest {
            self.clients[index].input(&packet, &frame.bytes, self.now)?;
            self.poll_client(index);
        }
        Ok(())
    }

    /// Takes in what a worker has said: checks it, and lets what it has sent go its way.
    fn settle(&mut self, mut batch: Batch) -> Result<(), Violation> {
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.tamper(&mut batch, &self.ledger);
        }
        self.trace.batch(self.now, &batch);
        self.learn(&batch);
        let judged = self.judge(&batch);
        for Departure { device, frame, .. } in &batch.said.departures {
            let Some([_, link]) = self.links.get_mut(device.index()) else { continue };
            for (delay, frame) in link.carry(frame) {
                self.agenda.note(self.now + delay, Happening::Reaches(*device, frame));
            }
        }
        self.story.add(self.now, batch);
        judged
    }

    fn judge(&mut self, batch: &Batch) -> Result<(), Violation> {
        invariants::one_verdict_each(batch)?;
        // What comes of a damaged frame is damaged too, and is nobody's.
        if batch.is_damaged() {
            return Ok(());
        }
        batch.said.departures.iter().try_for_each(|departure| self.check(departure, batch))
    }

    /// Notes which flows there are, and whose they are.
    fn learn(&mut self, batch: &Batch) {
        batch.said.events.iter().for_each(|event| self.ledger.event(event));
        for (slot, verdict) in &batch.said.verdicts {
            self.reasons[verdict.reason.index()] += 1;
            if let (Some(client), Some(flow)) = (self.client_at(batch, Some(*slot)), verdict.flow) {
                self.ledger.went_by(client, flow);
            }
        }
    }

    fn check(&mut self, departure: &Departure, batch: &Batch) -> Result<(), Violation> {
        let Ok(packet) = parse(&departure.frame.bytes) else {
            return Err(Violation::new(Invariant::FaithfulFrames, "what leaves is no packet"));
        };
        let came_in = departure.slot.and_then(|slot| batch.frames.get(slot));
        let mss_ceiling = self.shared.topology().run.mss_ceiling;
        invariants::frame_is_on_its_own_side(departure, &packet, &self.ledger)?;
        invariants::frame_is_faithful(departure, &packet, came_in, mss_ceiling)?;
        let owner = self
            .client_at(batch, departure.slot)
            .or_else(|| self.ledger.owner_of(&departure.frame.bytes[packet.payload..]));
        match (self.ledger.sight_of(departure.device, &packet), owner) {
            (Some(seen), Some(owner)) => invariants::port_has_one_owner(seen, owner, &mut self.ledger),
            // The forwarder's own SYN: in whose name is not known yet, but the port must be free.
            (Some(seen), None) if packet.flags.opens() => invariants::port_is_free(seen, &self.ledger),
            _ => Ok(()),
        }
    }

    /// The client that has sent the frame at a slot of a batch, if it was one.
    fn client_at(&self, batch: &Batch, slot: Option<usize>) -> Option<Tuple> {
        let frame = batch.frames.get(slot?).filter(|frame| !frame.damaged)?;
        self.ledger.client_of(batch.device?, &parse(&frame.bytes).ok()?)
    }

    /// 5. Every connection ended as its plan says, and its target has all of its bytes.
    fn all_ended_as_planned(&self) -> Result<(), Violation> {
        for client in &self.clients {
            let Plan { id, behaviour, route, upload, .. } = &client.plan;
            let received = self.provider.received(*id);
            let is_whole = match behaviour {
                Behaviour::ClientResets | Behaviour::Refused | Behaviour::Datagrams => true,
                _ => received == *upload,
            };
            if client.ended() != Some(Ended::AsPlanned) || !is_whole {
                let progress = client.progress();
                let message = format!(
                    "{id:?} ({behaviour:?}, {} > {}): {progress}; its target has {received} bytes",
                    route.source, route.destination
                );
                return Err(Violation::new(Invariant::AllEndAsPlanned, message));
            }
        }
        Ok(())
    }
}

fn owner(plan: &Plan, device: DeviceId) -> Tuple {
    let protocol =
        if plan.behaviour == Behaviour::Datagrams { wire::Protocol::Udp } else { wire::Protocol::Tcp };
    Tuple { device, protocol, client: plan.route.source, interface: plan.route.destination }
}

fn device_of(topology: &Topology, namespace: &str) -> Result<DeviceId, Violation> {
    let place = topology.namespaces.iter().position(|own| own.name == namespace);
    place.map(|place| DeviceId(place as u16)).ok_or_else(|| {
        Violation::new(Invariant::SoundScenario, format!("the operator's file has no namespace {namespace}"))
    })
}
