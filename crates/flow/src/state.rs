//! What the workers share of a flow's state: one word, which changes by compare-and-swap, and only when the state does.

use crate::track::{Phase, Track};

/// A slot's state word: `generation (22) | parted (1) | live (1) | track (8)`.
///
/// A flow is *parted* when it has ended, or its client's tuple has gone to a new flow: only its port is kept, so that it stays
/// quiet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct State(pub(crate) u32);

impl State {
    const LIVE: u32 = 1 << 8;
    const PARTED: u32 = 1 << 9;
    const GENERATIONS: u32 = 1 << 22;

    /// Of the next flow in the slot.
    pub(crate) fn next(self, track: Track) -> Self {
        let generation = (self.generation() + 1) % Self::GENERATIONS;
        Self(generation << 10 | Self::LIVE | u32::from(track.bits()))
    }

    pub(crate) fn with_track(self, track: Track) -> Self {
        Self(self.0 & !0xff | u32::from(track.bits()))
    }

    /// The old flow is no more, and the next one in its place is not there yet: it is for one worker to make it.
    pub(crate) fn between(self) -> Self {
        self.next(Track::TALKING).parted()
    }

    /// What has ended is never left talking.
    pub(crate) fn is_between(self) -> bool {
        self.is_parted() && self.track().phase() == Phase::Established
    }

    /// The next flow has been made.
    pub(crate) fn reopened(self) -> Self {
        Self(self.with_track(Track::OPENING).0 & !Self::PARTED)
    }

    pub(crate) fn dead(self) -> Self {
        Self(self.0 & !Self::LIVE)
    }

    pub(crate) fn parted(self) -> Self {
        Self(self.0 | Self::PARTED)
    }

    pub(crate) fn is_parted(self) -> bool {
        self.0 & Self::PARTED != 0
    }

    pub(crate) fn is_live(self) -> bool {
        self.0 & Self::LIVE != 0
    }

    pub(crate) fn generation(self) -> u32 {
        self.0 >> 10
    }

    pub(crate) fn track(self) -> Track {
        Track::from_bits(self.0 as u8)
    }
}
