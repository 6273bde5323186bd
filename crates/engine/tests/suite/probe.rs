//! Health checks, against targets that are connections of `stack` with manners of their own.

#![allow(clippy::unwrap_used)] // what a test has made can be parsed

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use balance::{Reason as Unwell, Standing, State};
use engine::{Event, Message, Reason, Shared, Worker, WorkerId};
use stack::{Connection, Memory, Settings, Stack};
use topology::{DeviceId, Origin, TargetId, Topology};
use wire::{Frame, Packet, TcpFlags};

use crate::lab::*;
use manner::{Manner, Talk};

mod bounds;
mod header;
mod hostile;
mod http;
mod manner;
mod reload;
mod tcp;

/// How long nothing changes.
const TICK: Duration = Duration::from_millis(5);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A file whose one group has these targets, and this health check.
fn file(check: &str, targets: &[&str]) -> String {
    let target = |at: &&str| {
        let at: SocketAddr = at.parse().unwrap();
        format!("{{ address = \"{}\", port = {} }}", at.ip(), at.port())
    };
    let targets: Vec<String> = targets.iter().map(target).collect();
    format!(
        r#"
        [[service]]
        name = "s"
        namespace = "provider"
        nodes = [{{ address = "10.2.9.1" }}, {{ address = "fd02::9:1" }}]
        listeners = [{{ protocol = "tcp", port = 80, forward = "g" }}]
        [[target_group]]
        name = "g"
        targets = [{}]
        {check}
        "#,
        targets.join(", ")
    )
}

/// A health check with an interval of 10 s and a time-out of 4.
fn every_ten(what: &str) -> String {
    format!("health_check = {{ interval = 10, timeout = 4, healthy_threshold = 2, {what} }}")
}

/// A packet that went by.
#[derive(Clone, Debug)]
struct Seen {
    at: Duration,
    /// Whether it is one of ours.
    is_ours: bool,
    packet: Packet,
    bytes: Vec<u8>,
}

/// A forwarder of one worker that checks targets, and these.
struct World {
    shared: Arc<Shared>,
    worker: Worker,
    provider: DeviceId,
    hosts: Stack,
    /// By the target's address.
    manners: HashMap<SocketAddr, Manner>,
    talks: HashMap<(SocketAddr, SocketAddr), Talk>,
    /// What targets have heard, once it was over: what they expect of everybody first, what they were asked, and under which name.
    asked: Vec<(Vec<u8>, Vec<u8>, Option<String>)>,
    now: Duration,
    seen: Vec<Seen>,
    events: Vec<(Duration, Event)>,
    reasons: Vec<Reason>,
}

impl World {
    fn new(file: &str) -> Self {
        let shared = Arc::new(Shared::new(Arc::new(parse_file(file)), 1, [1, 2, 3, 4]));
        let worker = Worker::new(Arc::clone(&shared), WorkerId(0), [5, 6]);
        let hosts = Settings { offload: false, ..Settings::new([7, 8]) };
        let mut world = Self {
            shared,
            worker,
            provider: DeviceId(0),
            hosts: Stack::new(hosts, &Memory::new(64 << 20)),
            manners: HashMap::new(),
            talks: HashMap::new(),
            asked: Vec::new(),
            now: seconds(100),
            seen: Vec::new(),
            events: Vec::new(),
            reasons: Vec::new(),
        };
        world.tell(Message::Attach(world.provider));
        world
    }

    /// One target, 10.2.0.2:8080, with these manners.
    fn of(check: &str, manner: Manner) -> Self {
        let mut world = Self::new(&file(&every_ten(check), &["10.2.0.2:8080"]));
        world.behaves("10.2.0.2:8080", manner);
        world
    }

    fn behaves(&mut self, target: &str, manner: Manner) {
        self.manners.insert(target.parse().unwrap(), manner);
    }

    fn tell(&mut self, message: Message) {
        let mut said = Said::default();
        self.worker.message(message, self.now, &mut said);
        self.hear(said);
    }

    fn reload(&mut self, file: &str) {
        let topology = parse_file(file).succeed(&self.shared.topology()).unwrap();
        self.shared.adopt(Arc::new(topology), self.now);
        self.tell(Message::Planned);
    }

    /// Lets so much time pass.
    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while self.now < until {
            self.now += TICK;
            if self.worker.next_deadline() <= self.now {
                let mut said = Said::default();
                self.worker.expire(self.now, 1000, &mut said);
                self.hear(said);
            }
            self.hosts_speak();
        }
    }

    /// Lets time pass until so many checks have begun, and one more tick.
    fn pass_until_begun(&mut self, count: usize) {
        let patience = self.now + seconds(100);
        while self.begun().len() < count {
            assert!(self.now < patience, "{count} checks never begin");
            self.pass(TICK);
        }
        self.pass(TICK);
    }

    /// What becomes of what the worker has said: events are kept, frames reach the targets.
    fn hear(&mut self, said: Said) {
        self.events.extend(said.events.iter().map(|event| (self.now, *event)));
        for (device, bytes) in said.sent {
            assert_eq!(device, self.provider);
            self.note(true, &bytes);
            self.reach_target(bytes);
        }
    }

    fn note(&mut self, is_ours: bool, bytes: &[u8]) {
        let packet = wire::parse(bytes).unwrap();
        self.seen.push(Seen { at: self.now, is_ours, packet, bytes: bytes.to_vec() });
    }

    /// A target's packet comes to the worker.
    fn reach_worker(&mut self, mut bytes: Vec<u8>) {
        self.note(false, &bytes);
        let mut said = Said::default();
        self.worker.input(self.provider, &mut [Frame::plain(&mut bytes)], self.now, &mut said);
        self.reasons.extend(said.verdicts.iter().map(|verdict| verdict.reason));
        self.hear(said);
    }

    fn reach_target(&mut self, mut bytes: Vec<u8>) {
        let packet = wire::parse(&bytes).unwrap();
        let from = SocketAddr::new(packet.source.ip(), packet.source_port);
        let to = SocketAddr::new(packet.destination.ip(), packet.destination_port);
        let Some(manner) = self.manners.get(&to) else { return };
        let mut answers = Vec::new();
        let mut emit = |frame: &mut Frame<'_>| answers.push(frame.bytes.to_vec());
        if packet.flags.opens() && manner.refuses {
            let mut buffer = [0; wire::SEGMENT_CAPACITY];
            let len = wire::write_reset(&packet, &mut buffer).unwrap();
            answers.push(buffer[..len].to_vec());
        } else {
            if packet.flags.opens() && !self.talks.contains_key(&(from, to)) {
                let talk = Connection::accept(&mut self.hosts, to, from, self.now).unwrap();
                self.talks.insert((from, to), Talk::begin(talk, manner, self.now));
            }
            if let Some(talk) = self.talks.get_mut(&(from, to)) {
                let frame = Frame::plain(&mut bytes);
                talk.connection.input(&mut self.hosts, &frame, self.now, &mut emit).ok();
            }
        }
        answers.into_iter().for_each(|answer| self.reach_worker(answer));
    }

    /// Lets the targets do what they do.
    fn hosts_speak(&mut self) {
        let mut answers = Vec::new();
        for talk in self.talks.values_mut() {
            talk.speak(self.now);
            talk.connection.poll(&mut self.hosts, self.now, &mut |frame| answers.push(frame.bytes.to_vec()));
        }
        let over = self.talks.extract_if(|_, talk| talk.connection.state().is_over());
        let name = |talk: &Talk| Some(talk.session.as_ref()?.server_name()?.to_owned());
        self.asked.extend(over.map(|(_, talk)| (talk.first.clone(), talk.asked.clone(), name(&talk))));
        answers.into_iter().for_each(|answer| self.reach_worker(answer));
    }

    fn target(&self, at: &str) -> TargetId {
        let at: SocketAddr = at.parse().unwrap();
        let topology = self.shared.topology();
        let found =
            topology.targets.iter().find(|(_, target)| (target.address, target.port) == (at.ip(), at.port()));
        found.unwrap().0
    }

    /// What is known of 10.2.0.2:8080.
    fn standing(&self) -> Standing {
        self.shared.health().standing(self.target("10.2.0.2:8080"))
    }

    /// The flags of our packets, in order, but for PSH.
    fn flags(&self) -> Vec<u8> {
        self.ours().map(|seen| seen.packet.flags.bits() & (TcpFlags::FIN | SYN | RST | ACK)).collect()
    }

    fn ours(&self) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(|seen| seen.is_ours)
    }

    /// When our checks began.
    fn begun(&self) -> Vec<Duration> {
        let mut known = HashSet::new();
        let is_new = |seen: &&Seen| {
            let Packet { source_port, destination, sequence, flags, .. } = seen.packet;
            flags.opens() && known.insert((source_port, destination, sequence))
        };
        self.ours().filter(is_new).map(|seen| seen.at).collect()
    }

    /// Nothing is left: of no probe, in no table.
    fn assert_clean(&self) {
        assert_eq!((self.worker.probes(), self.shared.flows().live()), (0, 0));
    }
}

fn parse_file(file: &str) -> Topology {
    Topology::parse(file, &Origin::new(Path::new("/lab.toml"))).unwrap()
}

fn unwell(reason: Unwell) -> Standing {
    Standing { state: State::Unhealthy, reason: Some(reason) }
}
