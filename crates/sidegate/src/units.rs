//! Numbers as people read them.

use std::time::Duration;

/// `1,234,567`
pub(crate) fn count(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1.2 GB`
pub(crate) fn bytes(number: u64) -> String {
    scaled(number as f64, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// `18.3 Gb/s`
pub(crate) fn bit_rate(bytes: u64, during: Duration) -> String {
    scaled(bytes as f64 * 8.0 / during.as_secs_f64(), &["b/s", "kb/s", "Mb/s", "Gb/s", "Tb/s"])
}

/// `42 µs`
pub(crate) fn latency(time: Duration) -> String {
    scaled(time.as_nanos() as f64, &["ns", "µs", "ms", "s"])
}

/// `3 h 12 min`: the two largest units.
pub(crate) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Three digits or so, and the unit that fits them; each is a thousand of the one before.
fn scaled(mut number: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while number >= 999.5 && unit + 1 < units.len() {
        number /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && number < 99.95);
    format!("{number:.decimals$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        for (number, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), shown);
        }
    }

    #[test]
    fn units_fit_their_numbers() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_000), "1.0 kB");
        assert_eq!(bytes(999_949), "1.0 MB");
        assert_eq!(bytes(123_456_789), "123 MB");
        assert_eq!(bytes(u64::MAX), "18447 PB");
        assert_eq!(bit_rate(2_500_000_000, Duration::from_secs(2)), "10.0 Gb/s");
        assert_eq!(latency(Duration::from_nanos(42_300)), "42.3 µs");
        assert_eq!(latency(Duration::from_secs(7200)), "7200 s");
    }

    #[test]
    fn ages_have_two_units() {
        assert_eq!(age(59), "59 s");
        assert_eq!(age(192), "3 min 12 s");
        assert_eq!(age(11_520), "3 h 12 min");
        assert_eq!(age(360_000), "4 d 4 h");
    }
}
