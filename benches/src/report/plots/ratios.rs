//! One picture of where sidegate stands: its ratios to kernel NAT, and to others as far as there are floors, with the floors.

use super::{AXIS, GAP, HEAD, LEFT, MARGIN, Picture, RIGHT, ROW, Scale, begin};
use crate::floors::{self, Bound, FLOORS, Floor};
use crate::report::markdown::with_ends;
use crate::report::{BASELINES, Row, Unit};
use crate::spread::Spread;
use crate::svg::{Anchor, Svg};

const LEGEND: &str = "dot: median ratio · line: 95 % interval, or all of fewer than 6 · upright: floor (≥) or ceiling (≤) · ←: less is better";
/// Of a section's heading.
const HEADING: f64 = 24.0;
/// Half of an upright bar.
const UPRIGHT: f64 = 8.0;
/// Who is compared with in full; the others only where there is a floor.
const FIRST: &str = BASELINES[0];
/// The picture ends here, whatever there may be beyond.
const WIDEST: (f64, f64) = (0.1, 10.0);
const MARKS: [f64; 11] = [0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0];

/// A line of the picture.
struct Entry<'a> {
    row: &'a Row,
    ratio: Spread,
    bound: Option<Bound>,
}

/// The picture, if there is anything to be seen.
pub(super) fn picture(rows: &[Row]) -> Option<Picture> {
    let sections = BASELINES.map(|baseline| (baseline, section(rows, baseline)));
    let sections: Vec<_> = sections.into_iter().filter(|(_, entries)| !entries.is_empty()).collect();
    let all = || sections.iter().flat_map(|(_, entries)| entries);
    all().next()?;
    let scale = scale(all());
    let title = format!("sidegate beside others at an MTU of {}", floors::MTU);
    let body = all().count() as f64 * ROW + sections.len() as f64 * (HEADING + AXIS + GAP);
    let mut svg = begin(&title, LEGEND, body);
    let mut top = HEAD;
    for (baseline, entries) in &sections {
        svg.text(
            "panel",
            Anchor::Start,
            (MARGIN, top + 15.0),
            &format!("its figures over those of {baseline}"),
        );
        let first = top + HEADING;
        let bottom = first + entries.len() as f64 * ROW;
        scale.axis(&mut svg, &MARKS.map(|mark| (mark, mark.to_string())), first, bottom);
        svg.line("one", (scale.clamped(1.0), first), (scale.clamped(1.0), bottom));
        for (place, entry) in entries.iter().enumerate() {
            entry.draw(&mut svg, &scale, first + (place as f64 + 0.5) * ROW);
        }
        top = bottom + AXIS + GAP;
    }
    Some(Picture { title, file: "summary.svg".into(), svg: svg.finish() })
}

/// The rows of those of sidegate's ways that have floors. Memory is left out: kernel NAT has no programs.
fn section<'a>(rows: &'a [Row], baseline: &str) -> Vec<Entry<'a>> {
    let takes_part = |row: &&Row| {
        let is_judged = FLOORS.iter().flat_map(Floor::takes).any(|(peer, _)| peer == row.peer);
        row.mtu == floors::MTU
            && is_judged
            && row.peer.starts_with("sidegate-")
            && row.figure.unit != Unit::Bytes
    };
    let entry = |row: &'a Row| {
        let bound = Floor::of_ratio(row.peer, row.figure.name, baseline);
        let ratio = row.ratio(baseline).filter(|_| baseline == FIRST || bound.is_some())?;
        Some(Entry { row, ratio, bound })
    };
    rows.iter().filter(takes_part).filter_map(entry).collect()
}

/// All that there is to be seen, and a little room.
fn scale<'a>(entries: impl Iterator<Item = &'a Entry<'a>>) -> Scale {
    let (mut low, mut high) = (0.7, 1.5);
    for Entry { ratio, bound, .. } in entries {
        let (from, to) = ratio.ends();
        for value in [Some(from), Some(to), bound.map(Bound::value)].into_iter().flatten() {
            (low, high) = (f64::min(low, value), f64::max(high, value));
        }
    }
    Scale { low: f64::max(low / 1.05, WIDEST.0), high: f64::min(high * 1.05, WIDEST.1), is_logarithmic: true }
}

impl Entry<'_> {
    fn draw(&self, svg: &mut Svg, scale: &Scale, y: f64) {
        let Self { row, ratio, bound } = self;
        let letters = y + 4.0;
        let less = if row.figure.unit.less_is_better() { " ←" } else { "" };
        let way = row.peer.trim_start_matches("sidegate-");
        let name = format!("{}{less} · {way}", row.figure.name);
        svg.text("name", Anchor::End, (LEFT - GAP, letters), &name);
        if let Some(bound) = bound {
            let x = scale.clamped(bound.value());
            svg.line("floor", (x, y - UPRIGHT), (x, y + UPRIGHT));
        }
        scale.whisker(svg, *ratio, y);
        let class = match bound {
            Some(bound) if bound.is_kept_by(*ratio) => "met",
            Some(_) => "missed",
            None => "plain",
        };
        svg.dot(class, (scale.clamped(ratio.median), y), 5.0);
        let floor = match bound {
            Some(Bound::AtLeast(value)) => format!(" · ≥ {value:.2}"),
            Some(Bound::AtMost(value)) => format!(" · ≤ {value:.2}"),
            None => String::new(),
        };
        let figures = with_ends(*ratio, |value| format!("{value:.2}"));
        svg.text("value", Anchor::Start, (RIGHT + 2.0 * GAP, letters), &(figures + &floor));
    }
}

#[cfg(test)]
mod tests {
    use crate::report::tests::{connects, report};

    fn svg(peers: &[(&'static str, f64)]) -> Option<String> {
        let runs = peers.iter().flat_map(|(peer, rate)| connects(9, peer, *rate)).collect();
        let mut pictures = report(runs).pictures();
        let at = pictures.iter().position(|picture| picture.file == "summary.svg")?;
        Some(pictures.swap_remove(at).svg)
    }

    #[test]
    fn floors_are_drawn_and_dots_say_whether_they_are_met() {
        let classes = |svg: &str| {
            ["met", "missed", "plain"]
                .map(|class| svg.matches(&format!(r#"<circle class="{class}""#)).count())
        };
        // Floors: nat 1.5 of kernel NAT and 1.8 of HAProxy, terminate 1.3 of HAProxy.
        let peers =
            [("kernel-nat", 1.0), ("haproxy", 1.0), ("sidegate-nat", 1.6), ("sidegate-terminate", 1.4)];
        let svg = svg(&peers).unwrap();
        assert_eq!(classes(&svg), [2, 1, 1], "{svg}");
        assert_eq!(svg.matches(r#"<line class="floor""#).count(), 3);
        assert!(svg.contains(">1.60 [1.60 – 1.60] · ≥ 1.50</text>"), "{svg}");
        assert!(svg.contains(">its figures over those of haproxy</text>"));
        assert!(!svg.contains("those of nginx-stream") && !svg.contains("those of sidegate-nat"));
    }

    #[test]
    fn without_a_baseline_there_is_no_picture() {
        assert!(svg(&[("sidegate-nat", 1.0), ("direct", 1.0)]).is_none());
        assert!(svg(&[("kernel-nat", 1.0), ("haproxy", 1.0)]).is_none());
        assert!(svg(&[("kernel-nat", 1.0), ("sidegate-nat", 1.0)]).is_some());
    }
}
