//! What a row has to show: figures, each with its goal and whether it was met.

use std::fmt::{self, Display};

use hdrhistogram::{CreationError, Histogram};

use crate::gate::Counters;

/// A row's name, and what was measured for it.
pub(crate) struct Figures {
    row: String,
    figures: Vec<Figure>,
}

struct Figure {
    what: String,
    is: String,
    goal: Option<Goal>,
}

struct Goal {
    is: String,
    met: bool,
}

impl Figures {
    /// None so far.
    pub(crate) const fn of(row: String) -> Self {
        Self { row, figures: Vec::new() }
    }

    /// A figure with a goal.
    pub(crate) fn goal(&mut self, what: impl Display, is: impl Display, goal: impl Display, met: bool) {
        let goal = Goal { is: goal.to_string(), met };
        self.add(Figure { what: what.to_string(), is: is.to_string(), goal: Some(goal) });
    }

    /// A figure that explains others.
    pub(crate) fn note(&mut self, what: impl Display, is: impl Display) {
        self.add(Figure { what: what.to_string(), is: is.to_string(), goal: None });
    }

    /// Counters that explain others.
    pub(crate) fn counted(&mut self, by: &str, counters: Counters) {
        for (name, number) in counters {
            self.note(format!("counted by {by}: {name}"), count(number));
        }
    }

    /// Whether every goal was met.
    pub(crate) fn are_met(&self) -> bool {
        self.figures.iter().all(|figure| figure.goal.as_ref().is_none_or(|goal| goal.met))
    }

    /// Tells whoever waits at once; the table comes at the end.
    fn add(&mut self, figure: Figure) {
        eprintln!("{}: {} {}", self.row, figure.what, figure.is);
        self.figures.push(figure);
    }
}

/// The lines of a Markdown table.
impl Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Figure { what, is, goal } in &self.figures {
            write!(f, "| {} | {what} | {is} |", self.row)?;
            match goal {
                Some(Goal { is, met: true }) => writeln!(f, " {is} | met |")?,
                Some(Goal { is, met: false }) => writeln!(f, " {is} | **not met** |")?,
                None => writeln!(f, " | |")?,
            }
        }
        Ok(())
    }
}

/// A count with its thousands apart, as `sidegate status` shows it.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A histogram of microseconds, up to a minute.
pub(crate) fn times() -> Result<Histogram<u64>, CreationError> {
    Histogram::new_with_bounds(1, 60_000_000, 3)
}

/// Bytes as mebibytes.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Microseconds as milliseconds.
pub(crate) fn milliseconds(microseconds: u64) -> String {
    format!("{:.2} ms", microseconds as f64 / 1e3)
}
