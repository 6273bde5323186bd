//! How far the values of a few runs lie from each other: their median, the smallest and the largest, and between which of
//! them the true median lies.

use serde::Serialize;

/// How sure an interval of independent values is, at least.
const CONFIDENCE: f64 = 0.95;

/// A median, and how far the rest lay from it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spread {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Where the median of all runs that there could be lies; too few values do not tell.
    pub interval: Option<Interval>,
}

/// Two of the values, which have the true median between them in 95 of 100 cases and more, if each value is independent of the others.
/// They come from the values' order alone (the number of those below the median is binomial), so that no shape of the noise is
/// assumed. A slow spell that lasts for several rounds makes these alike: then it is fewer cases.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// In how many cases, as a share: 0.95 or more, for there is no value in between. Of values that are independent.
    pub confidence: f64,
}

impl Spread {
    /// Fewer values than this give no interval: even the smallest and the largest of five have the median between them in
    /// 94 of 100 cases only.
    pub const ENOUGH: usize = 6;

    /// The spread of these values; `None` when there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (lower, upper) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: f64::midpoint(lower, upper), min, max, interval: Interval::of_sorted(&values) })
    }

    /// The interval, or the smallest and the largest where there is none.
    pub fn ends(&self) -> (f64, f64) {
        self.interval.map_or((self.min, self.max), |interval| (interval.low, interval.high))
    }
}

impl Interval {
    /// The narrowest pair of the k-th smallest and the k-th largest that is sure enough.
    fn of_sorted(values: &[f64]) -> Option<Self> {
        let mut narrowest = None;
        let mut outside = 0.0;
        for (k, share) in shares(values.len()).take(values.len().div_ceil(2)).enumerate() {
            // The median lies below the k-th smallest, or above its counterpart.
            outside += 2.0 * share;
            if outside > 1.0 - CONFIDENCE {
                break;
            }
            let (low, high) = (values[k], values[values.len() - 1 - k]);
            narrowest = Some(Self { low, high, confidence: 1.0 - outside });
        }
        narrowest
    }
}

/// How often exactly 0, 1, 2 … of `count` values lie below the median. By logarithms, for the first of them are tiny.
fn shares(count: usize) -> impl Iterator<Item = f64> {
    let count = count as f64;
    let mut logarithm = -count * std::f64::consts::LN_2;
    let mut below = 0.0;
    std::iter::from_fn(move || {
        let share = logarithm.exp();
        logarithm += ((count - below) / (below + 1.0)).ln();
        below += 1.0;
        Some(share)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1, 2, 3 … `count`.
    fn interval(count: u16) -> Option<Interval> {
        Spread::of((1..=count).map(f64::from)).unwrap().interval
    }

    #[test]
    fn median_of_odd_even_and_no_values() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        let spread = Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (2.5, 1.0, 4.0));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn intervals_are_those_of_the_binomial_table() {
        // Count, ranks from below, and how sure (e.g. Conover, Practical Nonparametric Statistics, table A3).
        for (count, low, high, confidence) in [
            (6, 1.0, 6.0, 0.969),
            (7, 1.0, 7.0, 0.984),
            (8, 1.0, 8.0, 0.992),
            (9, 2.0, 8.0, 0.961),
            (10, 2.0, 9.0, 0.979),
            (15, 4.0, 12.0, 0.965),
            (20, 6.0, 15.0, 0.959),
            (30, 10.0, 21.0, 0.957),
        ] {
            let interval = interval(count).unwrap();
            assert_eq!((interval.low, interval.high), (low, high), "{count} values");
            assert!((interval.confidence - confidence).abs() < 0.0006, "{count} values: {interval:?}");
        }
    }

    #[test]
    fn few_values_have_no_interval() {
        assert!((1..Spread::ENOUGH as u16).all(|count| interval(count).is_none()));
        assert_eq!(
            Spread::of([1.0, 3.0]).unwrap().ends(),
            (1.0, 3.0),
            "the smallest and the largest instead"
        );
        assert!(interval(Spread::ENOUGH as u16).is_some());
    }

    #[test]
    fn one_wild_value_of_nine_does_not_widen_an_interval() {
        let spread = Spread::of([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 99.0]).unwrap();
        assert_eq!((spread.ends(), spread.max), ((1.1, 1.7), 99.0));
    }

    #[test]
    fn the_interval_of_very_many_values_is_narrow_and_around_the_median() {
        let Interval { low, high, confidence } = interval(10_000).unwrap();
        assert!(low < 5_000.0 && high > 5_001.0 && high - low < 200.0, "{low} to {high}");
        assert!((0.95..0.952).contains(&confidence), "{confidence}");
    }
}
