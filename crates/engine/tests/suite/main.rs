//! The engine's tests, in one program: they share a lab, and the allocator that counts.

mod allocations;
mod balance;
mod corpus;
mod fragments;
mod header;
mod icmp;
mod journey;
mod lab;
mod probe;
mod requirements;
mod splice;
mod terminate;
mod transit;
