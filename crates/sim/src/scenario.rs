//! From a seed to a scenario: the operator's file, the links, and what every connection is meant to do.
//!
//! The addresses are few and always the same, and so are the clients' ports: what differs between consumers with equal
//! addresses must never depend on luck.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use wire::Protocol;

use crate::network::Impairment;
use crate::packet::Route;
use crate::plan::{Behaviour, Plan, Start};
use crate::rng::Rng;
use crate::stream::ConnectionId;
use crate::tcp::Manner;

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

const TCP_PORTS: [u16; 2] = [80, 8443];
const REFUSING_PORTS: [u16; 2] = [81, 8444];
const DNS_PORT: u16 = 53;
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
}

impl Scenario {
    /// The scenario of a seed.
    pub fn draw(rng: &mut Rng) -> Self {
        let consumers = CONSUMERS[..rng.between(2, 3) as usize].to_vec();
        let tcp = WEB.map(|target| (Protocol::Tcp, target.into()));
        let udp = DNS.map(|target| (Protocol::Udp, target.into()));
        Self {
            file: operators_file(&consumers, rng),
            workers: rng.between(1, 4) as usize,
            ring: [2, 16, 256][rng.index(3)],
            stall: Duration::from_micros([20, 200, 5000][rng.index(3)]),
            impairment: draw_impairment(rng),
            open: tcp.into_iter().chain(udp).collect(),
            plans: draw_plans(&consumers, rng),
            intrusions: (0..rng.between(0, 20)).map(|_| rng.span(Duration::from_secs(4))).collect(),
            consumers,
        }
    }
}

fn operators_file(consumers: &[Consumer], rng: &mut Rng) -> String {
    let mtu = [1500, 8500][rng.index(2)];
    let targets = |targets: &[(IpAddr, u16)]| {
        let one = |(address, port): &(IpAddr, u16)| format!("{{ address = \"{address}\", port = {port} }}");
        targets.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let (web, dns) = (targets(&WEB), targets(&DNS));
    let closed = targets(&[WEB[0], WEB[2]].map(|(address, _)| (address, 9)));
    let mut file = format!(
        r#"
[run]
name = "simulated"
mtu = {mtu}

[flows]
capacity = 1024

[[service]]
name      = "orders"
namespace = "{PROVIDER}"
nodes     = [{{ address = "10.2.9.1" }}, {{ address = "fd00:2::901" }}]
listeners = [
  {{ protocol = "tcp", port = 80,   forward = "web" }},
  {{ protocol = "tcp", port = 81,   forward = "closed" }},
  {{ protocol = "tcp", port = 8443, forward = "web", path = "terminate" }},
  {{ protocol = "tcp", port = 8444, forward = "closed", path = "terminate" }},
  {{ protocol = "udp", port = 53,   forward = "dns" }},
]

[[target_group]]
name    = "web"
targets = [{web}]

[[target_group]]
name    = "closed"
targets = [{closed}]

[[target_group]]
name    = "dns"
targets = [{dns}]
"#
    );
    for (number, Consumer { namespace, v4: [_, v4], v6: [_, v6] }) in consumers.iter().enumerate() {
        file += &format!(
            r#"
[[endpoint]]
name       = "orders-{number}"
service    = "orders"
namespace  = "{namespace}"
interfaces = [{{ address = "{v4}" }}, {{ address = "{v6}" }}]
"#
        );
    }
    file
}

fn draw_impairment(rng: &mut Rng) -> Impairment {
    let severity = rng.between(0, 3);
    let mut up_to = |most: u64| rng.between(0, most * severity) as u32;
    let (loss, duplication, reordering, corruption) = (up_to(30), up_to(20), up_to(50), up_to(15));
    let latency = Duration::from_micros(rng.between(100, 20_000));
    Impairment { latency, loss, duplication, reordering, corruption }
}

fn draw_plans(consumers: &[Consumer], rng: &mut Rng) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for id in 0..rng.between(6, 16) {
        let plan = draw_plan(ConnectionId(id as u16), consumers, &plans, rng);
        plans.push(plan);
    }
    plans
}

fn draw_plan(id: ConnectionId, consumers: &[Consumer], earlier: &[Plan], rng: &mut Rng) -> Plan {
    let consumer = rng.index(consumers.len());
    let behaviour = [
        Behaviour::Exchange,
        Behaviour::Exchange,
        Behaviour::Echo,
        Behaviour::HalfClose,
        Behaviour::ServerClosesFirst,
        Behaviour::ClientResets,
        Behaviour::Refused,
        Behaviour::Datagrams,
    ][rng.index(8)];
    let port = match behaviour {
        Behaviour::Datagrams => DNS_PORT,
        Behaviour::Refused => REFUSING_PORTS[rng.index(2)],
        _ => TCP_PORTS[rng.index(2)],
    };
    let [client, interface] =
        if rng.per_mille(500) { consumers[consumer].v4 } else { consumers[consumer].v6 };
    let source = SocketAddr::new(client, rng.between(*CLIENT_PORTS.start(), *CLIENT_PORTS.end()) as u16);
    let route = Route { source, destination: SocketAddr::new(interface, port) };
    // Whoever wants a tuple that is taken waits until it is free.
    let before = earlier.iter().rev().find(|plan| (plan.consumer, plan.route) == (consumer, route));
    let start = match before {
        Some(before) => Start::After(before.id, rng.span(Duration::from_secs(3))),
        None => Start::At(rng.span(Duration::from_secs(2))),
    };
    let (upload, download) = match behaviour {
        Behaviour::Datagrams => (rng.between(1, 8) as usize, 0),
        Behaviour::Refused => (0, 0),
        Behaviour::Echo => [draw_size(rng); 2].into(),
        _ => (draw_size(rng), draw_size(rng)),
    };
    let (client, server) = (draw_manner(rng), draw_manner(rng));
    Plan { id, consumer, route, behaviour, upload, download, start, client, server }
}

/// Few bytes or many, and at least the word that names the connection.
fn draw_size(rng: &mut Rng) -> usize {
    let most = [64, 3000, 40_000, 150_000][rng.index(4)];
    rng.between(8, most) as usize
}

fn draw_manner(rng: &mut Rng) -> Manner {
    Manner {
        mss: [536, 1440, 8941][rng.index(3)],
        window: [4000, 20_000, 65_535][rng.index(3)],
        offloads: rng.per_mille(500),
    }
}
