//! Where there is too little of something from the start, so that newcomers have to wait until others are forgotten.

use engine::Worker;
use topology::Topology;

/// What there is too little of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scarcity {
    /// Nothing.
    None,
    /// The flow table holds so many.
    Flows(usize),
    /// There are so many source ports towards each target.
    Ports(usize),
    /// The buffers of all terminated connections may take so many bytes.
    Memory(usize),
    /// Each worker may escort so many flows at once, whose numbers are not settled.
    Escorts(usize),
}

impl Scarcity {
    /// Takes away what there is not to be: fewer than a file allows, because nobody could use up that many here.
    pub fn apply(self, topology: &mut Topology) {
        match self {
            Self::None | Self::Escorts(_) => {}
            Self::Flows(capacity) => topology.flows.capacity = capacity,
            Self::Ports(ports) => topology.flows.ports = ports,
            Self::Memory(bytes) => topology.terminate.memory = bytes,
        }
    }
    /// Takes away what a worker is not to have.
    pub fn limit(self, worker: &mut Worker) {
        if let Self::Escorts(most) = self {
            worker.limit_escorts(most);
        }
    }
}
