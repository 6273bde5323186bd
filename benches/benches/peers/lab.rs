//! The lab of one peer: three namespaces of its own, wired as the peer needs it, and the same settings in each.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::process::{Interrupt, Program};

/// What every interface carries at most.
pub(crate) const MTU: u16 = 8500;
/// Where connections may start from, in every namespace: the default range would be the limit of the connection test.
pub(crate) const CLIENT_PORTS: &str = "1024 65535";
/// The target in the provider's network.
pub(crate) const TARGET: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);

/// How the consumer's network reaches the provider's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wiring {
    /// A cable between the two: no middlebox.
    Direct,
    /// A cable to the namespace in the middle, and another one on from there.
    ThroughTheMiddle,
    /// Not at all: the peer makes the way itself.
    Apart,
}

impl Wiring {
    /// The address that the consumer connects to.
    pub(crate) const fn door(self) -> Ipv4Addr {
        match self {
            Self::Direct => TARGET,
            Self::ThroughTheMiddle => Ipv4Addr::new(10, 1, 0, 1),
            Self::Apart => Ipv4Addr::new(10, 1, 9, 50),
        }
    }
}

/// The congestion control that everyone uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CongestionControl {
    /// What most of the world runs.
    Cubic,
    /// Where the kernel has no cubic. Never bbr: it hides losses.
    Reno,
}

impl CongestionControl {
    const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";

    /// The best that this kernel has.
    pub(crate) fn choose() -> Result<Self> {
        let has_cubic = || Ok::<_, anyhow::Error>(words(&read(Self::AVAILABLE)?).any(|name| name == "cubic"));
        // A kernel that has it as a module offers it only after loading; without modprobe, it is simply not there.
        if has_cubic()? || (Command::new("modprobe").arg("tcp_cubic").status().is_ok() && has_cubic()?) {
            Ok(Self::Cubic)
        } else {
            Ok(Self::Reno)
        }
    }

    /// As the kernel calls it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Reno => "reno",
        }
    }
}

/// Three namespaces with their wiring, and a folder for files. All of it goes when this is dropped.
pub(crate) struct Lab {
    /// Where clients run.
    pub(crate) consumer: Namespace,
    /// Where a peer that is a box between two networks runs.
    pub(crate) middle: Namespace,
    /// Where servers run.
    pub(crate) provider: Namespace,
    scratch: TempDir,
    interrupt: Arc<Interrupt>,
}

impl Lab {
    /// Builds it; `name` tells it from the other labs of this process.
    pub(crate) fn new(
        name: &str,
        wiring: Wiring,
        congestion: CongestionControl,
        interrupt: Arc<Interrupt>,
    ) -> Result<Self> {
        let namespace = |role: &str| Namespace::new(format!("sgbench-{}-{name}-{role}", std::process::id()));
        let lab = Self {
            consumer: namespace("consumer")?,
            middle: namespace("middle")?,
            provider: namespace("provider")?,
            scratch: tempfile::tempdir()?,
            interrupt,
        };
        let allowed = Allowed::on_the_host(congestion)?;
        for namespace in [&lab.consumer, &lab.middle, &lab.provider] {
            namespace.set("net/ipv4/tcp_congestion_control", congestion.as_str())?;
            namespace.set("net/ipv4/ip_local_port_range", CLIENT_PORTS)?;
            namespace.ip("link set lo up")?;
        }
        drop(allowed);
        lab.wire(wiring)?;
        Ok(lab)
    }

    /// Starts a program inside one of the namespaces.
    pub(crate) fn start(&self, place: &Namespace, name: &'static str, command: Command) -> Result<Program> {
        place.inside(|| self.start_on_the_host(name, command))
    }

    /// Starts a program outside of them.
    pub(crate) fn start_on_the_host(&self, name: &'static str, command: Command) -> Result<Program> {
        Program::start(name, command, self.scratch.path(), Arc::clone(&self.interrupt))
    }

    /// Writes a program's configuration, and says where it is. nginx takes the folder as its own.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.scratch.path().join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    fn wire(&self, wiring: Wiring) -> Result<()> {
        let Self { consumer, middle, provider, .. } = self;
        match wiring {
            Wiring::Direct => {
                cable((consumer, "eth0", "10.1.0.2/8"), (provider, "eth0", "10.2.0.2/8"))?;
            }
            Wiring::ThroughTheMiddle => {
                cable((consumer, "eth0", "10.1.0.2/24"), (middle, "consumer", "10.1.0.1/24"))?;
                cable((middle, "provider", "10.2.0.1/24"), (provider, "eth0", "10.2.0.2/24"))?;
            }
            Wiring::Apart => {
                consumer.ip("addr add 10.1.0.2/32 dev lo")?;
                provider.ip("addr add 10.2.0.2/32 dev lo")?;
            }
        }
        Ok(())
    }
}

/// A network namespace that lives as long as this does.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    fn new(name: String) -> Result<Self> {
        ip(&format!("netns add {name}"))?;
        Ok(Self { name })
    }

    /// Its name under `ip netns`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Moves the calling thread into it, for the rest of the thread's life.
    pub(crate) fn enter(&self) -> Result<()> {
        let file = Path::new("/run/netns").join(&self.name);
        let opened = fs::File::open(&file).with_context(|| file.display().to_string())?;
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&opened), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("entering {}", self.name))
    }

    /// Does something inside, on a thread that exists for this alone.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let outcome = thread::scope(|scope| scope.spawn(|| self.enter().and_then(|()| work())).join());
        outcome.unwrap_or_else(|_| Err(anyhow!("a thread in {} panicked", self.name)))
    }

    /// Sets one of its own kernel settings.
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.inside(|| fs::write(&path, value).with_context(|| format!("{} = {value}", path.display())))
    }

    /// Whether something in it listens on each of these TCP ports.
    pub(crate) fn listens(&self, ports: &[u16]) -> Result<bool> {
        let sockets = self.inside(|| read("/proc/thread-self/net/tcp"))?;
        Ok(ports.iter().all(|port| sockets.lines().any(|line| is_listener(line, *port))))
    }

    fn ip(&self, arguments: &str) -> Result<()> {
        ip(&format!("-n {} {arguments}", self.name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&format!("netns del {}", self.name)) {
            eprintln!("namespace {} stays behind: {error:#}", self.name);
        }
    }
}

/// Lets namespaces choose a congestion control, which the host must allow first. The host's own setting comes back when
/// this is dropped; a namespace keeps its choice.
struct Allowed {
    before: Option<String>,
}

impl Allowed {
    const SETTING: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

    fn on_the_host(congestion: CongestionControl) -> Result<Self> {
        let before = read(Self::SETTING)?;
        if words(&before).any(|name| name == congestion.as_str()) {
            return Ok(Self { before: None });
        }
        fs::write(Self::SETTING, format!("{} {}", before.trim(), congestion.as_str()))
            .context(Self::SETTING)?;
        Ok(Self { before: Some(before) })
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && let Err(error) = fs::write(Self::SETTING, before)
        {
            eprintln!("{} should again be `{}`: {error}", Self::SETTING, before.trim());
        }
    }
}

/// A veth pair between two namespaces, with an address at each end.
fn cable(one: (&Namespace, &str, &str), other: (&Namespace, &str, &str)) -> Result<()> {
    let end = |(namespace, device, _): (&Namespace, &str, &str)| {
        format!("name {device} mtu {MTU} netns {}", namespace.name)
    };
    ip(&format!("link add {} type veth peer {}", end(one), end(other)))?;
    for (namespace, device, address) in [one, other] {
        namespace.ip(&format!("addr add {address} dev {device}"))?;
        namespace.ip(&format!("link set {device} up"))?;
    }
    Ok(())
}

/// Whether this line of `/proc/net/tcp` is a listening socket on `port`.
fn is_listener(line: &str, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let mut fields = words(line).skip(1);
    let local = fields.next().is_some_and(|address| address.ends_with(&format!(":{port:04X}")));
    local && fields.nth(1) == Some(LISTEN)
}

/// Runs iproute2's `ip`.
fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(words(arguments)).output().context("ip (iproute2)")?;
    if !output.status.success() {
        bail!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.to_owned())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}
