//! The part that all workers share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ahash::RandomState;
use arc_swap::ArcSwap;
use balance::{Health, Register};
use flow::{Lanes, Table};
use siphasher::sip::SipHasher24;
use stack::Memory;
use topology::{TargetId, Topology};

use crate::acquaintance::{Acquaintances, Speech};
use crate::admit::{Admission, Tuple, admit};
use crate::homes::Homes;
use crate::idents::Idents;
use crate::plan::Plan;
use crate::verdict::Reason;

/// Flow table, source ports, plan and health: one for all workers.
pub struct Shared {
    pub(crate) plan: ArcSwap<Plan>,
    /// The plan's number, so that a worker need not touch the plan to see that it has the latest.
    pub(crate) latest: AtomicU64,
    /// What is known of the targets. No worker ever asks for it.
    pub(crate) register: Mutex<Register>,
    pub(crate) health: Health,
    /// What targets have shown that they speak.
    pub(crate) acquaintances: Acquaintances,
    pub(crate) homes: Homes,
    pub(crate) flows: Table,
    /// Keys the choice of targets.
    pub(crate) choice: RandomState,
    /// Keys the preferred source port of a client's tuple.
    pub(crate) preference: RandomState,
    /// Keys who follows a datagram that comes in fragments.
    pub(crate) datagram_keys: RandomState,
    /// Keys what a target is asked that may have forgotten a flow.
    pub(crate) questions: SipHasher24,
    pub(crate) idents: Idents,
    /// What the buffers of all terminated connections take.
    pub(crate) terminate_memory: Memory,
}

impl Shared {
    /// Makes room for all that the topology allows. `seed` keys every hash that the network could try to flood.
    pub fn new(topology: Arc<Topology>, workers: usize, seed: [u64; 4]) -> Self {
        let [a, b, c, d] = seed;
        let lanes = Lanes::new(topology.flows.ports, workers);
        let homes = Homes::default();
        let terminate_memory = Memory::new(topology.terminate.memory);
        let capacity = topology.flows.capacity;
        let plan = Arc::new(Plan::new(topology, &lanes, &homes, None));
        let shared = Self {
            latest: AtomicU64::new(plan.number),
            plan: ArcSwap::new(Arc::clone(&plan)),
            register: Mutex::default(),
            health: Health::default(),
            acquaintances: Acquaintances::default(),
            homes,
            flows: Table::new(capacity, workers, lanes, seed),
            choice: RandomState::with_seeds(b, c, d, a),
            preference: RandomState::with_seeds(c, d, a, b),
            datagram_keys: RandomState::with_seeds(d, a, b, c),
            questions: SipHasher24::new_with_keys(c ^ b, a ^ d),
            idents: Idents::new(RandomState::with_seeds(b, a, d, c)),
            terminate_memory,
        };
        shared.enrol(shared.locked(), plan, Duration::ZERO);
        shared
    }

    /// Decides about a packet that belongs to no flow, and has no side effect: whoever wants to explain asks here too.
    #[inline]
    pub fn admit<'a>(&self, plan: &'a Plan, tuple: &Tuple) -> Result<Admission<'a>, Reason> {
        admit(plan, &self.flows, &self.choice, tuple)
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.flows.workers()
    }

    /// The plan in force.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// The number of the plan in force.
    #[inline]
    pub(crate) fn latest(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    /// The topology in force.
    pub fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.plan.load().topology)
    }

    /// The flow table.
    pub fn flows(&self) -> &Table {
        &self.flows
    }

    /// What the buffers of all terminated connections take, and may take.
    pub fn terminate_memory(&self) -> &Memory {
        &self.terminate_memory
    }

    /// What checks have found out about the targets.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// What a target's TCP speaks, if it has answered one of ours: a spliced flow needs to know.
    pub fn speech(&self, target: TargetId) -> Option<Speech> {
        self.acquaintances.of(target)
    }
}
