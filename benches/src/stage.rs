//! Where a benchmark's programs run: a folder for their files and for what they print, and the wish to stop that each of
//! them is awaited with.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::process::{Interrupt, Program};

/// A folder and the wish to stop. The folder goes when this is dropped.
pub struct Stage {
    scratch: TempDir,
    /// The wish to stop.
    pub interrupt: Arc<Interrupt>,
}

impl Stage {
    /// With a new folder.
    pub fn new(interrupt: Arc<Interrupt>) -> Result<Self> {
        Ok(Self { scratch: tempfile::tempdir()?, interrupt })
    }

    /// Starts a program inside one of the namespaces.
    pub fn start(&self, place: &Namespace, name: &'static str, command: Command) -> Result<Program> {
        place.inside(|| self.start_on_the_host(name, command))
    }

    /// Starts a program outside of them.
    pub fn start_on_the_host(&self, name: &'static str, command: Command) -> Result<Program> {
        Program::start(name, command, self.scratch.path(), Arc::clone(&self.interrupt))
    }

    /// Writes a program's configuration, and says where it is. nginx takes the folder as its own.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.scratch.path().join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}
