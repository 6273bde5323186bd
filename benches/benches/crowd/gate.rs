//! The lab: consumers, a provider with its targets on `lo`, and sidegate between them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use benches::bulk::{self, Bulk};
use benches::memory::amounts;
use benches::namespace::{Namespace, read, words};
use benches::process::{Interrupt, Program};
use benches::stage::Stage;
use clap::ValueEnum;
use control::{ask, socket_of};
use runtime::Snapshot;
use serde_json::json;

/// Where the crowd connects. No kernel hears of it: a raw program answers.
pub(crate) const CROWD_PORT: u16 = 9000;
/// Where the one target listens that real kernels connect to.
pub(crate) const OPEN_PORT: u16 = 7001;
/// Where consumers connect by IPv4, the same address in each of their networks.
pub(crate) const DOOR: Ipv4Addr = Ipv4Addr::new(10, 1, 9, 50);
/// The crowd's targets.
pub(crate) const TARGETS: u16 = 24;
/// How many connections a listener may have waiting, and half-open: far more than come at once, in every row without a
/// flood.
pub(crate) const BACKLOG: u16 = 16_384;

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// As a reader wants it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The address that consumers connect to, the same in each of their networks.
    pub(crate) const fn door(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(DOOR),
            Self::V6 => IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 9, 0, 0, 0, 0, 0x50)),
        }
    }

    /// A target's address.
    pub(crate) const fn target(self, number: u16) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(10, 2, 0, 2 + number as u8)),
            Self::V6 => IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 2 + number)),
        }
    }

    /// A consumer's own address.
    const fn own(self) -> &'static str {
        match self {
            Self::V4 => "10.1.0.2/32",
            Self::V6 => "fd00:1::2/128",
        }
    }

    const fn node(self) -> &'static str {
        match self {
            Self::V4 => "10.2.9.1",
            Self::V6 => "fd00:2:9::1",
        }
    }

    /// One of the addresses that nobody has: what is sent there disappears in silence.
    pub(crate) fn nobody(self, number: u32) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::from_bits(0x0a80_0000 | number & 0x7f_ffff)),
            Self::V6 => IpAddr::V6(Ipv6Addr::from_bits(0xfd00_0080 << 96 | u128::from(number & 0x7f_ffff))),
        }
    }

    const fn nobodies(self) -> &'static str {
        match self {
            Self::V4 => "10.128.0.0/9",
            Self::V6 => "fd00:80::/32",
        }
    }
}

/// How the program under test is started.
pub(crate) struct Setting {
    /// The program.
    pub(crate) sidegate: std::path::PathBuf,
    /// Its worker threads.
    pub(crate) workers: u16,
    /// The wish to stop.
    pub(crate) interrupt: Arc<Interrupt>,
}

/// What a lab is built for.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Tells it from the other labs of this process.
    pub(crate) name: &'static str,
    /// The family of everything in it.
    pub(crate) family: Family,
    /// How the crowd's connections, and those to the one target, are carried.
    pub(crate) path: topology::Path,
    /// How many consumers, each in a network of its own.
    pub(crate) consumers: usize,
    /// `flows.capacity`.
    pub(crate) capacity: usize,
    /// How many connections a listener may have waiting, and half-open, before its kernel sends cookies.
    pub(crate) backlog: u16,
}

/// Counters by name.
pub(crate) type Counters = BTreeMap<String, u64>;

/// A lab at work. All of it goes when this is dropped: sidegate first.
pub(crate) struct Gate {
    _sidegate: Program,
    instance: String,
    /// The family of everything in it.
    pub(crate) family: Family,
    /// Where clients run.
    pub(crate) consumers: Vec<Namespace>,
    /// Where servers run.
    pub(crate) provider: Namespace,
    stage: Stage,
}

impl Gate {
    /// Builds it, and waits until sidegate forwards.
    pub(crate) fn open(setting: &Setting, plan: Plan) -> Result<Self> {
        let Plan { name, family, .. } = plan;
        let namespace = |role: &str| Namespace::new(format!("sg-crowd-{}-{name}-{role}", process::id()));
        let consumers = (0..plan.consumers)
            .map(|number| {
                let consumer = namespace(&format!("consumer{number}"))?;
                furnish_consumer(&consumer, family)?;
                Ok(consumer)
            })
            .collect::<Result<Vec<_>>>()?;
        let provider = namespace("provider")?;
        let stage = Stage::new(Arc::clone(&setting.interrupt))?;
        furnish_provider(&provider, &plan, &stage)?;
        let instance = format!("crowd-{}-{name}", process::id());
        let config = file(&plan, setting.workers, &instance, &consumers, &provider);
        let sidegate = stage.start_sidegate(&setting.sidegate, &config)?;
        Ok(Self { _sidegate: sidegate, instance, family, consumers, provider, stage })
    }

    /// What sidegate says about itself.
    pub(crate) fn status(&self) -> Result<Snapshot> {
        Ok(ask(&socket_of(&self.instance), &json!({ "verb": "status" }), Duration::from_secs(5))?)
    }

    /// Bytes of memory that sidegate's process holds.
    pub(crate) fn memory(&self) -> Result<u64> {
        self.of_process("VmRSS")
    }

    /// Bytes that the kernel holds for the process's page tables.
    pub(crate) fn page_tables(&self) -> Result<u64> {
        self.of_process("VmPTE")
    }

    /// How long the process's threads have run on a processor, in the kernel or out of it.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.status()?.pid))? {
            let path = task?.path().join("schedstat");
            let statistics = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            sum += words(&statistics).next().and_then(|ns| ns.parse::<u64>().ok()).context("schedstat")?;
        }
        Ok(Duration::from_nanos(sum))
    }

    /// What the kernel says under this name about the process, in bytes.
    fn of_process(&self, name: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.status()?.pid);
        let kilobytes = amounts(&read(&path)?).get(name).copied();
        Ok(kilobytes.with_context(|| format!("no {name} in {path}"))? << 10)
    }

    /// A bulk stream through it, in bits per second.
    pub(crate) fn bulk(&self, length: Duration) -> Result<f64> {
        let (consumer, provider, family) = (&self.consumers[0], &self.provider, self.family);
        let bulk = Bulk { consumer, door: family.door(), provider, target: family.target(0) };
        Ok(bulk.run(&self.stage, length, &[])?.rate)
    }

    /// What the target's kernel has counted about connections to it.
    pub(crate) fn kernel(&self) -> Result<Counters> {
        const ABOUT: [&str; 3] = ["Syncookies", "Listen", "TCPReqQ"];
        let table = self.provider.inside(|| read("/proc/thread-self/net/netstat"))?;
        // Two lines: the names, and the figures.
        let mut lines = table.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
        let names = words(lines.next().unwrap_or_default());
        let figures =
            words(lines.next().unwrap_or_default()).map(|figure| figure.parse().unwrap_or_default());
        let all = names.map(str::to_owned).zip(figures);
        Ok(all.filter(|(name, _)| ABOUT.iter().any(|about| name.starts_with(about))).collect())
    }

    /// SYNs that have come to the one target.
    pub(crate) fn syns(&self) -> Result<u64> {
        let printed = self.stage.nft(&self.provider, &["list", "counter", "inet", "crowd", "syns"])?;
        let after = words(&printed).skip_while(|word| *word != "packets").nth(1);
        after.and_then(|number| number.parse().ok()).with_context(|| format!("nft printed {printed}"))
    }

    /// Packets that the kernel had for sidegate and that found the device's queue full: from the consumers, from the
    /// provider.
    pub(crate) fn overruns(&self) -> Result<[u64; 2]> {
        let consumers = self.consumers.iter().map(overruns).sum::<Result<u64>>()?;
        Ok([consumers, overruns(&self.provider)?])
    }
}

/// sidegate's counters: frames by verdict, flows closed by cause.
pub(crate) fn counters(status: &Snapshot) -> Counters {
    let verdicts = status.verdicts.iter().map(|verdict| (verdict.reason.clone(), verdict.count));
    let closed = status.flows.closed.iter().map(|(cause, count)| (format!("flows {cause}"), *count));
    verdicts.chain(closed).collect()
}

/// What has been counted between two looks.
pub(crate) fn changes(before: &Counters, mut after: Counters) -> Counters {
    for (name, now) in &mut after {
        *now = now.saturating_sub(before.get(name).copied().unwrap_or_default());
    }
    after.retain(|_, count| *count > 0);
    after
}

fn furnish_consumer(consumer: &Namespace, family: Family) -> Result<()> {
    consumer.ip("link set lo up")?;
    consumer.ip(&format!("addr add {} dev lo{}", family.own(), without_waiting(family)))?;
    consumer.ip(&format!("route add blackhole {}", family.nobodies()))?;
    consumer.set("net/ipv4/ip_local_port_range", "32768 60999")
}

fn furnish_provider(provider: &Namespace, plan: &Plan, stage: &Stage) -> Result<()> {
    provider.ip("link set lo up")?;
    for number in 0..TARGETS {
        let target = plan.family.target(number);
        provider.ip(&format!("addr add {target} dev lo{}", without_waiting(plan.family)))?;
    }
    provider.set("net/core/somaxconn", &plan.backlog.to_string())?;
    provider.set("net/ipv4/tcp_max_syn_backlog", &plan.backlog.to_string())?;
    provider.set("net/ipv4/tcp_syncookies", "1")?;
    // SYNs are counted. The kernel would reset what the raw responder answers: it must not hear of the crowd.
    let rules = format!(
        "table inet crowd {{
  counter syns {{ }}
  chain raw {{
    type filter hook prerouting priority raw
    tcp dport {CROWD_PORT} drop
    tcp dport {OPEN_PORT} tcp flags & (syn | ack) == syn counter name syns
  }}
}}
"
    );
    stage.give_rules(provider, &rules)
}

/// An IPv6 address would otherwise be looked for on the link before it is used.
const fn without_waiting(family: Family) -> &'static str {
    match family {
        Family::V4 => "",
        Family::V6 => " nodad",
    }
}

/// The operator's file.
fn file(plan: &Plan, workers: u16, instance: &str, consumers: &[Namespace], provider: &Namespace) -> String {
    let Plan { family, capacity, path, .. } = plan;
    let path = path.as_str();
    let (provider, node, door) = (provider.name(), family.node(), family.door());
    let target = |number, port| format!("{{ address = \"{}\", port = {port} }}", family.target(number));
    let crowd: Vec<String> = (0..TARGETS).map(|number| target(number, CROWD_PORT)).collect();
    let (crowd, bulk_port) = (crowd.join(", "), bulk::PORT);
    let (open, bulk) = (target(0, OPEN_PORT), target(0, bulk_port));
    let mut file = format!(
        r#"
[run]
name    = "{instance}"
workers = {workers}

[flows]
capacity = {capacity}

[[service]]
name      = "crowd"
namespace = "{provider}"
nodes     = [{{ address = "{node}" }}]
listeners = [
  {{ protocol = "tcp", port = {CROWD_PORT}, forward = "crowd", path = "{path}", idle_timeout = 6000 }},
  {{ protocol = "tcp", port = {OPEN_PORT}, forward = "open", path = "{path}" }},
  {{ protocol = "tcp", port = {bulk_port}, forward = "bulk" }},
]

[[target_group]]
name    = "crowd"
targets = [{crowd}]

[[target_group]]
name    = "open"
targets = [{open}]

[[target_group]]
name    = "bulk"
targets = [{bulk}]
"#
    );
    for (number, consumer) in consumers.iter().enumerate() {
        file += &format!(
            r#"
[[endpoint]]
name       = "consumer-{number}"
service    = "crowd"
namespace  = "{}"
interfaces = [{{ address = "{door}" }}]
"#,
            consumer.name()
        );
    }
    file
}

/// Frames that a namespace's devices could not take, all together: there are only `lo`, which takes all, and sidegate's.
fn overruns(namespace: &Namespace) -> Result<u64> {
    // After the name come eight figures of what was received; of what was sent, the fourth is what was dropped.
    const SENT_DROPPED: usize = 8 + 3;
    let table = namespace.inside(|| read("/proc/thread-self/net/dev"))?;
    let figures = table.lines().filter_map(|line| line.split_once(':').map(|(_, figures)| figures));
    Ok(figures.filter_map(|figures| words(figures).nth(SENT_DROPPED)?.parse::<u64>().ok()).sum())
}
