//! A report as Markdown: what became of the floors, then where and how it was measured, then every row.

use std::fmt;

use super::{BASELINES, Fact, Report, Row};
use crate::floors::{self, Bound, Judged, Verdict};
use crate::spread::Spread;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.judged(f)?;
        writeln!(f, "## Where and how\n")?;
        for Fact { what, is } in &self.facts {
            writeln!(f, "- {what}: {is}")?;
        }
        writeln!(f, "\n## All figures\n\n{}\n", legend())?;
        self.table(f)
    }
}

impl Report {
    /// Those that something is known of; how many there are besides.
    fn judged(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = |judged: &Judged| judged.verdict == Verdict::NotMeasured;
        let was_run =
            |judged: &Judged| judged.verdict.spread().is_some() || judged.verdict == Verdict::Failed;
        if !self.floors.iter().any(was_run) {
            return Ok(());
        }
        writeln!(f, "## What must be shown (MTU {})\n", floors::MTU)?;
        writeln!(f, "| what | floor | is | |\n|---|---|---|---|")?;
        for judged in self.floors.iter().filter(|judged| !unknown(judged)) {
            writeln!(f, "{judged}")?;
        }
        let mut spreads = self.floors.iter().filter_map(|judged| judged.verdict.spread());
        if spreads.any(|spread| spread.interval.is_none()) {
            writeln!(f, "\nJudged by fewer than {} rounds: a first impression.", Spread::ENOUGH)?;
        }
        let left = self.floors.iter().filter(|judged| unknown(judged)).count();
        if left > 0 {
            writeln!(f, "\nNot measured (not asked for, or absent), and so not judged: {left} more.")?;
        }
        writeln!(f)
    }

    /// With a column for each baseline that somebody is compared with.
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_used = |baseline: &&str| self.rows.iter().any(|row| row.ratio(baseline).is_some());
        let baselines: Vec<&str> = BASELINES.into_iter().filter(is_used).collect();
        write!(f, "| MTU | figure | peer | median | min – max |")?;
        baselines.iter().try_for_each(|baseline| write!(f, " vs {baseline} |"))?;
        writeln!(f, " runs |")?;
        writeln!(f, "|--:|---|---|--:|--:|{}---|", "--:|".repeat(baselines.len()))?;
        self.rows.iter().try_for_each(|row| line(row, &baselines, f))
    }
}

/// How to read the figures.
fn legend() -> String {
    format!(
        "A ratio is the median of the ratios within rounds, and behind it, [in square brackets], where the true median lies with a \
         confidence of 95 % if rounds are independent; slow spells last for several, and so it is less. Fewer than {} rounds tell no such interval: then (in round brackets) the smallest and the largest are \
         shown. A figure with ← is better when it is less; its ratios, too, are the peer's over the other's.",
        Spread::ENOUGH
    )
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { floor, beside, verdict } = self;
        let at = match floor.bound {
            Bound::AtLeast(_) => "at least",
            Bound::AtMost(_) => "at most",
        };
        let unit = floor.unit().map(|unit| format!(" {unit}")).unwrap_or_default();
        write!(f, "| {floor} | {at} {}{unit} |", floor.show(floor.bound.value()))?;
        match verdict.spread() {
            Some(spread) => write!(f, " {}{unit}", with_ends(spread, |value| floor.show(value)))?,
            None => write!(f, " –")?,
        }
        if let Some(beside) = beside {
            let unit = beside.figure.unit;
            write!(f, "; {}: {} {unit}", beside.figure.name, unit.show(beside.median))?;
        }
        let noise = if self.is_within_the_noise() { ", within the noise" } else { "" };
        match verdict {
            Verdict::Met(_) => write!(f, " | met{noise} |"),
            Verdict::Missed(_) => write!(f, " | **missed**{noise} |"),
            Verdict::Failed => write!(f, " | **a run failed** |"),
            Verdict::NotMeasured => write!(f, " | not measured |"),
            Verdict::Elsewhere { command } => write!(f, " | measured by `{command}` |"),
        }
    }
}

fn line(row: &Row, baselines: &[&str], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Row { mtu, figure, peer, runs, .. } = row;
    let unit = figure.unit;
    let less = if unit.less_is_better() { " ←" } else { "" };
    write!(f, "| {mtu} | {figure}{less} | {peer} |")?;
    match row.spread {
        Some(Spread { median, min, max, .. }) => {
            write!(f, " {} | {} – {} |", unit.show(median), unit.show(min), unit.show(max))?;
        }
        None => write!(f, " – | – |")?,
    }
    for baseline in baselines {
        match row.ratio(baseline) {
            Some(ratio) => write!(f, " {} |", with_ends(ratio, |value| format!("{value:.2}")))?,
            None => write!(f, " – |")?,
        }
    }
    match row.errors.first() {
        None => writeln!(f, " {runs} |"),
        Some(error) => writeln!(f, " **{} of {runs} failed**: {} |", row.errors.len(), in_a_cell(error)),
    }
}

/// A median, and what surrounds it: `[an interval]` or `(the smallest – the largest)`.
pub(super) fn with_ends(spread: Spread, show: impl Fn(f64) -> String) -> String {
    let (low, high) = spread.ends();
    let [median, low, high] = [spread.median, low, high].map(show);
    match spread.interval {
        Some(_) => format!("{median} [{low} – {high}]"),
        None => format!("{median} ({low} – {high})"),
    }
}

/// Text that cannot break out of its cell.
fn in_a_cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{connects, report, run};
    use crate::report::{Figure, Outcome, Unit};

    /// The lines of the table of rows.
    fn lines(report: &Report) -> Vec<String> {
        let all = report.to_string();
        let (_, table) = all.split_once("\n| MTU ").unwrap();
        table.lines().skip(2).map(Into::into).collect()
    }

    #[test]
    fn the_report_reads_well() {
        let mut runs = connects(1, "kernel-nat", 12_345.0);
        runs.extend(connects(1, "sidegate-nat", 24_690.0));
        let report =
            Report::new(vec![Fact { what: "cores", is: "2".into() }], &["kernel-nat", "sidegate-nat"], runs);
        let expected = format!(
            "\
## What must be shown (MTU 8500)

| what | floor | is | |
|---|---|---|---|
| sidegate-nat, new connections/s, target closes first, vs kernel-nat | at least 1.50 | 2.00 (2.00 – 2.00) | met |
| sidegate-nat, memory of a flow | at most 160 bytes | – | measured by `cargo bench -p benches --bench crowd -- --rows memory` |

Judged by fewer than 6 rounds: a first impression.

Not measured (not asked for, or absent), and so not judged: 16 more.

## Where and how

- cores: 2

## All figures

{}

| MTU | figure | peer | median | min – max | vs kernel-nat | vs sidegate-nat | runs |
|--:|---|---|--:|--:|--:|--:|---|
| 8500 | connect, k/s | kernel-nat | 12.3 | 12.3 – 12.3 | – | 0.50 (0.50 – 0.50) | 1 |
| 8500 | connect, k/s | sidegate-nat | 24.7 | 24.7 – 24.7 | 2.00 (2.00 – 2.00) | – | 1 |
",
            legend()
        );
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn nine_rounds_have_an_interval() {
        let mut runs = connects(9, "kernel-nat", 100.0);
        let faster = |round: usize| Outcome::Value((100.0 + round as f64) * (1.0 + round as f64 / 10.0));
        let figure = runs[0].figure;
        runs.extend((0..9).map(|round| run(round, "connect", figure, "sidegate-nat", faster(round))));
        let report = report(runs);
        // The ratios are 1.0, 1.1 … 1.8: the second and the last but one of them are the interval's ends.
        assert!(lines(&report)[1].contains("| 1.40 [1.10 – 1.70] |"), "{report}");
        let of_floor = "| at least 1.50 | 1.40 [1.10 – 1.70] | **missed**, within the noise |";
        assert!(report.to_string().contains(of_floor), "{report}");
    }

    #[test]
    fn a_failure_is_in_its_row() {
        let mut runs = connects(2, "haproxy", 10_000.0);
        runs.extend(connects(2, "sidegate-nat", 20_000.0));
        runs[3].outcome = Outcome::Error("no | answer\nin 5 s".into());
        let report = report(runs);
        assert_eq!(
            lines(&report)[1],
            r"| 8500 | connect, k/s | sidegate-nat | 20.0 | 20.0 – 20.0 | **1 of 2 failed**: no \| answer in 5 s |"
        );
        let of_floor = "vs haproxy | at least 1.80 | – | **a run failed** |";
        assert!(report.to_string().contains(of_floor), "{report}");
    }

    #[test]
    fn without_a_floor_in_it_there_is_no_table_of_floors() {
        let report = report(connects(1, "direct", 1e3));
        assert!(report.to_string().starts_with("## Where and how"), "{report}");
    }

    #[test]
    fn what_is_better_when_it_is_less_says_so() {
        let memory = |name, value| {
            let figure = Figure { name, unit: Unit::Bytes };
            run(0, "memory", figure, "sidegate-nat", Outcome::Value(value))
        };
        let runs = vec![memory("memory, programs", 28.4e6), memory("memory, kernel", 1.25e6)];
        let report = report(runs);
        assert_eq!(
            lines(&report)[0],
            "| 8500 | memory, programs, MB ← | sidegate-nat | 28.4 | 28.4 – 28.4 | 1 |"
        );
        let floor = "| at most 32.0 MB | 28.4 (28.4 – 28.4) MB; memory, kernel: 1.25 MB | met |";
        assert!(report.to_string().contains(floor), "{report}");
    }
}
