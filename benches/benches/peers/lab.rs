//! The lab of one peer at one MTU: three namespaces of its own, wired as the peer needs it, and the same settings in each.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use benches::namespace::{Namespace, ip, read, words};
use benches::process::Interrupt;
use benches::stage::Stage;

/// Where connections may start from, in every namespace: the default range would be the limit of the connection test.
pub(crate) const CLIENT_PORTS: &str = "1024 65535";
/// What servers listen on: all of them in the provider's namespace.
pub(crate) const TARGETS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 2, 0, 2),
    Ipv4Addr::new(10, 2, 0, 3),
    Ipv4Addr::new(10, 2, 0, 4),
    Ipv4Addr::new(10, 2, 0, 5),
];
/// The target of all work that needs one only.
pub(crate) const TARGET: Ipv4Addr = TARGETS[0];
/// What clients may connect from: all of them in the consumer's namespace. Who does not choose gets the first.
pub(crate) const CLIENTS: [Ipv4Addr; 8] = [
    Ipv4Addr::new(10, 1, 0, 2),
    Ipv4Addr::new(10, 1, 0, 11),
    Ipv4Addr::new(10, 1, 0, 12),
    Ipv4Addr::new(10, 1, 0, 13),
    Ipv4Addr::new(10, 1, 0, 14),
    Ipv4Addr::new(10, 1, 0, 15),
    Ipv4Addr::new(10, 1, 0, 16),
    Ipv4Addr::new(10, 1, 0, 17),
];
/// The one in the middle, as the consumer sees it.
const MIDDLE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The same, as the provider sees it.
const MIDDLE_BEHIND: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
/// sidegate's endpoint.
const ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 1, 9, 50);

/// The middle's device with the cable to the provider.
pub(crate) const TO_THE_PROVIDER: &str = "provider";

/// How the consumer's network reaches the provider's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wiring {
    /// A cable between the two: no middlebox.
    Direct,
    /// A cable to the namespace in the middle, and another one on from there.
    ThroughTheMiddle,
    /// A cable from the namespace in the middle to the provider. The peer, which runs in the middle, gives the consumer a device.
    FromTheMiddle,
    /// Not at all: the peer makes the way itself.
    Apart,
}

impl Wiring {
    /// The addresses that the consumer connects to: several, where nothing on the way chooses among the targets.
    pub(crate) const fn doors(self) -> &'static [Ipv4Addr] {
        match self {
            Self::Direct | Self::FromTheMiddle => &TARGETS,
            Self::ThroughTheMiddle => &[MIDDLE],
            Self::Apart => &[ENDPOINT],
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
        let load = || Command::new("modprobe").arg("tcp_cubic").process_group(0).status();
        if has_cubic()? || (load().is_ok() && has_cubic()?) { Ok(Self::Cubic) } else { Ok(Self::Reno) }
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
    /// Where programs run and files lie.
    pub(crate) stage: Stage,
    /// What every interface carries at most.
    pub(crate) mtu: u16,
}

impl Lab {
    /// Builds it; `name` and the MTU tell it from the other labs of this process.
    pub(crate) fn new(
        name: &str,
        wiring: Wiring,
        mtu: u16,
        congestion: CongestionControl,
        interrupt: Arc<Interrupt>,
    ) -> Result<Self> {
        let process = std::process::id();
        let namespace = |role: &str| Namespace::new(format!("sgbench-{process}-{name}-{mtu}-{role}"));
        let lab = Self {
            consumer: namespace("consumer")?,
            middle: namespace("middle")?,
            provider: namespace("provider")?,
            stage: Stage::new(interrupt)?,
            mtu,
        };
        let allowed = Allowed::on_the_host(congestion)?;
        for namespace in [&lab.consumer, &lab.middle, &lab.provider] {
            namespace.set("net/ipv4/tcp_congestion_control", congestion.as_str())?;
            namespace.set("net/ipv4/ip_local_port_range", CLIENT_PORTS)?;
            // Whoever closes first may use a port again while it waits there: clients, and proxies towards their targets.
            namespace.set("net/ipv4/tcp_tw_reuse", "1")?;
            // Nobody starts from what it learnt in an earlier run: some of those runs were others' work.
            namespace.set("net/ipv4/tcp_no_metrics_save", "1")?;
            namespace.ip("link set lo up")?;
        }
        // Timestamps of one clock for all clients' addresses: behind a NAT they are one host to a target, which in TIME-WAIT takes no
        // SYN that is older than the last one.
        lab.consumer.set("net/ipv4/tcp_timestamps", "2")?;
        drop(allowed);
        lab.wire(wiring)?;
        Ok(lab)
    }

    fn wire(&self, wiring: Wiring) -> Result<()> {
        let Self { consumer, middle, provider, .. } = self;
        let clients = End { namespace: consumer, device: "eth0", addresses: &CLIENTS };
        let before = End { namespace: middle, device: "consumer", addresses: &[MIDDLE] };
        let behind = End { namespace: middle, device: TO_THE_PROVIDER, addresses: &[MIDDLE_BEHIND] };
        let targets = End { namespace: provider, device: "eth0", addresses: &TARGETS };
        match wiring {
            Wiring::Direct => self.cable(&clients, &targets, 8),
            Wiring::ThroughTheMiddle => {
                self.cable(&clients, &before, 24)?;
                self.cable(&behind, &targets, 24)
            }
            Wiring::FromTheMiddle => {
                hold(consumer, "lo", &CLIENTS, 32)?;
                self.cable(&behind, &targets, 24)
            }
            Wiring::Apart => {
                hold(consumer, "lo", &CLIENTS, 32)?;
                hold(provider, "lo", &TARGETS, 32)
            }
        }
    }

    /// A veth pair between two namespaces, with addresses at each end, all in networks of this prefix.
    fn cable(&self, one: &End<'_>, other: &End<'_>, prefix: u8) -> Result<()> {
        let end =
            |end: &End<'_>| format!("name {} mtu {} netns {}", end.device, self.mtu, end.namespace.name());
        ip(&format!("link add {} type veth peer {}", end(one), end(other)))?;
        for End { namespace, device, addresses } in [one, other] {
            hold(namespace, device, addresses, prefix)?;
            namespace.ip(&format!("link set {device} up"))?;
        }
        Ok(())
    }
}

/// One end of a cable.
struct End<'a> {
    namespace: &'a Namespace,
    device: &'a str,
    addresses: &'a [Ipv4Addr],
}

/// Gives a device addresses; the first is what packets start from.
fn hold(namespace: &Namespace, device: &str, addresses: &[Ipv4Addr], prefix: u8) -> Result<()> {
    addresses
        .iter()
        .try_for_each(|address| namespace.ip(&format!("addr add {address}/{prefix} dev {device}")))
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
