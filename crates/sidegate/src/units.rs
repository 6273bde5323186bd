//! Numbers, and what goes with them, as people read them.

use std::fmt::Display;
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

/// The same for a time to come: not less than it takes.
pub(crate) fn until(seconds: f64) -> String {
    age(seconds.ceil() as u64)
}

/// `350 s`, `95 min`: so much of the largest unit that it says enough, for tables.
pub(crate) fn span(seconds: f64) -> String {
    let seconds = seconds as u64;
    match seconds {
        0..600 => format!("{seconds} s"),
        600..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `1 flow`, `2 flows`
pub(crate) fn number(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number))
}

/// `75.0 %`
pub(crate) fn share(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// `10.2.9.1 (zone a)`
pub(crate) fn in_zone(what: impl Display, zone: Option<&str>) -> String {
    zone.map_or_else(|| what.to_string(), |zone| format!("{what} (zone {zone})"))
}

/// A dash where there is nothing.
pub(crate) fn or_dash(what: Option<&str>) -> String {
    what.unwrap_or("-").into()
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
    fn spans_are_short() {
        for (seconds, shown) in
            [(0.9, "0 s"), (599.0, "599 s"), (5700.0, "95 min"), (7200.0, "2 h"), (1e6, "11 d")]
        {
            assert_eq!(span(seconds), shown);
        }
    }

    #[test]
    fn things_are_counted() {
        assert_eq!([0, 1, 1000].map(|flows| number(flows, "flow")), ["0 flows", "1 flow", "1,000 flows"]);
        assert_eq!(share(0.3333), "33.3 %");
        assert_eq!(in_zone("10.2.9.1", Some("a")), "10.2.9.1 (zone a)");
        assert_eq!(in_zone("10.2.9.1", None), "10.2.9.1");
    }

    #[test]
    fn ages_have_two_units() {
        assert_eq!(age(59), "59 s");
        assert_eq!(age(192), "3 min 12 s");
        assert_eq!(age(11_520), "3 h 12 min");
        assert_eq!(age(360_000), "4 d 4 h");
    }
}
