//! The peers' benchmark: sidegate beside what else could carry the same traffic, on one machine, in one run.
//!
//! Every peer has a lab of its own (`lab.rs`) that stands for the whole run, so that peers can take turns at each kind of
//! work and no clean-up of one falls into the time of another. `scripts/bench-peers` builds sidegate and starts this.
#![expect(clippy::print_stdout, reason = "the table is this program's output")]

mod connect;
mod contest;
mod facts;
mod idle;
mod lab;
mod latency;
mod peer;
mod preset;
mod profile;
mod requests;
mod stream;
mod udp;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use benches::process::{Interrupt, allow_files};
use benches::report::{Fact, Report};
use clap::Parser;

use crate::contest::Record;
use crate::facts::Theft;
use crate::lab::CongestionControl;
use crate::peer::{Peer, Setting};
use crate::preset::{Plan, Preset, Wishes};
use crate::work::Work;

/// Compares sidegate with its peers: interleaved runs in network namespaces of their own, as Markdown.
///
/// Without anything said it measures what must be shown: 9 rounds of all figures that there are floors for, in less than 20 minutes.
/// Exits 0 when every run succeeded, 1 when one failed (its row says why) or a Ctrl-C came before the last one (the report is about
/// those before), 2 when nothing was measured or a file could not be written. A floor that is missed is in the table, and no
/// failure. Needs root. Relative paths start at the repository's root.
#[derive(Parser)]
#[command(name = "bench-peers")]
struct Cli {
    /// The same as a first impression: 3 rounds of 1 s, in less than 2 minutes.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Everybody at everything, at both MTUs: 9 rounds of what must be shown, 3 of the rest.
    #[arg(long)]
    full: bool,
    /// Who takes part [default: those that floors are about; full: all].
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PEERS")]
    peers: Vec<Peer>,
    /// What they do [default: what floors are about; full: all].
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WORK")]
    work: Vec<Work>,
    /// What every interface carries at most [default: 8500; full: 8500,1500].
    #[arg(long, value_delimiter = ',', value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1280..=9000))]
    mtu: Vec<u16>,
    /// How often everyone does everything [default: 9; quick: 3; full: 9 and 3].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Length of one run in seconds [default: 2; quick: 1].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: Option<u16>,
    /// Only say what would be run, and how long that takes.
    #[arg(long)]
    dry_run: bool,
    /// Write results.md, results.json and pictures into this folder too.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Write every run, row and floor to this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Instead of measuring, let perf watch everyone at everything once: flame graphs and what they say go into this folder.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["out", "json", "rounds"])]
    profile: Option<PathBuf>,
    /// The program under test.
    #[arg(long, value_name = "PATH", default_value = "target/release/sidegate")]
    sidegate: PathBuf,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Cli {
    fn plan(&self) -> Result<Plan> {
        let preset = match self {
            Self { quick: true, .. } => Preset::Quick,
            Self { full: true, .. } => Preset::Full,
            _ => Preset::MustShow,
        };
        let wishes = Wishes {
            peers: self.peers.clone(),
            works: self.work.clone(),
            mtus: self.mtu.clone(),
            rounds: self.rounds,
            seconds: self.seconds,
        };
        Plan::new(preset, &wishes)
    }
}

fn main() -> ExitCode {
    match benchmark(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-peers: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether there was every run, and each succeeded.
fn benchmark(cli: &Cli) -> Result<bool> {
    env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .context("the repository's root")?;
    let mut plan = cli.plan()?;
    if cli.dry_run {
        println!("{plan}");
        return Ok(true);
    }
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces need root: run it with sudo");
    }
    allow_files()?;
    let mut setting = Setting {
        sidegate: cli.sidegate.clone(),
        congestion: CongestionControl::choose()?,
        interrupt: Interrupt::install()?,
        mtu: plan.mtus[0],
    };
    if let Some(folder) = &cli.profile {
        return profile::all(folder, &plan, &mut setting);
    }
    if let Some(folder) = &cli.out {
        // What is wrong with it should show before hours are spent.
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let (report, is_whole) = measure(&mut plan, &mut setting)?;
    let written = write(cli, &report);
    println!("{report}");
    written.map(|()| is_whole && report.is_clean())
}

fn write(cli: &Cli, report: &Report) -> Result<()> {
    if let Some(folder) = &cli.out {
        report.write(folder)?;
    }
    if let Some(file) = &cli.json {
        fs::write(file, report.to_json()?).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// One MTU after the other; whoever is absent is said and left out. Also whether it came to its end: what stops it, stops only the rest.
fn measure(plan: &mut Plan, setting: &mut Setting) -> Result<(Report, bool)> {
    let missing = |peer: Peer| peer.absent(setting).map(|why| (peer, why));
    let (absent, reasons): (Vec<Peer>, Vec<String>) = plan.peers().into_iter().filter_map(missing).unzip();
    reasons.iter().for_each(|why| eprintln!("absent: {why}"));
    plan.leave_out(&absent)?;
    eprintln!("{plan}");

    let mut record = Record { facts: facts::before(plan, setting, &reasons)?, ..Record::default() };
    let theft = Theft::watch()?;
    let outcome = plan.mtus.iter().try_for_each(|&mtu| {
        setting.mtu = mtu;
        contest::at_one_mtu(plan, setting, &mut record)
    });
    let Record { mut facts, runs, turns } = record;
    let is_whole = outcome.is_ok();
    if let Err(error) = outcome {
        if runs.is_empty() {
            return Err(error);
        }
        let all = plan.turns().len() * plan.mtus.len();
        let is = format!("{error:#} after {turns} of {all} runs");
        eprintln!("{is}");
        facts.push(Fact { what: "not to the end", is });
    }
    facts.push(theft.fact());
    Ok((Report::new(facts, &Peer::ALL.map(Peer::as_str), runs), is_whole))
}
