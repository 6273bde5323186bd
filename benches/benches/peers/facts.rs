//! The machine, the programs and the settings: what a reader needs to believe the table, or to repeat it.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use benches::cpu::{Busy, load, stolen};
use benches::namespace::read;
use benches::report::Fact;

use crate::idle;
use crate::lab::CLIENT_PORTS;
use crate::peer::{Setting, envoy};
use crate::preset::Plan;

/// How long the machine is looked at before anything starts.
const A_LOOK: Duration = Duration::from_secs(1);
/// So much of its cores may be busy with what is not ours.
const QUIET: f64 = 0.1;
/// Threads or workers of every peer in userspace that can have several, as their files and command lines say.
const THREADS: usize = 2;
/// How many connections the kernel tracks at most, in all namespaces the same. Only there once something has them tracked.
const TRACKED: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// What is known before the first run. Warns when others are at work on this machine.
pub(crate) fn before(plan: &Plan, setting: &Setting, absent: &[String]) -> Result<Vec<Fact>> {
    let cores = thread::available_parallelism()?.get();
    let busy = busy(cores, setting)?;
    if busy > QUIET {
        eprintln!(
            "warning: {:.0} % of this machine is busy with something else, which will be in all figures",
            busy * 100.0
        );
    }
    if cores != THREADS {
        eprintln!(
            "warning: this machine has {cores} cores, and peers in userspace have {THREADS} threads: ratios to the kernel, which uses all cores, mean little"
        );
    }
    let cpu = read("/proc/cpuinfo")?;
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let mtus: Vec<String> = plan.mtus.iter().map(ToString::to_string).collect();
    let mut facts = vec![
        Fact { what: "date", is: said_by("date", &["--utc", "+%Y-%m-%d"]) },
        Fact { what: "sidegate", is: sidegate(&setting.sidegate) },
        Fact { what: "machine", is: format!("{cores} cores, {}", cpu.trim_start_matches(['\t', ' ', ':'])) },
        Fact {
            what: "threads",
            is: format!(
                "{THREADS} for everyone in userspace; 1 for pasta, slirp4netns, and rows that end in -1 or -plain"
            ),
        },
        Fact { what: "kernel", is: read("/proc/sys/kernel/osrelease")?.trim().to_owned() },
        Fact {
            what: "busy with other things at the start",
            is: format!("{:.0} %; load average {}", busy * 100.0, load()?),
        },
        Fact {
            what: "runs",
            is: format!("up to {} rounds, {} s each", plan.rounds(), plan.length.as_secs()),
        },
        Fact { what: "MTU", is: mtus.join(", then ") },
        Fact { what: "congestion control", is: setting.congestion.as_str().to_owned() },
        Fact { what: "default qdisc", is: read("/proc/sys/net/core/default_qdisc")?.trim().to_owned() },
        Fact { what: "client ports", is: CLIENT_PORTS.replace(' ', " to ") },
        Fact { what: "idle connections", is: idle::connections().to_string() },
        Fact { what: "connections that the kernel tracks at most", is: tracked() },
        Fact { what: "programs", is: programs() },
    ];
    facts.extend(absent.iter().map(|why| Fact { what: "absent", is: why.clone() }));
    Ok(facts)
}

/// Watches how much of this machine's time its host gives to others.
pub(crate) struct Theft {
    started: Instant,
    before: Duration,
    cores: usize,
}

impl Theft {
    /// From now on.
    pub(crate) fn watch() -> Result<Self> {
        Ok(Self { started: Instant::now(), before: stolen()?, cores: thread::available_parallelism()?.get() })
    }

    /// What it was until now.
    pub(crate) fn fact(&self) -> Fact {
        let is = stolen().map(|now| {
            let share = share(now.saturating_sub(self.before), self.cores, self.started.elapsed());
            format!("{:.2} % of the cores' time, from the first run to the last", share * 100.0)
        });
        Fact {
            what: "stolen by the machine's host",
            is: is.unwrap_or_else(|error| format!("unknown: {error:#}")),
        }
    }
}

/// Which share of the cores is at work while we wait.
fn busy(cores: usize, setting: &Setting) -> Result<f64> {
    let (before, started) = (Busy::now()?, Instant::now());
    setting.interrupt.pause(A_LOOK)?;
    let busy = Busy::now()?.since(before);
    Ok(share(busy, cores, started.elapsed()))
}

/// Which part of the cores' time this is.
fn share(time: Duration, cores: usize, elapsed: Duration) -> f64 {
    time.as_secs_f64() / (cores as f64 * elapsed.as_secs_f64())
}

/// Kernel NAT's limit.
fn tracked() -> String {
    read(TRACKED).map_or_else(|_| "none are tracked yet".into(), |limit| limit.trim().to_owned())
}

/// Its version, and the commit of this working folder, which need not be the program's.
fn sidegate(program: &Path) -> String {
    let version = said_by(&program.to_string_lossy(), &["--version"]);
    let commit = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    match commit {
        Ok(output) if output.status.success() => {
            format!(
                "{version}; the working folder is at commit {}",
                String::from_utf8_lossy(&output.stdout).trim()
            )
        }
        _ => version,
    }
}

/// The versions of the tools and of those peers that are programs.
fn programs() -> String {
    let envoy = envoy();
    let asked = [
        ("iperf3", "--version"),
        ("wrk", "-v"),
        ("nft", "--version"),
        ("haproxy", "-v"),
        ("nginx", "-v"),
        (&envoy.to_string_lossy(), "--version"),
        ("pasta", "--version"),
        ("slirp4netns", "--version"),
    ];
    asked.map(|(program, flag)| said_by(program, &[flag])).join("; ")
}

/// The first line that a program says about itself.
fn said_by(program: &str, arguments: &[&str]) -> String {
    let said =
        Command::new(program).args(arguments).output().map(|output| [output.stdout, output.stderr].concat());
    let said = said.map(|said| String::from_utf8_lossy(&said).into_owned()).unwrap_or_default();
    let line = said.lines().map(str::trim).find(|line| !line.is_empty());
    line.map_or_else(|| format!("{program} is not there"), ToOwned::to_owned)
}
