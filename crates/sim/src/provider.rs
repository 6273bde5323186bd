//! The provider's network: every target's host, with a server on each port that is open.

mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use wire::{Packet, Protocol};

use crate::clinic::Clinic;
use crate::icmp::{MOST_QUOTED, Quote, Trouble, error};
use crate::invariants::{Violation, keeps_to_what_was_agreed};
use crate::packet::{OwnedFrame, Route, route_of};
use crate::plan::Plan;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::shop::{self, DEAF, RUDE, SHOPS, Shop};
use crate::stream::{ConnectionId, tag_in};
use crate::tcp::{Manner, Tcp, mute_answer, refusal};
use crate::udp::{self, Habits};

use server::Server;

/// A header comes at once: whoever takes three bytes at a time waits for minutes.
const LEAST_WINDOW: u32 = 128;
/// How long a target's windows stay in the same units, where they become coarser.
const STEP: Duration = Duration::from_millis(200);
/// What comes to this port is never answered.
pub const SILENT: u16 = 10;

/// All targets.
pub struct Provider {
    plans: Rc<[Plan]>,
    open: BTreeSet<(Protocol, SocketAddr)>,
    clinic: Clinic,
    /// By target, and who has connected to it.
    servers: BTreeMap<(SocketAddr, SocketAddr), Server>,
    /// How much of each connection's upload has arrived, in order.
    received: BTreeMap<ConnectionId, usize>,
    /// How datagrams are sent; the MTU is that of the targets' own link.
    habits: Habits,
    /// What targets have heard of the path to a node.
    mtus: BTreeMap<(IpAddr, IpAddr), usize>,
    shops: [Shop; SHOPS],
    /// From when on their targets speak otherwise.
    turns: Duration,
    /// From when on their windows are in coarser units, again and again.
    coarsens: Duration,
    rng: Rng,
}

impl Provider {
    /// The targets whose ports are open, and those where they are checked.
    pub fn new(plans: Rc<[Plan]>, scenario: &Scenario, mut rng: Rng) -> Self {
        let habits = Habits { longest: 0, mtu: [1280, 1500, 9000][rng.index(3)], identifier: 0 };
        let (servers, received, mtus) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let clinic = Clinic::new(&scenario.unrest, rng.clone().fork());
        let (open, shops) = (scenario.open.clone(), scenario.shops);
        let [turns, coarsens] =
            [scenario.turns, scenario.coarsens].map(|since| since.unwrap_or(Duration::MAX));
        Self { plans, open, clinic, servers, received, habits, mtus, shops, turns, coarsens, rng }
    }

    /// How much of a connection's upload has arrived.
    pub fn received(&self, connection: ConnectionId) -> usize {
        self.received.get(&connection).copied().unwrap_or(0)
    }

    /// When [`Provider::poll`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        let servers = self.servers.values().filter_map(|server| server.tcp.deadline());
        servers.chain(self.clinic.deadline()).min()
    }

    /// Takes in a packet that is undamaged; returns what is answered.
    pub fn input(
        &mut self,
        packet: &Packet,
        bytes: &[u8],
        now: Duration,
    ) -> Result<Vec<OwnedFrame>, Violation> {
        let Route { source: peer, destination: target } = route_of(packet);
        let back = Route { source: target, destination: peer };
        let is_open = self.open.contains(&(packet.protocol, target));
        match packet.protocol {
            Protocol::Udp if is_open => self.answer(back, &bytes[packet.payload..]),
            Protocol::Udp => {
                let quote = &bytes[..bytes.len().min(MOST_QUOTED)];
                Ok(vec![error(target.ip(), peer.ip(), Trouble::PortUnreachable, quote)])
            }
            Protocol::Tcp if target.port() == SILENT => Ok(Vec::new()),
            Protocol::Tcp if target.port() == DEAF => Ok(mute_answer(back, packet).into_iter().collect()),
            Protocol::Tcp if self.clinic.has(target) => self.clinic.input(back, packet, bytes, now),
            Protocol::Tcp => {
                let known = self.servers.get(&(target, peer)).filter(|server| !server.tcp.is_forgotten(now));
                let begins =
                    packet.flags.opens() && known.is_none_or(|server| server.tcp.gives_way_to(packet));
                match (begins, known.is_some()) {
                    (true, _) if is_open => Ok(self.accept(back, packet, bytes, now)),
                    (false, true) => self.serve(back, packet, bytes, now),
                    _ => Ok(refusal(back, packet).into_iter().collect()),
                }
            }
        }
    }

    /// A target hears what is wrong with something that it has sent.
    pub fn hear(&mut self, trouble: Trouble, quote: &Quote<'_>, now: Duration) -> Vec<OwnedFrame> {
        let Route { source: target, destination: peer } = quote.talk.route;
        match (quote.talk.protocol, trouble, self.servers.get_mut(&(target, peer))) {
            (Protocol::Tcp, Trouble::TooBig(mtu), Some(server)) => {
                server.tcp.hear_too_big(quote.sequence, mtu);
                server.tcp.poll(now)
            }
            (Protocol::Udp, Trouble::TooBig(mtu), _) => {
                let known = self.mtus.entry((target.ip(), peer.ip())).or_insert(mtu);
                *known = mtu.min(*known);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Lets every server send what is due.
    pub fn poll(&mut self, now: Duration) -> Vec<OwnedFrame> {
        self.servers.retain(|_, server| !server.tcp.is_forgotten(now));
        let due =
            self.servers.values_mut().filter(|server| server.tcp.deadline().is_some_and(|at| at <= now));
        let sent: Vec<OwnedFrame> = due.flat_map(|server| server.tcp.poll(now)).collect();
        sent.into_iter().chain(self.clinic.poll(now)).collect()
    }

    fn answer(&mut self, back: Route, question: &[u8]) -> Result<Vec<OwnedFrame>, Violation> {
        let named = tag_in(question).and_then(|tag| self.plans.iter().find(|plan| plan.id == tag.connection));
        let path = self.mtus.get(&(back.source.ip(), back.destination.ip()));
        let mut habits = Habits {
            longest: named.map_or(0, |plan| plan.download),
            mtu: path.map_or(self.habits.mtu, |mtu| self.habits.mtu.min(*mtu)),
            ..self.habits
        };
        let answer = udp::answer(back, question, &mut habits, &mut self.rng);
        self.habits.identifier = habits.identifier;
        answer
    }

    fn accept(&mut self, back: Route, syn: &Packet, bytes: &[u8], now: Duration) -> Vec<OwnedFrame> {
        let shop = shop::at_target(back.source.port());
        let is_rude = back.source.port() == RUDE;
        let manner = if shop.is_some() || is_rude { self.manner_of(back.source, now) } else { self.manner() };
        let tcp = Tcp::answer(back, manner, self.rng.fork(), syn, bytes);
        let shop = shop.map_or(Shop::default(), |shop| self.shops[shop]);
        let mut server = Server::new(tcp, shop, is_rude);
        let answer = server.tcp.poll(now);
        self.servers.insert((back.source, back.destination), server);
        answer
    }

    /// Any plan's: a server does not know yet whose connection this is.
    fn manner(&mut self) -> Manner {
        self.plans[self.rng.index(self.plans.len())].server
    }

    /// All servers of a target speak alike, until some day they do not.
    fn manner_of(&self, target: SocketAddr, now: Duration) -> Manner {
        let name = target.to_string().bytes().map(usize::from).sum::<usize>();
        let manner = self.plans[(name + usize::from(now >= self.turns)) % self.plans.len()].server;
        let steps = now.saturating_sub(self.coarsens).as_millis() / STEP.as_millis();
        Manner { window: manner.window.max(LEAST_WINDOW), ..manner }.coarser(steps.min(14) as u8)
    }

    fn serve(
        &mut self,
        back: Route,
        packet: &Packet,
        bytes: &[u8],
        now: Duration,
    ) -> Result<Vec<OwnedFrame>, Violation> {
        let Some(server) = self.servers.get_mut(&(back.source, back.destination)) else {
            return Ok(Vec::new());
        };
        server.tcp.input(packet, bytes, now);
        server.read(&self.plans, now)?;
        let whose = server.plan().map_or(ConnectionId::INTRUDER, |plan| plan.id);
        keeps_to_what_was_agreed(whose, &server.tcp)?;
        if let Some(plan) = server.plan() {
            let received = self.received.entry(plan.id).or_default();
            *received = server.has_read().max(*received);
        }
        if server.tcp.end_of_it().is_none() {
            server.follow_plan(now);
        }
        Ok(server.tcp.poll(now))
    }
}
