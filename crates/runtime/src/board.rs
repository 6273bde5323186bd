//! The board: what everybody may look at. Counters that the workers write, the devices' states that the watch notes, and what
//! the engine knows.

mod explaining;
mod flows;
mod headers;
mod services;
mod targets;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use balance::Standing;
use engine::{Outcome, Reason, Shared};
use flow::{Cause, Place};
use topology::{DeviceId, Endpoint, EndpointId, Namespace, Topology, Zone};

use crate::counters::{Counter, DeviceCounters, DeviceCounts, WorkerCounters};
use crate::snapshot::{
    DeviceState, DeviceStatus, EndpointStatus, FlowsStatus, PoolStatus, Snapshot, TerminateStatus, Traffic,
    VerdictCount, WorkerStatus,
};

/// What everybody may look at.
pub(crate) struct Board {
    pub(crate) device_name: String,
    pub(crate) started: Instant,
    pub(crate) workers: Vec<Arc<WorkerCounters>>,
    pub(crate) shared: Arc<Shared>,
    devices: Mutex<Devices>,
    /// When a topology that was accepted comes into force.
    reload_at: Mutex<Option<Duration>>,
}

/// What the watch knows about the devices.
#[derive(Clone)]
struct Devices {
    records: Vec<DeviceRecord>,
    /// All devices that are up have the same.
    offloads: String,
}

/// What the watch knows about one device.
#[derive(Clone)]
struct DeviceRecord {
    state: DeviceState,
    queues: usize,
    steering: String,
    /// By worker.
    counters: Vec<Arc<DeviceCounters>>,
}

impl DeviceRecord {
    /// Of a device that has never been open.
    fn new(workers: usize) -> Self {
        Self {
            state: DeviceState::Down("not opened yet".into()),
            queues: 0,
            steering: String::new(),
            counters: (0..workers).map(|_| Arc::default()).collect(),
        }
    }

    fn is_up(&self) -> bool {
        self.state == DeviceState::Up
    }

    fn sum(&self, pick: fn(&DeviceCounts) -> &Counter) -> u64 {
        self.counters.iter().map(|counters| pick(counters).get()).sum()
    }
}

impl Devices {
    fn is_up(&self, device: DeviceId) -> bool {
        self.records.get(device.index()).is_some_and(DeviceRecord::is_up)
    }

    /// Whether the devices at both ends of an endpoint are up.
    fn lead(&self, topology: &Topology, endpoint: &Endpoint) -> bool {
        self.is_up(endpoint.device) && self.is_up(topology.services[endpoint.service].device)
    }
}

impl Board {
    pub(crate) fn new(shared: Arc<Shared>, workers: usize) -> Self {
        let topology = shared.topology();
        let board = Self {
            device_name: device::device_name(&topology.run.name),
            started: Instant::now(),
            workers: (0..workers).map(|_| Arc::default()).collect(),
            devices: Mutex::new(Devices { records: Vec::new(), offloads: String::new() }),
            reload_at: Mutex::default(),
            shared,
        };
        board.make_room(topology.namespaces.len());
        board
    }

    /// The topology in force.
    pub(crate) fn topology(&self) -> Arc<Topology> {
        self.shared.topology()
    }

    /// The time as the engine counts it.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// There are so many devices now.
    pub(crate) fn make_room(&self, devices: usize) {
        self.devices().records.resize_with(devices, || DeviceRecord::new(self.workers.len()));
    }

    /// Where each worker counts what passes through a device.
    pub(crate) fn device_counters(&self, device: DeviceId) -> Vec<Arc<DeviceCounters>> {
        self.devices().records[device.index()].counters.clone()
    }

    /// Notes a device's state; says whether that is news.
    pub(crate) fn set_device(&self, device: DeviceId, state: DeviceState) -> bool {
        let mut devices = self.devices();
        let record = &mut devices.records[device.index()];
        let news = record.state != state;
        (record.state, record.queues, record.steering) = (state, 0, String::new());
        news
    }

    /// Notes that a device is up, and the offloads that all of them have.
    pub(crate) fn set_opened(&self, device: DeviceId, queues: usize, steering: String, offloads: String) {
        let mut devices = self.devices();
        let record = &mut devices.records[device.index()];
        (record.state, record.queues, record.steering) = (DeviceState::Up, queues, steering);
        devices.offloads = offloads;
    }

    /// Notes that packets find their queues in another way.
    pub(crate) fn set_steering(&self, device: DeviceId, steering: String) {
        self.devices().records[device.index()].steering = steering;
    }

    /// Notes that the devices have other offloads.
    pub(crate) fn set_offloads(&self, offloads: String) {
        self.devices().offloads = offloads;
    }

    /// Notes when a topology that was accepted comes into force.
    pub(crate) fn set_reload(&self, at: Option<Duration>) {
        *locked(&self.reload_at) = at;
    }

    /// In how long a topology that was accepted comes into force, if one is to.
    pub(crate) fn reload_in(&self) -> Option<Duration> {
        locked(&self.reload_at).map(|at| at.saturating_sub(self.now()))
    }

    fn devices(&self) -> MutexGuard<'_, Devices> {
        locked(&self.devices)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let devices = self.devices().clone();
        let topology = self.topology();
        Snapshot {
            instance: topology.run.name.clone(),
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs_f64(),
            reload_in: self.reload_in().map(|left| left.as_secs_f64()),
            devices: self.device_statuses(&topology, &devices),
            endpoints: endpoints(&topology, &devices),
            workers: self.workers.iter().map(|counters| worker_status(counters)).collect(),
            flows: self.flows(&topology),
            terminate: self.terminate(),
            verdicts: Reason::ALL.iter().map(|reason| self.verdict(*reason)).collect(),
        }
    }

    fn device_statuses(&self, topology: &Topology, devices: &Devices) -> Vec<DeviceStatus> {
        let all = topology.namespaces.iter().zip(&devices.records);
        let used = all.filter(|(namespace, record)| namespace.is_used() || record.is_up());
        let status = |(namespace, record): (&Namespace, &DeviceRecord)| DeviceStatus {
            namespace: namespace.name.clone(),
            name: self.device_name.clone(),
            state: record.state.clone(),
            offloads: if record.is_up() { devices.offloads.clone() } else { String::new() },
            steering: record.steering.clone(),
            queues: record.queues,
            received: Traffic {
                frames: record.sum(|c| &c.received),
                bytes: record.sum(|c| &c.received_bytes),
            },
            sent: Traffic { frames: record.sum(|c| &c.sent), bytes: record.sum(|c| &c.sent_bytes) },
            send_errors: record.sum(|c| &c.send_errors),
            receive_errors: record.sum(|c| &c.receive_errors),
        };
        used.map(status).collect()
    }

    fn flows(&self, topology: &Topology) -> FlowsStatus {
        let flows = self.shared.flows();
        let closed: BTreeMap<String, u64> = Cause::ALL
            .iter()
            .map(|cause| (cause.as_str().to_owned(), self.sum(|worker| worker.closed(*cause))))
            .collect();
        FlowsStatus {
            live: flows.live(),
            capacity: flows.capacity(),
            opened: self.sum(|worker| &worker.opened),
            closed,
            ports_in_use: flows.lanes().ports_in_use(),
            pools: flows.lanes().pools().filter_map(|pool| pool_status(topology, &pool)).collect(),
        }
    }

    fn terminate(&self) -> TerminateStatus {
        let memory = self.shared.terminate_memory();
        TerminateStatus {
            live: self.sum(|worker| &worker.terminated),
            memory: memory.used(),
            memory_limit: memory.limit(),
        }
    }

    fn verdict(&self, reason: Reason) -> VerdictCount {
        let outcome = match reason.outcome() {
            Outcome::Carried => "carried",
            Outcome::Answered => "answered",
            Outcome::Kept => "kept",
            Outcome::Ignored => "ignored",
            Outcome::Dropped => "dropped",
        };
        VerdictCount {
            reason: reason.as_str().into(),
            outcome: outcome.into(),
            count: self.sum(|worker| worker.verdict(reason)),
            remedy: reason.remedy().into(),
        }
    }

    fn sum<'a>(&'a self, pick: impl Fn(&'a WorkerCounters) -> &'a Counter) -> u64 {
        self.workers.iter().map(|worker| pick(worker).get()).sum()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn endpoints(topology: &Topology, devices: &Devices) -> Vec<EndpointStatus> {
    let status = |(_, endpoint): (_, &Endpoint)| EndpointStatus {
        name: endpoint.name.clone(),
        service: topology.services[endpoint.service].name.clone(),
        up: devices.lead(topology, endpoint),
    };
    topology.endpoints.iter().map(status).collect()
}

/// The pool of a node that is still there.
fn pool_status(topology: &Topology, pool: &flow::PoolStatus) -> Option<PoolStatus> {
    Some(PoolStatus {
        protocol: pool.key.protocol.as_str().into(),
        node: topology.nodes.get(pool.key.node)?.address,
        target: (pool.key.target.ip(), pool.key.target_port).into(),
        in_use: pool.in_use,
        exhausted: pool.exhausted,
    })
}

/// The endpoint of this name; if there is none, what to tell who asks for it.
fn endpoint_named<'a>(topology: &'a Topology, name: &str) -> Result<(EndpointId, &'a Endpoint), String> {
    let found = topology.endpoints.iter().find(|(_, endpoint)| endpoint.name == name);
    found.ok_or_else(|| format!("there is no endpoint {name:?}; `sidegate endpoints` lists them all"))
}

/// The address of a place, unless it is there no more.
pub(crate) fn address_of(topology: &Topology, place: Place) -> Option<IpAddr> {
    match place {
        Place::Interface(id) => topology.interfaces.get(id).map(|interface| interface.address),
        Place::Node(id) => topology.nodes.get(id).map(|node| node.address),
    }
}

/// A standing as it is shown: the state, the reason if there is one, and that in a sentence.
fn in_words(standing: Standing) -> (String, Option<String>, String) {
    let reason = standing.reason;
    (
        standing.state.as_str().into(),
        reason.map(|reason| reason.as_str().into()),
        reason.map(|reason| reason.description().into()).unwrap_or_default(),
    )
}

/// A zone as it is shown.
fn shown(zone: Option<&Zone>) -> Option<String> {
    zone.map(|zone| zone.to_string())
}

fn worker_status(counters: &WorkerCounters) -> WorkerStatus {
    WorkerStatus {
        frames: counters.frames.get(),
        batches: counters.batches.get(),
        wakeups: counters.wakeups.get(),
        handed_over: counters.handed_over.get(),
    }
}
