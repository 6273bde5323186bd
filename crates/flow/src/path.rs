//! How a flow is carried, in the word that the slab keeps of it.

use wire::Scaling;

use crate::numbering::Numbering;

/// How a flow is carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowPath {
    /// Its packets are rewritten, by whichever worker gets them.
    Nat,
    /// As nat; and the numbers of its two sides differ: [`crate::Turn::numbering`] says by how much.
    Shifted,
    /// As [`FlowPath::Shifted`] in the end, but its numbers are not settled yet: a worker sees to that, and all its packets must
    /// go there.
    Escorted {
        /// The worker.
        worker: u8,
        /// Its place among those that this worker escorts: 16 bits.
        escort: u16,
    },
    /// It ends in a worker's own TCP, and all its packets must go there.
    Terminated {
        /// The worker.
        worker: u8,
        /// Its place among that worker's terminated flows: 21 bits.
        relay: u32,
    },
    /// A worker's own TCP asks by it how the target is; what the target answers must go there.
    Probe {
        /// The worker.
        worker: u8,
        /// Its place among that worker's probes: 21 bits.
        probe: u32,
    },
}

/// A path's word: `1 | header (7) | worker (8) | escort (16)`; or else `0 | kind (2) |` and for a terminated flow and a probe
/// `worker (8) | place (21)`, for a shifted one `header (7) | scale from (4) | scale to (4)` at the end. All zero is nat.
const ESCORTED: u32 = 1 << 31;
const KIND_BITS: u32 = 29;
const TERMINATED: u32 = 1;
const PROBE: u32 = 2;
const SHIFTED: u32 = 3;
const PLACE_BITS: u32 = 21;

impl FlowPath {
    /// Whether its packets are rewritten, and their TCP is followed in the table. What ends in a TCP of ours is followed there.
    pub const fn passes_through(self) -> bool {
        matches!(self, Self::Nat | Self::Shifted | Self::Escorted { .. })
    }

    /// `numbering` is for what is escorted or shifted: as much of it as has room here.
    pub(crate) fn to_word(self, numbering: &Numbering) -> u32 {
        let header = u32::from(numbering.header);
        let Scaling { from, to } = numbering.window;
        match self {
            Self::Nat => 0,
            Self::Shifted => {
                SHIFTED << KIND_BITS | header << 8 | u32::from(from & 15) << 4 | u32::from(to & 15)
            }
            Self::Escorted { worker, escort } => {
                ESCORTED | header << 24 | u32::from(worker) << 16 | u32::from(escort)
            }
            Self::Terminated { worker, relay } => pack(TERMINATED, worker, relay),
            Self::Probe { worker, probe } => pack(PROBE, worker, probe),
        }
    }

    #[inline]
    pub(crate) fn from_word(word: u32) -> Self {
        if word & ESCORTED != 0 {
            return Self::Escorted { worker: (word >> 16) as u8, escort: word as u16 };
        }
        let (worker, place) = ((word >> PLACE_BITS) as u8, word & ((1 << PLACE_BITS) - 1));
        match word >> KIND_BITS {
            TERMINATED => Self::Terminated { worker, relay: place },
            PROBE => Self::Probe { worker, probe: place },
            SHIFTED => Self::Shifted,
            _ => Self::Nat,
        }
    }

    /// What [`FlowPath::to_word`] had room for.
    #[inline]
    pub(crate) fn numbering(word: u32) -> Numbering {
        if word & ESCORTED != 0 {
            return Numbering { header: (word >> 24) as u8 & 127, ..Numbering::default() };
        }
        if word >> KIND_BITS != SHIFTED {
            return Numbering::default();
        }
        let window = Scaling { from: (word >> 4) as u8 & 15, to: word as u8 & 15 };
        Numbering { header: (word >> 8) as u8 & 127, window, ..Numbering::default() }
    }
}

fn pack(kind: u32, worker: u8, place: u32) -> u32 {
    kind << KIND_BITS | u32::from(worker) << PLACE_BITS | place & ((1 << PLACE_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_its_packing() {
        let mut paths = vec![FlowPath::Nat, FlowPath::Shifted];
        for (worker, place) in [(0, 0), (255, 0), (0, (1 << PLACE_BITS) - 1), (7, 12_345)] {
            paths.push(FlowPath::Terminated { worker, relay: place });
            paths.push(FlowPath::Probe { worker, probe: place });
            paths.push(FlowPath::Escorted { worker, escort: place as u16 });
        }
        let window = Scaling { from: 14, to: 9 };
        for header in [0, 100, 127] {
            let numbering = Numbering { header, window, ..Numbering::default() };
            for path in &paths {
                assert_eq!(FlowPath::from_word(path.to_word(&numbering)), *path);
            }
            assert_eq!(FlowPath::numbering(FlowPath::Shifted.to_word(&numbering)), numbering);
            let escorted = FlowPath::Escorted { worker: 255, escort: u16::MAX };
            assert_eq!(FlowPath::numbering(escorted.to_word(&numbering)).header, header);
        }
        assert_eq!(FlowPath::numbering(FlowPath::Nat.to_word(&Numbering::default())), Numbering::default());
    }
}
