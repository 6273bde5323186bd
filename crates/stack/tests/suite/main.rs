//! The stack's suite: connections back to back over a virtual network with a virtual clock.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod allocation;
mod bytes;
mod challenge;
mod hostile;
mod opening;
mod path_mtu;
mod relaying;
mod world;
