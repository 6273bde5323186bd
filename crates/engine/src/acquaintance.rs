//! What targets speak: the TCP options that each has answered with. Who answers a consumer in a target's stead has to know that
//! before it asks the target. A word each, that grows with the topology.

use std::sync::atomic::{AtomicU64, Ordering};

use topology::TargetId;
use wire::SynOptions;

/// The TCP that one end speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Speech {
    /// The largest segment that it takes, if it says so.
    pub mss: Option<u16>,
    /// By how many bits it shifts its windows, if it does.
    pub window_scale: Option<u8>,
    /// Whether it understands selective acknowledgements.
    pub sack: bool,
    /// Whether it sends timestamps.
    pub timestamps: bool,
}

impl Speech {
    /// That of who says this in its SYN, or in the answer to one that offers everything.
    pub(crate) fn of(said: &SynOptions) -> Self {
        Self {
            mss: said.mss,
            window_scale: said.window_scale,
            sack: said.sack_permitted,
            timestamps: said.timestamps.is_some(),
        }
    }

    /// `known (1) | timestamps (1) | sack (1) | scaled (1) | scale (4) | has an mss (1) | mss (16)`: never all zero.
    fn to_word(self) -> u64 {
        let scale = self.window_scale.map_or(0, |scale| 1 << 4 | u64::from(scale));
        let mss = self.mss.map_or(0, |mss| 1 << 16 | u64::from(mss));
        1 << 24 | u64::from(self.timestamps) << 23 | u64::from(self.sack) << 22 | scale << 17 | mss
    }

    fn from_word(word: u64) -> Option<Self> {
        let has = |bit: u32| word >> bit & 1 == 1;
        has(24).then(|| Self {
            mss: has(16).then_some(word as u16),
            window_scale: has(21).then_some((word >> 17) as u8 & 15),
            sack: has(22),
            timestamps: has(23),
        })
    }
}

/// What is known of each target's [`Speech`]. One load tells.
#[derive(Default)]
pub(crate) struct Acquaintances {
    words: boxcar::Vec<AtomicU64>,
}

impl Acquaintances {
    /// What the target speaks, if it has ever said so.
    pub(crate) fn of(&self, target: TargetId) -> Option<Speech> {
        Speech::from_word(self.words.get(target.index())?.load(Ordering::Relaxed))
    }

    /// Takes note of a target's answer to a SYN of our own stack, which offers everything.
    pub(crate) fn learn(&self, target: TargetId, said: &SynOptions) {
        self.set(target, Speech::of(said).to_word());
    }

    /// A target does not speak any more what it did: it is asked again by whoever offers everything.
    pub(crate) fn forget(&self, target: TargetId) {
        self.set(target, 0);
    }

    fn set(&self, target: TargetId, word: u64) {
        let known = self.word(target);
        // A target says the same thing every time: what all workers read is written only when it is news.
        if known.load(Ordering::Relaxed) != word {
            known.store(word, Ordering::Relaxed);
        }
    }

    /// The target's word, made if there is none. Targets are as many as the topology ever named.
    fn word(&self, target: TargetId) -> &AtomicU64 {
        loop {
            match self.words.get(target.index()) {
                Some(word) => return word,
                None => self.words.push(AtomicU64::new(0)),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use topology::Id;

    use super::*;

    const MODERN: SynOptions =
        SynOptions { mss: Some(1460), window_scale: Some(7), sack_permitted: true, timestamps: Some([9, 0]) };
    const PLAIN: SynOptions =
        SynOptions { mss: None, window_scale: None, sack_permitted: false, timestamps: None };

    #[test]
    fn a_target_is_known_by_what_it_said_last() {
        let (known, target) = (Acquaintances::default(), Id::new(3));
        assert_eq!(known.of(target), None);
        for said in [MODERN, PLAIN, SynOptions { mss: Some(0), window_scale: Some(0), ..PLAIN }] {
            known.learn(target, &said);
            assert_eq!(known.of(target), Some(Speech::of(&said)));
        }
        assert_eq!(known.of(Id::new(2)), None, "its neighbour has said nothing");
    }

    #[test]
    fn every_speech_survives_its_word() {
        let scales = (0..=14).map(Some).chain([None]);
        for window_scale in scales {
            for (mss, sack, timestamps) in
                [(Some(u16::MAX), true, false), (Some(536), false, true), (None, true, true)]
            {
                let speech = Speech { mss, window_scale, sack, timestamps };
                assert_eq!(Speech::from_word(speech.to_word()), Some(speech));
            }
        }
    }

    #[test]
    fn what_is_forgotten_is_learned_again() {
        let (known, target) = (Acquaintances::default(), Id::new(0));
        for said in [MODERN, PLAIN] {
            known.learn(target, &said);
            assert_eq!(known.of(target), Some(Speech::of(&said)));
            known.forget(target);
            assert_eq!(known.of(target), None);
        }
    }
}
