//! Two relayed connections between two hostile peers, played from a [`Script`], under watch: no panic, every call returns
//! with few frames, whatever is delivered is what was sent, nobody is told what is not true, memory is bounded and comes
//! back.
//!
//! A peer may lie about everything but one thing: the byte that goes with a sequence number is always the same. So whatever
//! numbers, flags, windows and options it makes up, overlapping or not, there is one stream that can come of it.
//!
//! The fuzz target (`fuzz_targets/relay.rs`, by `scripts/fuzz --target relay`) plays what the fuzzer makes up; the suite
//! of `stack` plays the [`seeds`] that lie in `seeds/`. What the fuzzer finds joins them, as `found-WHAT`.

mod packet;
mod peer;
mod script;
pub mod seeds;
mod world;

pub use script::{Base, Left, Script, Segment, Setting, Side, Step};
pub use world::{Tally, play};
