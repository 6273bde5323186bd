//! Where flows are kept: one slot of three 64-byte lines each, in one type-stable mapping that is never given back.
//!
//! One line per direction, written by the worker that forwards that direction, and one that both read and that changes
//! only when the flow's state or the coarse clock does. Everything is an atomic word, so a stale look is safe; that it is also *right* is
//! [`crate::turns`]' doing. Slots that were never used are zero pages that nobody has touched.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytemuck::Zeroable;
use topology::{Id, ListenerId, TargetId};

use crate::key::{Direction, Key};
use crate::ports::PoolId;
use crate::tick::Tick;
use crate::track::Track;

/// The identity of a flow; once the flow is gone, it leads nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Errors about one flow that are passed on at once; after that, one a [`Tick`].
const ERRORS_AT_ONCE: u32 = 10;

/// How a flow is carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowPath {
    /// Its packets are rewritten, by whichever worker gets them.
    Nat,
    /// It ends in a worker's own TCP, and all its packets must go there.
    Terminated {
        /// The worker.
        worker: u16,
        /// Its place among that worker's terminated flows.
        relay: u16,
    },
}

impl FlowPath {
    const TERMINATED: u64 = 1 << 32;

    fn to_word(self) -> u64 {
        match self {
            Self::Nat => 0,
            Self::Terminated { worker, relay } => {
                Self::TERMINATED | u64::from(worker) << 16 | u64::from(relay)
            }
        }
    }

    #[inline]
    fn from_word(word: u64) -> Self {
        if word & Self::TERMINATED == 0 {
            Self::Nat
        } else {
            Self::Terminated { worker: (word >> 16) as u16, relay: word as u16 }
        }
    }
}

/// What a flow has carried, one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Packets, super-packets counted as one.
    pub packets: u64,
    /// Bytes of IP.
    pub bytes: u64,
}

/// One direction's line.
#[derive(Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Side {
    key: [AtomicU64; 3],
    onward: [AtomicU64; 3],
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// What both directions share.
#[derive(Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Slot {
    forward: Side,
    reply: Side,
    state: AtomicU64,
    ids: AtomicU64,
    port: AtomicU64,
    path: AtomicU64,
    idle: AtomicU32,
    started: AtomicU32,
    seen: [AtomicU32; 2],
    /// The next slot in a free list or in limbo, plus one.
    pub(crate) next: AtomicU32,
    /// Until when the errors about the flow that were passed on use up its allowance.
    errors: AtomicU32,
    /// When the slot went into limbo.
    pub(crate) retired: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == 192);

/// A slot's state word: `generation (32) | live (1) | track (8)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct State(u64);

impl State {
    const LIVE: u64 = 1 << 8;

    fn live(generation: u32, track: Track) -> Self {
        Self(u64::from(generation) << 32 | Self::LIVE | u64::from(track.bits()))
    }

    pub(crate) fn is_live(self) -> bool {
        self.0 & Self::LIVE != 0
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn track(self) -> Track {
        Track::from_bits(self.0 as u8)
    }
}

/// What a slot is filled with.
pub(crate) struct Filling {
    pub(crate) original: Key,
    pub(crate) reply: Key,
    pub(crate) listener: ListenerId,
    pub(crate) target: TargetId,
    pub(crate) pool: PoolId,
    pub(crate) path: FlowPath,
    pub(crate) idle: Tick,
    pub(crate) track: Track,
    pub(crate) now: Tick,
}

impl Side {
    fn fill(&self, key: Key, onward: Key) {
        store(&self.key, key.to_words());
        store(&self.onward, onward.to_words());
    }

    #[inline]
    pub(crate) fn has_key(&self, words: [u64; 3]) -> bool {
        load(&self.key) == words
    }

    #[inline]
    pub(crate) fn key(&self) -> Key {
        Key::from_words(load(&self.key))
    }

    #[inline]
    pub(crate) fn onward(&self) -> Key {
        Key::from_words(load(&self.onward))
    }

    /// Counts a packet. Plain loads and stores: one worker writes each direction, and a count that is lost in the moment
    /// when a flow moves to another worker is not worth a locked instruction on every packet.
    #[inline]
    pub(crate) fn count(&self, bytes: usize) {
        self.packets.store(self.packets.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.bytes.store(self.bytes.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals { packets: self.packets.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    fn reset_totals(&self) {
        self.packets.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }
}

impl Slot {
    /// Writes a flow into a slot that nobody can find yet, and makes it live. Returns its generation.
    pub(crate) fn fill(&self, filling: &Filling) -> u32 {
        self.forward.fill(filling.original, filling.reply);
        self.reply.fill(filling.reply, filling.original);
        let ids = u64::from(filling.listener.to_bits()) << 32 | u64::from(filling.target.to_bits());
        self.ids.store(ids, Ordering::Relaxed);
        let port = u64::from(filling.pool.0) << 32 | u64::from(filling.reply.local_port);
        self.port.store(port, Ordering::Relaxed);
        self.path.store(filling.path.to_word(), Ordering::Relaxed);
        self.idle.store(filling.idle.0, Ordering::Relaxed);
        self.begin(filling.now);
        let generation = self.state().generation().wrapping_add(1);
        self.state.store(State::live(generation, filling.track).0, Ordering::Release);
        generation
    }

    /// Starts the flow's clock and totals.
    pub(crate) fn begin(&self, now: Tick) {
        self.forward.reset_totals();
        self.reply.reset_totals();
        self.started.store(now.0, Ordering::Relaxed);
        self.seen[0].store(now.0, Ordering::Relaxed);
        self.seen[1].store(now.0, Ordering::Relaxed);
        self.errors.store(now.0, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Forward => &self.forward,
            Direction::Reply => &self.reply,
        }
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }

    /// Moves the tracker's state on, unless the flow is no longer the one of `generation`, or not live.
    #[inline]
    pub(crate) fn advance(&self, generation: u32, step: impl Fn(Track) -> Track) {
        let mut state = self.state();
        while state.is_live() && state.generation() == generation {
            if self.change(state, step(state.track())) {
                return;
            }
            state = self.state();
        }
    }

    /// Changes the tracker's state if the flow is still just as it was judged.
    #[inline]
    pub(crate) fn change(&self, judged: State, track: Track) -> bool {
        let next = State::live(judged.generation(), track);
        judged.is_live()
            && (next == judged
                || self.state.compare_exchange(judged.0, next.0, Ordering::AcqRel, Ordering::Relaxed).is_ok())
    }

    /// Takes the life of a flow that is still just as it was judged. Of several who try, one succeeds.
    pub(crate) fn kill(&self, judged: State) -> bool {
        let dead = judged.0 & !State::LIVE;
        judged.is_live()
            && self.state.compare_exchange(judged.0, dead, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Notes when a packet came. The word is written only when the coarse clock has moved.
    #[inline]
    pub(crate) fn touch(&self, direction: Direction, now: Tick) {
        let seen = &self.seen[direction as usize];
        if seen.load(Ordering::Relaxed) != now.0 {
            seen.store(now.0, Ordering::Relaxed);
        }
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

    pub(crate) fn last_seen(&self) -> Tick {
        let [forward, reply] = &self.seen;
        Tick(forward.load(Ordering::Relaxed)).latest(Tick(reply.load(Ordering::Relaxed)))
    }

    pub(crate) fn started(&self) -> Tick {
        Tick(self.started.load(Ordering::Relaxed))
    }

    pub(crate) fn idle(&self) -> Tick {
        Tick(self.idle.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn path(&self) -> FlowPath {
        FlowPath::from_word(self.path.load(Ordering::Relaxed))
    }

    pub(crate) fn target(&self) -> TargetId {
        Id::from_bits(self.ids.load(Ordering::Relaxed) as u32)
    }

    pub(crate) fn listener(&self) -> ListenerId {
        Id::from_bits((self.ids.load(Ordering::Relaxed) >> 32) as u32)
    }

    pub(crate) fn port(&self) -> (PoolId, u16) {
        let port = self.port.load(Ordering::Relaxed);
        (PoolId((port >> 32) as u32), port as u16)
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
