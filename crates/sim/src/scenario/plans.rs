//! The connections of a scenario.

use std::net::SocketAddr;
use std::time::Duration;

use super::{CLIENT_PORTS, Consumer, DARK_PORT, DNS_PORT, REFUSING_PORTS, TCP_PORTS};
use crate::packet::Route;
use crate::plan::{Behaviour, Plan, Start};
use crate::rng::Rng;
use crate::stream::ConnectionId;
use crate::tcp::Manner;

/// A handful of connections. Few addresses and ports: whoever wants what is taken waits.
pub(super) fn draw_plans(consumers: &[Consumer], rng: &mut Rng) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for _ in 0..rng.between(6, 16) {
        let plan = draw_plan(consumers, &plans, rng);
        // Two consumers with the same addresses, ports and identifiers, at the same time.
        let twin = (plan.behaviour == Behaviour::Datagrams && plan.consumer < 2 && rng.per_mille(500))
            .then(|| settle(Plan { consumer: 1 - plan.consumer, ..plan.clone() }, &plans, rng));
        plans.push(plan);
        plans.extend(twin.map(|twin| Plan { id: ConnectionId(plans.len() as u16), ..twin }));
    }
    plans
}

fn draw_plan(consumers: &[Consumer], earlier: &[Plan], rng: &mut Rng) -> Plan {
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
        Behaviour::Datagrams,
        Behaviour::Unreachable,
    ][rng.index(10)];
    let port = match behaviour {
        Behaviour::Datagrams => DNS_PORT,
        Behaviour::Unreachable => DARK_PORT,
        Behaviour::Refused => REFUSING_PORTS[rng.index(2)],
        _ => TCP_PORTS[rng.index(2)],
    };
    let [client, interface] =
        if rng.per_mille(500) { consumers[consumer].v4 } else { consumers[consumer].v6 };
    let source = SocketAddr::new(client, rng.between(*CLIENT_PORTS.start(), *CLIENT_PORTS.end()) as u16);
    let (upload, download) = match behaviour {
        Behaviour::Datagrams => (rng.between(1, 8) as usize, [1200, 3000, 20_000][rng.index(3)]),
        Behaviour::Unreachable => (1, [1200, 20_000][rng.index(2)]),
        Behaviour::Refused => (0, 0),
        Behaviour::Echo => [draw_size(rng); 2].into(),
        _ => (draw_size(rng), draw_size(rng)),
    };
    let plan = Plan {
        id: ConnectionId(earlier.len() as u16),
        consumer,
        route: Route { source, destination: SocketAddr::new(interface, port) },
        behaviour,
        upload,
        download,
        start: Start::At(rng.span(Duration::from_secs(2))),
        client: draw_manner(rng),
        server: draw_manner(rng),
        identifier: 0,
    };
    settle(plan, earlier, rng)
}

/// Whoever wants a tuple that is taken waits until it is free; and no host uses an identifier twice.
fn settle(mut plan: Plan, earlier: &[Plan], rng: &mut Rng) -> Plan {
    let own = earlier.iter().filter(|before| before.consumer == plan.consumer);
    if let Some(before) = own.clone().rfind(|before| before.route == plan.route) {
        plan.start = Start::After(before.id, rng.span(Duration::from_secs(3)));
    }
    let port = plan.route.source.port();
    let before = own.filter(|before| before.route.source.port() == port).count();
    plan.identifier = u32::from(port - *CLIENT_PORTS.start() as u16) << 14 | (before as u32) << 10;
    plan
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
