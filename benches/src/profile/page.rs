//! Profiles as Markdown: a table of what the time went into, and for each profile its picture and where it was caught most.

use std::collections::HashMap;
use std::fmt;

use super::Recording;
use super::cast::{Cast, Party};
use super::share::Share;

/// How many functions are named.
const MOST: usize = 15;

/// One peer at one kind of work.
pub struct Profile {
    name: String,
    did: String,
    /// How many samples each of [`Share::ALL`] has.
    counts: [usize; Share::ALL.len()],
    functions: Vec<Function>,
}

/// How often cores were caught in a function itself.
struct Function {
    name: String,
    /// … for anybody who takes part.
    all: usize,
    /// … for the peer.
    peers: usize,
}

impl Profile {
    /// Of a recording; `name` says who did what, and is its picture's file; `did` is what came out.
    #[must_use]
    pub fn of(name: String, did: String, recording: &Recording<'_>, cast: &Cast) -> Self {
        let mut counts = [0; Share::ALL.len()];
        let mut functions: HashMap<&str, (usize, usize)> = HashMap::new();
        for sample in &recording.samples {
            let share = Share::of(cast, recording, sample);
            for (count, _) in counts.iter_mut().zip(Share::ALL).filter(|(_, each)| *each == share) {
                *count += 1;
            }
            let caught = sample.stack.last().map_or("unknown", |frame| frame.name);
            if !matches!(share, Share::Of(Party::Idle | Party::Other)) {
                let (all, peers) = functions.entry(caught).or_default();
                *all += 1;
                *peers += usize::from(share.is_the_peers());
            }
        }
        let mut functions: Vec<Function> = functions
            .into_iter()
            .map(|(name, (all, peers))| Function { name: name.to_owned(), all, peers })
            .collect();
        functions.sort_by(|one, other| other.all.cmp(&one.all).then_with(|| one.name.cmp(&other.name)));
        functions.truncate(MOST);
        Self { name, did, counts, functions }
    }

    fn percent(&self, samples: usize) -> f64 {
        100.0 * samples as f64 / self.counts.iter().sum::<usize>().max(1) as f64
    }

    /// Its line in the table.
    fn line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} |", self.name)?;
        self.counts.iter().try_for_each(|count| write!(f, " {:.1} |", self.percent(*count)))?;
        writeln!(f)
    }

    /// Its own chapter.
    fn chapter(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, did, counts, functions } = self;
        let samples: usize = counts.iter().sum();
        writeln!(f, "\n## {name}\n\n{did}; {samples} samples; [flame graph]({name}.svg)\n")?;
        writeln!(f, "| function | all, % | forwarder, % |\n|---|--:|--:|")?;
        functions.iter().try_for_each(|Function { name, all, peers }| {
            let name = name.replace('|', "\\|");
            writeln!(f, "| `{name}` | {:.1} | {:.1} |", self.percent(*all), self.percent(*peers))
        })
    }
}

/// Profiles, to be shown on one page.
pub struct Page(pub Vec<Profile>);

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Where the time goes\n")?;
        writeln!(
            f,
            "Written by `scripts/bench-peers --profile`; docs/benchmarks/PROFILES.md says what it means."
        )?;
        writeln!(f, "Percent of the time of all cores, while `perf` watched.\n")?;
        write!(f, "| who and what |")?;
        Share::ALL.iter().try_for_each(|share| write!(f, " {} |", share.as_str()))?;
        writeln!(f, "\n|---|{}", "--:|".repeat(Share::ALL.len()))?;
        self.0.iter().try_for_each(|profile| profile.line(f))?;
        self.0.iter().try_for_each(|profile| profile.chapter(f))
    }
}

#[cfg(test)]
mod tests {
    use super::super::cast::tests::{PRINTED, cast};
    use super::*;

    #[test]
    fn the_page_has_a_line_a_picture_and_functions_for_each_profile() {
        let recording = Recording::parse(PRINTED).unwrap();
        let profile = Profile::of("nat-bulk1".into(), "bulk1 20.0 Gb/s".into(), &recording, &cast());
        let page = Page(vec![profile]).to_string();
        let line = page.lines().find(|line| line.starts_with("| nat-bulk1 |")).unwrap();
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        // One of 14 samples each; nothing in other calls.
        assert_eq!(cells.len(), 1 + Share::ALL.len());
        assert_eq!((cells[1], cells[4], cells[11]), ("7.1", "7.1", "0.0"), "{line}");
        assert!(page.contains("bulk1 20.0 Gb/s; 14 samples; [flame graph](nat-bulk1.svg)"), "{page}");
        assert!(page.contains("| `_copy_from_iter` | 14.3 | 7.1 |"), "{page}");
        for left_out in ["pv_native_safe_halt", "llvm"] {
            assert!(!page.contains(left_out), "{left_out}");
        }
    }
}
