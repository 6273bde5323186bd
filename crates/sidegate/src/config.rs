//! From the name of the operator's file to a topology.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use topology::{Origin, Topology};

use crate::Failure;

/// More is not read. It is more than a topology may have, so nothing is cut off unseen.
const MAX_BYTES: u64 = 8 << 20;

/// Reads the file. A failure lists all its mistakes, a line for each, and counts them in the last.
pub(crate) fn load(file: &Path) -> Result<Topology, Failure> {
    Source::new(file.into()).read()
}

/// The operator's file, which may be read again and again.
pub(crate) struct Source {
    file: PathBuf,
    /// What names the instance: where a symbolic link has led at first, whatever it leads to by now.
    origin: Origin,
}

impl Source {
    pub(crate) fn new(file: PathBuf) -> Self {
        // A pipe can be read, and has no canonical path.
        let origin = Origin::new(fs::canonicalize(&file).unwrap_or_else(|_| file.clone()));
        Self { file, origin }
    }

    /// What the file says now: see [`load`].
    pub(crate) fn read(&self) -> Result<Topology, Failure> {
        let name = self.file.display();
        let unreadable = |error| {
            Failure::mistake(format_args!(
                "cannot read {name}: {error}; give the operator's file with --config"
            ))
        };
        let text = File::open(&self.file)
            .and_then(|file| io::read_to_string(file.take(MAX_BYTES)))
            .map_err(unreadable)?;
        Topology::parse(&text, &self.origin).map_err(|problems| {
            let list: String =
                problems.iter().map(|problem| problem.in_file(&name.to_string()) + "\n").collect();
            let count = problems.len();
            let plural = if count == 1 { "" } else { "s" };
            Failure::mistake(format_args!(
                "{list}{name} has {count} mistake{plural}; correct what is listed above"
            ))
        })
    }

    /// The same, of a file that has been read before.
    pub(crate) fn read_again(&self) -> Result<Topology, Failure> {
        if !self.file.exists() || self.file.is_file() {
            return self.read();
        }
        Err(Failure::mistake(format_args!(
            "{} cannot be read twice; start sidegate with a file, not with a pipe",
            self.file.display()
        )))
    }
}
