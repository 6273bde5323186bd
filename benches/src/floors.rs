//! What a run must show: for some figures a floor (or a ceiling), and whether the median keeps to it. A floor is what sidegate may
//! not fall below, not what it aims at: some are below kernel NAT's own speed, some above.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::report::{Figure, Row, Unit};
use crate::spread::Spread;

/// The MTU that floors are for.
pub const MTU: u16 = 8500;

/// Something that must be shown.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// The figure in words.
    what: &'static str,
    of: Of,
    /// What it must keep to.
    pub bound: Bound,
}

/// Which figure.
#[derive(Clone, Copy, Debug)]
enum Of {
    /// The median of a peer's ratios to another.
    Ratio { figure: &'static str, peer: &'static str, to: &'static str },
    /// The median itself; another figure of the same peer is said beside it.
    Amount { figure: &'static str, peer: &'static str, unit: Unit, beside: &'static str },
    /// One that another program measures.
    Elsewhere { unit: Unit, command: &'static str },
}

/// What a figure must keep to.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Not below this.
    AtLeast(f64),
    /// Not above this.
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};

const NAT: &str = "sidegate-nat";
const SPLICE: &str = "sidegate-splice";
const TERMINATE: &str = "sidegate-terminate";
const KERNEL: &str = "kernel-nat";
const HAPROXY: &str = "haproxy";
const NGINX: &str = "nginx-stream";

/// All of them, in the order of the table.
pub const FLOORS: [Floor; 18] = [
    ratio(NAT, "bulk1", "1 stream", KERNEL, AtLeast(0.70)),
    ratio(NAT, "bulk1", "1 stream", HAPROXY, AtLeast(1.6)),
    ratio(NAT, "bulk1", "1 stream", NGINX, AtLeast(1.8)),
    ratio(NAT, "bulk4", "4 streams", KERNEL, AtLeast(0.70)),
    ratio(NAT, "connect", "new connections/s, target closes first", KERNEL, AtLeast(1.5)),
    ratio(NAT, "connect", "new connections/s, target closes first", HAPROXY, AtLeast(1.8)),
    ratio(NAT, "connect-client-first", "new connections/s, client closes first", KERNEL, AtLeast(1.5)),
    ratio(NAT, "connect-client-first", "new connections/s, client closes first", HAPROXY, AtLeast(1.8)),
    ratio(NAT, "requests64", "requests/s on 64 connections", KERNEL, AtLeast(1.0)),
    ratio(NAT, "latency, p99", "p99 latency at the fixed rate", KERNEL, AtMost(1.1)),
    ratio(NAT, "udp-small", "UDP 64-byte packets/s", KERNEL, AtLeast(0.7)),
    ratio(SPLICE, "bulk1", "1 stream", HAPROXY, AtLeast(1.5)),
    ratio(TERMINATE, "bulk1", "1 stream", NGINX, AtLeast(1.1)),
    ratio(TERMINATE, "requests64", "requests/s on 64 connections", NGINX, AtLeast(1.0)),
    ratio(TERMINATE, "connect", "new connections/s, target closes first", HAPROXY, AtLeast(1.3)),
    ratio(TERMINATE, "connect-client-first", "new connections/s, client closes first", HAPROXY, AtLeast(1.3)),
    Floor {
        what: "memory when idle, its programs'",
        of: Of::Amount { figure: "memory, programs", peer: NAT, unit: Unit::Bytes, beside: "memory, kernel" },
        bound: AtMost(32e6),
    },
    Floor {
        what: "memory of a flow",
        of: Of::Elsewhere {
            unit: Unit::BytesEach,
            command: "cargo bench -p benches --bench crowd -- --rows memory",
        },
        bound: AtMost(160.0),
    },
];

const fn ratio(
    peer: &'static str,
    figure: &'static str,
    what: &'static str,
    to: &'static str,
    bound: Bound,
) -> Floor {
    Floor { what, of: Of::Ratio { figure, peer, to }, bound }
}

impl Floor {
    /// Whose figures it takes to judge it: peers, each with the figure's name.
    pub fn takes(&self) -> Vec<(&'static str, &'static str)> {
        match self.of {
            Of::Ratio { figure, peer, to } => vec![(peer, figure), (to, figure)],
            Of::Amount { figure, peer, .. } => vec![(peer, figure)],
            Of::Elsewhere { .. } => Vec::new(),
        }
    }

    /// What this peer's ratios to another must keep to, of the figure of this name.
    pub fn of_ratio(peer: &str, figure: &str, to: &str) -> Option<Bound> {
        let wanted = (peer, figure, to);
        let is_it = |floor: &&Self| matches!(floor.of, Of::Ratio { figure, peer, to } if (peer, figure, to) == wanted);
        FLOORS.iter().find(is_it).map(|floor| floor.bound)
    }

    /// A value of its figure as a reader wants it, without the unit's name.
    pub fn show(&self, value: f64) -> String {
        self.unit().map_or_else(|| format!("{value:.2}"), |unit| unit.show(value))
    }

    /// A ratio has none.
    pub const fn unit(&self) -> Option<Unit> {
        match self.of {
            Of::Ratio { .. } => None,
            Of::Amount { unit, .. } | Of::Elsewhere { unit, .. } => Some(unit),
        }
    }

    fn judge(&'static self, rows: &[Row]) -> Judged {
        let row = |peer: &str, figure: &str| {
            let mut rows = rows.iter().filter(|row| row.mtu == MTU);
            rows.find(|row| row.peer == peer && row.figure.name == figure)
        };
        let judged = |verdict| Judged { floor: self, beside: None, verdict };
        match self.of {
            Of::Ratio { figure, peer, to } => match (row(peer, figure), row(to, figure)) {
                (Some(row), Some(_)) => judged(self.bound.verdict(row.ratio(to))),
                _ => judged(Verdict::NotMeasured),
            },
            Of::Amount { figure, peer, beside, .. } => {
                let Some(row_of_it) = row(peer, figure) else { return judged(Verdict::NotMeasured) };
                let spread = row_of_it.spread.filter(|_| row_of_it.errors.is_empty());
                let beside = row(peer, beside).and_then(Beside::of);
                Judged { beside, ..judged(self.bound.verdict(spread)) }
            }
            Of::Elsewhere { command, .. } => judged(Verdict::Elsewhere { command }),
        }
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            Of::Ratio { peer, to, .. } => write!(f, "{peer}, {}, vs {to}", self.what),
            Of::Amount { peer, .. } => write!(f, "{peer}, {}", self.what),
            Of::Elsewhere { .. } => write!(f, "{NAT}, {}", self.what),
        }
    }
}

impl Serialize for Floor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            floor: String,
            #[serde(flatten)]
            bound: Bound,
        }
        Shown { floor: self.to_string(), bound: self.bound }.serialize(serializer)
    }
}

impl Bound {
    /// The number in it.
    pub const fn value(self) -> f64 {
        let (AtLeast(value) | AtMost(value)) = self;
        value
    }

    /// Whether the median keeps to it.
    pub fn is_kept_by(self, spread: Spread) -> bool {
        self.admits(spread.median)
    }

    /// Whether it lies between the ends of what surrounds the median: the true one may be on its other side.
    fn is_within(self, spread: Spread) -> bool {
        let (low, high) = spread.ends();
        self.admits(low) != self.admits(high)
    }

    fn admits(self, value: f64) -> bool {
        match self {
            AtLeast(bound) => value >= bound,
            AtMost(bound) => value <= bound,
        }
    }

    fn verdict(self, spread: Option<Spread>) -> Verdict {
        match spread {
            Some(spread) if self.is_kept_by(spread) => Verdict::Met(spread),
            Some(spread) => Verdict::Missed(spread),
            None => Verdict::Failed,
        }
    }
}

/// A floor, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// The floor.
    #[serde(flatten)]
    pub floor: &'static Floor,
    /// What is to be said beside it.
    pub beside: Option<Beside>,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// A figure that explains another.
#[derive(Clone, Debug, Serialize)]
pub struct Beside {
    /// Its name.
    #[serde(flatten)]
    pub figure: Figure,
    /// Its median.
    pub median: f64,
}

impl Judged {
    /// Whether the interval has the bound in it, so that the verdict is the noise's as well.
    pub fn is_within_the_noise(&self) -> bool {
        self.verdict.spread().is_some_and(|spread| self.floor.bound.is_within(spread))
    }
}

impl Beside {
    fn of(row: &Row) -> Option<Self> {
        Some(Self { figure: row.figure, median: row.spread?.median })
    }
}

/// What became of a floor.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The median keeps to it.
    Met(Spread),
    /// It does not.
    Missed(Spread),
    /// A run failed, or had nothing to be divided by: there is nothing to judge.
    Failed,
    /// Somebody or something that it takes was not asked for, or is absent.
    NotMeasured,
    /// Another program measures it.
    Elsewhere {
        /// How to run that.
        command: &'static str,
    },
}

impl Verdict {
    /// What was judged.
    pub const fn spread(self) -> Option<Spread> {
        match self {
            Self::Met(spread) | Self::Missed(spread) => Some(spread),
            Self::Failed | Self::NotMeasured | Self::Elsewhere { .. } => None,
        }
    }
}

/// What became of each.
pub fn judge(rows: &[Row]) -> Vec<Judged> {
    FLOORS.iter().map(|floor| floor.judge(rows)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{report, run};
    use crate::report::{Outcome, Run};

    const RATES: Figure = Figure { name: "requests64", unit: Unit::PerSecond };
    const P99: Figure = Figure { name: "latency, p99", unit: Unit::Seconds };
    const PROGRAMS: Figure = Figure { name: "memory, programs", unit: Unit::Bytes };
    const KERNELS: Figure = Figure { name: "memory, kernel", unit: Unit::Bytes };

    /// Three rounds of it.
    fn runs(figure: Figure, peer: &'static str, values: [f64; 3]) -> Vec<Run> {
        let one = |(round, value)| run(round, "some work", figure, peer, Outcome::Value(value));
        values.into_iter().enumerate().map(one).collect()
    }

    /// The floor whose words have all of these in them.
    fn judged(runs: Vec<Run>, words: &[&str]) -> Judged {
        let report = report(runs);
        let is_it = |judged: &&Judged| words.iter().all(|word| judged.floor.to_string().contains(word));
        let mut found = report.floors().iter().filter(is_it);
        let (Some(judged), None) = (found.next(), found.next()) else { panic!("one floor of {words:?}") };
        judged.clone()
    }

    fn requests(nat: [f64; 3], kernel: [f64; 3]) -> Verdict {
        let runs = [runs(RATES, NAT, nat), runs(RATES, KERNEL, kernel)].concat();
        judged(runs, &["requests/s on 64", "vs kernel-nat"]).verdict
    }

    fn latency(nat: f64) -> Verdict {
        let runs = [runs(P99, NAT, [nat; 3]), runs(P99, KERNEL, [1e-3; 3])].concat();
        judged(runs, &["p99 latency"]).verdict
    }

    #[test]
    fn the_median_ratio_decides() {
        let met = requests([99.0, 100.0, 101.0], [100.0; 3]);
        assert_eq!(met, Verdict::Met(Spread::of([0.99, 1.0, 1.01]).unwrap()), "the floor itself is met");
        assert!(matches!(requests([99.0, 99.9, 101.0], [100.0; 3]), Verdict::Missed(_)));
        // The medians of both are the same, those of the pairs are not.
        assert!(matches!(requests([90.0, 100.0, 110.0], [100.0, 110.0, 90.0]), Verdict::Missed(_)));
    }

    #[test]
    fn a_bound_between_an_intervals_ends_is_within_the_noise() {
        let within = |nat: [f64; 3]| {
            let runs = [runs(RATES, NAT, nat), runs(RATES, KERNEL, [1.0; 3])].concat();
            let judged = judged(runs, &["requests/s on 64", "vs kernel-nat"]);
            (
                judged.verdict.spread().map(|spread| judged.floor.bound.is_kept_by(spread)),
                judged.is_within_the_noise(),
            )
        };
        assert_eq!(within([0.9, 1.1, 1.2]), (Some(true), true));
        assert_eq!(within([0.8, 0.9, 1.0]), (Some(false), true), "the bound itself would be enough");
        assert_eq!(within([1.0, 1.1, 1.2]), (Some(true), false), "all of it keeps to the bound");
        assert_eq!(within([0.7, 0.8, 0.9]), (Some(false), false));
        assert!(!judged(Vec::new(), &["requests/s on 64", "vs kernel-nat"]).is_within_the_noise());
    }

    #[test]
    fn of_latency_less_is_better() {
        assert!(matches!(latency(0.5e-3), Verdict::Met(_)));
        assert!(matches!(latency(1.1e-3), Verdict::Met(_)));
        assert!(matches!(latency(1.11e-3), Verdict::Missed(_)));
    }

    #[test]
    fn memory_is_judged_as_it_is_and_the_kernels_is_said_beside_it() {
        let of_kernel = runs(KERNELS, NAT, [7e6; 3]);
        let of_memory = |values| {
            let runs = [runs(PROGRAMS, NAT, values), of_kernel.clone()].concat();
            judged(runs, &["memory when idle"])
        };
        let met = of_memory([31e6, 32e6, 33e6]);
        assert!(matches!(met.verdict, Verdict::Met(_)));
        assert_eq!(met.beside.map(|beside| (beside.figure, beside.median)), Some((KERNELS, 7e6)));
        assert!(matches!(of_memory([32.1e6; 3]).verdict, Verdict::Missed(_)));
    }

    #[test]
    fn without_both_or_after_a_failure_there_is_no_verdict() {
        let nat = runs(RATES, NAT, [2.0; 3]);
        let kernel = runs(RATES, KERNEL, [1.0; 3]);
        let of = |runs| judged(runs, &["requests/s on 64", "vs kernel-nat"]).verdict;
        assert_eq!(of(nat.clone()), Verdict::NotMeasured);
        assert_eq!(of(kernel.clone()), Verdict::NotMeasured);
        for failed in [0, 4] {
            let mut runs = [nat.clone(), kernel.clone()].concat();
            assert!(matches!(of(runs.clone()), Verdict::Met(_)));
            runs[failed].outcome = Outcome::Error("gone".into());
            assert_eq!(of(runs), Verdict::Failed);
        }
        let mut failed = runs(PROGRAMS, NAT, [1e6; 3]);
        failed[1].outcome = Outcome::Error("gone".into());
        assert_eq!(judged(failed, &["memory when idle"]).verdict, Verdict::Failed);
    }

    #[test]
    fn floors_are_for_one_mtu() {
        let mut runs = [runs(RATES, NAT, [2.0; 3]), runs(RATES, KERNEL, [1.0; 3])].concat();
        runs.iter_mut().for_each(|run| run.mtu = 1500);
        assert_eq!(judged(runs, &["requests/s on 64", "vs kernel-nat"]).verdict, Verdict::NotMeasured);
    }

    #[test]
    fn bounds_are_found_and_figures_shown() {
        assert_eq!(Floor::of_ratio(NAT, "latency, p99", KERNEL), Some(AtMost(1.1)));
        assert_eq!(Floor::of_ratio(KERNEL, "latency, p99", NAT), None);
        assert_eq!(FLOORS[0].show(0.7), "0.70");
        assert_eq!(FLOORS[FLOORS.len() - 1].show(158.9), "159");
        assert_eq!(FLOORS[0].takes(), [(NAT, "bulk1"), (KERNEL, "bulk1")]);
    }
}
