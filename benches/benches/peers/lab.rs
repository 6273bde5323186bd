//! The lab of one peer: three namespaces of its own, wired as the peer needs it, and the same settings in each.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use benches::namespace::{Namespace, ip, read, words};
use benches::process::Interrupt;
use benches::stage::Stage;

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
    /// Where programs run and files lie.
    pub(crate) stage: Stage,
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
            stage: Stage::new(interrupt)?,
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
        format!("name {device} mtu {MTU} netns {}", namespace.name())
    };
    ip(&format!("link add {} type veth peer {}", end(one), end(other)))?;
    for (namespace, device, address) in [one, other] {
        namespace.ip(&format!("addr add {address} dev {device}"))?;
        namespace.ip(&format!("link set {device} up"))?;
    }
    Ok(())
}
