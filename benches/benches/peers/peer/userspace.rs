//! Peers that have a TCP, or half of one, in userspace: they run in the middle, give the consumer a device, and connect to the targets
//! through sockets of the middle's. They translate no destination: the consumer connects to the targets' own addresses, and has to
//! choose among them by itself.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::Result;
use benches::process::Program;

use super::Need;
use crate::lab::{CLIENTS, Lab, TO_THE_PROVIDER};

/// The consumer's device.
const DEVICE: &str = "peer0";
/// Who answers on the far side of a device that has one.
const GATEWAY: &str = "10.1.1.2";
/// The network whose second address that is: slirp4netns takes no other for itself.
const GATEWAYS_NETWORK: &str = "10.1.1.0/24";
/// The program of our own, which Cargo builds with this one.
const USERSTACK: &str = env!("CARGO_BIN_EXE_userstack");

/// Which one.
#[derive(Clone, Copy)]
pub(super) enum Userspace {
    /// pasta.
    Pasta,
    /// slirp4netns.
    Slirp4netns,
    /// A TCP of crates.io's: `benches/src/bin/userstack.rs`.
    Userstack,
}

impl Userspace {
    pub(super) fn need(self) -> Need {
        match self {
            Self::Pasta => Need::of_peers("pasta"),
            Self::Slirp4netns => Need::of_peers("slirp4netns"),
            Self::Userstack => Need { program: USERSTACK.into(), remedy: "it is built with this benchmark" },
        }
    }

    /// pasta, as of 2023, sends what it has to whoever has spoken last: it knows one address.
    pub(super) const fn clients(self) -> &'static [Ipv4Addr] {
        match self {
            Self::Pasta => &[CLIENTS[0]],
            Self::Slirp4netns | Self::Userstack => &CLIENTS,
        }
    }

    /// Starts it, waits until the consumer has the device, and leads the consumer's traffic there.
    pub(super) fn start(self, lab: &Lab) -> Result<Program> {
        let (name, command, gateway) = match self {
            Self::Pasta => ("pasta", pasta(lab), true),
            Self::Slirp4netns => ("slirp4netns", slirp4netns(lab), true),
            Self::Userstack => ("userstack", userstack(lab), false),
        };
        let mut program = lab.stage.start(&lab.middle, name, command)?;
        program.until(|_| lab.consumer.has_device(DEVICE))?;
        lab.consumer.ip(&format!("link set {DEVICE} mtu {} up", lab.mtu))?;
        let via = if gateway { format!("via {GATEWAY} onlink") } else { String::new() };
        lab.consumer.ip(&format!("route add default {via} dev {DEVICE} src {}", CLIENTS[0]))?;
        Ok(program)
    }
}

/// Nothing but the way out: no ports from outside, no services. Root it has to stay, to enter a namespace by its path.
fn pasta(lab: &Lab) -> Command {
    let mut pasta = Command::new("pasta");
    pasta.args(["--foreground", "--quiet", "--stderr", "--runas", "0", "--ipv4-only", "--no-map-gw"]);
    pasta.args(["--no-dhcp", "--no-icmp", "--tcp-ports", "none", "--udp-ports", "none"]);
    pasta.args(["--tcp-ns", "none", "--udp-ns", "none", "--mtu", &lab.mtu.to_string()]);
    pasta.args(["--interface", TO_THE_PROVIDER, "--gateway", GATEWAY, "--netmask", "24"]);
    pasta.args(["--address", &CLIENTS[0].to_string(), "--ns-ifname", DEVICE]);
    pasta.arg("--netns").arg(lab.consumer.path());
    pasta
}

fn slirp4netns(lab: &Lab) -> Command {
    let mut slirp4netns = Command::new("slirp4netns");
    slirp4netns.args(["--netns-type", "path", "--mtu", &lab.mtu.to_string(), "--cidr", GATEWAYS_NETWORK]);
    slirp4netns.args(["--disable-host-loopback", "--disable-dns"]);
    slirp4netns.arg(lab.consumer.path()).arg(DEVICE);
    slirp4netns
}

fn userstack(lab: &Lab) -> Command {
    let mut userstack = Command::new(USERSTACK);
    userstack.args([lab.consumer.name(), DEVICE, &lab.mtu.to_string()]);
    userstack
}
