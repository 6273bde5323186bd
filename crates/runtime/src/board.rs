//! The board: what everybody may look at. Counters that the workers write, and the devices' states that the watch notes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use engine::{Outcome, Reason, Shared};
use flow::Cause;
use topology::{DeviceId, Topology};

use crate::counters::{Counter, DeviceCounters, WorkerCounters};
use crate::snapshot::{
    DeviceState, DeviceStatus, EndpointStatus, FlowsStatus, PoolStatus, Snapshot, TerminateStatus, Traffic,
    VerdictCount, WorkerStatus,
};

/// What everybody may look at.
pub(crate) struct Board {
    pub(crate) topology: Arc<Topology>,
    pub(crate) device_name: String,
    pub(crate) started: Instant,
    pub(crate) workers: Vec<Arc<WorkerCounters>>,
    shared: Arc<Shared>,
    devices: Mutex<Devices>,
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
}

impl DeviceRecord {
    fn down(state: DeviceState) -> Self {
        Self { state, queues: 0, steering: String::new() }
    }
}

impl Board {
    pub(crate) fn new(topology: Arc<Topology>, shared: Arc<Shared>, workers: usize) -> Self {
        let devices = topology.namespaces.len();
        let down = DeviceRecord::down(DeviceState::Down("not opened yet".into()));
        let records = vec![down; devices];
        Self {
            device_name: device::device_name(&topology.run.name),
            started: Instant::now(),
            workers: (0..workers).map(|_| Arc::new(WorkerCounters::new(devices))).collect(),
            devices: Mutex::new(Devices { records, offloads: String::new() }),
            shared,
            topology,
        }
    }

    /// Notes a device's state; says whether that is news.
    pub(crate) fn set_device(&self, device: DeviceId, state: DeviceState) -> bool {
        let mut devices = self.devices();
        let record = &mut devices.records[device.index()];
        let news = record.state != state;
        *record = DeviceRecord::down(state);
        news
    }

    /// Notes that a device is up, and the offloads that all of them have.
    pub(crate) fn set_opened(&self, device: DeviceId, queues: usize, steering: String, offloads: String) {
        let mut devices = self.devices();
        devices.records[device.index()] = DeviceRecord { state: DeviceState::Up, queues, steering };
        devices.offloads = offloads;
    }

    /// Notes that the devices have other offloads.
    pub(crate) fn set_offloads(&self, offloads: String) {
        self.devices().offloads = offloads;
    }

    fn devices(&self) -> MutexGuard<'_, Devices> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let devices = self.devices().clone();
        Snapshot {
            instance: self.topology.run.name.clone(),
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs_f64(),
            devices: self.device_statuses(&devices),
            endpoints: self.endpoints(&devices.records),
            workers: self.workers.iter().map(|counters| worker_status(counters)).collect(),
            flows: self.flows(),
            terminate: self.terminate(),
            verdicts: Reason::ALL.iter().map(|reason| self.verdict(*reason)).collect(),
        }
    }

    fn device_statuses(&self, devices: &Devices) -> Vec<DeviceStatus> {
        let namespaces = self.topology.namespaces.iter().zip(&devices.records).enumerate();
        namespaces
            .map(|(index, (namespace, record))| {
                let is_up = record.state == DeviceState::Up;
                let sum = |pick: fn(&DeviceCounters) -> &Counter| {
                    self.sum(|worker| pick(worker.device(DeviceId(index as u16))))
                };
                DeviceStatus {
                    namespace: namespace.name.clone(),
                    name: self.device_name.clone(),
                    state: record.state.clone(),
                    offloads: if is_up { devices.offloads.clone() } else { String::new() },
                    steering: record.steering.clone(),
                    queues: record.queues,
                    received: Traffic { frames: sum(|c| &c.received), bytes: sum(|c| &c.received_bytes) },
                    sent: Traffic { frames: sum(|c| &c.sent), bytes: sum(|c| &c.sent_bytes) },
                    send_errors: sum(|c| &c.send_errors),
                    receive_errors: sum(|c| &c.receive_errors),
                }
            })
            .collect()
    }

    fn endpoints(&self, records: &[DeviceRecord]) -> Vec<EndpointStatus> {
        let is_up = |device: DeviceId| records[device.index()].state == DeviceState::Up;
        let endpoints = self.topology.endpoints.iter();
        endpoints
            .map(|(_, endpoint)| {
                let service = &self.topology.services[endpoint.service];
                EndpointStatus {
                    name: endpoint.name.clone(),
                    service: service.name.clone(),
                    up: is_up(endpoint.device) && is_up(service.device),
                }
            })
            .collect()
    }

    fn flows(&self) -> FlowsStatus {
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
            pools: flows.lanes().pools().map(|pool| self.pool(&pool)).collect(),
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

    fn pool(&self, pool: &flow::PoolStatus) -> PoolStatus {
        PoolStatus {
            protocol: pool.key.protocol.as_str().into(),
            node: self.topology.nodes[pool.key.node].address,
            target: (pool.key.target.ip(), pool.key.target_port).into(),
            in_use: pool.in_use,
            exhausted: pool.exhausted,
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

fn worker_status(counters: &WorkerCounters) -> WorkerStatus {
    WorkerStatus {
        frames: counters.frames.get(),
        batches: counters.batches.get(),
        wakeups: counters.wakeups.get(),
        handed_over: counters.handed_over.get(),
    }
}
