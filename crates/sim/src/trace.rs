//! A digest of all that the workers have said: two runs of one seed must agree on it.

use std::time::Duration;

use crate::recorder::Batch;

/// An FNV-1a digest.
#[derive(Clone, Copy, Debug)]
pub struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    /// The digest so far.
    pub fn digest(self) -> u64 {
        self.0
    }

    /// Adds what was said about a batch.
    pub fn batch(&mut self, now: Duration, batch: &Batch) {
        self.add(&now.as_nanos().to_le_bytes());
        for (slot, verdict) in &batch.said.verdicts {
            self.add(&[*slot as u8, verdict.reason.index() as u8]);
        }
        for departure in &batch.said.departures {
            self.add(&departure.device.0.to_le_bytes());
            self.add(&departure.frame.bytes);
        }
        self.add(&[batch.said.events.len() as u8, batch.said.handed_over.len() as u8]);
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    }
}
