//! The choice among a group's targets: Maglev hashing with weights.
//!
//! A wheel is a table of places, each of which leads to a target; a flow's hash says which place is its own. Places
//! are taken in turns, the more often the more weight a target has. Each target takes them in an order of its own,
//! that follows from who it is: so a wheel with a target more or less gives nearly every place to whom it belonged
//! before.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;
use topology::Target;

/// Places for a few targets, and for many. Both are primes, as the walks through them need. There are only two sizes,
/// and who is in service has no say in it, because wheels of different sizes have nothing in common.
const SMALL: u32 = 8_191;
const LARGE: u32 = 131_071;

/// Up to so many targets, in service or not, have a small wheel, with 256 places for each if they weigh the same. A
/// large one has that for 512 targets; with more, places become fewer and shares coarser, but memory does not grow.
/// Whoever adds one target to this number sends most clients elsewhere, this once.
const FEW: usize = 32;

/// Nobody's place yet.
const FREE: u32 = u32::MAX;

/// Who a target is, whatever its place in the file: the same in every process.
pub fn identity(group: &str, target: &Target) -> u64 {
    let mut hasher = SipHasher13::new();
    match target.address {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    hasher.write(&target.port.to_be_bytes());
    hasher.write(group.as_bytes());
    hasher.finish()
}

/// Maps a flow's hash onto targets in constant time, by their weights.
#[derive(Clone, Debug)]
pub struct Wheel {
    /// One place if there is one target to choose, none if there is none.
    places: Box<[u32]>,
    targets: usize,
}

impl Wheel {
    /// A wheel over targets, each with its [`identity`] and its weight. Without weight a target has no place; with
    /// any it has one at least. The order of the targets changes nothing but the numbers by which [`Wheel::pick`]
    /// names them.
    pub fn build(targets: &[(u64, u16)]) -> Self {
        let size = match targets.iter().filter(|(_, weight)| *weight > 0).count() {
            few @ (0 | 1) => few as u32,
            _ if targets.len() <= FEW => SMALL,
            _ => LARGE,
        };
        Self { places: deal(targets, size), targets: targets.len() }
    }

    /// Whose this hash is, by its upper bits: the target's place in the list that the wheel was built of. `None` if
    /// no target has any weight.
    #[inline]
    pub fn pick(&self, hash: u64) -> Option<usize> {
        let place = (u128::from(hash) * self.places.len() as u128) >> 64;
        self.places.get(place as usize).map(|target| *target as usize)
    }

    /// What each target has of all flows, from 0 to 1.
    pub fn shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.targets];
        for target in &self.places {
            shares[*target as usize] += 1.0 / self.places.len() as f64;
        }
        shares
    }
}

/// Deals all places out. Who is due first takes one; whoever are due at once take turns by who they are.
fn deal(targets: &[(u64, u16)], size: u32) -> Box<[u32]> {
    let mut places = vec![FREE; size as usize];
    let mut takers = takers(targets, size);
    let due = |(number, taker): (usize, &Taker)| Reverse((taker.first_due, number));
    let mut turns: BinaryHeap<_> = takers.iter().enumerate().map(due).collect();
    for _ in 0..size {
        let Some(mut turn) = turns.peek_mut() else { break };
        let Reverse((due, number)) = &mut *turn;
        let taker = &mut takers[*number];
        let place = taker.walk.find(|place| places[place as usize] == FREE);
        places[place as usize] = taker.target;
        *due += taker.stride;
    }
    places.into()
}

/// A target that takes places.
struct Taker {
    identity: u64,
    target: u32,
    first_due: u64,
    /// From one turn to the next.
    stride: u64,
    walk: Walk,
}

/// The targets with weight, by who they are. One is due each time that its weight's part of the places has been
/// dealt, for the first time when half of that has: so it gets the nearest whole number of places. Who would get none
/// is due earlier.
fn takers(targets: &[(u64, u16)], size: u32) -> Vec<Taker> {
    /// From one turn to the next of somebody with a weight of 1: fine enough for any weight.
    const STRIDE: u64 = 1 << 40;
    let total: u64 = targets.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let end = STRIDE * u64::from(size) / total.max(1);
    let weighing = (0..).zip(targets).filter(|(_, (_, weight))| *weight > 0);
    let taker = |(target, &(identity, weight)): (u32, &(u64, u16))| {
        let stride = STRIDE / u64::from(weight);
        Taker { identity, target, first_due: stride.min(end) / 2, stride, walk: Walk::new(identity, size) }
    };
    let mut takers: Vec<_> = weighing.map(taker).collect();
    takers.sort_unstable_by_key(|taker| taker.identity);
    takers
}

/// A walk through all places, in steps of one length: it meets each once, because their number is a prime.
struct Walk {
    at: u32,
    step: u32,
    size: u32,
}

impl Walk {
    fn new(identity: u64, size: u32) -> Self {
        let (at, step) = (mix(identity), mix(!identity));
        let below = |hash: u64, end: u32| ((u128::from(hash) * u128::from(end)) >> 64) as u32;
        Self { at: below(at, size), step: 1 + below(step, size.saturating_sub(1)), size }
    }

    /// The next place that will do. There must be one.
    fn find(&mut self, will_do: impl Fn(u32) -> bool) -> u32 {
        loop {
            let place = self.at;
            let next = self.at + self.step;
            self.at = if next < self.size { next } else { next - self.size };
            if will_do(place) {
                return place;
            }
        }
    }
}

/// Spreads a difference in any bit over all of them (the finalizer of SplitMix64).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests;
