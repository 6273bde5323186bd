//! The engine's tests, in one program: they share a lab, and the allocator that counts.

mod allocations;
mod journey;
mod lab;
mod transit;
