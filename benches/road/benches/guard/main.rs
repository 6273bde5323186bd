//! A guard over the road's instructions: valgrind counts what each step takes, and where that is not what
//! `instructions.toml` says, the guard fails. Unlike time, a count is the same on a busy machine.
//!
//! Run it with `cargo bench -p road --bench guard`; `-- --accept` writes down what is counted now.
#![expect(clippy::print_stdout, reason = "the table is this program's output")]

mod count;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use clap::Parser;
use road::instructions::Counts;

use crate::count::count_all;

/// Counts the instructions of each step of a packet's road, and compares them with what is expected.
#[derive(Parser)]
#[command(name = "guard")]
struct Cli {
    /// Writes down what is counted as what is expected from now on.
    #[arg(long)]
    accept: bool,
    /// Does one step so often that something can count (see count.rs); its title as the table has it.
    #[arg(long, value_name = "STEP", conflicts_with = "accept")]
    step: Option<String>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Exits 0 when everything is as expected, 1 when something is not (which, is said), 2 when nothing could be counted.
fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.step {
        Some(title) => count::work(title).map(|()| None),
        None => guard(cli.accept),
    };
    match outcome {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(complaint)) => {
            eprintln!("guard: {complaint}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("guard: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// What there is to complain about.
fn guard(accept: bool) -> Result<Option<String>> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("guard");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let counted = Counts::new(&compiler()?, count_all(&folder)?)?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml");
    let name = || file.display().to_string();
    if accept {
        fs::write(&file, counted.to_string()).with_context(name)?;
        println!("{} has the counts of now; git diff shows what is different", name());
        return Ok(None);
    }
    let expected = Counts::read(&fs::read_to_string(&file).with_context(name)?).with_context(name)?;
    let Some(comparison) = counted.beside(&expected) else {
        eprintln!("guard: SKIPPED: the counts that are expected are those of another kind of machine");
        return Ok(None);
    };
    println!("{comparison}");
    if let Some(warning) = comparison.warning() {
        eprintln!("guard: {warning}");
    }
    Ok(comparison.complaint().map(|complaint| format!("{complaint}\n{}", remedy(&folder))))
}

/// What to do about a complaint.
fn remedy(folder: &Path) -> String {
    format!(
        "callgrind_annotate shows where they go: the profiles are in {}. \
         If they are meant, accept them, and say why in the commit:\n  \
         cargo bench --locked --package road --bench guard -- --accept",
        folder.display()
    )
}

/// How the compiler introduces itself.
fn compiler() -> Result<String> {
    let asked = Command::new("rustc").args(["--version", "--verbose"]).output().context("rustc")?;
    if !asked.status.success() {
        bail!("rustc --version: {}", String::from_utf8_lossy(&asked.stderr).trim());
    }
    Ok(String::from_utf8(asked.stdout)?)
}
