//! A report as pictures: bars for each kind of work, and one picture of sidegate's ratios. What they have in common is here: where
//! things are, and how they look.

mod bars;
mod ratios;

use super::{Report, Row, distinct};
use crate::spread::Spread;
use crate::svg::{Anchor, Svg};

/// A picture, and the name of its file.
pub struct Picture {
    /// What it shows.
    pub title: String,
    /// The file's name.
    pub file: String,
    /// What is in the file.
    pub svg: String,
}

impl Report {
    /// All that there is to be seen: the ratios first.
    pub fn pictures(&self) -> Vec<Picture> {
        let works = distinct(self.rows.iter().map(|row| (row.mtu, row.work)));
        let bars = works.into_iter().map(|(mtu, work)| {
            let of_it = |row: &&Row| row.mtu == mtu && row.work == work;
            let rows: Vec<&Row> = self.rows.iter().filter(of_it).collect();
            bars::picture(work, mtu, &rows)
        });
        ratios::picture(&self.rows).into_iter().chain(bars).collect()
    }
}

const WIDTH: f64 = 900.0;
/// Left and right of everything.
const MARGIN: f64 = 16.0;
/// Between neighbours.
const GAP: f64 = 8.0;
/// Where the shapes are; names are left of them, figures right.
const LEFT: f64 = 240.0;
const RIGHT: f64 = 670.0;
/// Of one line of the picture.
const ROW: f64 = 22.0;
/// What stands above the first line, and what an axis takes.
const HEAD: f64 = 54.0;
const AXIS: f64 = 26.0;

/// Sidegate in blue, the kernel in grey, others in sand; on dark pages lighter, on a dark ground of its own.
const STYLE: &str = "
text { font-family: system-ui, sans-serif; font-size: 12px; fill: #24292f }
.title { font-size: 15px; font-weight: 600 } .panel { font-size: 13px; font-weight: 600 }
.small { font-size: 11px; fill: #59636e } .wrong { fill: #a4502b }
.page { fill: #ffffff } .grid { stroke: #d8dee4 } .one { stroke: #848d97 }
.ours { fill: #6ea3c8 } .kernel { fill: #a9b1ba } .others { fill: #cdb993 }
.whisker { stroke: #24292f; stroke-width: 1.5 } .run { fill: #24292f; fill-opacity: 0.45 } .beyond { fill: #24292f }
.met { fill: #2f76a8 } .missed { fill: #c05a2e } .plain { fill: #848d97 } .floor { stroke: #c05a2e; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .small { fill: #9198a1 } .wrong { fill: #e0956f } .page { fill: #0d1117 }
.grid { stroke: #2f363e } .one { stroke: #9198a1 }
.ours { fill: #3d749c } .kernel { fill: #59636e } .others { fill: #7d6c49 }
.whisker { stroke: #e6edf3 } .run { fill: #e6edf3 } .beyond { fill: #e6edf3 }
.met { fill: #6cb0e0 } .missed { fill: #e58a5c } .plain { fill: #9198a1 } .floor { stroke: #e58a5c }
}
";

/// A picture with its head, and so many pixels below that.
fn begin(title: &str, legend: &str, body: f64) -> Svg {
    let mut svg = Svg::new(WIDTH, HEAD + body, STYLE);
    svg.text("title", Anchor::Start, (MARGIN, 24.0), title);
    svg.text("small", Anchor::Start, (MARGIN, 42.0), legend);
    svg
}

/// Where a value is between [`LEFT`] and [`RIGHT`].
struct Scale {
    low: f64,
    high: f64,
    is_logarithmic: bool,
}

/// A place on an axis.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Place {
    At(f64),
    TooLow,
    TooHigh,
}

impl Scale {
    fn place(&self, value: f64) -> Place {
        if value < self.low {
            Place::TooLow
        } else if value > self.high {
            Place::TooHigh
        } else {
            Place::At(self.clamped(value))
        }
    }

    /// What is too low or too high is at the edge.
    fn clamped(&self, value: f64) -> f64 {
        let along = |value: f64| if self.is_logarithmic { value.ln() } else { value };
        let (low, high) = (along(self.low), along(self.high));
        let part = (along(value.clamp(self.low, self.high)) - low) / (high - low);
        LEFT + part * (RIGHT - LEFT)
    }

    /// A line for each mark, from `top` to `bottom`, and its name below.
    fn axis(&self, svg: &mut Svg, marks: &[(f64, String)], top: f64, bottom: f64) {
        for (value, name) in marks {
            if let Place::At(x) = self.place(*value) {
                svg.line("grid", (x, top), (x, bottom));
                svg.text("small", Anchor::Middle, (x, bottom + 14.0), name);
            }
        }
    }

    /// A spread's ends, as a line around `y`; an end that is not in the picture is an arrow.
    fn whisker(&self, svg: &mut Svg, spread: Spread, y: f64) {
        const CAP: f64 = 4.0;
        let (low, high) = spread.ends();
        let (from, to) = (self.clamped(low), self.clamped(high));
        svg.line("whisker", (from, y), (to, y));
        for (value, x) in [(low, from), (high, to)] {
            match self.place(value) {
                Place::At(x) => svg.line("whisker", (x, y - CAP), (x, y + CAP)),
                Place::TooLow => svg.triangle("beyond", arrow(x, y, -1.0)),
                Place::TooHigh => svg.triangle("beyond", arrow(x, y, 1.0)),
            }
        }
    }
}

/// With its point beside `x`, to the right or, with -1, to the left.
fn arrow(x: f64, y: f64, to: f64) -> [(f64, f64); 3] {
    [(x + 6.0 * to, y), (x, y - 4.0), (x, y + 4.0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{connects, report, run};
    use crate::report::{Figure, Outcome, Run, Unit};
    use crate::svg::tests::assert_well_formed;

    const SCALE: Scale = Scale { low: 1.0, high: 100.0, is_logarithmic: true };

    /// Everything that can be in a picture: long names, wild values, failures.
    fn busy_report() -> Report {
        let latency = Figure { name: "latency, p99.9", unit: Unit::Seconds };
        let late = |round: usize, peer, value| run(round, "latency", latency, peer, Outcome::Value(value));
        let mut runs: Vec<Run> = connects(9, "kernel-nat", 21_000.0);
        runs.extend(connects(9, "sidegate-nat", 33_000.0));
        runs.extend(connects(3, "sidegate-splice-header", 12_345_678.0));
        runs.extend(connects(2, "<&haproxy\">", 1.0));
        runs[0].outcome = Outcome::Error("no answer".into());
        for round in 0..9 {
            runs.push(late(round, "kernel-nat", if round == 3 { 9.0 } else { 0.002 }));
            runs.push(late(round, "sidegate-nat", 0.0021));
            runs.push(late(round, "sidegate-terminate", 0.9 + round as f64));
        }
        runs.push(run(0, "latency", latency, "direct", Outcome::Error("gone".into())));
        report(runs)
    }

    /// Each text of a picture: its class, where it begins and ends at most, and what it says.
    fn texts(svg: &str) -> Vec<(f64, f64, String)> {
        let attribute = |tag: &str, name: &str| {
            let (_, rest) = tag.split_once(&format!("{name}=\"")).unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        let elements = svg.split("<text ").skip(1).map(|rest| rest.split_once("</text>").unwrap().0);
        let extent = |element: &str| {
            let (tag, text) = element.split_once('>').unwrap();
            // No usual typeface is wider than this on average.
            let size = match attribute(tag, "class").as_str() {
                "title" => 15.0,
                "panel" => 13.0,
                "small" => 11.0,
                _ => 12.0,
            };
            let width = 0.6 * size * text.chars().count() as f64;
            let x: f64 = attribute(tag, "x").parse().unwrap();
            let start = match attribute(tag, "text-anchor").as_str() {
                "start" => x,
                "middle" => x - width / 2.0,
                _ => x - width,
            };
            (start, start + width, text.to_owned())
        };
        elements.map(extent).collect()
    }

    #[test]
    fn there_is_a_picture_of_each_work_and_one_of_ratios() {
        let pictures = busy_report().pictures();
        let files: Vec<&str> = pictures.iter().map(|picture| picture.file.as_str()).collect();
        assert_eq!(files, ["summary.svg", "connect-8500.svg", "latency-8500.svg"]);
    }

    #[test]
    fn pictures_are_well_formed_and_no_text_is_cut() {
        for Picture { file, svg, .. } in busy_report().pictures() {
            assert_well_formed(&svg);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{file}");
            let texts = texts(&svg);
            assert!(texts.len() > 5, "{file}");
            for (start, end, text) in texts {
                assert!(start >= 0.0 && end <= WIDTH, "{file}: {start} to {end}: {text}");
            }
        }
    }

    #[test]
    fn an_end_that_is_in_no_picture_is_pointed_at() {
        let wide = Spread::of([10.0, 50.0, 1000.0]).unwrap();
        let mut svg = Svg::new(WIDTH, HEAD, STYLE);
        SCALE.whisker(&mut svg, wide, 10.0);
        let svg = svg.finish();
        assert_eq!(svg.matches("<polygon").count(), 1, "{svg}");
        assert!(svg.contains(&format!(r#"points="{:.1},10.0"#, RIGHT + 6.0)), "{svg}");
    }

    #[test]
    fn a_scale_is_even_in_its_own_way() {
        let middle = LEFT.midpoint(RIGHT);
        assert_eq!((SCALE.clamped(1.0), SCALE.clamped(10.0), SCALE.clamped(100.0)), (LEFT, middle, RIGHT));
        let linear = Scale { low: 0.0, high: 10.0, is_logarithmic: false };
        assert_eq!((linear.place(5.0), linear.place(11.0)), (Place::At(middle), Place::TooHigh));
        assert_eq!((linear.place(-0.1), linear.clamped(-0.1)), (Place::TooLow, LEFT));
    }
}
