//! From what the file declares to the topology: namespaces in the order of the file, everything else by id.
//!
//! References became ids while the file was read: a thing's place in its list is its place in its arena. So groups,
//! services and endpoints are added in the order of the file, and all of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;

use crate::file::{
    Declared, DeclaredEndpoint, DeclaredForward, DeclaredGroup, DeclaredLink, DeclaredListener,
    DeclaredService, DeclaredTarget, LocalAddress, NamespaceRef, ZonedAddress,
};
use crate::problem::Read;
use crate::{
    Answer, Arena, DeviceId, Endpoint, Forward, Interface, Listener, Namespace, Node, Service, Target,
    TargetGroup, Topology,
};

/// The topology that was declared, unless part of it could not be read.
pub(crate) fn build(declared: Declared<'_>) -> Read<Topology> {
    let topology = Topology {
        run: declared.run?,
        flows: declared.flows?,
        terminate: declared.terminate?,
        namespaces: Vec::new(),
        services: Arena::default(),
        nodes: Arena::default(),
        listeners: Arena::default(),
        groups: Arena::default(),
        targets: Arena::default(),
        endpoints: Arena::default(),
        interfaces: Arena::default(),
        identities: Arc::default(),
    };
    let mut builder = Builder { topology, devices: HashMap::new() };
    let (services, endpoints) = (all(declared.services)?, all(declared.endpoints)?);
    builder.add_namespaces(&services, &endpoints)?;
    for group in all(declared.groups)? {
        builder.add_group(group)?;
    }
    for service in services {
        builder.add_service(service)?;
    }
    for endpoint in endpoints {
        builder.add_endpoint(endpoint)?;
    }
    Ok(builder.topology)
}

fn all<T>(read: Vec<Read<T>>) -> Read<Vec<T>> {
    read.into_iter().collect()
}

fn forwards(listener: &DeclaredListener) -> Read<Vec<Forward>> {
    let forward = |declared: &DeclaredForward| Forward { group: declared.group, weight: declared.weight };
    listener
        .forward
        .iter()
        .map(|declared| declared.as_ref().map(forward).map_err(|reported| *reported))
        .collect()
}

struct Builder {
    topology: Topology,
    devices: HashMap<PathBuf, DeviceId>,
}

impl Builder {
    /// Adds the namespaces in the order in which the file first names them.
    fn add_namespaces(
        &mut self,
        services: &[DeclaredService<'_>],
        endpoints: &[DeclaredEndpoint<'_>],
    ) -> Read<()> {
        let of_services = services.iter().map(|service| (service.place.offset, &service.namespace));
        let of_endpoints = endpoints.iter().map(|endpoint| (endpoint.place.offset, &endpoint.namespace));
        let mut named: Vec<_> = of_services.chain(of_endpoints).collect();
        named.sort_by_key(|(offset, _)| *offset);
        for (_, namespace) in named {
            self.device(namespace.clone()?);
        }
        Ok(())
    }

    /// The device of a namespace: one, however its path is spelled. The cap on the file's size keeps their number far
    /// below what an id can hold.
    fn device(&mut self, namespace: NamespaceRef<'_>) -> DeviceId {
        let NamespaceRef { name, path } = namespace;
        match self.devices.entry(path) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let device = DeviceId(self.topology.namespaces.len() as u16);
                let (name, path) = (name.into(), new.key().clone());
                let (routed, local, answers) = (Vec::new(), Vec::new(), Vec::new());
                self.topology.namespaces.push(Namespace { name, path, routed, local, answers });
                *new.insert(device)
            }
        }
    }

    fn add_group(&mut self, declared: DeclaredGroup<'_>) -> Read<()> {
        let (name, members) = (declared.name?.into(), all(declared.targets)?);
        let (health_check, attributes) = (declared.health_check?, declared.attributes?);
        let Topology { groups, targets, .. } = &mut self.topology;
        groups.add(|group| {
            let add = |DeclaredTarget { address, port, zone, weight, .. }| {
                targets.add(|_| Target { group, address, port, zone, weight })
            };
            TargetGroup { name, targets: members.into_iter().map(add).collect(), health_check, attributes }
        });
        Ok(())
    }

    fn add_service(&mut self, declared: DeclaredService<'_>) -> Read<()> {
        let (name, device) = (declared.name?.into(), self.device(declared.namespace?));
        let (own_nodes, own_listeners) = (all(declared.nodes)?, all(declared.listeners)?);
        let forwards: Vec<_> = all(own_listeners.iter().map(forwards).collect())?;
        self.route(device, &own_nodes);
        self.answer(device, &own_nodes, &all(declared.answer_on)?);

        let Topology { services, nodes, listeners, .. } = &mut self.topology;
        services.add(|service| {
            let add_node =
                |ZonedAddress { zone, address, .. }| nodes.add(|_| Node { service, device, zone, address });
            let add_listener = |(declared, forward): (DeclaredListener, _)| {
                let DeclaredListener { protocol, port, path, idle_timeout, .. } = declared;
                listeners.add(|_| Listener { service, protocol, port, forward, path, idle_timeout })
            };
            Service {
                name,
                device,
                nodes: own_nodes.into_iter().map(add_node).collect(),
                listeners: own_listeners.into_iter().zip(forwards).map(add_listener).collect(),
            }
        });
        Ok(())
    }

    fn add_endpoint(&mut self, declared: DeclaredEndpoint<'_>) -> Read<()> {
        let (name, service, device): (String, _, _) =
            (declared.name?.into(), declared.service?, self.device(declared.namespace?));
        let ids = declared.ids?.into();
        let doors = all(declared.interfaces)?;
        self.route(device, &doors);
        self.answer(device, &doors, &all(declared.answer_on)?);
        let local = &mut self.topology.namespaces[device.index()].local;
        for LocalAddress { address, .. } in all(declared.local)? {
            if !local.contains(&address) {
                local.push(address);
            }
        }

        let Topology { endpoints, interfaces, .. } = &mut self.topology;
        endpoints.add(|endpoint| {
            let add = |ZonedAddress { zone, address, .. }| {
                interfaces.add(|_| Interface { endpoint, device, zone, address })
            };
            let interfaces = doors.into_iter().map(add).collect();
            Endpoint { name, service, device, interfaces, ids }
        });
        Ok(())
    }

    fn route(&mut self, device: DeviceId, addresses: &[ZonedAddress]) {
        let routed = &mut self.topology.namespaces[device.index()].routed;
        routed.extend(addresses.iter().map(|attached| attached.address));
    }

    fn answer(&mut self, device: DeviceId, addresses: &[ZonedAddress], links: &[DeclaredLink<'_>]) {
        let answers = &mut self.topology.namespaces[device.index()].answers;
        for link in links {
            let answer =
                |attached: &ZonedAddress| Answer { link: link.name.into(), address: attached.address };
            answers.extend(addresses.iter().map(answer));
        }
    }
}
