//! A real engine, fed by a [`Script`], under watch: no panic, one verdict a frame, right checksums, nobody's address or
//! packet on the wrong side, nothing left behind.
//!
//! The fuzz target (`fuzz_targets/journey.rs`, by `scripts/fuzz`) plays what the fuzzer makes up; the engine's own test
//! suite plays the [`seeds`] that lie in `seeds/`, so that neither they nor this harness can rot. What the fuzzer finds joins
//! them, as `found-WHAT`.

mod frames;
mod invariants;
mod making;
mod packets;
mod script;
pub mod seeds;
mod streams;
mod world;

pub use script::{Asker, Left, Making, Script, Segment, Setting, Step, Treatment};
pub use world::{Tally, play};
