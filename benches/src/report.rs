//! Turns interleaved runs into rows: the median of each peer with its spread, and the median of its *paired* ratios to
//! the baselines. A ratio compares two runs of the same round only, so that a machine that slows down in between slows
//! both. A row with a failed run shows the failure, and has no ratio.

mod files;
mod markdown;
mod plots;
mod unit;

use serde::Serialize;

use crate::floors::{self, Judged};
use crate::spread::Spread;

pub use unit::{Figure, Unit};

/// The peers that every other one is compared with.
pub const BASELINES: [&str; 4] = ["kernel-nat", "haproxy", "nginx-stream", "sidegate-nat"];

/// One peer doing one kind of work once: one figure of it.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// What every interface carried at most.
    pub mtu: u16,
    /// Runs of one round are compared with each other.
    pub round: usize,
    /// The kind of work.
    pub work: &'static str,
    /// What of it.
    #[serde(flatten)]
    pub figure: Figure,
    /// Who did it.
    pub peer: &'static str,
    /// The value, or why there is none.
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

    fn error(&self) -> Option<&str> {
        match self {
            Self::Value(_) => None,
            Self::Error(error) => Some(error),
        }
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

/// One peer's line for one figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What every interface carried at most.
    pub mtu: u16,
    /// The kind of work.
    pub work: &'static str,
    /// What of it.
    #[serde(flatten)]
    pub figure: Figure,
    /// Who did it.
    pub peer: &'static str,
    /// The values of the runs that succeeded, in the order of the rounds.
    pub values: Vec<f64>,
    /// Their spread.
    pub spread: Option<Spread>,
    /// Beside other peers, as far as these took part in the same rounds.
    pub ratios: Vec<Ratio>,
    /// How many runs there were.
    pub runs: usize,
    /// Why the failed ones failed.
    pub errors: Vec<String>,
}

/// How much of a baseline's figure a peer's is, round by round.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Ratio {
    /// The baseline.
    pub to: &'static str,
    /// The ratios' spread.
    #[serde(flatten)]
    pub spread: Spread,
}

impl Row {
    /// The ratios to this baseline.
    pub fn ratio(&self, to: &str) -> Option<Spread> {
        self.ratios.iter().find(|ratio| ratio.to == to).map(|ratio| ratio.spread)
    }
}

/// A whole benchmark: where, how, every run, and what follows from them.
#[derive(Clone, Debug)]
pub struct Report {
    facts: Vec<Fact>,
    floors: Vec<Judged>,
    rows: Vec<Row>,
    runs: Vec<Run>,
}

impl Report {
    /// Judges the runs. Rows come in the order in which MTU and figure first appear, and then in that of these peers.
    pub fn new(facts: Vec<Fact>, peers: &[&'static str], runs: Vec<Run>) -> Self {
        let figures = distinct(runs.iter().map(|run| (run.mtu, run.figure.name)));
        let rows: Vec<Row> = figures
            .into_iter()
            .flat_map(|(mtu, figure)| {
                let comparable: Vec<&Run> =
                    runs.iter().filter(|run| run.mtu == mtu && run.figure.name == figure).collect();
                peers.iter().filter_map(move |peer| row(&comparable, peer))
            })
            .collect();
        Self { facts, floors: floors::judge(&rows), rows, runs }
    }

    /// What became of each floor.
    pub fn floors(&self) -> &[Judged] {
        &self.floors
    }

    /// Whether every run succeeded.
    pub fn is_clean(&self) -> bool {
        self.rows.iter().all(|row| row.errors.is_empty())
    }
}

/// The row of one peer among runs of one figure, unless it took no part.
fn row(comparable: &[&Run], peer: &'static str) -> Option<Row> {
    let of = |peer: &'static str| comparable.iter().copied().filter(move |run| run.peer == peer);
    let own: Vec<&Run> = of(peer).collect();
    let &&Run { mtu, work, figure, .. } = own.first()?;
    let errors: Vec<String> = own.iter().filter_map(|run| run.outcome.error().map(Into::into)).collect();
    let values: Vec<f64> = own.iter().filter_map(|run| run.outcome.value()).collect();
    let baselines: &[&'static str] =
        if errors.is_empty() && figure.unit.has_ratios() { &BASELINES } else { &[] };
    let ratios = baselines.iter().filter(|baseline| **baseline != peer).filter_map(|&to| {
        let base: Vec<&Run> = of(to).collect();
        ratios(&own, &base).map(|spread| Ratio { to, spread })
    });
    let spread = Spread::of(values.iter().copied());
    Some(Row { mtu, work, figure, peer, spread, ratios: ratios.collect(), runs: own.len(), values, errors })
}

/// Over the rounds in which both took part. None when a run of these failed, or had nothing to divide by.
fn ratios(own: &[&Run], base: &[&Run]) -> Option<Spread> {
    let pairs = own.iter().filter_map(|run| Some((run, base.iter().find(|base| base.round == run.round)?)));
    let ratios = pairs.map(|(run, base)| {
        let base = base.outcome.value().filter(|value| *value > 0.0)?;
        Some(run.outcome.value()? / base)
    });
    Spread::of(ratios.collect::<Option<Vec<f64>>>()?)
}

/// Each once, in order of first appearance.
fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for one in all {
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    seen
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run at the MTU that floors are for.
    pub(crate) fn run(
        round: usize,
        work: &'static str,
        figure: Figure,
        peer: &'static str,
        outcome: Outcome,
    ) -> Run {
        Run { mtu: floors::MTU, round, work, figure, peer, outcome }
    }

    /// So many rounds of new connections, which get a little faster from one to the next.
    pub(crate) fn connects(rounds: usize, peer: &'static str, rate: f64) -> Vec<Run> {
        let value = |round| Outcome::Value(rate * (1.0 + round as f64 / 100.0));
        (0..rounds).map(|round| connect(round, peer, value(round))).collect()
    }

    fn connect(round: usize, peer: &'static str, outcome: Outcome) -> Run {
        run(round, "connect", Figure { name: "connect", unit: Unit::PerSecond }, peer, outcome)
    }

    /// With the peers in the order in which they first appear.
    pub(crate) fn report(runs: Vec<Run>) -> Report {
        let peers = distinct(runs.iter().map(|run| run.peer));
        Report::new(Vec::new(), &peers, runs)
    }

    #[test]
    fn ratios_are_paired_by_round() {
        use Outcome::Value;
        // The machine halves its speed in round 2: each pair still says 2.
        let runs = vec![
            connect(0, "kernel-nat", Value(100.0)),
            connect(0, "sidegate-nat", Value(200.0)),
            connect(1, "sidegate-nat", Value(100.0)),
            connect(1, "kernel-nat", Value(50.0)),
        ];
        let report = report(runs);
        assert!(report.is_clean());
        let [kernel, sidegate] = report.rows.as_slice() else { panic!("two rows") };
        assert_eq!(sidegate.ratio("kernel-nat"), Spread::of([2.0, 2.0]));
        assert_eq!(sidegate.ratio("haproxy"), None, "there is no haproxy to compare with");
        assert_eq!(sidegate.spread, Spread::of([200.0, 100.0]));
        assert_eq!(kernel.ratio("kernel-nat"), None, "nobody is compared with itself");
        assert_eq!(kernel.ratio("sidegate-nat"), Spread::of([0.5, 0.5]));
    }

    #[test]
    fn whoever_took_part_less_often_is_compared_where_it_did() {
        let mut runs = connects(9, "kernel-nat", 100.0);
        runs.extend(connects(3, "haproxy", 50.0));
        let all_well = report(runs.clone());
        assert_eq!(all_well.rows[0].ratio("haproxy"), Spread::of([2.0; 3]));
        assert_eq!(all_well.rows[1].ratio("kernel-nat"), Spread::of([0.5; 3]));
        // A row with a failed run has no ratio, though the other was not there in that round.
        runs[8].outcome = Outcome::Error("gone".into());
        let after_a_failure = report(runs);
        assert_eq!(after_a_failure.rows[0].ratio("haproxy"), None);
        assert_eq!(after_a_failure.rows[1].ratio("kernel-nat"), Spread::of([0.5; 3]));
    }

    #[test]
    fn mtus_and_figures_are_kept_apart() {
        let mut runs = connects(1, "kernel-nat", 100.0);
        runs.extend(connects(1, "sidegate-nat", 200.0));
        let mut smaller = connects(1, "kernel-nat", 10.0);
        smaller[0].mtu = 1500;
        runs.extend(smaller);
        let cost = Figure { name: "connect, CPU", unit: Unit::SecondsPerThousand };
        runs.push(run(0, "connect", cost, "kernel-nat", Outcome::Value(1.0)));
        let report = report(runs);
        let seen: Vec<_> =
            report.rows.iter().map(|row| (row.mtu, row.figure.name, row.peer, row.runs)).collect();
        let expected = [
            (8500, "connect", "kernel-nat", 1),
            (8500, "connect", "sidegate-nat", 1),
            (1500, "connect", "kernel-nat", 1),
            (8500, "connect, CPU", "kernel-nat", 1),
        ];
        assert_eq!(seen, expected);
        assert_eq!(report.rows[1].ratio("kernel-nat"), Spread::of([2.0]));
    }

    #[test]
    fn a_failed_run_is_kept_and_leaves_no_ratio() {
        let mut runs = connects(2, "haproxy", 10_000.0);
        runs.extend(connects(2, "sidegate-nat", 20_000.0));
        assert!(report(runs.clone()).rows[1].ratio("haproxy").is_some());
        runs[3].outcome = Outcome::Error("no answer in 5 s".into());
        let report = report(runs);
        assert!(!report.is_clean());
        let [haproxy, sidegate] = report.rows.as_slice() else { panic!("two rows") };
        assert_eq!((haproxy.ratio("sidegate-nat"), sidegate.ratio("haproxy")), (None, None));
        assert_eq!((sidegate.runs, sidegate.values.len(), sidegate.errors.len()), (2, 1, 1));
    }

    #[test]
    fn peers_have_an_order() {
        let mut runs = connects(2, "kernel-nat", 1.0);
        runs.extend(connects(2, "direct", 1.0));
        let report = Report::new(Vec::new(), &["direct", "haproxy", "kernel-nat"], runs);
        let peers: Vec<&str> = report.rows.iter().map(|row| row.peer).collect();
        assert_eq!(peers, ["direct", "kernel-nat"]);
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        let mut runs = connects(2, "kernel-nat", 0.0);
        runs.extend(connects(2, "sidegate-nat", 1.0));
        assert_eq!(report(runs).rows[1].ratio("kernel-nat"), None);
        let lost = Figure { name: "udp-small, lost", unit: Unit::Fraction };
        let of = |peer| run(0, "udp-small", lost, peer, Outcome::Value(0.5));
        let report = report(vec![of("kernel-nat"), of("sidegate-nat")]);
        assert!(report.rows.iter().all(|row| row.ratios.is_empty()), "{:?}", report.rows);
    }
}
