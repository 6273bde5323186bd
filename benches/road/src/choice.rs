//! The choice of a target, and targets to choose among.

use std::hint::black_box;

use balance::Wheel;

use super::Meter;

/// So many, of equal weight.
pub fn targets(count: usize) -> Vec<(u64, u16)> {
    (0..count as u64).map(|n| (scrambled(n), 1)).collect()
}

/// As different as identities are, and as hashes of flows are (SplitMix64).
pub fn scrambled(n: u64) -> u64 {
    let mut bits = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

pub(super) fn pick<M: Meter>(meter: &mut M, count: usize) {
    let wheel = Wheel::build(&targets(count));
    let mut flow = 0;
    meter.again(|| {
        flow += 1;
        wheel.pick(black_box(scrambled(flow)))
    });
}
