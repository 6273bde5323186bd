//! What the figures of a benchmark count, and how a reader wants them.

use std::fmt;

use serde::Serialize;

/// A row's name in the table, and what it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Figure {
    /// Its name: the kind of work's, and what of it where there is more than one.
    #[serde(rename = "figure")]
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.name, self.unit)
    }
}

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Unit {
    /// Bits per second, shown as Gb/s.
    #[serde(rename = "bits/s")]
    BitsPerSecond,
    /// Events per second, shown in thousands.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Seconds, shown as milliseconds.
    #[serde(rename = "s")]
    Seconds,
    /// Seconds of all cores for each gigabyte (10^9 bytes) that arrives.
    #[serde(rename = "s/GB")]
    SecondsPerGigabyte,
    /// Seconds of all cores for a thousand times.
    #[serde(rename = "s/1000")]
    SecondsPerThousand,
    /// Bytes of memory, shown as megabytes (10^6 bytes).
    #[serde(rename = "B")]
    Bytes,
    /// Bytes of memory for each one.
    #[serde(rename = "B each")]
    BytesEach,
    /// A part of a whole, from 0 to 1, shown in percent: what was lost.
    #[serde(rename = "1")]
    Fraction,
}

impl Unit {
    /// Whether the smaller figure is the better one: what is spent, where the others are achieved.
    pub const fn less_is_better(self) -> bool {
        !matches!(self, Self::BitsPerSecond | Self::PerSecond)
    }

    /// Whether one peer's figure over another's says anything: parts of a whole are often none at all.
    pub const fn has_ratios(self) -> bool {
        !matches!(self, Self::Fraction)
    }

    /// The figure as a reader wants it, without the unit's name: three digits that mean something.
    pub fn show(self, value: f64) -> String {
        three_digits(value / self.size())
    }

    /// How much one of what is shown is.
    pub(super) const fn size(self) -> f64 {
        match self {
            Self::BitsPerSecond => 1e9,
            Self::PerSecond => 1e3,
            Self::Seconds => 1e-3,
            Self::SecondsPerGigabyte | Self::SecondsPerThousand | Self::BytesEach => 1.0,
            Self::Bytes => 1e6,
            Self::Fraction => 1e-2,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BitsPerSecond => "Gb/s",
            Self::PerSecond => "k/s",
            Self::Seconds => "ms",
            Self::SecondsPerGigabyte => "s/GB",
            Self::SecondsPerThousand => "s/1000",
            Self::Bytes => "MB",
            Self::BytesEach => "bytes",
            Self::Fraction => "%",
        })
    }
}

/// 0.123, 1.23, 12.3, 123, 1234.
fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size < 0.9995 => 3,
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let shown = [0.0, 0.0523, 0.9996, 1.234, 9.996, 12.34, 99.96, 123.4, 12_345.6].map(three_digits);
        assert_eq!(shown, ["0.000", "0.052", "1.00", "1.23", "10.0", "12.3", "100", "123", "12346"]);
    }

    #[test]
    fn figures_are_shown_in_their_units() {
        assert_eq!(Unit::BitsPerSecond.show(23.5e9), "23.5");
        assert_eq!(Unit::PerSecond.show(20_800.0), "20.8");
        assert_eq!(Unit::Seconds.show(52e-6), "0.052");
        assert_eq!(Unit::Bytes.show(32e6), "32.0");
        assert_eq!(Unit::BytesEach.show(158.9), "159");
        assert_eq!(Unit::SecondsPerGigabyte.show(0.421), "0.421");
        assert_eq!(Unit::Fraction.show(0.0125), "1.25");
    }

    #[test]
    fn less_is_better_of_what_is_spent() {
        use Unit::*;
        assert!([BitsPerSecond, PerSecond].into_iter().all(|unit| !unit.less_is_better()));
        let spent = [Seconds, SecondsPerGigabyte, SecondsPerThousand, Bytes, BytesEach, Fraction];
        assert!(spent.into_iter().all(Unit::less_is_better));
    }
}
