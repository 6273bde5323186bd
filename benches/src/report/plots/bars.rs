//! The bars of one kind of work at one MTU: a panel for each of its figures, a bar for each peer.

use super::{AXIS, GAP, HEAD, LEFT, MARGIN, Picture, Place, RIGHT, ROW, Scale, begin};
use crate::report::markdown::with_ends;
use crate::report::{Row, Unit, distinct};
use crate::spread::Spread;
use crate::svg::{Anchor, Svg};

const LEGEND: &str = "bar: median · line: 95 % interval of the median, or all of fewer than 6 runs · dots: runs · ▸: further than this";
/// Of a panel's heading.
const HEADING: f64 = 24.0;
/// Of a bar.
const THICKNESS: f64 = 14.0;

/// The picture of these rows, which are all of this work at this MTU.
pub(super) fn picture(work: &str, mtu: u16, rows: &[&Row]) -> Picture {
    let title = format!("{work} at an MTU of {mtu}");
    let figures = distinct(rows.iter().map(|row| row.figure.name));
    let body = rows.len() as f64 * ROW + figures.len() as f64 * (HEADING + AXIS + GAP);
    let mut svg = begin(&title, LEGEND, body);
    let mut top = HEAD;
    for figure in figures {
        let of_it: Vec<&Row> = rows.iter().copied().filter(|row| row.figure.name == figure).collect();
        panel(&mut svg, &of_it, top);
        top += HEADING + of_it.len() as f64 * ROW + AXIS + GAP;
    }
    Picture { title, file: format!("{work}-{mtu}.svg"), svg: svg.finish() }
}

fn panel(svg: &mut Svg, rows: &[&Row], top: f64) {
    let Some(Row { figure, .. }) = rows.first() else { return };
    let better = if figure.unit.less_is_better() { "less is better" } else { "more is better" };
    svg.text("panel", Anchor::Start, (MARGIN, top + 15.0), &format!("{figure} ({better})"));
    let (first, bottom) = (top + HEADING, top + HEADING + rows.len() as f64 * ROW);
    let scale = scale(rows);
    scale.axis(svg, &marks(scale.high, figure.unit), first, bottom);
    for (place, row) in rows.iter().enumerate() {
        bar(svg, &scale, row, first + (place as f64 + 0.5) * ROW);
    }
}

/// From nothing to the end of the longest line, but not much beyond the longest bar, nor so far that most bars get short: neither a
/// wild run nor a peer of another kind may make all others small.
fn scale(rows: &[&Row]) -> Scale {
    let spreads = || rows.iter().filter_map(|row| row.spread);
    let lines = spreads().map(|spread| spread.ends().1).fold(0.0, f64::max);
    let high = Spread::of(spreads().map(|spread| spread.median))
        .map_or(0.0, |bars| lines.min(1.5 * bars.max).min(5.0 * bars.median));
    Scale { low: 0.0, high: if high > 0.0 { high } else { 1.0 }, is_logarithmic: false }
}

/// Round numbers up to the end of the axis, as they are shown in this unit.
fn marks(end: f64, unit: Unit) -> Vec<(f64, String)> {
    let size = unit.size();
    let rough = end / size / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let decimals = usize::from(step < 1.0) * (-power.log10()).max(0.0).round() as usize;
    (0..=5)
        .map(|count| f64::from(count) * step)
        .map(|value| (value * size, format!("{value:.decimals$}")))
        .collect()
}

fn bar(svg: &mut Svg, scale: &Scale, row: &Row, y: f64) {
    let letters = y + 4.0;
    svg.text("name", Anchor::End, (LEFT - GAP, letters), row.peer);
    if let Some(spread) = row.spread {
        let length = scale.clamped(spread.median) - LEFT;
        svg.rect(class(row.peer), LEFT, y - THICKNESS / 2.0, length, THICKNESS);
        for (number, value) in row.values.iter().enumerate() {
            // Beside each other, lest they hide each other.
            let lane = (number % 5) as f64 - 2.0;
            if let Place::At(x) = scale.place(*value) {
                svg.dot("run", (x, y + 2.5 * lane), 1.8);
            }
        }
        scale.whisker(svg, spread, y);
    }
    let at = (RIGHT + 2.0 * GAP, letters);
    let unit = row.figure.unit;
    let figures = row.spread.map(|spread| with_ends(spread, |value| unit.show(value)));
    if row.errors.is_empty() {
        svg.text("value", Anchor::Start, at, &figures.unwrap_or_default());
    } else {
        svg.text("wrong", Anchor::Start, at, &format!("{} of {} runs failed", row.errors.len(), row.runs));
    }
}

fn class(peer: &str) -> &'static str {
    match peer {
        "direct" | "kernel-nat" => "kernel",
        peer if peer.starts_with("sidegate-") => "ours",
        _ => "others",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{connects, report, run};
    use crate::report::{Figure, Outcome};

    fn names(end: f64, unit: Unit) -> Vec<String> {
        let marks = marks(end, unit);
        marks.into_iter().filter(|(value, _)| *value <= end).map(|(_, name)| name).collect()
    }

    #[test]
    fn marks_are_round_numbers_up_to_the_end() {
        assert_eq!(names(26e9, Unit::BitsPerSecond), ["0", "10", "20"]);
        assert_eq!(names(100e3, Unit::PerSecond), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(names(0.7e-3, Unit::Seconds), ["0.0", "0.2", "0.4", "0.6"]);
        assert_eq!(names(1.3e6, Unit::Bytes), ["0.0", "0.5", "1.0"]);
        assert_eq!(names(0.02, Unit::SecondsPerGigabyte), ["0.000", "0.005", "0.010", "0.015", "0.020"]);
    }

    #[test]
    fn a_bar_is_as_long_as_its_median() {
        let mut runs = connects(1, "kernel-nat", 100.0);
        runs.extend(connects(1, "sidegate-nat", 50.0));
        let svg = &report(runs).pictures()[1].svg;
        let has = |class: &str, length: f64| {
            let of_class = svg.lines().filter(|line| line.starts_with(&format!(r#"<rect class="{class}""#)));
            of_class.filter(|line| line.contains(&format!(r#"width="{length:.1}""#))).count() == 1
        };
        assert!(has("kernel", RIGHT - LEFT) && has("ours", (RIGHT - LEFT) / 2.0), "{svg}");
    }

    #[test]
    fn a_failure_is_said_where_the_figures_would_be() {
        let mut runs = connects(2, "kernel-nat", 100.0);
        runs[0].outcome = Outcome::Error("gone".into());
        let svg = &report(runs).pictures()[0].svg;
        assert!(svg.contains(">1 of 2 runs failed</text>"), "{svg}");
    }

    #[test]
    fn a_wild_end_does_not_make_the_others_small() {
        let figure = Figure { name: "latency, p99", unit: Unit::Seconds };
        let value = |round, value| run(round, "latency", figure, "direct", Outcome::Value(value));
        let runs = vec![value(0, 1e-3), value(1, 1.1e-3), value(2, 1.0)];
        let svg = &report(runs).pictures()[0].svg;
        assert!(svg.contains("<polygon"), "the end is pointed at: {svg}");
        assert!(svg.contains(&format!(r#"width="{:.1}""#, (RIGHT - LEFT) / 1.5)), "{svg}");
    }

    #[test]
    fn a_peer_of_another_kind_does_not_make_the_others_small() {
        let mut runs = connects(1, "kernel-nat", 1e3);
        runs.extend(connects(1, "haproxy", 1e3));
        runs.extend(connects(1, "direct", 1e6));
        let svg = &report(runs).pictures()[0].svg;
        let short = format!(r#"width="{:.1}""#, (RIGHT - LEFT) / 5.0);
        assert_eq!(svg.matches(&short).count(), 2, "{svg}");
        assert!(svg.contains("<polygon") && svg.contains(">1000 (1000 – 1000)</text>"), "{svg}");
    }
}
