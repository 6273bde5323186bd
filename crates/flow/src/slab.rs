//! Where flows are kept: one slot of two 64-byte lines each, in one type-stable mapping that is never given back.
//!
//! One line per direction: its key, and what the worker that forwards that direction writes. What both share stands in the room
//! that the lines leave, and changes only when the flow's state does. What is done to a packet of one direction is the *other*
//! line's key: the two lines are neighbours, and are fetched together.
//!
//! Everything is an atomic word, so a stale look is safe; that it is also *right* is [`crate::turns`]' doing. Slots that were
//! never used are zero pages that nobody has touched.

use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

use wire::{Packet, Protocol};

use crate::key::{Direction, Key};
use crate::lanes::LaneId;
use crate::numbering::Numbering;
use crate::path::FlowPath;
use crate::prefetch::prefetch;
use crate::state::State;
use crate::tick::Tick;
use crate::track::{Edges, Sign, Track, is_after};

/// The identity of a flow; once the flow is gone, it leads nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Errors about one flow that are passed on at once; after that, one a [`Tick`].
const ERRORS_AT_ONCE: u32 = 10;

/// What a flow has carried, one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Packets, super-packets counted as one.
    pub packets: u64,
    /// Bytes of IP.
    pub bytes: u64,
}

/// One direction's part of a line.
#[cfg_attr(not(loom), derive(bytemuck::Zeroable))]
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
pub(crate) struct Side {
    key: [AtomicU64; 3],
    /// `packets, upper half (16) | bytes (48)`
    bytes: AtomicU64,
    packets: AtomicU32,
    seen: AtomicU32,
    /// The end of what this side has sent, and of what it has acknowledged.
    sent: AtomicU32,
    acknowledged: AtomicU32,
}

/// A flow.
#[cfg_attr(not(loom), derive(bytemuck::Zeroable))]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub(crate) struct Slot {
    forward: Side,
    state: AtomicU32,
    lane: AtomicU32,
    path: AtomicU32,
    /// The next slot in a free list or in limbo, plus one.
    pub(crate) next: AtomicU32,
    reply: Side,
    started: AtomicU32,
    /// Until when the errors about the flow that were passed on use up its allowance.
    errors: AtomicU32,
    /// What is added to the target's timestamps (32), and to its sequence numbers (32): one word, so that nobody sees the one
    /// without the other.
    shift: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Slot>() == 128);

/// What a slot is filled with.
pub(crate) struct Filling {
    pub(crate) original: Key,
    pub(crate) reply: Key,
    pub(crate) lane: LaneId,
    pub(crate) path: FlowPath,
    pub(crate) track: Track,
    pub(crate) now: Tick,
}

const BYTES: u64 = (1 << 48) - 1;

impl Side {
    /// Word by word: compared as an array, they would be copied first.
    #[inline]
    pub(crate) fn has_key(&self, words: [u64; 3]) -> bool {
        let [a, b, c] = load(&self.key);
        (a ^ words[0]) | (b ^ words[1]) | (c ^ words[2]) == 0
    }

    #[inline]
    pub(crate) fn key(&self) -> Key {
        Key::from_words(load(&self.key))
    }

    /// Counts a packet. Plain loads and stores: one worker writes each direction, and a count that is lost in the moment
    /// when a flow moves to another worker is not worth a locked instruction on every packet.
    #[inline]
    fn count(&self, bytes: usize) {
        let packets = self.packets.load(Ordering::Relaxed).wrapping_add(1);
        self.packets.store(packets, Ordering::Relaxed);
        let carry = u64::from(packets == 0) << 48;
        self.bytes
            .store(self.bytes.load(Ordering::Relaxed).wrapping_add(bytes as u64 + carry), Ordering::Relaxed);
    }

    pub(crate) fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn acknowledged(&self) -> u32 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub(crate) fn totals(&self) -> Totals {
        let (low, bytes) = (self.packets.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        Totals { packets: bytes >> 48 << 32 | u64::from(low), bytes: bytes & BYTES }
    }

    /// Notes when a packet came. The word is written only when the coarse clock has moved.
    #[inline]
    fn touch(&self, now: Tick) {
        if self.seen.load(Ordering::Relaxed) != now.0 {
            self.seen.store(now.0, Ordering::Relaxed);
        }
    }

    fn begin(&self, now: Tick) {
        self.packets.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.seen.store(now.0, Ordering::Relaxed);
        self.sent.store(0, Ordering::Relaxed);
        self.acknowledged.store(0, Ordering::Relaxed);
    }
}

impl Slot {
    /// Writes a flow into a slot that nobody can find yet, and makes it live. Returns its state.
    pub(crate) fn fill(&self, filling: &Filling) -> State {
        store(&self.forward.key, filling.original.to_words());
        store(&self.reply.key, filling.reply.to_words());
        self.lane.store(filling.lane.0, Ordering::Relaxed);
        self.begin(filling.path, filling.now);
        let state = self.state().next(filling.track);
        self.state.store(state.0, Ordering::Release);
        state
    }

    /// Opens the next flow in a slot that is [`State::between`] two. Returns its state.
    pub(crate) fn reopen(&self, between: State, path: FlowPath, now: Tick) -> State {
        // Whoever sees anything of the next flow sees that the last one is no more.
        fence(Ordering::Release);
        self.begin(path, now);
        self.state.store(between.reopened().0, Ordering::Release);
        between.reopened()
    }

    /// Says how the flow is carried, and starts its clock and totals. Nobody finds it yet.
    fn begin(&self, path: FlowPath, now: Tick) {
        self.shift.store(0, Ordering::Relaxed);
        self.path.store(path.to_word(&Numbering::default()), Ordering::Relaxed);
        self.forward.begin(now);
        self.reply.begin(now);
        self.started.store(now.0, Ordering::Relaxed);
        self.errors.store(now.0, Ordering::Relaxed);
    }

    /// Whether one more error about the flow may be passed on: a leaky bucket that takes ten and loses one a tick. Its
    /// level is told by when it will be empty.
    pub(crate) fn allows_error(&self, now: Tick) -> bool {
        let taken = self.errors.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |empty| {
            let empty = Tick(empty).latest(now);
            (empty.since(now) < ERRORS_AT_ONCE).then(|| empty.0.wrapping_add(1))
        });
        taken.is_ok()
    }

    #[inline]
    pub(crate) fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Forward => &self.forward,
            Direction::Reply => &self.reply,
        }
    }

    /// Brings both lines near.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(&self.forward);
        prefetch(&self.reply);
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }

    /// Counts a packet of the flow.
    #[inline]
    pub(crate) fn count(&self, direction: Direction, len: usize, now: Tick) {
        let side = self.side(direction);
        side.count(len);
        side.touch(now);
    }

    /// Counts a packet of the flow, and follows it. Returns what it tells, and how it has changed the state, if it has.
    #[inline]
    pub(crate) fn observe(
        &self,
        judged: State,
        direction: Direction,
        packet: &Packet,
        now: Tick,
    ) -> (Sign, Option<(State, State)>) {
        if packet.protocol == Protocol::Udp {
            self.count(direction, packet.len, now);
            return (Sign::Plausible, None);
        }
        let (mine, theirs) = (self.side(direction), self.side(direction.other()));
        mine.count(packet.len);
        let edges = Edges {
            sent: mine.sent.load(Ordering::Relaxed),
            acknowledged: mine.acknowledged.load(Ordering::Relaxed),
            other_sent: theirs.sent.load(Ordering::Relaxed),
            other_acknowledged: theirs.acknowledged.load(Ordering::Relaxed),
        };
        let step = judged.track().after(packet, direction, edges);
        if step.sign != Sign::Plausible {
            return (step.sign, None);
        }
        mine.touch(now);
        if step.sent != edges.sent {
            mine.sent.store(step.sent, Ordering::Relaxed);
        }
        if step.acknowledged != edges.acknowledged {
            mine.acknowledged.store(step.acknowledged, Ordering::Relaxed);
        }
        if step.track == judged.track() {
            return (step.sign, None);
        }
        (step.sign, self.follow(judged, |track| track.after(packet, direction, edges).track))
    }

    /// Moves the tracker's state on, however often somebody else does too. A flow that is gone is left alone.
    fn follow(&self, judged: State, step: impl Fn(Track) -> Track) -> Option<(State, State)> {
        let mut state = judged;
        loop {
            let next = state.with_track(step(state.track()));
            match self.change(state, next) {
                Ok(_) => return Some((state, next)),
                Err(now) if now.is_live() && now.generation() == judged.generation() => state = now,
                Err(_) => return None,
            }
        }
    }

    /// The state, if the flow has not ended since it was judged. Changed to itself, so that it is either too late here, or whoever
    /// ends the flow later sees all that was done before.
    pub(crate) fn confirm(&self, judged: State) -> Option<State> {
        let (state, _) = self.follow(judged, |track| track)?;
        (!state.is_parted()).then_some(state)
    }

    /// Changes the state if it is still just as it was judged.
    #[inline]
    pub(crate) fn change(&self, judged: State, next: State) -> Result<State, State> {
        let changed = self.state.compare_exchange(judged.0, next.0, Ordering::AcqRel, Ordering::Acquire);
        changed.map(|_| next).map_err(State)
    }

    pub(crate) fn last_seen(&self) -> Tick {
        let seen = |side: &Side| Tick(side.seen.load(Ordering::Relaxed));
        seen(&self.forward).latest(seen(&self.reply))
    }

    /// Its silence begins anew.
    pub(crate) fn touch(&self, now: Tick) {
        self.reply.touch(now);
    }

    pub(crate) fn started(&self) -> Tick {
        Tick(self.started.load(Ordering::Relaxed))
    }

    /// How the flow is carried. Whoever sees a path sees the numbers that it was given with, too.
    #[inline]
    pub(crate) fn path(&self) -> FlowPath {
        FlowPath::from_word(self.path_word())
    }

    /// How its two sides' numbers differ.
    #[inline]
    pub(crate) fn numbering(&self) -> Numbering {
        self.carriage().1
    }

    /// Its path, and the numbers that go with it.
    #[inline]
    pub(crate) fn carriage(&self) -> (FlowPath, Numbering) {
        let word = self.path_word();
        // Whoever sees the next flow's numbers here sees that this one is no more.
        let shift = self.shift.load(Ordering::Acquire);
        let (timestamp, sequence) = ((shift >> 32) as u32, shift as u32);
        (FlowPath::from_word(word), Numbering { sequence, timestamp, ..FlowPath::numbering(word) })
    }

    /// The path as it is kept: what [`Slot::steer`] goes by.
    #[inline]
    pub(crate) fn path_word(&self) -> u32 {
        self.path.load(Ordering::Acquire)
    }

    /// From now on the flow is carried like this, if it was carried as `from` says until now.
    pub(crate) fn steer(&self, from: u32, path: FlowPath, numbering: &Numbering) {
        let shift = u64::from(numbering.timestamp) << 32 | u64::from(numbering.sequence);
        self.shift.store(shift, Ordering::Relaxed);
        // Who is too late finds another path there, and leaves it.
        self.path.compare_exchange(from, path.to_word(numbering), Ordering::Release, Ordering::Relaxed).ok();
    }

    /// The consumer's side has got so far, in the target's numbers: what was sent in its name counts too.
    pub(crate) fn advance(&self, sent: u32) {
        let so_far = self.forward.sent();
        if so_far == 0 || is_after(sent, so_far) {
            self.forward.sent.store(sent, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn lane(&self) -> LaneId {
        LaneId(self.lane.load(Ordering::Relaxed))
    }
}

fn store(words: &[AtomicU64; 3], values: [u64; 3]) {
    for (word, value) in words.iter().zip(values) {
        word.store(value, Ordering::Relaxed);
    }
}

#[inline]
fn load(words: &[AtomicU64; 3]) -> [u64; 3] {
    [0, 1, 2].map(|i: usize| words[i].load(Ordering::Relaxed))
}
