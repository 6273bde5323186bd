//! What the demo prints: a line for each thing as it happens, and a table in the end.

use std::io::{self, Write};

use anyhow::{Context, Result};
use runtime::{Snapshot, VerdictCount};

use super::traffic::{Bulk, Requests};
use crate::table::{Side::Left, Side::Right, Table, WIDTH, wrap};
use crate::{output, units};

/// The column of a step's name.
const NAME: usize = 11;

/// What was measured on one path.
pub(super) struct Measured {
    pub(super) path: &'static str,
    pub(super) requests: Requests,
    pub(super) bulk: Option<Bulk>,
}

/// Prints to stdout, with colours where they are welcome.
pub(super) struct Report {
    colours: bool,
}

#[derive(Clone, Copy)]
enum Style {
    Bold = 1,
    Dim = 2,
    Green = 32,
}

impl Report {
    pub(super) fn new() -> Self {
        Self { colours: output::colours(&io::stdout()) }
    }

    pub(super) fn title(&self, text: &str) -> Result<()> {
        self.line(&format!("{}\n", self.paint(Style::Bold, text)))
    }

    /// Something has happened.
    pub(super) fn step(&self, name: &str, text: &str) -> Result<()> {
        let mut name = self.paint(Style::Green, &format!("{name:<NAME$}"));
        for line in wrap(text, WIDTH - NAME) {
            self.line(&format!("{name}{line}"))?;
            name = " ".repeat(NAME);
        }
        Ok(())
    }

    /// The operator's file, as the background that it is.
    pub(super) fn quote(&self, text: &str) -> Result<()> {
        self.step("file", "what `sidegate run --config` would be given:")?;
        for line in text.lines().filter(|line| !line.is_empty()) {
            self.line(&self.paint(Style::Dim, &format!("{:NAME$}{line}", "")))?;
        }
        Ok(())
    }

    /// Commands to paste into a shell, each below what it is for.
    pub(super) fn commands(&self, commands: &[(&str, String)]) -> Result<()> {
        for (purpose, command) in commands {
            self.line(&self.paint(Style::Dim, &format!("{:NAME$}# {purpose}", "")))?;
            self.line(&format!("{:NAME$}{command}", ""))?;
        }
        self.line("")
    }

    /// Measurements and counters.
    pub(super) fn summary(&self, measured: &[Measured], snapshot: &Snapshot) -> Result<()> {
        self.line("")?;
        let mut table = Table::new([
            (Left, "PATH"),
            (Right, "REQUESTS"),
            (Right, "P50"),
            (Right, "P99"),
            (Right, "BULK"),
        ]);
        for Measured { path, requests, bulk } in measured {
            let bulk = bulk.as_ref().map_or("-".into(), |bulk| units::bit_rate(bulk.bytes, bulk.during));
            table.row([
                (*path).into(),
                format!("{}/s", units::count(requests.per_second() as u64)),
                units::latency(requests.quantile(0.5)),
                units::latency(requests.quantile(0.99)),
                bulk,
            ]);
        }
        self.line(&table.to_string())?;
        let mut table = Table::new([(Left, "REASON"), (Left, "OUTCOME"), (Right, "COUNT")]);
        for VerdictCount { reason, outcome, count, .. } in &snapshot.verdicts {
            if *count > 0 {
                table.row([reason.clone(), outcome.clone(), units::count(*count)]);
            }
        }
        self.line(&table.to_string())
    }

    fn line(&self, text: &str) -> Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush()).context("cannot write to stdout")
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colours { format!("\x1b[{}m{text}\x1b[0m", style as u8) } else { text.into() }
    }
}
