//! Where there is too little of something from the start, so that newcomers have to wait until others are forgotten.

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
}

impl Scarcity {
    /// Takes away what there is not to be: fewer than a file allows, because nobody could use up that many here.
    pub fn apply(self, topology: &mut Topology) {
        match self {
            Self::None => {}
            Self::Flows(capacity) => topology.flows.capacity = capacity,
            Self::Ports(ports) => topology.flows.ports = ports,
            Self::Memory(bytes) => topology.terminate.memory = bytes,
        }
    }
}
