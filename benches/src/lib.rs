//! What the benchmarks share: namespaces and programs to measure in, reading what measuring tools print, and turning
//! interleaved runs into a table.

pub mod bulk;
pub mod connections;
pub mod conntrack;
pub mod cpu;
pub mod datagrams;
pub mod floors;
#[cfg(test)]
mod in_time;
pub mod memory;
pub mod namespace;
pub mod open_loop;
pub mod patient;
pub mod process;
pub mod profile;
pub mod readings;
pub mod report;
pub mod sidegate_file;
pub mod spread;
pub mod stage;
pub mod stream;
pub mod svg;
pub mod threads;
pub mod turns;
pub mod watch;
