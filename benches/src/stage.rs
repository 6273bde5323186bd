//! Where a benchmark's programs run: a folder for their files and for what they print, and the wish to stop that each of
//! them is awaited with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::process::{Interrupt, Program};

/// How long a list of rules may take.
const NFT_LIMIT: Duration = Duration::from_secs(5);

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

    /// Starts sidegate with this operator's file, and waits until it forwards.
    pub fn start_sidegate(&self, binary: &Path, file: &str) -> Result<Program> {
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(self.write("sidegate.toml", file)?);
        let mut sidegate = self.start_on_the_host("sidegate", command)?;
        sidegate.until(|sidegate| Ok(sidegate.printed()?.lines().any(|line| line == "ready")))?;
        Ok(sidegate)
    }

    /// Has nftables do this in one of the namespaces; gives what it prints.
    pub fn nft(&self, place: &Namespace, arguments: &[&str]) -> Result<String> {
        let mut nft = Command::new("nft");
        nft.args(arguments);
        self.start(place, "nft", nft)?.finish(NFT_LIMIT)
    }

    /// Gives one of the namespaces these rules.
    pub fn give_rules(&self, place: &Namespace, rules: &str) -> Result<()> {
        let file = self.write("rules.nft", rules)?;
        let printed = self.nft(place, &["-f", &file.to_string_lossy()])?;
        ensure!(printed.is_empty(), "nft: {printed}");
        Ok(())
    }

    /// Writes a program's configuration, and says where it is. nginx takes the folder as its own.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.scratch.path().join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}
