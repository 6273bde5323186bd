//! Who is talking: the lock-free flow table, source ports, TCP tracking, expiry. Pure.
//!
//! # Theory of operation
//!
//! A flow is two [`Key`]s: what the consumer's packets look like at the endpoint's interface, and what the target's
//! look like at the load balancer's node. Each key leads to the same slot of one preallocated slab, and what is done to
//! a packet that matches one key is to send it on as the *other* key says: the reply key is the original direction's
//! recipe, and the other way round.
//!
//! All workers share one [`Table`]. Nothing in it locks, and nothing allocates once it is made. Slots are found through
//! an index of 64-byte buckets (`index.rs`), and a slot that is freed, and the source port it held, go to limbo until
//! every worker has been outside of its turn (`turns.rs`): so what a [`Turn`] has found stays what it was until the turn
//! ends, and a port is never given to somebody else while a packet for its last owner is still in a worker's hands.
//!
//! What flows have in common, and what is to become of them together, is their lane (`lanes.rs`). Lanes are added while the
//! workers go on. Who only wants to see the flows looks from outside of any turn (`listing.rs`), and holds nobody up.

mod index;
mod key;
mod lanes;
mod listing;
#[cfg(not(loom))]
mod memory;
mod numbering;
mod path;
mod ports;
mod prefetch;
mod shares;
mod slab;
mod slots;
mod state;
mod sync;
mod table;
mod tick;
mod tombs;
mod track;
mod turn;
mod turns;

pub use key::{Direction, Key, Place};
pub use lanes::{Fate, Lane, LaneId, LaneUser, Lanes, PoolKey, PoolStatus};
pub use listing::FlowView;
pub use numbering::Numbering;
pub use path::FlowPath;
pub use ports::MOST_PORTS;
pub use slab::{FlowId, Totals};
pub use table::{Ended, Found, NewFlow, Refused, Table};
pub use tick::Tick;
pub use tombs::Tomb;
pub use track::{ANSWER_WITHIN, Cause, Phase, Sign};
pub use turn::Turn;
