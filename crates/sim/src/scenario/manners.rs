//! How the peers of a scenario speak, and how much they have to say.

use std::time::Duration;

use wire::Protocol;

use crate::rng::Rng;
use crate::tcp::{Appetite, Extensions, Manner};

/// Those who do not take a few bytes at a time take so many at least.
const LEAST_USUAL: u32 = 4000;

/// What all peers of a scenario are like: a server does not know whose connection it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nature {
    /// As hosts are: some are slow, some are odd.
    Usual,
    /// They take a few bytes at a time. So there is little to be said.
    Tiny,
}

impl Nature {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        if rng.per_mille(150) { Self::Tiny } else { Self::Usual }
    }

    /// Few bytes or many, and at least the word that names the connection.
    pub(super) fn draw_size(self, rng: &mut Rng) -> usize {
        let most = match self {
            Self::Usual => [64, 3000, 40_000, 150_000][rng.index(4)],
            Self::Tiny => [64, 300, 1000][rng.index(3)],
        };
        rng.between(8, most) as usize
    }

    /// How one end speaks. Whoever sends datagrams has an ordinary link.
    pub(super) fn draw_manner(self, protocol: Protocol, rng: &mut Rng) -> Manner {
        let mss = match protocol {
            Protocol::Udp => Some([536, 1440, 8941][rng.index(3)]),
            Protocol::Tcp => self.draw_mss(rng),
        };
        let window = match self {
            Self::Usual => [LEAST_USUAL, 20_000, 65_535, 300_000][rng.index(4)],
            Self::Tiny => rng.between(1, 100) as u32,
        };
        Manner {
            mss,
            window,
            appetite: draw_appetite(window, rng),
            extensions: draw_extensions(window, rng),
            offloads: rng.per_mille(500),
        }
    }

    /// What links have, mostly; none, or nonsense. Tiny segments are for those who say little.
    fn draw_mss(self, rng: &mut Rng) -> Option<u16> {
        match (self, rng.index(10)) {
            (_, 0) => None,
            (_, 1) => Some(0),
            (_, 2) => Some(65_535),
            (Self::Tiny, 3) => Some(1),
            (Self::Tiny, 4) => Some(48),
            _ => Some([536, 1440, 8941][rng.index(3)]),
        }
    }
}

/// The same with the extensions that bits of a number name, and any scale; and with segments in which no header has room.
pub(super) fn vary(manner: Manner, spoken: usize, is_narrow: bool, rng: &mut Rng) -> Manner {
    let is_scaled = spoken & 1 != 0;
    let window = match manner.window {
        tiny @ ..LEAST_USUAL => tiny,
        _ if is_scaled => 300_000,
        _ => LEAST_USUAL,
    };
    let extensions = Extensions {
        scale: is_scaled.then(|| rng.between(0, Manner::most_shifted(window).into()) as u8),
        timestamps: spoken & 2 != 0,
        sack: spoken & 4 != 0,
        ..manner.extensions
    };
    let mss = if is_narrow { Some([48, 64, 90][rng.index(3)]) } else { manner.mss };
    Manner { mss, window, appetite: draw_appetite(window, rng), extensions, ..manner }
}

/// Slow enough that the window closes, and never so slow that reading takes minutes.
fn draw_appetite(window: u32, rng: &mut Rng) -> Appetite {
    let longest = if window < LEAST_USUAL { Duration::from_millis(100) } else { Duration::from_secs(3) };
    match rng.index(8) {
        0 => Appetite::Slow { bite: window.div_ceil(4), pause: rng.span(Duration::from_millis(100)) },
        1 => Appetite::Slow { bite: window, pause: rng.span(longest) },
        2 => Appetite::Fickle,
        _ => Appetite::Keen,
    }
}

/// No window is so small, nor shifted so far, that nothing is left of it.
fn draw_extensions(window: u32, rng: &mut Rng) -> Extensions {
    Extensions {
        scale: rng.per_mille(600).then(|| rng.between(0, Manner::most_shifted(window).into()) as u8),
        timestamps: rng.per_mille(600),
        fast_open: rng.per_mille(150),
        sack: rng.per_mille(600),
        reneges: rng.per_mille(100),
    }
}
