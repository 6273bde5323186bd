//! The peers' benchmark: sidegate beside what else could carry the same traffic, on one machine, in one run.
//!
//! Every peer has a lab of its own (`lab.rs`) that stands for the whole run, so that peers can take turns at each kind of
//! work and no clean-up of one falls into the time of another. `scripts/bench-peers` builds sidegate and starts this.
#![expect(clippy::print_stdout, reason = "the table is this program's output")]

mod connect;
mod events;
mod lab;
mod peer;
mod stream;
mod work;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use std::{env, fs, thread};

use anyhow::{Context, Result, bail};
use benches::process::Interrupt;
use benches::report::{Fact, Outcome, Report, Run};
use clap::Parser;

use crate::lab::{CLIENT_PORTS, CongestionControl, MTU};
use crate::peer::{Peer, Session, Setting};
use crate::work::Work;

/// Compares sidegate with its peers: interleaved runs in network namespaces of their own, as a Markdown table.
///
/// Needs root. Relative paths start at the repository's root.
#[derive(Parser)]
#[command(name = "bench-peers")]
struct Cli {
    /// Who takes part.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PEERS", default_values_t = Peer::ALL)]
    peers: Vec<Peer>,
    /// What they do.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WORK", default_values_t = Work::ALL)]
    work: Vec<Work>,
    /// How often everyone does everything [default: 5, quick: 2].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Length of one run in seconds [default: 3, quick: 1].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: Option<u16>,
    /// A first impression: few and short runs.
    #[arg(long)]
    quick: bool,
    /// Write every run and the table's rows to this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The program under test.
    #[arg(long, value_name = "PATH", default_value = "target/release/sidegate")]
    sidegate: PathBuf,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Cli {
    fn rounds(&self) -> usize {
        usize::from(self.rounds.unwrap_or(if self.quick { 2 } else { 5 }))
    }

    fn length(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds.unwrap_or(if self.quick { 1 } else { 3 })))
    }

    /// Those chosen, each once, in the order of the table.
    fn peers(&self) -> Vec<Peer> {
        Peer::ALL.into_iter().filter(|peer| self.peers.contains(peer)).collect()
    }

    /// Those chosen, each once, in the order of the table.
    fn works(&self) -> Vec<Work> {
        Work::ALL.into_iter().filter(|work| self.work.contains(work)).collect()
    }
}

/// Exits 0 when every run succeeded, 1 when one failed (the table says which), 2 when there is no table.
fn main() -> ExitCode {
    match benchmark(&Cli::parse()) {
        Ok(report) if report.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-peers: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn benchmark(cli: &Cli) -> Result<Report> {
    env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .context("the repository's root")?;
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces need root: run it with sudo");
    }
    let setting = Setting {
        sidegate: cli.sidegate.clone(),
        congestion: CongestionControl::choose()?,
        interrupt: Interrupt::install()?,
    };
    let runs = measure(cli, &setting)?;
    let report = Report::new(facts(cli, &setting)?, runs);
    println!("{report}");
    if let Some(file) = &cli.json {
        fs::write(file, report.to_json()?).with_context(|| file.display().to_string())?;
    }
    Ok(report)
}

/// Round after round: each kind of work, and for each every peer in turn. Who begins changes every time.
fn measure(cli: &Cli, setting: &Setting) -> Result<Vec<Run>> {
    let (works, rounds, length) = (cli.works(), cli.rounds(), cli.length());
    let mut contestants: Vec<Contestant> = cli.peers().into_iter().map(Contestant::new).collect();
    let mut runs = Vec::new();
    for round in 0..rounds {
        for (turn, work) in works.iter().enumerate() {
            for step in 0..contestants.len() {
                let place = (step + turn + round) % contestants.len();
                let contestant = &mut contestants[place];
                if !work.suits(contestant.peer) {
                    continue;
                }
                let (peer, result) = (contestant.peer, contestant.measure(*work, length, setting));
                setting.interrupt.check()?;
                for run in runs_of(round, *work, peer, result) {
                    eprintln!("round {}/{rounds}: {}", round + 1, progress(&run));
                    runs.push(run);
                }
            }
        }
    }
    Ok(runs)
}

/// A peer, and its session once it has begun. After a failure it gets a new one: what went wrong once may not spoil the
/// rest.
struct Contestant {
    peer: Peer,
    session: Option<Session>,
}

impl Contestant {
    const fn new(peer: Peer) -> Self {
        Self { peer, session: None }
    }

    fn measure(&mut self, work: Work, length: Duration, setting: &Setting) -> Result<Vec<f64>> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.peer.open(setting)?,
        };
        let values = work.run(&session, length)?;
        self.session = Some(session);
        Ok(values)
    }
}

/// A run for each figure; what has failed, has failed for all of them.
fn runs_of(round: usize, work: Work, peer: Peer, result: Result<Vec<f64>>) -> Vec<Run> {
    let outcomes = match result {
        Ok(values) => values.into_iter().map(Outcome::Value).collect(),
        Err(error) => vec![Outcome::Error(format!("{error:#}")); work.figures().len()],
    };
    let figures = work.figures().iter().zip(outcomes);
    figures.map(|(&(work, unit), outcome)| Run { round, work, unit, peer: peer.as_str(), outcome }).collect()
}

fn progress(Run { work, peer, unit, outcome, .. }: &Run) -> String {
    match outcome {
        Outcome::Value(value) => format!("{work} {peer} {} {unit}", unit.show(*value)),
        Outcome::Error(error) => format!("{work} {peer} failed: {error}"),
    }
}

/// The machine and the settings: what a reader needs to believe the table, or to repeat it.
fn facts(cli: &Cli, setting: &Setting) -> Result<Vec<Fact>> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_owned());
    let cpu = read("/proc/cpuinfo")?;
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let cores = thread::available_parallelism()?;
    let tools = [("haproxy", "-v"), ("nginx", "-v"), ("nft", "-v"), ("iperf3", "-v"), ("wrk", "-v")];
    Ok(vec![
        Fact { what: "machine", is: format!("{cores} cores, {}", cpu.trim_start_matches(['\t', ' ', ':'])) },
        Fact { what: "kernel", is: read("/proc/sys/kernel/osrelease")?.trim().to_owned() },
        Fact { what: "runs", is: format!("{} rounds, {} s each", cli.rounds(), cli.length().as_secs()) },
        Fact { what: "MTU", is: MTU.to_string() },
        Fact { what: "congestion control", is: setting.congestion.as_str().to_owned() },
        Fact { what: "default qdisc", is: read("/proc/sys/net/core/default_qdisc")?.trim().to_owned() },
        Fact { what: "client ports", is: CLIENT_PORTS.replace(' ', " to ") },
        Fact { what: "tools", is: tools.map(|(tool, flag)| version(tool, flag)).join("; ") },
    ])
}

/// The first line that a tool says about itself.
fn version(tool: &str, flag: &str) -> String {
    let said = Command::new(tool).arg(flag).output().map(|output| [output.stdout, output.stderr].concat());
    let said = said.map(|said| String::from_utf8_lossy(&said).into_owned()).unwrap_or_default();
    said.lines().next().map_or_else(|| format!("{tool} is not there"), |line| line.trim().to_owned())
}
