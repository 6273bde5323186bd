//! Everybody behind the devices: consumers' clients and the provider's targets, and what all kernels do for them: put
//! fragments together, drop what is damaged, say that nobody listens.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use topology::{DeviceId, Topology};
use wire::{Packet, Protocol, parse};

use crate::client::{Client, Ended};
use crate::fragment::{self, Reassembly};
use crate::icmp::{self, MOST_QUOTED, Message, Trouble};
use crate::invariants::{Invariant, Violation};
use crate::ledger::{Ledger, Tuple};
use crate::packet::{OwnedFrame, Route, Talk, checksums_are_right, route_of};
use crate::plan::{Plan, Start};
use crate::provider::Provider;
use crate::rng::Rng;
use crate::scenario::Scenario;

/// Frames that hosts send, and the device that they are behind.
pub type Outgoing = Vec<(DeviceId, OwnedFrame)>;

/// All hosts.
pub struct Hosts {
    clients: Vec<Client>,
    /// Each client's device.
    homes: Vec<DeviceId>,
    provider: Provider,
    provider_device: DeviceId,
    reassembly: Reassembly,
}

impl Hosts {
    /// The hosts of a scenario; `homes` are its plans' devices.
    pub fn new(scenario: &Scenario, homes: Vec<DeviceId>, provider_device: DeviceId, rng: &mut Rng) -> Self {
        let plans: Rc<[Plan]> = Rc::from(scenario.plans.clone());
        Self {
            clients: plans.iter().map(|plan| Client::new(plan.clone(), rng.fork())).collect(),
            homes,
            provider: Provider::new(plans, scenario, rng.fork()),
            provider_device,
            reassembly: Reassembly::default(),
        }
    }

    /// When [`Hosts::poll`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        self.clients.iter().filter_map(Client::deadline).chain(self.provider.deadline()).min()
    }

    /// Lets everybody do what is due.
    pub fn poll(&mut self, now: Duration) -> Outgoing {
        let mut sent = Vec::new();
        for index in 0..self.clients.len() {
            if self.clients[index].deadline().is_some_and(|at| at <= now) {
                let news = self.clients[index].poll(now);
                sent.extend(self.sent_by(index, news, now));
            }
        }
        sent.extend(self.provider.poll(now).into_iter().map(|frame| (self.provider_device, frame)));
        sent
    }

    /// A frame reaches the hosts behind a device. What is damaged they drop, as any kernel does.
    pub fn input(
        &mut self,
        device: DeviceId,
        frame: &OwnedFrame,
        ledger: &Ledger,
        now: Duration,
    ) -> Result<Outgoing, Violation> {
        if fragment::read(&frame.bytes).is_some() {
            return match self.reassembly.take(device, &frame.bytes, now) {
                Some(whole) if is_intact(&whole) => self.input(device, &whole, ledger, now),
                Some(whole) => Err(mixed(&whole)),
                None => Ok(Vec::new()),
            };
        }
        if let Some(message) = icmp::read(&frame.bytes) {
            return Ok(self.hear(device, &message, ledger, now));
        }
        let packet = parse(&frame.bytes).ok().filter(|packet| checksums_are_right(frame, packet));
        let Some(packet) = packet else { return Ok(Vec::new()) };
        if ledger.sight_of(device, &Talk::from(&packet)).is_some() {
            let answers = self.provider.input(&packet, &frame.bytes, now)?;
            return Ok(answers.into_iter().map(|answer| (device, answer)).collect());
        }
        self.deliver(device, &packet, &frame.bytes, now)
    }

    /// Every client that has begun a plan which `is_hit` gives it up.
    pub fn give_up(&mut self, is_hit: impl Fn(&Plan, DeviceId) -> bool, now: Duration) -> Outgoing {
        let mut sent = Vec::new();
        for index in 0..self.clients.len() {
            if is_hit(&self.clients[index].plan, self.homes[index]) {
                let news = self.clients[index].give_up(now);
                sent.extend(self.sent_by(index, news, now));
            }
        }
        sent
    }

    /// A client gives up. However it has ended, nothing is asked of it any more.
    pub fn tire(&mut self, index: usize, now: Duration) -> Outgoing {
        let news = self.clients[index].give_up(now);
        self.sent_by(index, news, now)
    }

    /// Whether every connection is over.
    pub fn are_over(&self) -> bool {
        self.clients.iter().all(|client| client.ended().is_some())
    }

    /// Whose tuple this was then.
    pub fn at(&self, tuple: &Tuple, then: Duration) -> Option<usize> {
        let own = Route { source: tuple.client, destination: tuple.interface };
        self.client(tuple.device, own, tuple.protocol, then)
    }

    /// Those who are connected, or about to be, where no way leads any more.
    pub fn at_removed(&self, topology: &Topology) -> Vec<usize> {
        let is_cut_off = |index: &usize| {
            let (device, client) = (self.homes[*index], &self.clients[*index]);
            let Plan { behaviour, route, .. } = &client.plan;
            behaviour.protocol() == Protocol::Tcp
                && client.has_begun()
                && client.ended().is_none()
                && !leads(topology, device, Protocol::Tcp, route.destination)
        };
        (0..self.clients.len()).filter(is_cut_off).collect()
    }

    /// The flow of whoever has this tuple now has made room for another.
    pub fn crowd_out(&mut self, tuple: &Tuple, now: Duration) {
        if let Some(index) = self.at(tuple, now) {
            self.clients[index].crowd_out();
        }
    }

    /// Every connection ended as its plan says, and its target has all of its bytes; but for those that were half-open when
    /// somebody else needed their place.
    pub fn all_ended_as_planned(&self) -> Result<(), Violation> {
        for client in &self.clients {
            let Plan { id, behaviour, route, upload, .. } = &client.plan;
            let received = self.provider.received(*id);
            let is_whole = !behaviour.is_whole() || received == *upload;
            let ended = client.ended();
            let is_excused = ended == Some(Ended::GivenUp) || client.is_crowded_out(received);
            if !is_excused && (ended != Some(Ended::AsPlanned) || !is_whole) {
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

    /// What a client sends; and if it has ended, whoever waits for that is told.
    fn sent_by(&mut self, index: usize, frames: Vec<OwnedFrame>, now: Duration) -> Outgoing {
        if self.clients[index].ended().is_some() {
            let over = self.clients[index].plan.id;
            let followers = self.clients.iter_mut();
            followers
                .filter(|client| matches!(client.plan.start, Start::After(before, _) if before == over))
                .for_each(|client| client.follow(now));
        }
        let home = self.homes[index];
        frames.into_iter().map(|frame| (home, frame)).collect()
    }

    /// The newest client on this route, as seen from it, of those that had begun then.
    fn client(&self, device: DeviceId, own: Route, protocol: Protocol, then: Duration) -> Option<usize> {
        (0..self.clients.len()).rev().find(|index| {
            let client = &self.clients[*index];
            let is_own = client.plan.route == own && client.plan.behaviour.protocol() == protocol;
            client.had_begun(then) && self.homes[*index] == device && is_own
        })
    }

    fn deliver(
        &mut self,
        device: DeviceId,
        packet: &Packet,
        bytes: &[u8],
        now: Duration,
    ) -> Result<Outgoing, Violation> {
        let Route { source, destination } = route_of(packet);
        let own = Route { source: destination, destination: source };
        let Some(index) = self.client(device, own, packet.protocol, now) else { return Ok(Vec::new()) };
        let is_closed = packet.protocol == Protocol::Udp && self.clients[index].ended().is_some();
        if is_closed {
            let quote = &bytes[..bytes.len().min(MOST_QUOTED)];
            let error = icmp::error(destination.ip(), source.ip(), Trouble::PortUnreachable, quote);
            return Ok(vec![(device, error)]);
        }
        self.clients[index].input(packet, bytes, now)?;
        let sent = self.clients[index].poll(now);
        Ok(self.sent_by(index, sent, now))
    }

    /// An error reaches a host: whoever has sent what it quotes hears it.
    fn hear(&mut self, device: DeviceId, message: &Message<'_>, ledger: &Ledger, now: Duration) -> Outgoing {
        let Some((trouble, quote)) = message.trouble().zip(icmp::quote(message.body)) else {
            return Vec::new();
        };
        let Talk { protocol, route } = quote.talk;
        if ledger.sight_of(device, &quote.talk.back()).is_some() {
            let sent = self.provider.hear(trouble, &quote, now);
            return sent.into_iter().map(|frame| (device, frame)).collect();
        }
        let Some(index) = self.client(device, route, protocol, now) else { return Vec::new() };
        let sent = self.clients[index].hear(trouble, quote.sequence, now);
        self.sent_by(index, sent, now)
    }
}

/// Whether there is a listener behind an interface's port.
pub fn leads(topology: &Topology, device: DeviceId, protocol: Protocol, to: SocketAddr) -> bool {
    let mut interfaces = topology.interfaces.iter();
    let Some((_, own)) = interfaces.find(|(_, own)| (own.device, own.address) == (device, to.ip())) else {
        return false;
    };
    let service = &topology.services[topology.endpoints[own.endpoint].service];
    let mut listeners = service.listeners.iter().map(|id| &topology.listeners[*id]);
    listeners.any(|listener| (listener.protocol, listener.port) == (protocol, to.port()))
}

fn is_intact(frame: &OwnedFrame) -> bool {
    parse(&frame.bytes).is_ok_and(|packet| checksums_are_right(frame, &packet))
}

/// A datagram that fits together, and is none that anybody has sent.
fn mixed(whole: &OwnedFrame) -> Violation {
    let talk = icmp::quote(&whole.bytes).map(|quote| quote.talk.route);
    let message =
        format!("{} bytes were put together ({talk:?}), and nobody has sent them", whole.bytes.len());
    Violation::new(Invariant::NothingMixed, message)
}
