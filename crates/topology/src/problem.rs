//! What is wrong with an operator's file: one problem with its place, and the collector that gathers all of them.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// One mistake in the operator's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
    /// The key that is wrong.
    pub key: Key,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    /// The problem as one line that opens with the file's name.
    pub fn in_file(&self, file: &str) -> String {
        format!("{file}:{self}")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, key, message, remedy } = self;
        let colon = if key.path.is_empty() { "" } else { ": " };
        write!(f, "{line}:{column}: {key}{colon}{message}; {remedy}")
    }
}

impl std::error::Error for Problem {}

/// Which key of the file is meant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Key {
    /// The whole path, such as `service[0].listeners[1].port`. Empty where TOML itself is broken.
    pub path: String,
    /// Whose key it is, where that has a name: `service "orders"`.
    pub owner: Option<Arc<str>>,
}

impl Key {
    /// A key of the table that this one names.
    pub(crate) fn child(&self, key: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let key = if key.bytes().all(is_bare) { key.into() } else { format!("{key:?}") };
        Self { path: format!("{}{dot}{key}", self.path), owner: self.owner.clone() }
    }

    /// An element of the list that this one names.
    pub(crate) fn element(&self, index: usize) -> Self {
        Self { path: format!("{}[{index}]", self.path), owner: self.owner.clone() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.owner, self.path.split_once('.')) {
            (Some(owner), Some((_, rest))) => write!(f, "{owner}: {rest}"),
            (Some(owner), None) => f.write_str(owner),
            (None, _) => f.write_str(&self.path),
        }
    }
}

/// Where in the file something stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// Its first byte.
    pub(crate) offset: usize,
    pub(crate) key: Key,
}

impl Place {
    /// The place of a key that ought to stand in the table that is here.
    pub(crate) fn child(&self, key: &str) -> Self {
        Self { offset: self.offset, key: self.key.child(key) }
    }
}

/// The proof that a problem was reported: whoever cannot make a value hands this on in its stead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported(());

/// A value from the file, or the proof that its problem was reported.
pub(crate) type Read<T> = Result<T, Reported>;

/// Collects every problem of one file.
pub(crate) struct Problems<'t> {
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
    found: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    problems: Vec<Problem>,
    /// Lines that are not TOML: that is the one thing to say about them.
    broken_lines: HashSet<usize>,
}

impl<'t> Problems<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, lines: std::iter::once(0).chain(starts).collect(), found: RefCell::default() }
    }

    /// Reports a mistake in what the file says.
    pub(crate) fn report(
        &self,
        place: &Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Reported {
        let (line, column) = self.position(place.offset);
        let key = place.key.clone();
        let mut found = self.found.borrow_mut();
        if !found.broken_lines.contains(&line) {
            found.problems.push(Problem {
                line,
                column,
                key,
                message: message.into(),
                remedy: remedy.into(),
            });
        }
        Reported(())
    }

    /// Reports that the file is not TOML at this byte; once for each line.
    pub(crate) fn report_broken(&self, offset: usize, message: &str, remedy: &str) -> Reported {
        let reported = self.report(&Place { offset, key: Key::default() }, message, remedy);
        self.found.borrow_mut().broken_lines.insert(self.position(offset).0);
        reported
    }

    /// Whether the file is without a fault until here.
    pub(crate) fn none_so_far(&self) -> Read<()> {
        if self.found.borrow().problems.is_empty() { Ok(()) } else { Err(Reported(())) }
    }

    /// Names another place, for a message: `endpoint "orders-a": interfaces[0].address (line 30)`.
    pub(crate) fn name(&self, place: &Place) -> String {
        format!("{} (line {})", place.key, self.position(place.offset).0)
    }

    /// Line and column, both from 1, of a byte.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// Every problem, in the order of the file.
    pub(crate) fn into_sorted(self) -> Vec<Problem> {
        let mut found = self.found.into_inner().problems;
        found.sort_by_key(|problem| (problem.line, problem.column));
        found
    }
}

/// Longer words are not compared: a comparison takes as much memory as the product of their lengths.
const LONGEST_COMPARED: usize = 64;
/// How many candidates a message lists.
const MOST_LISTED: usize = 12;

/// What to do about an unknown word: the nearest of those that would do, or what they are.
pub(crate) fn suggest<'a>(word: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> String {
    if let Some(candidate) =
        nearest(word, candidates.clone()).or_else(|| of_last_part(word, candidates.clone()))
    {
        return format!("did you mean \"{candidate}\"?");
    }
    let listed: Vec<_> = candidates.clone().take(MOST_LISTED).collect();
    let more = if candidates.count() > MOST_LISTED { ", …" } else { "" };
    format!("known here: {}{more}", listed.join(", "))
}

/// The candidate that a word is a slip of: at most a third of it differs.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let written = word.to_lowercase();
    let near = written.chars().count().max(3) / 3;
    candidates
        .filter(|candidate| candidate.len().max(written.len()) <= LONGEST_COMPARED)
        .map(|candidate| (strsim::damerau_levenshtein(&written, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= near)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The candidate whose last part, behind a dot, is the word's as well, if there is only one.
fn of_last_part<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = word.rsplit('.').next();
    let mut found =
        candidates.filter(|candidate| candidate.contains('.') && candidate.rsplit('.').next() == last);
    let only = found.next()?;
    found.next().is_none().then_some(only)
}
