//! How a flow is carried, in the word that the slab keeps of it.

/// How a flow is carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowPath {
    /// Its packets are rewritten, by whichever worker gets them.
    Nat,
    /// It ends in a worker's own TCP, and all its packets must go there.
    Terminated {
        /// The worker.
        worker: u8,
        /// Its place among that worker's terminated flows: 22 bits.
        relay: u32,
    },
    /// A worker's own TCP asks by it how the target is; what the target answers must go there.
    Probe {
        /// The worker.
        worker: u8,
        /// Its place among that worker's probes: 22 bits.
        probe: u32,
    },
}

/// A path's word: `kind (2) | worker (8) | place (22)`; all zero is nat.
const TERMINATED: u32 = 1;
const PROBE: u32 = 2;
const PLACE_BITS: u32 = 22;

impl FlowPath {
    pub(crate) fn to_word(self) -> u32 {
        match self {
            Self::Nat => 0,
            Self::Terminated { worker, relay } => pack(TERMINATED, worker, relay),
            Self::Probe { worker, probe } => pack(PROBE, worker, probe),
        }
    }

    #[inline]
    pub(crate) fn from_word(word: u32) -> Self {
        let (worker, place) = ((word >> PLACE_BITS) as u8, word & ((1 << PLACE_BITS) - 1));
        match word >> (PLACE_BITS + u8::BITS) {
            TERMINATED => Self::Terminated { worker, relay: place },
            PROBE => Self::Probe { worker, probe: place },
            _ => Self::Nat,
        }
    }
}

fn pack(kind: u32, worker: u8, place: u32) -> u32 {
    kind << (PLACE_BITS + u8::BITS) | u32::from(worker) << PLACE_BITS | place & ((1 << PLACE_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_its_packing() {
        let mut paths = vec![FlowPath::Nat];
        for (worker, place) in [(0, 0), (255, 0), (0, (1 << PLACE_BITS) - 1), (7, 12_345)] {
            paths.push(FlowPath::Terminated { worker, relay: place });
            paths.push(FlowPath::Probe { worker, probe: place });
        }
        for path in paths {
            assert_eq!(FlowPath::from_word(path.to_word()), path);
        }
    }
}
