//! Reloads: what has one name keeps its id, whatever the files in between said; and what a reload cannot change.

#![cfg(test)]

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use topology::{Arena, DeviceId, Id, Origin, Topology};

const ORDERS: &str = include_str!("orders.toml");

fn parse(text: &str) -> Topology {
    match Topology::parse(text, &Origin::new("/etc/sidegate/orders.toml")) {
        Ok(topology) => topology,
        Err(problems) => panic!("{problems:#?}\nin\n{text}"),
    }
}

fn after(old: &Topology, text: &str) -> Topology {
    parse(text).succeed(old).unwrap()
}

/// One thing of a topology: its kind, what makes it the same as one of another topology, and the index of its id.
type Thing = (&'static str, String, usize);

/// Everything in a topology. Every reference is followed, which panics where it leads nowhere.
fn things(topology: &Topology) -> Vec<Thing> {
    let Topology { services, nodes, listeners, groups, targets, endpoints, interfaces, .. } = topology;
    let path = |device: DeviceId| topology.namespaces[device.index()].path.display().to_string();
    let mut things: Vec<Thing> = Vec::new();
    let namespaces = topology.namespaces.iter().enumerate();
    things.extend(
        namespaces.map(|(index, namespace)| ("namespace", namespace.path.display().to_string(), index)),
    );
    for (id, own) in services.iter() {
        things.push(("service", own.name.clone(), id.index()));
        assert!(own.nodes.iter().all(|node| nodes[*node].service == id && nodes[*node].device == own.device));
        assert!(own.listeners.iter().all(|listener| listeners[*listener].service == id));
    }
    for (id, own) in groups.iter() {
        things.push(("group", own.name.clone(), id.index()));
        assert!(own.targets.iter().all(|target| targets[*target].group == id));
    }
    for (id, own) in endpoints.iter() {
        things.push(("endpoint", own.name.clone(), id.index()));
        assert!(own.interfaces.iter().all(|door| interfaces[*door].endpoint == id));
    }
    things.extend(nodes.iter().map(|(id, own)| {
        let service = &services[own.service].name;
        ("node", format!("{service} {} {:?} {}", path(own.device), own.zone, own.address), id.index())
    }));
    things.extend(listeners.iter().map(|(id, own)| {
        assert!(own.forward.iter().all(|forward| groups.get(forward.group).is_some()));
        ("listener", format!("{} {} {}", services[own.service].name, own.protocol, own.port), id.index())
    }));
    things.extend(targets.iter().map(|(id, own)| {
        ("target", format!("{} {} {}", groups[own.group].name, own.address, own.port), id.index())
    }));
    things.extend(interfaces.iter().map(|(id, own)| {
        let endpoint = &endpoints[own.endpoint].name;
        ("interface", format!("{endpoint} {} {:?} {}", path(own.device), own.zone, own.address), id.index())
    }));
    things
}

/// What the file says, whatever the ids.
fn content(topology: &Topology) -> Vec<String> {
    let mut paragraphs: Vec<_> = topology.to_string().trim().split("\n\n").map(str::to_owned).collect();
    paragraphs.sort_unstable();
    paragraphs
}

/// Nobody but the arena's own things is found in it, and nothing beyond its bound.
fn holes_are_empty<T>(arena: &Arena<T>) {
    let found = (0..arena.bound() + 2).filter(|index| arena.get(Id::new(*index)).is_some());
    assert_eq!(found.count(), arena.len());
    assert!(arena.iter().all(|(id, _)| id.index() < arena.bound() && arena.get(id).is_some()));
}

/// Every id that was ever given, by kind and name, and the other way round.
#[derive(Default)]
struct Given {
    ids: HashMap<(&'static str, String), usize>,
    names: HashMap<(&'static str, usize), String>,
}

impl Given {
    fn hold(&mut self, topology: &Topology) {
        for (kind, name, id) in things(topology) {
            assert_eq!(
                *self.ids.entry((kind, name.clone())).or_insert(id),
                id,
                "{kind} {name} has another id"
            );
            assert_eq!(
                *self.names.entry((kind, id)).or_insert(name.clone()),
                name,
                "{kind} {id} is another one"
            );
        }
    }
}

/// One or more of these, in any order.
fn some<T: Clone + std::fmt::Debug + 'static>(of: &[T]) -> impl Strategy<Value = Vec<T>> + use<T> {
    subsequence(of.to_vec(), 1..=of.len()).prop_shuffle()
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

fn group(name: &'static str) -> impl Strategy<Value = String> {
    let sockets = ["\"10.2.0.1\", port = 1", "\"10.2.0.1\", port = 2", "\"10.2.0.2\", port = 1"];
    (some(&sockets), 0..3_u16).prop_map(move |(sockets, weight)| {
        let target = |socket| format!("{{ address = {socket}, weight = {weight} }}");
        format!("[[target_group]]\nname = \"{name}\"\ntargets = {}\n", list(sockets.into_iter().map(target)))
    })
}

/// Addresses of a service or an endpoint: one a zone, each with two to choose from.
fn addresses(network: usize) -> impl Strategy<Value = String> {
    let address = move |(zone, variant): (&str, usize)| {
        let host = if zone == "a" { 1 } else { 2 };
        format!("{{ zone = \"{zone}\", address = \"10.{network}.{variant}.{host}\" }}")
    };
    (some(&["a", "b"]), 0..2_usize)
        .prop_map(move |(zones, variant)| list(zones.into_iter().map(|zone| address((zone, variant)))))
}

fn service(
    name: &'static str,
    network: usize,
    groups: &[&'static str],
) -> impl Strategy<Value = String> + use<> {
    let doors = ["\"tcp\", port = 80", "\"udp\", port = 80", "\"tcp\", port = 81"];
    (addresses(network), select(&["p", "q"][..]), some(&doors), some(groups)).prop_map(
        move |(nodes, namespace, doors, groups)| {
            let forward = list(groups.iter().map(|group| format!("{{ target_group = \"{group}\" }}")));
            let listener = |door| format!("{{ protocol = {door}, forward = {forward} }}");
            let listeners = list(doors.into_iter().map(listener));
            format!(
                "[[service]]\nname = \"{name}\"\nnamespace = \"{namespace}\"\nnodes = {nodes}\nlisteners = {listeners}\n"
            )
        },
    )
}

fn endpoint(
    name: &'static str,
    network: usize,
    services: &[&'static str],
) -> impl Strategy<Value = String> + use<> {
    (addresses(network), select(&["c", "p"][..]), select(services.to_vec())).prop_map(
        move |(interfaces, namespace, service)| {
            format!(
                "[[endpoint]]\nname = \"{name}\"\nservice = \"{service}\"\nnamespace = \"{namespace}\"\ninterfaces = {interfaces}\n"
            )
        },
    )
}

/// A good file, made of few names, so that two of them have much in common.
fn file() -> impl Strategy<Value = String> {
    let (groups, services) = (some(&["g", "h", "i"]), some(&[("s", 10), ("t", 11), ("u", 12)]));
    (groups, services, some(&[("d", 20), ("e", 21)])).prop_flat_map(|(groups, services, endpoints)| {
        let names: Vec<_> = services.iter().map(|(name, _)| *name).collect();
        let of_services: Vec<_> =
            services.iter().map(|(name, network)| service(name, *network, &groups).boxed()).collect();
        let of_endpoints = endpoints.iter().map(|(name, network)| endpoint(name, *network, &names).boxed());
        let of_groups = groups.iter().map(|name| group(name).boxed());
        let tables: Vec<_> = of_services.into_iter().chain(of_endpoints).chain(of_groups).collect();
        tables.prop_shuffle().prop_map(|tables| tables.concat())
    })
}

proptest! {
    #[test]
    fn the_same_is_the_same_and_the_different_never(files in prop::collection::vec(file(), 1..8)) {
        let mut current = parse(&files[0]);
        let mut given = Given::default();
        given.hold(&current);
        for text in &files {
            current = after(&current, text);
            given.hold(&current);
            prop_assert_eq!(content(&current), content(&parse(text)));
            holes_are_empty(&current.services);
            holes_are_empty(&current.nodes);
            holes_are_empty(&current.listeners);
            holes_are_empty(&current.groups);
            holes_are_empty(&current.targets);
            holes_are_empty(&current.endpoints);
            holes_are_empty(&current.interfaces);
        }
    }

    #[test]
    fn there_and_back_is_where_it_began(one in file(), other in file()) {
        let first = parse(&one);
        let again = after(&after(&first, &other), &one);
        let is_used = |thing: &Thing| thing.0 != "namespace" || again.namespaces[thing.2].is_used();
        let found: Vec<_> = things(&again).into_iter().filter(is_used).collect();
        prop_assert_eq!(found, things(&first));
    }
}

#[test]
fn what_comes_again_is_known_and_what_is_new_is_nobody_elses() {
    let first = parse(ORDERS);
    let without = "listeners = [{ protocol = \"udp\", port = 53, forward = \"dns\" }]\n";
    let (before, rest) = ORDERS.split_once("listeners").unwrap();
    let second = after(&first, &format!("{before}{without}{}", rest.split_once("]\n").unwrap().1));
    assert_eq!((second.listeners.len(), second.listeners.bound()), (1, 3), "two are gone, and leave holes");
    let third = after(&second, &ORDERS.replace("port = 8443", "port = 9443"));
    let ids = |topology: &Topology| -> Vec<(u16, usize)> {
        topology.listeners.iter().map(|(id, own)| (own.port, id.index())).collect()
    };
    assert_eq!(ids(&first), [(80, 0), (8443, 1), (53, 2)]);
    assert_eq!(ids(&second), [(53, 2)]);
    assert_eq!(ids(&third), [(80, 0), (9443, 3), (53, 2)], "in the order of the file");
}

#[test]
fn what_may_change_under_its_id() {
    let first = parse(ORDERS);
    let change = |from: &str, to: &str| after(&first, &ORDERS.replace(from, to));
    let ids = |topology: &Topology| {
        things(topology).into_iter().map(|(kind, _, id)| (kind, id)).collect::<Vec<_>>()
    };
    for (from, to) in [
        ("path = \"terminate\"", "idle_timeout = 60"),
        ("path = \"terminate\"", "path = \"splice\""),
        ("forward = \"dns\"", "forward = \"web\""),
        ("port = 8080, zone = \"a\"", "port = 8080, zone = \"b\", weight = 7"),
        ("name    = \"web\"", "name = \"web\"\nhealth_check = {}"),
        ("\"consumer-a\"", "\"/var/run/netns/consumer-a\"\nids = { gcp = 7 }"),
    ] {
        assert_eq!(ids(&change(from, to)), ids(&first), "{to}");
        assert_ne!(change(from, to).to_string(), first.to_string(), "{to}");
    }
    let renewed = |from, to, kind| {
        let own = |topology: &Topology| -> Vec<usize> {
            things(topology).into_iter().filter(|own| own.0 == kind).map(|(.., id)| id).collect()
        };
        assert_ne!(own(&first), own(&change(from, to)), "{to}");
    };
    renewed("10.2.9.1", "10.2.9.2", "node");
    renewed("\"provider\" ", "\"another\" ", "node");
    renewed("10.1.9.50", "10.1.9.51", "interface");
    renewed("\"consumer-a\"", "\"consumer-b\"", "interface");
    renewed("10.2.0.2\", port = 8080", "10.2.0.3\", port = 8080", "target");
}

#[test]
fn a_namespace_out_of_use_keeps_its_place() {
    let first = parse(ORDERS);
    let second = after(&first, &ORDERS.replace("\"consumer-a\"", "\"consumer-b\""));
    let used: Vec<_> = second.namespaces.iter().map(|own| (own.name.as_str(), own.is_used())).collect();
    assert_eq!(used, [("provider", true), ("consumer-a", false), ("consumer-b", true)]);
    assert!(!second.to_string().contains("namespace consumer-a"), "{second}");
    let third = after(&second, ORDERS);
    assert_eq!(third.namespaces[1], first.namespaces[1]);
    assert!(!third.namespaces[2].is_used());
}

#[test]
fn what_a_reload_cannot_change_is_named() {
    let first = parse(ORDERS);
    let changed = |run: &str| first.unchangeable(&after(&first, &format!("{ORDERS}\n{run}")));
    assert_eq!(changed("[run]\npropagation_delay = 3600"), Vec::<String>::new());
    assert_eq!(first.unchangeable(&parse(&ORDERS.replace("web", "www"))), Vec::<String>::new());
    for (run, told) in [
        ("[run]\nname = \"x\"", "run.name is orders-175bc819, and would become x"),
        ("[run]\nworkers = 2", "run.workers is one per core, and would become 2"),
        ("[run]\nsteering = \"kernel\"", "run.steering is flow, and would become kernel"),
        ("[run]\nmss_ceiling = 1460", "run.mss_ceiling is 8365, and would become 1460"),
        ("[run]\nicmp = \"helpful\"", "run.icmp is faithful, and would become helpful"),
        ("[run]\ntime_scale = 2", "run.time_scale is 1, and would become 2"),
        ("[run]\npin = true", "run.pin is false, and would become true"),
        ("[flows]\ncapacity = 4096", "flows.capacity is 262144, and would become 4096"),
        ("[flows]\nports = 5", "flows.ports is 55000, and would become 5"),
        ("[flows]\nexpiry = \"reset\"", "flows.expiry is silent, and would become reset"),
        ("[terminate]\nmemory = \"16 MiB\"", "terminate.memory is 1 GiB, and would become 16 MiB"),
    ] {
        assert_eq!(changed(run), [told]);
    }
    assert_eq!(
        changed("[run]\nmtu = 1500\ndevice = \"plain\""),
        [
            "run.workers is one per core, and would become 1",
            "run.device is offload, and would become plain",
            "run.mtu is 8500, and would become 1500",
            "run.mss_ceiling is 8365, and would become 1365",
        ]
    );
}
