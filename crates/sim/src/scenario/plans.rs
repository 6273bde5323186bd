//! The connections of a scenario.

use std::net::SocketAddr;
use std::time::Duration;

use topology::Path;
use wire::Protocol;

use super::manners::{Nature, vary};
use super::{AT_FIRST, CLIENT_PORTS, Consumer, DARK_PORT, DNS_PORT, REFUSING_PORTS, SILENT_PORT, TCP_PORTS};
use crate::packet::Route;
use crate::plan::{Behaviour, Plan, Start};
use crate::rng::Rng;
use crate::shop::{self, SHOPS, Shop};
use crate::stream::{ConnectionId, WORD};

/// Longer than any idle time-out.
const REST: Duration = Duration::from_secs(600);

const PATHS: [Path; 4] = [Path::Nat, Path::Splice, Path::Splice, Path::Terminate];

/// In so many scenarios of a thousand, most come to one door: that target is known, and what befalls few befalls somebody.
const GATHERED_PER_MILLE: u32 = 400;
/// Nobody says more in segments of a few bytes.
const MOST_IN_NARROW: usize = 3000;

/// A handful of connections. Few addresses and ports: whoever wants what is taken waits.
pub(super) fn draw_plans(consumers: &[Consumer], shops: &[Shop], rng: &mut Rng) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    let nature = Nature::draw(rng);
    // Whoever is spliced comes to a target that is known: most go where others have been.
    let favourite = rng.index(SHOPS);
    for _ in 0..rng.between(6, 16) {
        let plan = draw_plan(consumers, (shops, favourite), &plans, nature, rng);
        // Two consumers with the same addresses, ports and identifiers, at the same time.
        let twin = (plan.behaviour == Behaviour::Datagrams && plan.consumer < 2 && rng.per_mille(500))
            .then(|| settle(Plan { consumer: 1 - plan.consumer, ..plan.clone() }, &plans, rng));
        plans.push(plan);
        plans.extend(twin.map(|twin| Plan { id: ConnectionId(plans.len() as u16), ..twin }));
    }
    // By numbers of its own, as all that came later.
    let mut own = rng.clone().fork();
    if own.per_mille(GATHERED_PER_MILLE) {
        gather(plans, consumers, (favourite, shops[favourite]), &mut own)
    } else {
        plans
    }
}

/// Sends everybody who may go there to one listener, and has them speak in all manners.
fn gather(plans: Vec<Plan>, consumers: &[Consumer], (kind, shop): (usize, Shop), rng: &mut Rng) -> Vec<Plan> {
    let (is_narrow, is_v4) = (rng.per_mille(400), rng.per_mille(500));
    let path = [Path::Splice, Path::Splice, Path::Splice, Path::Nat][rng.index(4)];
    let mut gathered: Vec<Plan> = Vec::new();
    for mut plan in plans {
        plan.server = vary(plan.server, rng.draw() as usize, is_narrow, rng);
        if is_narrow && plan.behaviour.protocol() == Protocol::Tcp {
            (plan.upload, plan.download) =
                (plan.upload.min(MOST_IN_NARROW), plan.download.min(MOST_IN_NARROW));
        }
        if goes_anywhere(plan.behaviour) {
            let Consumer { v4, v6, .. } = consumers[plan.consumer];
            let [client, interface] = if is_v4 { v4 } else { v6 };
            plan.route.source.set_ip(client);
            plan.route.destination = SocketAddr::new(interface, shop::listener(path, kind));
            // One after the other offers something else.
            plan.client = vary(plan.client, gathered.len(), false, rng);
            plan.shop = shop;
        }
        gathered.push(settle(plan, &gathered, rng));
    }
    gathered
}

/// Whether it is all the same to a connection which server it comes to.
fn goes_anywhere(behaviour: Behaviour) -> bool {
    match behaviour {
        Behaviour::Exchange
        | Behaviour::Echo
        | Behaviour::HalfClose
        | Behaviour::ServerClosesFirst
        | Behaviour::ServerHalfCloses
        | Behaviour::CloseTogether
        | Behaviour::ClientResets
        | Behaviour::ServerResets
        | Behaviour::KeptAlive
        | Behaviour::Forgotten
        | Behaviour::HangsUp => true,
        Behaviour::Refused
        | Behaviour::Silent
        | Behaviour::Mute
        | Behaviour::Snubbed
        | Behaviour::Unheard
        | Behaviour::Datagrams
        | Behaviour::Unreachable => false,
    }
}

fn draw_plan(
    consumers: &[Consumer],
    (shops, favourite): (&[Shop], usize),
    earlier: &[Plan],
    nature: Nature,
    rng: &mut Rng,
) -> Plan {
    let consumer = rng.index(consumers.len());
    let behaviour = [
        Behaviour::Exchange,
        Behaviour::Exchange,
        Behaviour::Echo,
        Behaviour::HalfClose,
        Behaviour::ServerClosesFirst,
        Behaviour::ServerHalfCloses,
        Behaviour::CloseTogether,
        Behaviour::ClientResets,
        Behaviour::ServerResets,
        Behaviour::KeptAlive,
        Behaviour::Forgotten,
        Behaviour::Refused,
        Behaviour::Silent,
        Behaviour::Mute,
        Behaviour::HangsUp,
        Behaviour::Snubbed,
        Behaviour::Unheard,
        Behaviour::Datagrams,
        Behaviour::Datagrams,
        Behaviour::Datagrams,
        Behaviour::Unreachable,
    ][rng.index(21)];
    let path = PATHS[rng.index(PATHS.len())];
    let shop = if rng.per_mille(700) { favourite } else { rng.index(SHOPS) };
    let port = match behaviour {
        Behaviour::Datagrams => DNS_PORT,
        Behaviour::Unreachable => DARK_PORT,
        Behaviour::Refused => REFUSING_PORTS[rng.index(2)],
        Behaviour::Silent => SILENT_PORT,
        // Who is terminated is heard by us.
        Behaviour::Unheard => shop::deaf_listener(Path::Nat),
        Behaviour::Snubbed => shop::rude_listener(path),
        // Those who speak first are every other kind.
        Behaviour::Mute => shop::listener(path, shop | 1),
        _ if rng.per_mille(700) => shop::listener(path, shop),
        _ => TCP_PORTS[rng.index(TCP_PORTS.len())],
    };
    let [client, interface] =
        if rng.per_mille(500) { consumers[consumer].v4 } else { consumers[consumer].v6 };
    let source = SocketAddr::new(client, rng.between(*CLIENT_PORTS.start(), *CLIENT_PORTS.end()) as u16);
    let (upload, download) = match behaviour {
        Behaviour::Datagrams => (rng.between(1, 8) as usize, [1200, 3000, 20_000][rng.index(3)]),
        Behaviour::Unreachable => (1, [1200, 20_000][rng.index(2)]),
        Behaviour::Refused | Behaviour::Silent | Behaviour::Mute => (0, 0),
        Behaviour::Snubbed | Behaviour::Unheard => (rng.between(1, 3000) as usize, 0),
        Behaviour::Echo => [nature.draw_size(rng); 2].into(),
        // A word before the rest, and something after it.
        Behaviour::KeptAlive | Behaviour::Forgotten => (nature.draw_size(rng) + WORD, nature.draw_size(rng)),
        _ => (nature.draw_size(rng), nature.draw_size(rng)),
    };
    let plan = Plan {
        id: ConnectionId(earlier.len() as u16),
        consumer,
        route: Route { source, destination: SocketAddr::new(interface, port) },
        behaviour,
        upload,
        download,
        start: Start::At(rng.span(AT_FIRST)),
        rest: REST,
        client: nature.draw_manner(behaviour.protocol(), rng),
        server: nature.draw_manner(behaviour.protocol(), rng),
        shop: shop::at_listener(port).map_or(Shop::default(), |shop| shops[shop]),
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
