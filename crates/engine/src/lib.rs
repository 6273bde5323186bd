//! The journey of a packet: admission, nat, terminate. Pure: no descriptor, clock or random source.
//!
//! One [`Shared`] part and one [`Worker`] per thread. A worker is handed frames, the time and messages; what it does
//! about them it says to an [`Output`]. The journey itself is in `journey.rs`, to be read from top to bottom.
//!
//! Time is a [`std::time::Duration`] since an origin that the caller picks, and must not run backwards.

mod admit;
mod answers;
mod contract;
mod expiry;
mod fragments;
mod icmp;
mod idents;
mod journey;
mod shared;
mod sweep;
mod terminate;
mod verdict;
mod view;
mod worker;

pub use admit::{Admission, Tuple};
pub use contract::{Egress, Event, HandOverFull, Message, Output, WorkerId};
pub use shared::Shared;
pub use verdict::{Outcome, Reason, Verdict};
pub use view::{Candidate, Door};
pub use worker::Worker;
