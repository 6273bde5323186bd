//! Identities: what has one name has one id, for the life of a process.
//!
//! A file numbers its things in its own order. When it takes another's place, [`Topology::succeed`] numbers them anew:
//! whatever the old topology or any before it has known keeps its id, also if it was gone in between, and what is new
//! gets an id that nothing has had. So whoever holds an id finds that thing or nothing, never a stranger.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use wire::Protocol;

use crate::{
    Arena, DeviceId, Endpoint, EndpointId, Forward, Id, Interface, Listener, Namespace, Node, Service,
    ServiceId, Target, TargetGroup, TargetGroupId, Topology, Zone,
};

/// Everything that was ever declared to a process has an id, and there are no more ids.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "this process has known {most} {kind}, with those that are gone, and cannot tell more apart; restart it to begin anew"
)]
pub struct OutOfIds {
    kind: &'static str,
    most: usize,
}

impl Topology {
    /// This topology, fresh from its file, as the one that takes over from `old`: under the ids that have been given so
    /// far.
    pub fn succeed(self, old: &Self) -> Result<Self, OutOfIds> {
        let mut identities = Identities::clone(&old.identities);
        identities.number(old)?;
        let ids = identities.number(&self)?;
        let namespaces = ids.place(self.namespaces, &old.namespaces);
        Ok(Self {
            namespaces,
            services: ids.services.place(self.services, |service| Service {
                device: ids.device(service.device),
                nodes: ids.nodes.all(&service.nodes),
                listeners: ids.listeners.all(&service.listeners),
                ..service
            }),
            nodes: ids.nodes.place(self.nodes, |node| Node {
                service: ids.services.of(node.service),
                device: ids.device(node.device),
                ..node
            }),
            listeners: ids.listeners.place(self.listeners, |listener| Listener {
                service: ids.services.of(listener.service),
                forward: listener.forward.into_iter().map(|forward| ids.forward(forward)).collect(),
                ..listener
            }),
            groups: ids.groups.place(self.groups, |group| TargetGroup {
                targets: ids.targets.all(&group.targets),
                ..group
            }),
            targets: ids
                .targets
                .place(self.targets, |target| Target { group: ids.groups.of(target.group), ..target }),
            endpoints: ids.endpoints.place(self.endpoints, |endpoint| Endpoint {
                service: ids.services.of(endpoint.service),
                device: ids.device(endpoint.device),
                interfaces: ids.interfaces.all(&endpoint.interfaces),
                ..endpoint
            }),
            interfaces: ids.interfaces.place(self.interfaces, |interface| Interface {
                endpoint: ids.endpoints.of(interface.endpoint),
                device: ids.device(interface.device),
                ..interface
            }),
            identities: Arc::new(identities),
            ..self
        })
    }
}

/// What makes a thing the same as one of another topology, and the id that this has.
#[derive(Clone, Default, Debug)]
pub(crate) struct Identities {
    devices: Known<PathBuf>,
    services: Known<String>,
    groups: Known<String>,
    endpoints: Known<String>,
    /// With the device, for the same address is another node in another namespace.
    nodes: Known<(ServiceId, DeviceId, Option<Zone>, IpAddr)>,
    listeners: Known<(ServiceId, Protocol, u16)>,
    targets: Known<(TargetGroupId, IpAddr, u16)>,
    interfaces: Known<(EndpointId, DeviceId, Option<Zone>, IpAddr)>,
}

impl Identities {
    /// The ids of everything in a topology, by those that it has there. What is new is known from here on.
    fn number(&mut self, topology: &Topology) -> Result<NewIds, OutOfIds> {
        const MOST_DEVICES: usize = DeviceId::MAX_COUNT;
        let device = |namespace: &Namespace| {
            let index = self.devices.index(namespace.path.clone(), "namespaces", MOST_DEVICES)?;
            Ok(DeviceId(index as u16))
        };
        let devices = topology.namespaces.iter().map(device).collect::<Result<Vec<_>, _>>()?;
        let services = self.services.ids(&topology.services, "services", |own| own.name.clone())?;
        let groups = self.groups.ids(&topology.groups, "target groups", |own| own.name.clone())?;
        let endpoints = self.endpoints.ids(&topology.endpoints, "endpoints", |own| own.name.clone())?;
        let nodes = self.nodes.ids(&topology.nodes, "nodes", |own| {
            (services.of(own.service), devices[own.device.index()], own.zone.clone(), own.address)
        })?;
        let listeners = self.listeners.ids(&topology.listeners, "listeners", |own| {
            (services.of(own.service), own.protocol, own.port)
        })?;
        let targets = self
            .targets
            .ids(&topology.targets, "targets", |own| (groups.of(own.group), own.address, own.port))?;
        let interfaces = self.interfaces.ids(&topology.interfaces, "interfaces", |own| {
            (endpoints.of(own.endpoint), devices[own.device.index()], own.zone.clone(), own.address)
        })?;
        Ok(NewIds { devices, services, groups, endpoints, nodes, listeners, targets, interfaces })
    }
}

/// The identities of one kind, each with the index of its id. None is ever forgotten.
#[derive(Clone, Debug)]
struct Known<K> {
    indices: HashMap<K, usize>,
}

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self { indices: HashMap::new() }
    }
}

impl<K: Hash + Eq> Known<K> {
    fn index(&mut self, identity: K, kind: &'static str, most: usize) -> Result<usize, OutOfIds> {
        let next = self.indices.len();
        match self.indices.entry(identity) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(new) if next < most => Ok(*new.insert(next)),
            Entry::Vacant(_) => Err(OutOfIds { kind, most }),
        }
    }

    fn ids<T>(
        &mut self,
        arena: &Arena<T>,
        kind: &'static str,
        identity: impl Fn(&T) -> K,
    ) -> Result<Renumbered<T>, OutOfIds> {
        let mut number =
            |(id, item)| Ok((id, Id::new(self.index(identity(item), kind, Id::<T>::MAX_COUNT)?)));
        let ids = arena.iter().map(&mut number).collect::<Result<_, _>>()?;
        Ok(Renumbered { ids, bound: self.indices.len() })
    }
}

/// The ids that a topology's things are to have.
struct NewIds {
    devices: Vec<DeviceId>,
    services: Renumbered<Service>,
    groups: Renumbered<TargetGroup>,
    endpoints: Renumbered<Endpoint>,
    nodes: Renumbered<Node>,
    listeners: Renumbered<Listener>,
    targets: Renumbered<Target>,
    interfaces: Renumbered<Interface>,
}

impl NewIds {
    fn device(&self, old: DeviceId) -> DeviceId {
        self.devices[old.index()]
    }

    fn forward(&self, forward: Forward) -> Forward {
        Forward { group: self.groups.of(forward.group), ..forward }
    }

    /// The namespaces by their new ids. Those that were used before stay, with nothing in them.
    fn place(&self, namespaces: Vec<Namespace>, before: &[Namespace]) -> Vec<Namespace> {
        let mut placed: Vec<_> = before.iter().map(Namespace::unused).collect();
        for (namespace, device) in namespaces.into_iter().zip(&self.devices) {
            match placed.get_mut(device.index()) {
                Some(place) => *place = namespace,
                None => placed.push(namespace),
            }
        }
        placed
    }
}

/// The new ids of one kind of thing, by those that they have had.
struct Renumbered<T> {
    ids: HashMap<Id<T>, Id<T>>,
    bound: usize,
}

impl<T> Renumbered<T> {
    fn of(&self, old: Id<T>) -> Id<T> {
        self.ids[&old]
    }

    fn all(&self, old: &[Id<T>]) -> Vec<Id<T>> {
        old.iter().map(|id| self.of(*id)).collect()
    }

    /// The things, each as `update` makes it, under their new ids.
    fn place(&self, arena: Arena<T>, update: impl Fn(T) -> T) -> Arena<T> {
        let items = arena.into_iter().map(|(id, item)| (self.of(id), update(item))).collect();
        Arena::with_holes(items, self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_indices_run_out_what_is_known_is_still_found() {
        let mut known = Known::default();
        assert_eq!(known.index("a", "things", 2), Ok(0));
        assert_eq!(known.index("b", "things", 2), Ok(1));
        let refused = known.index("c", "things", 2).unwrap_err();
        assert!(refused.to_string().starts_with("this process has known 2 things"), "{refused}");
        assert!(refused.to_string().contains("restart it"), "{refused}");
        assert_eq!(known.index("b", "things", 2), Ok(1));
    }
}
