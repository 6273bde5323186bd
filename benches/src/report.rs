//! Turns interleaved runs into rows: the median of each peer with its spread, and the median of its *paired* ratios to
//! the baselines. A ratio compares two runs of the same round only, so that a machine that slows down in between slows
//! both. A row with a failed run shows the failure, and has no ratio.

use std::fmt;

use serde::Serialize;

/// The peers that every other one is compared with.
pub const BASELINES: [&str; 4] = ["kernel-nat", "haproxy", "nginx-stream", "sidegate-nat"];

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Unit {
    /// Bits per second, shown as Gb/s.
    #[serde(rename = "bits/s")]
    BitsPerSecond,
    /// Events per second, shown in thousands.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Seconds, shown as milliseconds. Of these, less is better.
    #[serde(rename = "s")]
    Seconds,
}

impl Unit {
    /// The figure as a reader wants it, without the unit's name.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::BitsPerSecond => format!("{:.1}", value / 1e9),
            Self::PerSecond => format!("{:.1}", value / 1e3),
            Self::Seconds => format!("{:.2}", value * 1e3),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BitsPerSecond => "Gb/s",
            Self::PerSecond => "k/s",
            Self::Seconds => "ms",
        })
    }
}

/// One peer doing one kind of work once.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Runs of one round are compared with each other.
    pub round: usize,
    /// The kind of work.
    pub work: &'static str,
    /// What the figure counts.
    pub unit: Unit,
    /// Who did it.
    pub peer: &'static str,
    /// The figure, or why there is none.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a run ended.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The figure.
    Value(f64),
    /// Why there is none.
    Error(String),
}

impl Outcome {
    fn value(&self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(*value),
            Self::Error(_) => None,
        }
    }
}

/// A median, and how far the rest lay from it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spread {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// The spread of these values; `None` when there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (lower, upper) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }
}

/// Something that a reader must know to believe the table: a version, a setting.
#[derive(Clone, Debug, Serialize)]
pub struct Fact {
    /// What it is about.
    pub what: &'static str,
    /// What it is.
    pub is: String,
}

/// One peer's line for one kind of work.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The kind of work.
    pub work: &'static str,
    /// What the figures count.
    pub unit: Unit,
    /// Who did it.
    pub peer: &'static str,
    /// The figures of the runs that succeeded.
    pub figures: Option<Spread>,
    /// Paired ratios, in the order of [`BASELINES`].
    pub ratios: [Option<Spread>; BASELINES.len()],
    /// How many runs there were.
    pub runs: usize,
    /// Why the failed ones failed.
    pub errors: Vec<String>,
}

/// A whole benchmark: where, how, every run, and what follows from them.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    facts: Vec<Fact>,
    rows: Vec<Row>,
    runs: Vec<Run>,
}

impl Report {
    /// Judges the runs. Rows come in the order in which work and peer first appear.
    pub fn new(facts: Vec<Fact>, runs: Vec<Run>) -> Self {
        let works = distinct(runs.iter().map(|run| run.work));
        let peers = distinct(runs.iter().map(|run| run.peer));
        let rows =
            works.iter().flat_map(|work| peers.iter().filter_map(|peer| row(&runs, work, peer))).collect();
        Self { facts, rows, runs }
    }

    /// Whether every run succeeded.
    pub fn is_clean(&self) -> bool {
        self.rows.iter().all(|row| row.errors.is_empty())
    }

    /// The rows, for whoever wants to judge further.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Everything, for other programs.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

impl fmt::Display for Report {
    /// Facts as a list, rows as a Markdown table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Fact { what, is } in &self.facts {
            writeln!(f, "- {what}: {is}")?;
        }
        write!(f, "\n| work | peer | median | min – max |")?;
        BASELINES.iter().try_for_each(|baseline| write!(f, " vs {baseline} |"))?;
        writeln!(f, " runs |")?;
        writeln!(f, "|---|---|--:|--:|{}---|", "--:|".repeat(BASELINES.len()))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { work, unit, peer, runs, .. } = self;
        write!(f, "| {work}, {unit} | {peer} |")?;
        match self.figures {
            Some(Spread { median, min, max }) => {
                write!(f, " {} | {} – {} |", unit.show(median), unit.show(min), unit.show(max))?;
            }
            None => write!(f, " – | – |")?,
        }
        for ratio in &self.ratios {
            match ratio {
                Some(Spread { median, min, max }) => write!(f, " {median:.2} ({min:.2} – {max:.2}) |")?,
                None => write!(f, " – |")?,
            }
        }
        match self.errors.first() {
            None => write!(f, " {runs} |"),
            Some(error) => write!(f, " **{} of {runs} failed**: {} |", self.errors.len(), in_a_cell(error)),
        }
    }
}

/// The row of one peer for one kind of work, unless it never did it.
fn row(runs: &[Run], work: &'static str, peer: &'static str) -> Option<Row> {
    let of = |peer: &'static str| runs.iter().filter(move |run| run.work == work && run.peer == peer);
    let unit = of(peer).next()?.unit;
    let errors: Vec<String> = of(peer)
        .filter_map(|run| match &run.outcome {
            Outcome::Value(_) => None,
            Outcome::Error(error) => Some(error.clone()),
        })
        .collect();
    let ratios = BASELINES.map(|baseline| {
        let pairs = of(peer).map(|run| {
            let base = of(baseline).find(|base| base.round == run.round)?;
            Some(run.outcome.value()? / base.outcome.value()?)
        });
        Spread::of(pairs.collect::<Option<Vec<f64>>>()?)
    });
    let figures = Spread::of(of(peer).filter_map(|run| run.outcome.value()));
    Some(Row { work, unit, peer, figures, ratios, runs: of(peer).count(), errors })
}

/// Each once, in order of first appearance.
fn distinct(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// Text that cannot break out of its cell.
fn in_a_cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(round: usize, peer: &'static str, outcome: Outcome) -> Run {
        Run { round, work: "connect", unit: Unit::PerSecond, peer, outcome }
    }

    fn report(runs: Vec<Run>) -> Report {
        Report::new(Vec::new(), runs)
    }

    #[test]
    fn spread_of_odd_even_and_no_values() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_paired_by_round() {
        use Outcome::Value;
        // The machine halves its speed in round 2: each pair still says 2.
        let runs = vec![
            run(0, "kernel-nat", Value(100.0)),
            run(0, "sidegate-nat", Value(200.0)),
            run(1, "sidegate-nat", Value(100.0)),
            run(1, "kernel-nat", Value(50.0)),
        ];
        let report = report(runs);
        assert!(report.is_clean());
        let [kernel, sidegate] = report.rows() else { panic!("two rows") };
        assert_eq!(kernel.ratios[0], Some(Spread { median: 1.0, min: 1.0, max: 1.0 }));
        assert_eq!(sidegate.ratios[0], Some(Spread { median: 2.0, min: 2.0, max: 2.0 }));
        assert_eq!(sidegate.ratios[1], None, "there is no haproxy to compare with");
        assert_eq!(sidegate.figures, Some(Spread { median: 150.0, min: 100.0, max: 200.0 }));
    }

    #[test]
    fn a_failed_run_stays_in_the_table_and_leaves_no_ratio() {
        let mut runs = vec![
            run(0, "haproxy", Outcome::Value(10_000.0)),
            run(0, "sidegate-nat", Outcome::Value(20_000.0)),
            run(1, "haproxy", Outcome::Value(10_000.0)),
            run(1, "sidegate-nat", Outcome::Value(20_000.0)),
        ];
        assert!(report(runs.clone()).rows()[1].ratios[1].is_some());
        runs[3].outcome = Outcome::Error("no | answer\nin 5 s".into());
        let report = report(runs);
        assert!(!report.is_clean());
        assert_eq!(report.rows()[1].ratios, [None; BASELINES.len()]);
        assert_eq!(
            report.rows()[1].to_string(),
            r"| connect, k/s | sidegate-nat | 20.0 | 20.0 – 20.0 | – | – | – | – | **1 of 2 failed**: no \| answer in 5 s |"
        );
    }

    #[test]
    fn the_table_reads_well() {
        let runs = vec![run(0, "kernel-nat", Outcome::Value(12_345.0))];
        let report = Report::new(vec![Fact { what: "cores", is: "2".into() }], runs);
        let expected = "\
- cores: 2

| work | peer | median | min – max | vs kernel-nat | vs haproxy | vs nginx-stream | vs sidegate-nat | runs |
|---|---|--:|--:|--:|--:|--:|--:|---|
| connect, k/s | kernel-nat | 12.3 | 12.3 – 12.3 | 1.00 (1.00 – 1.00) | – | – | – | 1 |
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn json_has_values_and_errors_apart() {
        let runs =
            vec![run(0, "direct", Outcome::Value(1.0)), run(1, "direct", Outcome::Error("gone".into()))];
        let json: serde_json::Value = serde_json::from_str(&report(runs).to_json().unwrap()).unwrap();
        assert_eq!(json["runs"][0]["value"], 1.0);
        assert_eq!(json["runs"][1]["error"], "gone");
        assert_eq!(json["rows"][0]["errors"][0], "gone");
    }
}
