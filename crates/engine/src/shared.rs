//! The part that all workers share.

use std::sync::Arc;

use ahash::RandomState;
use balance::Health;
use flow::{Lanes, Table};
use stack::Memory;
use topology::Topology;

use crate::admit::{Admission, Tuple, admit};
use crate::idents::Idents;
use crate::verdict::Reason;
use crate::view::View;

/// Flow table, source ports, topology and health: one for all workers.
pub struct Shared {
    pub(crate) topology: Arc<Topology>,
    pub(crate) view: View,
    pub(crate) health: Health,
    pub(crate) flows: Table,
    /// Keys the choice of targets.
    choice: RandomState,
    /// Keys the preferred source port of a client's tuple.
    pub(crate) preference: RandomState,
    /// Keys who follows a datagram that comes in fragments.
    pub(crate) datagram_keys: RandomState,
    pub(crate) idents: Idents,
    /// What the buffers of all terminated connections take.
    pub(crate) terminate_memory: Memory,
}

impl Shared {
    /// Makes room for all that the topology allows. `seed` keys every hash that the network could try to flood.
    pub fn new(topology: Arc<Topology>, workers: usize, seed: [u64; 4]) -> Self {
        let (view, lanes) = View::new(&topology);
        let lanes = Lanes::new(lanes, topology.flows.ports, workers);
        let [a, b, c, d] = seed;
        Self {
            health: Health::of(&topology),
            flows: Table::new(topology.flows.capacity, workers, lanes, seed),
            choice: RandomState::with_seeds(b, c, d, a),
            preference: RandomState::with_seeds(c, d, a, b),
            datagram_keys: RandomState::with_seeds(d, a, b, c),
            idents: Idents::new(RandomState::with_seeds(b, a, d, c)),
            terminate_memory: Memory::new(topology.terminate.memory),
            view,
            topology,
        }
    }

    /// Decides about a packet that belongs to no flow, and has no side effect: whoever wants to explain asks here too.
    pub fn admit(&self, tuple: &Tuple) -> Result<Admission<'_>, Reason> {
        admit(&self.view, &self.flows, &self.health, &self.choice, tuple)
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.flows.workers()
    }

    /// The topology in force.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// The flow table.
    pub fn flows(&self) -> &Table {
        &self.flows
    }

    /// What the buffers of all terminated connections take, and may take.
    pub fn terminate_memory(&self) -> &Memory {
        &self.terminate_memory
    }

    /// The targets' health.
    pub fn health(&self) -> &Health {
        &self.health
    }
}
