//! The engine's tests, in one program: they share a lab, and the allocator that counts.

mod allocations;
mod balance;
mod corpus;
mod fragments;
mod icmp;
mod journey;
mod lab;
mod probe;
mod requirements;
mod terminate;
mod transit;
