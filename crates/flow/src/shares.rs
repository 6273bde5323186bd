//! Who is half-open, oldest first: for each endpoint's share of a pool a ring of the flows that it has opened. Lock-free, and
//! only as exact as it has to be: an entry is taken by one worker, once.

use crate::sync::{AtomicU32, AtomicU64, Memory, Ordering};

use crate::slab::FlowId;

/// The most that a ring holds: entries of flows that have long been answered take room too.
const MOST: usize = 16_384;

/// All shares. Their rings are parts of one mapping, which is touched as they fill.
pub(crate) struct Shares {
    shares: Vec<Share>,
    rings: Memory<AtomicU32>,
}

/// One endpoint's share of a pool.
struct Share {
    /// Half-open flows at most.
    limit: u32,
    half_open: AtomicU32,
    ring: usize,
    len: u64,
    newest: AtomicU64,
    oldest: AtomicU64,
}

impl Shares {
    /// A share for each limit.
    pub(crate) fn new(limits: impl Iterator<Item = usize>) -> Self {
        let mut end = 0;
        let shares: Vec<Share> = limits
            .map(|limit| {
                let ring = end;
                let len = (limit * 2).next_power_of_two().min(MOST);
                end += len;
                Share {
                    limit: limit as u32,
                    half_open: AtomicU32::new(0),
                    ring,
                    len: len as u64,
                    newest: AtomicU64::new(0),
                    oldest: AtomicU64::new(0),
                }
            })
            .collect();
        Self { shares, rings: Memory::zeroed(end.max(1)) }
    }

    /// Whether a share has as many half-open flows as it may.
    pub(crate) fn is_full(&self, share: usize) -> bool {
        let share = &self.shares[share];
        share.half_open.load(Ordering::Relaxed) >= share.limit
    }

    /// The share with the most half-open flows, if any has one.
    pub(crate) fn fullest(&self) -> Option<usize> {
        let counts = self.shares.iter().map(|share| share.half_open.load(Ordering::Relaxed));
        counts
            .enumerate()
            .max_by_key(|(_, count)| *count)
            .filter(|(_, count)| *count > 0)
            .map(|(share, _)| share)
    }

    /// Counts a new half-open flow, that [`Shares::settle`] takes back.
    pub(crate) fn count(&self, share: usize) {
        self.shares[share].half_open.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds it to those that can be crowded out. If the ring is full, its oldest entry goes to the other end, in case that it is
    /// still half-open: while many are answered at once, one slow answer is not the flood's fault.
    ///
    /// `half_open` says which flow in a slot is half-open, if one is.
    pub(crate) fn enlist(&self, share: usize, flow: FlowId, half_open: impl Fn(u32) -> Option<FlowId>) {
        let displaced = self.push(share, flow);
        if let Some(displaced) = recognize(displaced, &half_open) {
            self.push(share, displaced);
        }
    }

    /// A half-open flow of this share is that no longer.
    pub(crate) fn settle(&self, share: usize) {
        self.shares[share].half_open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes out the oldest flow of a share that is still half-open. Entries of flows that are not are passed by, each once in its
    /// life: that is little work per flow, if much at once after a long calm.
    pub(crate) fn oldest(&self, share: usize, half_open: impl Fn(u32) -> Option<FlowId>) -> Option<FlowId> {
        let at = &self.shares[share];
        let newest = at.newest.load(Ordering::Relaxed);
        // What was pushed more than a ring's length ago has been displaced.
        at.oldest.fetch_max(newest.saturating_sub(at.len), Ordering::Relaxed);
        loop {
            let next = |oldest| (oldest < newest).then_some(oldest + 1);
            let turn = at.oldest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
            let entry = self.entry(share, turn).swap(0, Ordering::Relaxed);
            if let Some(flow) = recognize(entry, &half_open) {
                return Some(flow);
            }
        }
    }

    fn push(&self, share: usize, flow: FlowId) -> u32 {
        let turn = self.shares[share].newest.fetch_add(1, Ordering::Relaxed);
        self.entry(share, turn).swap(mark(flow), Ordering::Relaxed)
    }

    fn entry(&self, share: usize, turn: u64) -> &AtomicU32 {
        let share = &self.shares[share];
        &self.rings[share.ring + (turn % share.len) as usize]
    }
}

/// Bits of a mark that tell the slot: enough for the largest table.
const SLOT_BITS: u32 = 25;

/// A flow as a ring holds it, in half the room of a [`FlowId`]: `generation's lower bits (7) | slot + 1 (25)`; 0 is none. One stranger
/// in a hundred looks right, which is good enough to choose among strangers.
fn mark(flow: FlowId) -> u32 {
    flow.generation << SLOT_BITS | (flow.slot + 1)
}

/// The flow that an entry tells of, if it is half-open still.
fn recognize(entry: u32, half_open: impl Fn(u32) -> Option<FlowId>) -> Option<FlowId> {
    let slot = (entry & ((1 << SLOT_BITS) - 1)).checked_sub(1)?;
    half_open(slot).filter(|flow| mark(*flow) == entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(slot: u32) -> FlowId {
        FlowId { slot, generation: 7 }
    }

    fn open(shares: &Shares, share: usize, flow: FlowId, half_open: impl Fn(u32) -> Option<FlowId>) {
        shares.count(share);
        shares.enlist(share, flow, half_open);
    }

    fn all(slot: u32) -> Option<FlowId> {
        Some(flow(slot))
    }

    #[test]
    fn the_oldest_that_is_still_half_open_comes_first() {
        let shares = Shares::new([4].into_iter());
        for slot in 0..4 {
            assert!(!shares.is_full(0));
            open(&shares, 0, flow(slot), all);
        }
        assert!(shares.is_full(0));
        assert_eq!(
            shares.oldest(0, |slot| all(slot).filter(|_| slot != 0)),
            Some(flow(1)),
            "the first one was answered"
        );
        assert_eq!(shares.oldest(0, all), Some(flow(2)));
        shares.settle(0);
        assert!(!shares.is_full(0));
        let newer = FlowId { generation: 8, ..flow(3) };
        assert_eq!(shares.oldest(0, |_| Some(newer)), None, "another flow has the slot");
    }

    #[test]
    fn a_slow_one_outlives_many_that_are_answered() {
        let slow = |slot| all(slot).filter(|_| slot == 1);
        let shares = Shares::new([8].into_iter());
        open(&shares, 0, flow(1), all);
        for slot in 2..1000 {
            open(&shares, 0, flow(slot), slow);
            shares.settle(0);
        }
        let found = std::iter::from_fn(|| shares.oldest(0, slow)).next();
        assert_eq!(found, Some(flow(1)));
    }

    #[test]
    fn the_fullest_is_who_has_most() {
        let shares = Shares::new([4, 4, 4].into_iter());
        assert_eq!(shares.fullest(), None);
        for (share, count) in [(0, 1), (1, 3), (2, 2)] {
            (0..count).for_each(|slot| open(&shares, share, flow(slot), all));
        }
        assert_eq!(shares.fullest(), Some(1));
    }
}
