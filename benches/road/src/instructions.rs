//! How many instructions steps take, as a file says and as they were counted, and whether that is the same.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;

/// By how many percent a count may differ, or by as many instructions where that is more; in either direction: what is gained is written
/// down, or it would be lost again unseen.
const TOLERANCE: f64 = 2.0;
/// The same where another compiler made the code.
const OTHER_COMPILER: f64 = 10.0;

/// What each step takes.
#[derive(Deserialize, Debug)]
pub struct Counts {
    /// The compiler that made the code.
    rustc: String,
    /// What it was made for.
    host: String,
    /// By their steps' titles.
    instructions: BTreeMap<String, f64>,
}

impl Counts {
    /// Of steps as this compiler made them, who introduces itself in the words of `rustc --version --verbose`.
    pub fn new(compiler: &str, instructions: BTreeMap<String, f64>) -> Result<Self> {
        let rustc = compiler.lines().next().context("rustc says nothing of its version")?.to_owned();
        let host = compiler.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.context("rustc does not say what it compiles for")?.to_owned();
        Ok(Self { rustc, host, instructions })
    }

    /// Those that are written down.
    pub fn read(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }

    /// Beside those that are expected. Where those are of another kind of machine, there is nothing to be said.
    pub fn beside<'a>(&'a self, expected: &'a Self) -> Option<Comparison<'a>> {
        if self.host != expected.host {
            return None;
        }
        let is_other = self.rustc != expected.rustc;
        let others = is_other.then_some((expected.rustc.as_str(), self.rustc.as_str()));
        let gone = expected.instructions.iter().filter(|(title, _)| !self.instructions.contains_key(*title));
        let gone = gone.map(|(title, was)| Line { title, change: Change::Gone { was: *was } });
        let counted = self.instructions.iter().map(|(title, is)| {
            let change = match expected.instructions.get(title) {
                Some(was) => Change::Counted { was: *was, is: *is },
                None => Change::New { is: *is },
            };
            Line { title, change }
        });
        let tolerance = if is_other { OTHER_COMPILER } else { TOLERANCE };
        Some(Comparison { others, tolerance, lines: counted.chain(gone).collect() })
    }
}

/// As it is written down.
impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { rustc, host, instructions } = self;
        writeln!(f, "# Instructions of each step of a packet's road. Written by")?;
        writeln!(f, "# cargo bench --locked --package road --bench guard -- --accept")?;
        writeln!(f, "rustc = {rustc:?}\nhost = {host:?}\n\n[instructions]")?;
        instructions.iter().try_for_each(|(title, count)| writeln!(f, "{title:?} = {count:.1}"))
    }
}

/// What was counted beside what was expected: a Markdown table.
pub struct Comparison<'a> {
    /// The compilers, if they are not the same: the one then and the one now.
    others: Option<(&'a str, &'a str)>,
    tolerance: f64,
    lines: Vec<Line<'a>>,
}

impl Comparison<'_> {
    /// What there is to be said about lines that are not as expected. Nothing if all are.
    pub fn complaint(&self) -> Option<String> {
        let beyond: Vec<&Line<'_>> =
            self.lines.iter().filter(|line| !line.change.is_within(self.tolerance)).collect();
        let first = format!(
            "{} of {} steps are not within {} % (or as many instructions) of what is expected:",
            beyond.len(),
            self.lines.len(),
            self.tolerance
        );
        let say = |text, line: &&Line<'_>| format!("{text}\n  {}: {}", line.title, line.change);
        (!beyond.is_empty()).then(|| beyond.iter().fold(first, say))
    }

    /// What there is to be said about the compilers.
    pub fn warning(&self) -> Option<String> {
        let (then, now) = self.others?;
        Some(format!(
            "WARNING: the counts that are expected were made with {then}, and this is {now}: \
             {OTHER_COMPILER} % are tolerated instead of {TOLERANCE} %"
        ))
    }
}

impl Display for Comparison<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "| step | expected | counted | |\n|---|--:|--:|--:|")?;
        self.lines.iter().try_for_each(|Line { title, change }| match change {
            Change::Counted { was, is } => {
                writeln!(f, "| {title} | {was:.1} | {is:.1} | {:+.2} % |", percent(*was, *is))
            }
            Change::New { is } => writeln!(f, "| {title} | | {is:.1} | new |"),
            Change::Gone { was } => writeln!(f, "| {title} | {was:.1} | | gone |"),
        })
    }
}

struct Line<'a> {
    title: &'a str,
    change: Change,
}

/// What has become of a step's instructions.
#[derive(Clone, Copy)]
enum Change {
    Counted { was: f64, is: f64 },
    New { is: f64 },
    Gone { was: f64 },
}

impl Change {
    fn is_within(self, tolerance: f64) -> bool {
        matches!(self, Self::Counted { was, is } if percent(was, is).abs() <= tolerance || (is - was).abs() <= tolerance)
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counted { was, is } => {
                write!(f, "{was:.1} instructions before, {is:.1} now, {:+.2} %", percent(*was, *is))
            }
            Self::New { is } => write!(f, "{is:.1} instructions, and none are expected"),
            Self::Gone { was } => write!(f, "{was:.1} instructions before, and the step is gone"),
        }
    }
}

/// How many instructions callgrind has counted, as the file says that it has written.
pub fn counted(profile: &str) -> Result<u64> {
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: "));
    total.and_then(|total| total.trim().parse().ok()).ok_or_else(|| anyhow!("callgrind wrote no total"))
}

/// By how much something has changed.
fn percent(was: f64, is: f64) -> f64 {
    (is - was) / was * 100.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const THIS: &str =
        "rustc 1.95.0 (5 2026)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\nrelease: 1.95.0\n";
    const NEXT: &str = "rustc 1.96.0 (6 2026)\nhost: x86_64-unknown-linux-gnu\n";

    fn counts(compiler: &str, instructions: &[(&str, f64)]) -> Counts {
        let owned = instructions.iter().map(|(title, count)| ((*title).to_owned(), *count));
        Counts::new(compiler, owned.collect()).unwrap()
    }

    fn complaint(compiler: &str, counted: &[(&str, f64)]) -> Option<String> {
        let expected = counts(THIS, &[("parse", 200.0)]);
        let counts = counts(compiler, counted);
        let comparison = counts.beside(&expected).unwrap();
        comparison.complaint()
    }

    #[test]
    fn what_is_written_down_is_read_again() {
        let written = counts(THIS, &[("table/hit, \"1024\" flows", 104.25), ("step/parse", 90.0)]);
        let read = Counts::read(&written.to_string()).unwrap();
        assert_eq!((&read.rustc, &read.host), (&written.rustc, &written.host));
        assert_eq!(read.instructions["table/hit, \"1024\" flows"], 104.2);
        assert_eq!(read.instructions["step/parse"], 90.0);
    }

    #[test]
    fn a_count_may_differ_a_little_either_way() {
        for (is, is_fine) in [(200.0, true), (204.0, true), (204.1, false), (196.0, true), (195.9, false)] {
            assert_eq!(complaint(THIS, &[("parse", is)]).is_none(), is_fine, "{is}");
        }
    }

    #[test]
    fn a_few_instructions_are_no_difference() {
        let expected = counts(THIS, &[("count", 8.0)]);
        for (is, is_fine) in [(10.0, true), (10.1, false), (6.0, true), (5.9, false)] {
            let counted = counts(THIS, &[("count", is)]);
            assert_eq!(counted.beside(&expected).unwrap().complaint().is_none(), is_fine, "{is}");
        }
    }

    #[test]
    fn another_compiler_may_differ_more_and_is_told() {
        for (is, is_fine) in [(219.0, true), (221.0, false), (181.0, true), (179.0, false)] {
            assert_eq!(complaint(NEXT, &[("parse", is)]).is_none(), is_fine, "{is}");
        }
        let (then, now) = (counts(THIS, &[]), counts(NEXT, &[]));
        assert!(
            now.beside(&then)
                .unwrap()
                .warning()
                .unwrap()
                .contains("rustc 1.95.0 (5 2026), and this is rustc 1.96.0")
        );
        assert_eq!(then.beside(&then).unwrap().warning(), None);
    }

    #[test]
    fn the_counts_of_another_processor_say_nothing() {
        let there = counts(&THIS.replace("x86_64", "aarch64"), &[("parse", 200.0)]);
        let here = counts(THIS, &[("parse", 200.0)]);
        assert!(there.beside(&here).is_none());
        assert!(here.beside(&here).is_some());
    }

    #[test]
    fn a_complaint_says_what_was_and_what_is() {
        let said = complaint(THIS, &[("parse", 250.0)]).unwrap();
        assert!(said.ends_with("\n  parse: 200.0 instructions before, 250.0 now, +25.00 %"), "{said}");
        let said = complaint(THIS, &[("rewrite", 10.0)]).unwrap();
        assert!(said.starts_with("2 of 2 steps"), "{said}");
        assert!(said.contains("rewrite: 10.0 instructions, and none are expected"), "{said}");
        assert!(said.contains("parse: 200.0 instructions before, and the step is gone"), "{said}");
    }

    #[test]
    fn callgrinds_total_is_read() {
        let profile = "# callgrind format\nevents: Ir\nfn=(1) counted\n9 120\n\ntotals: 123456\n";
        assert_eq!(counted(profile).unwrap(), 123_456);
        assert!(counted("events: Ir\n").is_err());
    }
}
