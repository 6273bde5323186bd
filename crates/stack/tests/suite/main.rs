//! The stack's suite: connections back to back over a virtual network with a virtual clock.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod allocation;
mod bytes;
mod challenge;
mod corpus;
mod endings;
mod hostile;
mod loss;
mod memory;
mod oddities;
mod opening;
mod path;
mod path_mtu;
mod relaying;
mod rules;
mod script;
mod segment;
mod world;
