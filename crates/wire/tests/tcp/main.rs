//! What is done to a TCP packet in place, and what is written anew, equals a packet that an independent implementation
//! (etherparse) builds from scratch: byte for byte, in every state of the checksum, wherever an option stands.

#![allow(clippy::unwrap_used, clippy::panic)] // building a packet for a test cannot fail

mod edits;
mod model;
mod segments;
mod shifts;
