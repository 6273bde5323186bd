//! Half-open flows: how many an endpoint may have towards a target, and which is the oldest.
//!
//! Half-open flows may hold a quarter of a pool's ports, each endpoint its share of that quarter, so that a flood of SYNs through
//! one endpoint takes nothing from the others. When a share is used up, its oldest half-open flow makes room. Who that is, a
//! ring of the flows that the endpoint has opened tells: lock-free, and only as exact as it has to be. An entry is taken by
//! one worker, once.
//!
//! Endpoints come and go, so the limit moves. A ring does not: its size is what the share's limit was when it was made.

use std::sync::Arc;

use crate::slab::FlowId;
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Memory, Ordering, zeroed};

/// The most shares that there can be.
pub(crate) const MOST_SHARES: usize = if cfg!(loom) { 64 } else { 1 << 18 };

/// The fewest half-open flows that an endpoint may have towards a target, however small the pool has been made: an honest
/// client whose handshake is crowded out is reset.
const LEAST_SHARE: usize = 16;

/// The most that a ring holds: entries of flows that have long been answered take room too.
const MOST: usize = 16_384;

/// All shares, those of endpoints that are gone included.
pub(crate) struct Shares {
    all: boxcar::Vec<Share>,
    /// A bit per share, set while it is in use: who looks for the fullest need not look at what is gone.
    in_use: Memory<AtomicU64>,
}

impl Shares {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { all: boxcar::Vec::new(), in_use: Memory::zeroed(MOST_SHARES / WORD) }
    }

    /// Whether there can be no more.
    pub(crate) fn is_full(&self) -> bool {
        self.all.count() >= MOST_SHARES
    }

    /// One more share of this quarter. Only one thread at a time may add some, or say that lanes come into use, or the contrary.
    pub(crate) fn add(&self, quarter: &Arc<Quarter>) -> usize {
        self.all.push(Share::new(quarter))
    }

    pub(crate) fn get(&self, share: usize) -> &Share {
        &self.all[share]
    }

    /// One more of the endpoint's lanes is in use.
    pub(crate) fn join(&self, share: usize) {
        self.all[share].join();
        self.mark(share);
    }

    /// One of the endpoint's lanes is of no use any more.
    pub(crate) fn leave(&self, share: usize) {
        self.all[share].leave();
    }

    /// The share with the most half-open flows, if any has one. What it finds to be gone is not looked at again, until it is back.
    pub(crate) fn fullest(&self) -> Option<&Share> {
        let in_use = self.marked().filter(|share| !self.forget(*share));
        let counts = in_use.map(|share| (self.all[share].half_open(), &self.all[share]));
        counts.max_by_key(|(count, _)| *count).filter(|(count, _)| *count > 0).map(|(_, share)| share)
    }

    /// Unmarks a share if it is out of use: no lane, and no flow that is half-open still. It may just come back: so it is looked at
    /// once more, after that.
    fn forget(&self, share: usize) -> bool {
        let is_gone = || self.all[share].is_gone();
        if !is_gone() {
            return false;
        }
        self.in_use[share / WORD].fetch_and(!(1 << (share % WORD)), Ordering::AcqRel);
        if !is_gone() {
            self.mark(share);
        }
        true
    }

    fn mark(&self, share: usize) {
        self.in_use[share / WORD].fetch_or(1 << (share % WORD), Ordering::AcqRel);
    }

    fn marked(&self) -> impl Iterator<Item = usize> {
        let words = self.in_use[..self.all.count().div_ceil(WORD)].iter().enumerate();
        words.flat_map(|(number, word)| {
            let bits = word.load(Ordering::Relaxed);
            (0..WORD).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| number * WORD + bit)
        })
    }
}

const WORD: usize = u64::BITS as usize;

/// The quarter of a pool that half-open flows may hold.
pub(crate) struct Quarter {
    ports: usize,
    /// How many there are that share it.
    endpoints: AtomicUsize,
}

impl Quarter {
    /// The quarter of a pool with so many ports.
    pub(crate) fn of(ports: usize) -> Self {
        Self { ports: ports / 4, endpoints: AtomicUsize::new(0) }
    }

    /// What each of so many endpoints may have.
    fn share(&self, endpoints: usize) -> usize {
        (self.ports / endpoints.max(1)).max(LEAST_SHARE)
    }
}

/// One endpoint's share of a quarter.
pub(crate) struct Share {
    quarter: Arc<Quarter>,
    /// How many of the endpoint's lanes to the pool are in use: without one, it has no part in the quarter.
    lanes: AtomicUsize,
    half_open: AtomicUsize,
    /// Half-open flows at most, however many the quarter would allow: what the ring has room for.
    most: usize,
    ring: Box<[AtomicU32]>,
    newest: AtomicU64,
    oldest: AtomicU64,
}

impl Share {
    /// The share of one endpoint more.
    pub(crate) fn new(quarter: &Arc<Quarter>) -> Self {
        let limit = quarter.share(quarter.endpoints.load(Ordering::Relaxed) + 1);
        let ring = (limit * 2).next_power_of_two().min(MOST);
        Self {
            quarter: Arc::clone(quarter),
            lanes: AtomicUsize::new(0),
            half_open: AtomicUsize::new(0),
            most: limit.max(ring / 2),
            ring: zeroed(ring),
            newest: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
        }
    }

    /// One more of the endpoint's lanes is in use. Only one thread at a time may say so, or the contrary.
    pub(crate) fn join(&self) {
        if self.lanes.fetch_add(1, Ordering::Relaxed) == 0 {
            self.quarter.endpoints.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One of the endpoint's lanes is of no use any more.
    pub(crate) fn leave(&self) {
        if self.lanes.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.quarter.endpoints.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether nothing is left of it: no lane in use, and nothing half-open.
    fn is_gone(&self) -> bool {
        self.lanes.load(Ordering::Relaxed) == 0 && self.half_open() == 0
    }

    /// Whether it has as many half-open flows as it may.
    pub(crate) fn is_full(&self) -> bool {
        let limit = self.quarter.share(self.quarter.endpoints.load(Ordering::Relaxed));
        self.half_open() >= limit.min(self.most)
    }

    /// How many half-open flows it has.
    pub(crate) fn half_open(&self) -> usize {
        self.half_open.load(Ordering::Relaxed)
    }

    /// Counts a new half-open flow, that [`Share::settle`] takes back.
    pub(crate) fn count(&self) {
        self.half_open.fetch_add(1, Ordering::Relaxed);
    }

    /// A half-open flow of this share is that no longer.
    pub(crate) fn settle(&self) {
        self.half_open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Adds it to those that can be crowded out. If the ring is full, its oldest entry goes to the other end, in case that it is
    /// still half-open: while many are answered at once, one slow answer is not the flood's fault.
    ///
    /// `half_open` says which flow in a slot is half-open, if one is.
    pub(crate) fn enlist(&self, flow: FlowId, half_open: impl Fn(u32) -> Option<FlowId>) {
        let displaced = self.push(flow);
        if let Some(displaced) = recognize(displaced, &half_open) {
            self.push(displaced);
        }
    }

    /// Takes out the oldest flow that is still half-open. Entries of flows that are not are passed by, each once in its life: that
    /// is little work per flow, if much at once after a long calm.
    pub(crate) fn oldest(&self, half_open: impl Fn(u32) -> Option<FlowId>) -> Option<FlowId> {
        let newest = self.newest.load(Ordering::Relaxed);
        // What was pushed more than a ring's length ago has been displaced.
        self.oldest.fetch_max(newest.saturating_sub(self.ring.len() as u64), Ordering::Relaxed);
        loop {
            let next = |oldest| (oldest < newest).then_some(oldest + 1);
            let turn = self.oldest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
            let entry = self.entry(turn).swap(0, Ordering::Relaxed);
            if let Some(flow) = recognize(entry, &half_open) {
                return Some(flow);
            }
        }
    }

    fn push(&self, flow: FlowId) -> u32 {
        let turn = self.newest.fetch_add(1, Ordering::Relaxed);
        self.entry(turn).swap(mark(flow), Ordering::Relaxed)
    }

    fn entry(&self, turn: u64) -> &AtomicU32 {
        &self.ring[(turn % self.ring.len() as u64) as usize]
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

    /// The only endpoint's share of a pool.
    fn share(ports: usize) -> Share {
        join(&Arc::new(Quarter::of(ports)))
    }

    fn join(quarter: &Arc<Quarter>) -> Share {
        let share = Share::new(quarter);
        share.join();
        share
    }

    fn open(share: &Share, flow: FlowId, half_open: impl Fn(u32) -> Option<FlowId>) {
        share.count();
        share.enlist(flow, half_open);
    }

    fn all(slot: u32) -> Option<FlowId> {
        Some(flow(slot))
    }

    /// How many half-open flows it takes until the share is full.
    fn limit(share: &Share) -> usize {
        let limit = (0..).take_while(|_| !share.is_full()).map(|_| share.count()).count();
        (0..limit).for_each(|_| share.settle());
        limit
    }

    #[test]
    fn the_oldest_that_is_still_half_open_comes_first() {
        let share = share(64);
        for slot in 0..16 {
            assert!(!share.is_full());
            open(&share, flow(slot), all);
        }
        assert!(share.is_full());
        assert_eq!(
            share.oldest(|slot| all(slot).filter(|_| slot != 0)),
            Some(flow(1)),
            "the first one was answered"
        );
        assert_eq!(share.oldest(all), Some(flow(2)));
        share.settle();
        assert!(!share.is_full());
        let newer = FlowId { generation: 8, ..flow(3) };
        let strangers = |slot| if slot == 3 { Some(newer) } else { None };
        assert_eq!(share.oldest(strangers), None, "another flow has the slot");
    }

    #[test]
    fn a_slow_one_outlives_many_that_are_answered() {
        let slow = |slot| all(slot).filter(|_| slot == 1);
        let share = share(64);
        open(&share, flow(1), all);
        for slot in 2..1000 {
            open(&share, flow(slot), slow);
            share.settle();
        }
        assert_eq!(share.oldest(slow), Some(flow(1)));
    }

    #[test]
    fn endpoints_share_alike_as_they_come_and_go() {
        let quarter = Arc::new(Quarter::of(4000));
        let first = join(&quarter);
        assert_eq!(limit(&first), 1000);
        let second = join(&quarter);
        assert_eq!((limit(&first), limit(&second)), (500, 500));
        let crowd: Vec<Share> = (2..200).map(|_| join(&quarter)).collect();
        assert_eq!((limit(&first), limit(&crowd[197])), (LEAST_SHARE, LEAST_SHARE));
        crowd.iter().for_each(Share::leave);
        assert_eq!((limit(&first), limit(&second)), (500, 500));
        second.leave();
        assert_eq!(limit(&first), 1000);
    }

    #[test]
    fn a_share_never_has_more_than_its_ring_can_tell_of() {
        let quarter = Arc::new(Quarter::of(4000));
        let crowd: Vec<Share> = (0..200).map(|_| join(&quarter)).collect();
        crowd[..199].iter().for_each(Share::leave);
        let last = &crowd[199];
        let limit = limit(last);
        assert!((LEAST_SHARE..=last.ring.len() / 2).contains(&limit), "{limit}");
        (0..limit as u32).for_each(|slot| open(last, flow(slot), all));
        assert_eq!(std::iter::from_fn(|| last.oldest(all)).count(), limit);
    }

    #[test]
    fn what_is_gone_is_passed_over_until_it_is_back() {
        let (shares, quarter) = (Shares::new(), Arc::new(Quarter::of(4000)));
        (0..200).map(|_| shares.add(&quarter)).for_each(|share| shares.join(share));
        let half_open = |share: usize| (0..share).for_each(|_| shares.get(share).count());
        [3, 100, 150].into_iter().for_each(half_open);
        (100..200).for_each(|share| shares.leave(share));
        let fullest = || shares.fullest().map(Share::half_open);
        assert_eq!(fullest(), Some(150), "it is gone, but its flows are not");
        assert_eq!(shares.marked().collect::<Vec<_>>(), (0..=100).chain([150]).collect::<Vec<_>>()[..]);
        (0..150).for_each(|_| shares.get(150).settle());
        assert_eq!((fullest(), fullest()), (Some(100), Some(100)));
        assert_eq!(shares.marked().last(), Some(100));
        shares.join(150);
        half_open(150);
        assert_eq!(fullest(), Some(150));
    }

    #[test]
    fn a_lane_that_ends_takes_nothing_from_the_endpoints_others() {
        let quarter = Arc::new(Quarter::of(4000));
        let (first, second) = (join(&quarter), join(&quarter));
        second.join();
        second.leave();
        assert_eq!(limit(&first), 500, "the other endpoint has a lane still");
        second.leave();
        assert_eq!(limit(&first), 1000);
    }
}
