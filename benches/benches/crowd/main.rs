//! sidegate among many: what a million flows cost, and ten thousand idle connections that end in our own TCP; what a new
//! connection waits where source ports come round; and who still gets through while a flood of SYNs comes in.
//!
//! Everything happens in network namespaces of its own, which go at the end. Run it with
//! `cargo bench -p benches --bench crowd`; `-- --help` lists what can be chosen.
#![expect(clippy::print_stdout, reason = "the table is this program's output")]

mod callers;
mod connects;
mod crowd;
mod figures;
mod flood;
mod gate;
mod idle;
mod memory;
mod raw;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, thread};

use anyhow::{Context, Result, bail};
use benches::cpu::load;
use benches::namespace::read;
use benches::process::Interrupt;
use clap::{Parser, ValueEnum};

use crate::figures::Figures;
use crate::gate::{Family, Setting};

/// Shows what sidegate does with very many flows, as a Markdown table with goals.
///
/// Needs root. Relative paths start at the repository's root.
#[derive(Parser)]
#[command(name = "crowd")]
struct Cli {
    /// What to show.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROWS", default_values_t = Row::ALL)]
    rows: Vec<Row>,
    /// memory, idle: over which families.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Family::V4, Family::V6])]
    family: Vec<Family>,
    /// memory: how many flows.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    flows: u32,
    /// memory: `flows.capacity` [default: hardly more than the flows need].
    #[arg(long)]
    capacity: Option<usize>,
    /// memory: how many bulk streams, each beside one through an empty table.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// memory: how many seconds each of them lasts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// idle: how many connections; a single worker holds up to 16,384.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=16_384))]
    idle: u32,
    /// connects: how many.
    #[arg(long, default_value_t = 100_000)]
    connects: usize,
    /// connects: how many are in progress at once.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// flood: SYNs each second.
    #[arg(long, default_value_t = 100_000)]
    rate: u32,
    /// flood: half-open connections that the target keeps; beyond, its kernel sends cookies.
    #[arg(long, default_value_t = gate::BACKLOG)]
    backlog: u16,
    /// flood: for how many seconds.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(2..=600))]
    flood_seconds: u64,
    /// sidegate's worker threads.
    #[arg(long, default_value_t = 2)]
    workers: u16,
    /// The program under test.
    #[arg(long, value_name = "PATH", default_value = "target/release/sidegate")]
    sidegate: PathBuf,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    /// Bytes per flow, nothing lost, and a bulk stream beside them.
    Memory,
    /// Memory of idle connections on the terminate path.
    Idle,
    /// New connections to a target that closes first.
    Connects,
    /// A flood of SYNs.
    Flood,
    /// The same where sidegate answers them, and targets hear only of who answers that.
    SplicedFlood,
}

impl Row {
    const ALL: [Self; 5] = [Self::Memory, Self::Idle, Self::Connects, Self::Flood, Self::SplicedFlood];
}

impl Cli {
    fn memory(&self) -> memory::Size {
        let length = Duration::from_secs(self.seconds);
        memory::Size { flows: self.flows as usize, capacity: self.capacity, rounds: self.rounds, length }
    }

    const fn connects(&self) -> connects::Size {
        connects::Size { connects: self.connects, at_once: self.at_once }
    }

    const fn flood(&self) -> flood::Size {
        let length = Duration::from_secs(self.flood_seconds);
        flood::Size { rate: self.rate, backlog: self.backlog, length }
    }
}

/// Exits 0 when every goal was met, 1 when one was not (the table says which), 2 when there is no table.
fn main() -> ExitCode {
    match show(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("crowd: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn show(cli: &Cli) -> Result<bool> {
    env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .context("the repository's root")?;
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces need root: run it with sudo");
    }
    let interrupt = Interrupt::install()?;
    let setting = Setting { sidegate: cli.sidegate.clone(), workers: cli.workers, interrupt };
    let before = load()?;
    let rows = measure(cli, &setting)?;
    println!("- machine: {} cores", thread::available_parallelism()?);
    println!("- kernel: {}", read("/proc/sys/kernel/osrelease")?.trim());
    println!("- load average before: {before}; after: {}", load()?);
    println!("\n| row | what | is | goal | |\n|---|---|--:|--:|---|");
    rows.iter().for_each(|row| print!("{row}"));
    Ok(rows.iter().all(Figures::are_met))
}

fn measure(cli: &Cli, setting: &Setting) -> Result<Vec<Figures>> {
    let mut rows = Vec::new();
    for row in Row::ALL.into_iter().filter(|row| cli.rows.contains(row)) {
        match row {
            Row::Memory => {
                for &family in &cli.family {
                    rows.push(memory::row(setting, family, cli.memory())?);
                }
            }
            Row::Idle => {
                for &family in &cli.family {
                    rows.push(idle::row(setting, family, cli.idle as usize)?);
                }
            }
            Row::Connects => rows.push(connects::row(setting, cli.connects())?),
            Row::Flood => rows.push(flood::row(setting, topology::Path::Nat, cli.flood())?),
            Row::SplicedFlood => rows.push(flood::row(setting, topology::Path::Splice, cli.flood())?),
        }
    }
    Ok(rows)
}
