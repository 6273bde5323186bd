//! What the file's tables mean to each other: addresses used once, families that meet, listeners told apart.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::path::Path as FsPath;

use wire::Protocol;

use crate::file::{
    Declared, DeclaredForward, DeclaredGroup, DeclaredId, DeclaredLink, DeclaredListener, DeclaredService,
    LocalAddress, NamespaceRef, ZonedAddress,
};
use crate::problem::{Place, Problems, Read};
use crate::{Family, Path};

/// Reports every contradiction between the tables.
pub(crate) fn check(declared: &Declared<'_>, problems: &Problems<'_>) {
    let routed = Routed::collect(declared, problems);
    for service in declared.services.iter().flatten() {
        one_per_zone_and_family(&service.nodes, problems);
        each_link_once(&service.answer_on, problems);
        one_listener_per_port(service, problems);
        each_group_once(service, problems);
        terminated_families_meet(declared, service, problems);
        headers_are_for_tcp(declared, service, problems);
    }
    for endpoint in declared.endpoints.iter().flatten() {
        one_per_zone_and_family(&endpoint.interfaces, problems);
        each_link_once(&endpoint.answer_on, problems);
    }
    for group in declared.groups.iter().flatten() {
        each_target_once(group, problems);
    }
    each_id_once(declared, problems);
    packets_keep_their_family(declared, problems);
    targets_are_not_routed(declared, &routed, problems);
    locals_are_free(declared, &routed, problems);
}

/// Every address that is routed to a device, by the namespace's file, and where it was declared.
struct Routed<'d> {
    places: HashMap<(&'d FsPath, IpAddr), &'d Place>,
}

impl<'d> Routed<'d> {
    /// Gathers all of them, and refuses an address's second use in one namespace.
    fn collect(declared: &'d Declared<'_>, problems: &Problems<'_>) -> Self {
        let mut all: Vec<_> = attachments(declared).collect();
        all.sort_by_key(|(_, attached)| attached.place.offset);
        let mut places = HashMap::new();
        for (namespace, attached) in all {
            match places.entry((namespace.path.as_path(), attached.address)) {
                Entry::Vacant(free) => drop(free.insert(&attached.place)),
                Entry::Occupied(taken) => {
                    let other = problems.name(taken.get());
                    let message = format!(
                        "{} is used twice in namespace {:?}, first by {other}",
                        attached.address, namespace.name
                    );
                    problems.report(&attached.place, message, "give each an address of its own");
                }
            }
        }
        Self { places }
    }

    fn place_of(&self, namespace: &NamespaceRef<'_>, address: IpAddr) -> Option<&Place> {
        self.places.get(&(namespace.path.as_path(), address)).copied()
    }
}

/// The nodes and interfaces whose namespace is known.
fn attachments<'d, 't>(
    declared: &'d Declared<'t>,
) -> impl Iterator<Item = (&'d NamespaceRef<'t>, &'d ZonedAddress)> {
    let services = declared.services.iter().flatten().map(|service| (&service.namespace, &service.nodes));
    let endpoints =
        declared.endpoints.iter().flatten().map(|endpoint| (&endpoint.namespace, &endpoint.interfaces));
    services.chain(endpoints).flat_map(|(namespace, addresses)| {
        let namespace = namespace.as_ref().ok();
        addresses.iter().flatten().filter_map(move |address| Some((namespace?, address)))
    })
}

fn one_per_zone_and_family(addresses: &[Read<ZonedAddress>], problems: &Problems<'_>) {
    let known = addresses.iter().flatten();
    for (again, first) in repeats(known, |attached| (&attached.zone, attached.family())) {
        let (family, first) = (again.family(), problems.name(&first.place));
        let zone = again.zone.as_ref().map_or("without a zone".into(), |zone| format!("in zone {zone:?}"));
        let message = format!("a second {family} address {zone}, after {first}");
        problems.report(&again.place, message, "keep one for each zone and family");
    }
}

fn one_listener_per_port(service: &DeclaredService<'_>, problems: &Problems<'_>) {
    let known = service.listeners.iter().flatten();
    for (again, first) in repeats(known, |listener| (listener.protocol, listener.port)) {
        let first = problems.name(&first.place);
        let message = format!("a second listener on {} {}, after {first}", again.protocol, again.port);
        problems.report(&again.place, message, "remove one, or change its port");
    }
}

fn each_group_once(service: &DeclaredService<'_>, problems: &Problems<'_>) {
    for listener in service.listeners.iter().flatten() {
        for (again, first) in repeats(listener.forward.iter().flatten(), |forward| forward.group) {
            let first = problems.name(&first.place);
            let message = format!("this group is in the list already: {first}");
            problems.report(
                &again.place,
                message,
                "remove one of the two, and write its weight at the other",
            );
        }
    }
}

fn each_target_once(group: &DeclaredGroup<'_>, problems: &Problems<'_>) {
    let known = group.targets.iter().flatten();
    for (again, first) in repeats(known, |target| (target.address, target.port)) {
        let first = problems.name(&first.place);
        let message = format!("{} port {} is in this group already: {first}", again.address, again.port);
        problems.report(&again.place, message, "remove one of the two");
    }
}

fn each_link_once(links: &[Read<DeclaredLink<'_>>], problems: &Problems<'_>) {
    for (again, first) in repeats(links.iter().flatten(), |link| link.name) {
        let message = format!("{} is in this list already: {}", again.name, problems.name(&first.place));
        problems.report(&again.place, message, "remove one of the two");
    }
}

/// By its ids, targets tell an endpoint from others.
fn each_id_once(declared: &Declared<'_>, problems: &Problems<'_>) {
    let ids = || declared.endpoints.iter().flatten().filter_map(|endpoint| endpoint.ids.as_ref().ok());
    one_endpoint_per_id("aws", ids().map(|ids| &ids.aws), problems);
    one_endpoint_per_id("gcp", ids().map(|ids| &ids.gcp), problems);
    one_endpoint_per_id("azure", ids().map(|ids| &ids.azure), problems);
}

fn one_endpoint_per_id<'d, T: Hash + Eq + fmt::Display + 'd>(
    key: &str,
    ids: impl Iterator<Item = &'d DeclaredId<'d, T>>,
    problems: &Problems<'_>,
) {
    for (again, first) in repeats(ids, |own| &own.id) {
        // What follows from one name is the same; but then the name is what is wrong, and that is told.
        if again.follows_from.is_some() && again.follows_from == first.follows_from {
            continue;
        }
        let message =
            format!("{key} id {} is that of another endpoint: {}", again.id, problems.name(&first.place));
        problems.report(&again.place, message, format!("give one of the two another: ids = {{ {key} = … }}"));
    }
}

/// The items whose key another one before them has, each with the first that has it.
fn repeats<'d, T: 'd, K: Hash + Eq>(
    items: impl Iterator<Item = &'d T>,
    key: impl Fn(&'d T) -> K,
) -> impl Iterator<Item = (&'d T, &'d T)> {
    let mut first_with = HashMap::new();
    items.filter_map(move |item| {
        let first = *first_with.entry(key(item)).or_insert(item);
        (!std::ptr::eq(first, item)).then_some((item, first))
    })
}

/// A terminated connection goes on from a node to a target of the node's family.
fn terminated_families_meet(declared: &Declared<'_>, service: &DeclaredService<'_>, problems: &Problems<'_>) {
    let forwards = service.listeners_on(Path::Terminate).flat_map(|listener| declared.groups_of(listener));
    for (forward, group) in forwards {
        let meets =
            |family| !lacks(service.node_families(), family) && !lacks(group.target_families(), family);
        if !meets(Family::V4) && !meets(Family::V6) {
            problems.report(
                &forward.place,
                "no target of this group has the family of a node of the service",
                "give the service a node, or the group a target, of the other family",
            );
        }
    }
}

/// A header is the first of a TCP connection's bytes.
fn headers_are_for_tcp(declared: &Declared<'_>, service: &DeclaredService<'_>, problems: &Problems<'_>) {
    let over_udp = service.listeners.iter().flatten().filter(|listener| listener.protocol == Protocol::Udp);
    for (forward, group) in over_udp.flat_map(|listener| declared.groups_of(listener)) {
        if group.attributes.as_ref().is_ok_and(|attributes| attributes.proxy_protocol.is_some()) {
            problems.report(
                &forward.place,
                "the targets of this group get a proxy protocol header, which begins a TCP connection: udp has none",
                "forward to a group of the same targets without \"proxy_protocol_v2.enabled\", or listen on tcp",
            );
        }
    }
}

/// Rewriting a packet's addresses cannot make an IPv4 packet of an IPv6 one. So where packets pass through, the family of an
/// interface needs a node and a target behind it.
fn packets_keep_their_family(declared: &Declared<'_>, problems: &Problems<'_>) {
    let mut told = HashSet::new();
    for endpoint in declared.endpoints.iter().flatten() {
        let Some(service) = declared.service_of(endpoint) else { continue };
        for interface in endpoint.interfaces.iter().flatten() {
            let family = interface.family();
            let Some(listener) = service.listeners_passing_through().next() else { continue };
            if lacks(service.node_families(), family) {
                report_missing_node(interface, listener, problems);
                continue;
            }
            for listener in service.listeners_passing_through() {
                for (forward, group) in declared.groups_of(listener) {
                    if lacks(group.target_families(), family) && told.insert((forward.place.offset, family)) {
                        report_missing_target(interface, forward, listener, problems);
                    }
                }
            }
        }
    }
}

fn report_missing_node(interface: &ZonedAddress, listener: &DeclaredListener, problems: &Problems<'_>) {
    let family = interface.family();
    let message = format!(
        "the service has no {family} node, and its {} listener on {} {} cannot change the family",
        listener.path.as_str(),
        listener.protocol,
        listener.port
    );
    problems.report(
        &interface.place,
        message,
        format!("give the service an {family} node, or remove this interface"),
    );
}

fn report_missing_target(
    interface: &ZonedAddress,
    forward: &DeclaredForward,
    listener: &DeclaredListener,
    problems: &Problems<'_>,
) {
    let (family, path) = (interface.family(), listener.path.as_str());
    let message = format!(
        "the group has no {family} target for {}, and {path} cannot change the family",
        problems.name(&interface.place)
    );
    let terminate = match listener.protocol {
        Protocol::Tcp => ", or write path = \"terminate\"",
        Protocol::Udp => ", or remove that interface",
    };
    problems.report(&forward.place, message, format!("add an {family} target{terminate}"));
}

/// Whether there are some of these, and none is of the family. One that could not be read might be.
fn lacks(families: impl Iterator<Item = Option<Family>>, family: Family) -> bool {
    let mut families = families.peekable();
    families.peek().is_some() && families.all(|known| known.is_some_and(|known| known != family))
}

/// A target with a routed address would have its packets come straight back to the device.
fn targets_are_not_routed(declared: &Declared<'_>, routed: &Routed<'_>, problems: &Problems<'_>) {
    let mut told = HashSet::new();
    for service in declared.services.iter().flatten() {
        let Ok(namespace) = &service.namespace else { continue };
        let forwards = service.listeners.iter().flatten().flat_map(|listener| declared.groups_of(listener));
        for target in forwards.flat_map(|(_, group)| group.targets.iter().flatten()) {
            let Some(other) = routed.place_of(namespace, target.address) else { continue };
            if told.insert(target.place.offset) {
                let (address, other) = (target.address, problems.name(other));
                let message = format!("{address} is routed to sidegate's own device there, by {other}");
                problems.report(&target.place, message, "write the address of a host");
            }
        }
    }
}

/// A `local` address is nobody else's, and there is one for each namespace and family.
fn locals_are_free(declared: &Declared<'_>, routed: &Routed<'_>, problems: &Problems<'_>) {
    let mut first_with: HashMap<_, &LocalAddress> = HashMap::new();
    for endpoint in declared.endpoints.iter().flatten() {
        let Ok(namespace) = &endpoint.namespace else { continue };
        for local in endpoint.local.iter().flatten() {
            if let Some(other) = routed.place_of(namespace, local.address) {
                let message = format!("{} is routed already: {}", local.address, problems.name(other));
                problems.report(&local.place, message, "write an address that is the consumer's own");
            }
            let first = *first_with.entry((namespace.path.as_path(), local.family())).or_insert(local);
            if first.address != local.address {
                let (family, first) = (local.family(), problems.name(&first.place));
                let message = format!(
                    "a second local {family} address in namespace {:?}, after {first}",
                    namespace.name
                );
                problems.report(&local.place, message, "keep one for each family of a namespace");
            }
        }
    }
}
