//! The services and the endpoints, as `sidegate services` and `sidegate endpoints` show them.

use std::collections::HashMap;

use balance::{Register, State};
use engine::Plan;
use flow::{LaneUser, Lanes};
use topology::{Endpoint, EndpointId, Family, Forward, InterfaceId, ListenerId, ServiceId, Topology};

use super::{Board, shown};
use crate::snapshot::{
    EndpointDetail, ForwardStatus, InterfaceStatus, ListenerStatus, NodeStatus, ServiceStatus,
};

impl Board {
    /// How the services are.
    pub(crate) fn services(&self) -> Vec<ServiceStatus> {
        let topology = self.topology();
        let devices = self.devices().clone();
        let flows = Flows::count(self.shared.flows().lanes());
        self.shared.register(|register| {
            let status = |(id, service): (ServiceId, &topology::Service)| ServiceStatus {
                name: service.name.clone(),
                namespace: topology.namespaces[service.device.index()].name.clone(),
                up: devices.is_up(service.device),
                nodes: service.nodes.iter().map(|id| node_status(&topology.nodes[*id])).collect(),
                listeners: service
                    .listeners
                    .iter()
                    .map(|id| listener_status(&topology, *id, register, &flows))
                    .collect(),
                endpoints: topology.endpoints.iter().filter(|(_, endpoint)| endpoint.service == id).count(),
                flows: service.listeners.iter().map(|id| flows.through_listener(*id)).sum(),
            };
            topology.services.iter().map(status).collect()
        })
    }

    /// How the endpoints are, with their interfaces.
    pub(crate) fn endpoint_details(&self) -> Vec<EndpointDetail> {
        let plan = self.shared.plan();
        let topology = plan.topology();
        let devices = self.devices().clone();
        let flows = Flows::count(self.shared.flows().lanes());
        let detail = |(id, endpoint): (EndpointId, &Endpoint)| EndpointDetail {
            name: endpoint.name.clone(),
            service: topology.services[endpoint.service].name.clone(),
            namespace: topology.namespaces[endpoint.device.index()].name.clone(),
            up: devices.lead(topology, endpoint),
            interfaces: endpoint.interfaces.iter().map(|id| interface_status(&plan, *id, &flows)).collect(),
            flows: flows.through_endpoint(id),
            ids: (&endpoint.ids).into(),
        };
        topology.endpoints.iter().map(detail).collect()
    }
}

/// How many flows there are, by what they pass.
#[derive(Default)]
struct Flows {
    listeners: HashMap<ListenerId, usize>,
    endpoints: HashMap<EndpointId, usize>,
    interfaces: HashMap<InterfaceId, usize>,
}

impl Flows {
    fn count(lanes: &Lanes) -> Self {
        let mut count = Self::default();
        for (id, lane) in lanes.iter() {
            if let LaneUser::Endpoint { endpoint, interface, listener } = lane.user {
                let flows = lanes.flows(id);
                *count.listeners.entry(listener).or_default() += flows;
                *count.endpoints.entry(endpoint).or_default() += flows;
                *count.interfaces.entry(interface).or_default() += flows;
            }
        }
        count
    }

    fn through_listener(&self, id: ListenerId) -> usize {
        self.listeners.get(&id).copied().unwrap_or(0)
    }

    fn through_endpoint(&self, id: EndpointId) -> usize {
        self.endpoints.get(&id).copied().unwrap_or(0)
    }

    fn through_interface(&self, id: InterfaceId) -> usize {
        self.interfaces.get(&id).copied().unwrap_or(0)
    }
}

fn node_status(node: &topology::Node) -> NodeStatus {
    NodeStatus { zone: shown(node.zone.as_ref()), address: node.address }
}

fn listener_status(
    topology: &Topology,
    id: ListenerId,
    register: &Register,
    flows: &Flows,
) -> ListenerStatus {
    let listener = &topology.listeners[id];
    ListenerStatus {
        protocol: listener.protocol.into(),
        port: listener.port,
        path: listener.path.into(),
        idle_timeout: listener.idle_timeout.as_secs_f64(),
        forward: listener.forward.iter().map(|forward| forward_status(topology, forward, register)).collect(),
        flows: flows.through_listener(id),
    }
}

fn forward_status(topology: &Topology, forward: &Forward, register: &Register) -> ForwardStatus {
    let group = &topology.groups[forward.group];
    let is_healthy = |id: &&_| register.standing(**id).state == State::Healthy;
    ForwardStatus {
        group: group.name.clone(),
        weight: forward.weight,
        healthy: group.targets.iter().filter(is_healthy).count(),
        targets: group.targets.len(),
    }
}

fn interface_status(plan: &Plan, id: InterfaceId, flows: &Flows) -> InterfaceStatus {
    let topology = plan.topology();
    let interface = &topology.interfaces[id];
    let node = plan.node_in_use(id, Family::of(interface.address));
    InterfaceStatus {
        zone: shown(interface.zone.as_ref()),
        address: interface.address,
        node: node.and_then(|node| topology.nodes.get(node)).map(|node| node.address),
        flows: flows.through_interface(id),
    }
}
