//! How a peer speaks: what it announces, which extensions it offers, how its reader reads.

use std::time::Duration;

use crate::packet::Route;

/// How one end of a connection speaks.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// The MSS that it announces, if it announces one.
    pub mss: Option<u16>,
    /// How much it takes in before its reader has read.
    pub window: u32,
    /// How its reader reads.
    pub appetite: Appetite,
    /// What it offers.
    pub extensions: Extensions,
    /// Whether it leaves checksums and segmentation to the device, sometimes.
    pub offloads: bool,
}

/// How a reader reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Appetite {
    /// At once: the window never changes.
    Keen,
    /// A bite at a time, with a pause between two: the window closes and opens.
    Slow {
        /// How much it reads.
        bite: u32,
        /// How long it rests then.
        pause: Duration,
    },
    /// At once; but each window is another one. What was granted may be taken back, and what exceeds it is not taken.
    Fickle,
}

/// What an end offers in its SYN.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Extensions {
    /// By how many bits its windows are shifted.
    pub scale: Option<u8>,
    /// Timestamps in every segment.
    pub timestamps: bool,
    /// Its SYN carries its first bytes, or is heard with them (RFC 7413).
    pub fast_open: bool,
    /// It says what has come out of order …
    pub sack: bool,
    /// … and throws some of it away again, as it may (RFC 2018).
    pub reneges: bool,
}

impl Manner {
    /// By how many bits windows of this size may be shifted: so far that nothing is left of them, they never are.
    pub fn most_shifted(window: u32) -> u8 {
        window.ilog2().saturating_sub(3).min(14) as u8
    }

    /// The same with windows in coarser units, by so many bits if possible.
    pub fn coarser(self, bits: u8) -> Self {
        let most = Self::most_shifted(self.window);
        let scale = self.extensions.scale.map(|scale| scale.saturating_add(bits).min(most.max(scale)));
        Self { extensions: Extensions { scale, ..self.extensions }, ..self }
    }

    /// The MTU of a link whose host announces this MSS.
    pub fn mtu(&self, route: Route) -> usize {
        let mtu = usize::from(self.mss.unwrap_or(536)) + 40;
        if route.source.is_ipv4() { mtu } else { mtu.max(1280) }
    }
}
