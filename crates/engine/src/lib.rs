//! The journey of a packet: admission, nat, terminate. Pure: no descriptor, clock or random source.
//!
//! One [`Shared`] part and one [`Worker`] per thread. A worker is handed frames, the time and messages; what it does
//! about them it says to an [`Output`]. The journey itself is in `journey.rs`, to be read from top to bottom.
//!
//! Time is a [`std::time::Duration`] since an origin that the caller picks, and must not run backwards.
//!
//! One thing is not handed in: the random numbers of HTTPS checks, which rustls draws itself. They decide nothing.

mod acquaintance;
mod admit;
mod answers;
mod attached;
mod contract;
mod doors;
mod escort;
mod expiry;
mod explain;
#[cfg(test)]
mod fixture;
mod forgotten;
mod fragments;
mod homes;
mod icmp;
mod idents;
mod journey;
mod lists;
mod meeting;
mod opening;
mod overhear;
mod plan;
mod probe;
mod proxy;
mod review;
mod say;
mod selector;
mod shared;
mod sweep;
mod terminate;
mod verdict;
mod view;
mod wheel;
mod worker;

pub use acquaintance::Speech;
pub use admit::{Admission, Tuple};
pub use contract::{Egress, Event, HandOverFull, Message, Output, WorkerId};
pub use doors::{Candidate, Door};
pub use explain::{Eligibility, Explanation, GroupShare, Question, TargetShare};
pub use plan::Plan;
pub use shared::Shared;
pub use verdict::{Outcome, Reason, Verdict};
pub use worker::Worker;
