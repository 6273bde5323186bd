//! What the benchmarks share and what can be judged without running one: reading what measuring tools print, and
//! turning interleaved runs into a table.

pub mod readings;
pub mod report;
