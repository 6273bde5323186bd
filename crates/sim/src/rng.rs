//! The one source of chance: SplitMix64, seeded. A run draws everything from it, so that its seed repeats the run.

use std::time::Duration;

/// A stream of seeded random numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for one part of the world: what the part draws disturbs nobody else's numbers.
    pub fn fork(&mut self) -> Self {
        Self(self.draw())
    }

    /// 64 random bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high - low + 1)
    }

    /// An index into something of this length; 0 if it is empty.
    pub fn index(&mut self, len: usize) -> usize {
        (self.draw() % len.max(1) as u64) as usize
    }

    /// True this often in a thousand.
    pub fn per_mille(&mut self, chance: u32) -> bool {
        self.draw() % 1000 < u64::from(chance)
    }

    /// A span of up to `longest`, in microseconds.
    pub fn span(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(self.between(0, longest.as_micros() as u64))
    }

    /// Seeds for somebody else's random numbers.
    pub fn seeds<const N: usize>(&mut self) -> [u64; N] {
        std::array::from_fn(|_| self.draw())
    }
}
