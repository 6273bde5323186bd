//! What the benchmarks share: namespaces and programs to measure in, reading what measuring tools print, and
//! turning interleaved runs into a table.

pub mod bulk;
pub mod namespace;
pub mod process;
pub mod readings;
pub mod report;
pub mod stage;
