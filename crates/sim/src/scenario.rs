//! From a seed to a scenario: the operator's file, the links, and what every connection is meant to do.
//!
//! The addresses are few and always the same, and so are the clients' ports: what differs between consumers with equal
//! addresses must never depend on luck.

mod file;
mod manners;
mod plans;
mod unrest;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use topology::Path;
use wire::Protocol;

use crate::device::{Fault, Outage};
use crate::network::Impairment;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::router::{MtuStep, Router};
use crate::scarcity::Scarcity;
use crate::shop::{self, DEAF, RUDE, SHOPS, Shop};
use file::Declared;
use plans::draw_plans;

pub use unrest::Unrest;

/// A consumer: its namespace, and the addresses of its client and of its interface.
#[derive(Clone, Copy, Debug)]
pub struct Consumer {
    /// Its namespace's name.
    pub namespace: &'static str,
    /// IPv4: client, interface.
    pub v4: [IpAddr; 2],
    /// IPv6: client, interface.
    pub v6: [IpAddr; 2],
}

/// The namespace of all targets.
pub const PROVIDER: &str = "provider";

const fn v4(host: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(host[0], host[1], host[2], host[3]))
}

const fn v6(network: u16, host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, network, 0, 0, 0, 0, 0, host))
}

/// Two consumers with the same addresses, and one that lives beside the targets.
const CONSUMERS: [Consumer; 3] = [
    Consumer {
        namespace: "consumer-a",
        v4: [v4([10, 1, 0, 5]), v4([10, 1, 9, 50])],
        v6: [v6(1, 5), v6(1, 0x50)],
    },
    Consumer {
        namespace: "consumer-b",
        v4: [v4([10, 1, 0, 5]), v4([10, 1, 9, 50])],
        v6: [v6(1, 5), v6(1, 0x50)],
    },
    Consumer {
        namespace: PROVIDER,
        v4: [v4([10, 2, 0, 9]), v4([10, 2, 9, 50])],
        v6: [v6(2, 9), v6(2, 0x50)],
    },
];
const WEB: [(IpAddr, u16); 3] = [(v4([10, 2, 0, 2]), 8080), (v4([10, 2, 0, 3]), 8080), (v6(2, 2), 8080)];
const DNS: [(IpAddr, u16); 2] = [(v4([10, 2, 0, 2]), 5353), (v6(2, 2), 5353)];

/// Carried by nat; terminated; terminated, with targets of one family only.
const TCP_PORTS: [u16; 4] = [80, 8443, 8446, 8447];
const REFUSING_PORTS: [u16; 2] = [81, 8444];
const SILENT_PORT: u16 = 8445;
/// The first port of those that are terminated.
const TERMINATED: u16 = 8443;
const DNS_PORT: u16 = 53;
const DARK_PORT: u16 = 54;
/// Devices: two consumers' and the provider's. (The third consumer lives beside the targets.)
const DEVICES: usize = 3;
const MTUS: [usize; 6] = [576, 1280, 1400, 1500, 4000, 9000];
/// Where links lose something, routers lose so many of a thousand segments, and say so.
const REFUSALS: u32 = 10;
/// Where nothing changes, connections begin within this time.
const AT_FIRST: Duration = Duration::from_secs(2);
const CLIENT_PORTS: std::ops::RangeInclusive<u64> = 40_000..=40_002;

/// Everything that a seed decides before the first packet.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The operator's file.
    pub file: String,
    /// How many workers there are.
    pub workers: usize,
    /// How many frames fit between two workers.
    pub ring: usize,
    /// How long a worker may be away.
    pub stall: Duration,
    /// What every link does.
    pub impairment: Impairment,
    /// Who connects.
    pub consumers: Vec<Consumer>,
    /// The targets' open ports.
    pub open: BTreeSet<(Protocol, SocketAddr)>,
    /// The connections.
    pub plans: Vec<Plan>,
    /// When somebody tries to force a way in, or sends rubbish.
    pub intrusions: Vec<Duration>,
    /// By namespace: how the MTU behind its device changes.
    pub steps: BTreeMap<&'static str, Vec<MtuStep>>,
    /// What goes wrong with devices.
    pub outages: Vec<Outage>,
    /// What there is too little of.
    pub scarcity: Scarcity,
    /// What changes while it runs.
    pub unrest: Unrest,
    /// The kinds of servers that there are.
    pub shops: [Shop; SHOPS],
    /// From when on their targets speak otherwise than before, if ever.
    pub turns: Option<Duration>,
    /// From when on their windows are in ever coarser units, if ever.
    pub coarsens: Option<Duration>,
    /// Whose chance decides when somebody speaks in a client's name, if anybody does.
    pub forger: Option<Rng>,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn draw(rng: &mut Rng) -> Self {
        let consumers = CONSUMERS[..rng.between(2, 3) as usize].to_vec();
        let tcp = WEB.map(|target| (Protocol::Tcp, target.into()));
        let udp = DNS.map(|target| (Protocol::Udp, target.into()));
        let shops = Shop::draw(rng);
        let mut plans = draw_plans(&consumers, &shops, rng);
        let scarcity = draw_scarcity(&plans, rng);
        if scarcity != Scarcity::None {
            plans.iter_mut().for_each(Plan::hurry);
        }
        let declared = Declared::draw(&consumers, &shops, rng);
        let scenario = Self {
            file: declared.text(),
            workers: rng.between(1, 4) as usize,
            ring: [2, 16, 256][rng.index(3)],
            stall: Duration::from_micros([20, 200, 5000][rng.index(3)]),
            impairment: draw_impairment(rng),
            open: tcp.into_iter().chain(udp).chain(shops_doors()).collect(),
            intrusions: (0..rng.between(0, 40)).map(|_| rng.span(Duration::from_secs(4))).collect(),
            steps: draw_steps(rng),
            outages: draw_outages(rng),
            scarcity,
            unrest: Unrest::default(),
            turns: rng.per_mille(100).then(|| rng.span(Duration::from_secs(10))),
            coarsens: None,
            forger: None,
            shops,
            consumers,
            plans,
        };
        // By numbers of its own: what else the seed decides does not depend on it.
        let mut own = rng.clone().fork();
        let mut forger = own.clone().fork();
        let is_forged = forger.per_mille(200);
        let mut speech = forger.clone().fork();
        let turns = speech.per_mille(250).then(|| speech.span(AT_FIRST));
        let scenario = Self {
            coarsens: speech.per_mille(600).then(|| speech.span(AT_FIRST)),
            turns: scenario.turns.or(turns),
            forger: is_forged.then_some(forger),
            ..scenario
        };
        match scarcity {
            Scarcity::None if own.per_mille(500) => scenario.with_unrest(declared, &mut own),
            Scarcity::None | Scarcity::Memory(_) => scenario,
            Scarcity::Flows(_) | Scarcity::Ports(_) | Scarcity::Escorts(_) => scenario.without_losses(),
        }
    }

    /// Under pressure, a connection that has closed is remembered for no longer than a retransmit may take: where nothing is
    /// lost, none is needed.
    fn without_losses(self) -> Self {
        let impairment = Impairment { loss: 0, corruption: 0, ..self.impairment };
        Self { impairment, ring: usize::MAX, steps: BTreeMap::new(), outages: Vec::new(), ..self }
    }

    /// Things change while it runs.
    fn with_unrest(mut self, mut declared: Declared, rng: &mut Rng) -> Self {
        self.unrest = Unrest::draw(&mut declared, rng);
        self.file = declared.text();
        self.plans.iter_mut().for_each(|plan| Unrest::spread(plan, rng));
        self.open.insert((Protocol::Udp, (WEB[1].0, DNS[0].1).into()));
        self
    }

    /// The router behind the device in a namespace.
    pub fn router(&self, namespace: &str, rng: Rng) -> Router {
        let network = if namespace == PROVIDER { 2 } else { 1 };
        let addresses = [v4([10, network, 255, 1]), v6(network.into(), 0xffff)];
        let refusals = if self.impairment.loss > 0 { REFUSALS } else { 0 };
        Router::new(addresses, self.steps.get(namespace).cloned().unwrap_or_default(), refusals, rng)
    }
}

/// The path that a plan's packets take.
pub fn path_of(plan: &Plan) -> Path {
    let port = plan.route.destination.port();
    let plain = if port >= TERMINATED { Path::Terminate } else { Path::Nat };
    shop::path_at(port).unwrap_or(plain)
}

/// Where the servers of every kind listen.
fn shops_doors() -> impl Iterator<Item = (Protocol, SocketAddr)> {
    let at = |port| WEB.map(|(address, _)| (Protocol::Tcp, SocketAddr::new(address, port)));
    (0..SHOPS).map(shop::target).chain([DEAF, RUDE]).flat_map(at)
}

fn draw_impairment(rng: &mut Rng) -> Impairment {
    let severity = rng.between(0, 3);
    let mut up_to = |most: u64| rng.between(0, most * severity) as u32;
    let (loss, duplication, reordering, corruption) = (up_to(30), up_to(20), up_to(50), up_to(15));
    let latency = Duration::from_micros(rng.between(100, 20_000));
    Impairment { latency, loss, duplication, reordering, corruption }
}

/// How MTUs change behind the devices; in half of all scenarios they never do.
fn draw_steps(rng: &mut Rng) -> BTreeMap<&'static str, Vec<MtuStep>> {
    if rng.per_mille(500) {
        return BTreeMap::new();
    }
    let mut steps = |namespace| {
        let moments: BTreeSet<Duration> =
            (0..rng.between(0, 4)).map(|_| rng.span(Duration::from_secs(4))).collect();
        (namespace, moments.into_iter().map(|at| (at, MTUS[rng.index(MTUS.len())])).collect())
    };
    BTreeMap::from(CONSUMERS.map(|consumer| steps(consumer.namespace)))
}

/// What goes wrong with devices; in most scenarios nothing does.
fn draw_outages(rng: &mut Rng) -> Vec<Outage> {
    let count = rng.between(0, 9).saturating_sub(6);
    let outage = |_| {
        let begins = rng.span(Duration::from_secs(4));
        Outage {
            device: rng.index(DEVICES),
            fault: [Fault::WritesFail, Fault::Refuses, Fault::Stops, Fault::Gone][rng.index(4)],
            begins,
            ends: begins + rng.span(Duration::from_secs(3)),
        }
    };
    (0..count).map(outage).collect()
}

fn draw_scarcity(plans: &[Plan], rng: &mut Rng) -> Scarcity {
    let udp = plans.iter().filter(|plan| plan.behaviour.protocol() == Protocol::Udp).count();
    match rng.index(16) {
        // A flow of UDP keeps its place, and its port, for long.
        0 => Scarcity::Flows(udp + rng.between(2, 4) as usize),
        1 => Scarcity::Ports(udp + rng.between(1, 3) as usize),
        2 => Scarcity::Memory((rng.between(1, 4) as usize) << 16),
        _ => {
            let mut own = rng.clone().fork();
            if own.per_mille(60) { Scarcity::Escorts(own.between(1, 4) as usize) } else { Scarcity::None }
        }
    }
}
