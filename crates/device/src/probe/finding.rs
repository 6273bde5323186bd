//! What a probe found, and the sentence for it: what happens, where, and the remedy.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::namespace::{command_in, label};
use crate::{Answer, link};

/// What becomes of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The file of the namespace that was asked.
    pub namespace: PathBuf,
    /// Our device there.
    pub device: String,
    /// The packet.
    pub packet: Packet,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// A packet whose fate is in question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet {
    /// It comes from our device.
    FromNode {
        /// Its source.
        node: IpAddr,
        /// Its destination.
        target: IpAddr,
    },
    /// It comes from a host on a link, for an address that is answered for there.
    FromHosts(Answer),
}

impl Packet {
    /// Where it is to go.
    pub fn destination(&self) -> IpAddr {
        match self {
            Self::FromNode { target, .. } => *target,
            Self::FromHosts(answer) => answer.address,
        }
    }

    /// The one of its addresses that is routed to our device.
    pub(super) fn own_address(&self) -> IpAddr {
        match self {
            Self::FromNode { node, .. } => *node,
            Self::FromHosts(answer) => answer.address,
        }
    }

    /// The question for `ip route get` that comes nearest.
    fn question(&self, device: &str) -> String {
        match self {
            Self::FromNode { node, target } => format!("{target} from {node} iif {device}"),
            Self::FromHosts(Answer { address, .. }) => address.to_string(),
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FromNode { node, target } => write!(f, "{node} -> {target}"),
            Self::FromHosts(Answer { link, address }) => write!(f, "hosts on {link} -> {address}"),
        }
    }
}

/// What becomes of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is delivered in the namespace itself.
    Local,
    /// It goes on through another interface.
    Forwarded {
        /// The interface's name.
        via: String,
    },
    /// The host is answered, and the packet goes on to our device.
    Answered,
    /// It would be forwarded, but a filter's forward hook drops what no rule accepts.
    ForwardHookDrops {
        /// The chain, as `nft` names it.
        chain: String,
    },
    /// It would have to be forwarded, and the namespace does not.
    ForwardingOff,
    /// Nothing says where the target is, or a route says that it is unreachable.
    NoRoute,
    /// The kernel takes no packet from outside for a loopback address.
    LoopbackTarget,
    /// The kernel takes no packet with this source or destination from outside.
    Martian,
    /// The kernel expects the node's packets on another interface.
    ReversePath {
        /// `rp_filter` of `all`.
        all: u32,
        /// `rp_filter` of the device.
        device: u32,
    },
    /// The link is not there.
    LinkMissing,
    /// The link is down.
    LinkDown {
        /// Its name.
        link: String,
    },
    /// The link does not speak IPv6.
    Ipv6Off,
    /// The kernel does not answer over IPv6 there, and cannot be told to from here.
    ProxyNdpLocked {
        /// The link's name.
        link: String,
    },
    /// It would arrive, but no route leads back to the hosts on the link.
    NoWayBack {
        /// The link's name.
        link: String,
        /// Whether reverse path filtering refuses it for that reason.
        refused: bool,
    },
    /// It is not delivered, for some other reason.
    NotDelivered {
        /// The kernel's reason.
        reason: String,
    },
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The packets arrive.
    Fine,
    /// They may not.
    Warning,
    /// They do not.
    Broken,
}

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self.outcome {
            Outcome::Local | Outcome::Forwarded { .. } | Outcome::Answered => Severity::Fine,
            Outcome::ForwardHookDrops { .. } | Outcome::NoWayBack { refused: false, .. } => Severity::Warning,
            _ => Severity::Broken,
        }
    }

    fn sysctl(&self, settings: &str) -> String {
        format!("`{} sysctl -w {settings}`", command_in(&self.namespace))
    }

    fn enable_forwarding(&self) -> String {
        self.sysctl(if self.packet.destination().is_ipv4() {
            "net.ipv4.ip_forward=1"
        } else {
            "net.ipv6.conf.all.forwarding=1"
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inside = command_in(&self.namespace);
        let device = &self.device;
        write!(f, "{} in namespace {}: ", self.packet, label(&self.namespace))?;
        match &self.outcome {
            Outcome::Local => f.write_str("delivered there"),
            Outcome::Forwarded { via } => write!(f, "forwarded through {via}"),
            Outcome::Answered => write!(f, "answered, and forwarded to {device}"),
            Outcome::ForwardHookDrops { chain } => write!(
                f,
                "the filter in {chain} drops forwarded packets by default; make sure that a rule accepts those from and to \
                 {device}, or run `{inside} nft add rule {chain} iifname {device} accept` and the same with oifname"
            ),
            Outcome::ForwardingOff => write!(
                f,
                "{} and the namespace does not forward; run {}",
                match self.packet {
                    Packet::FromNode { .. } => "the target is not local",
                    Packet::FromHosts(_) => "nobody answers them",
                },
                self.enable_forwarding()
            ),
            Outcome::NoRoute => write!(
                f,
                "no route leads to the target; add one with `{inside} ip route add {} …`, or correct its address",
                self.packet.destination()
            ),
            Outcome::LoopbackTarget => f.write_str(
                "the kernel delivers nothing from outside to a loopback address; let the target listen on another \
                 address of the namespace",
            ),
            Outcome::Martian => f.write_str(
                "the kernel refuses the packet as martian: the node's address is assigned in the namespace, or one of \
                 the two is no unicast address; use other addresses",
            ),
            Outcome::ReversePath { all, device: own } => write!(
                f,
                "reverse path filtering refuses the packet (rp_filter is {all} for all, {own} for {device}), because the \
                 way back to the node is not {device}; correct the way back, or run {} and start sidegate again",
                self.sysctl("net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0")
            ),
            Outcome::LinkMissing => write!(
                f,
                "there is no such link; correct `answer_on` (`{inside} ip link` shows the links), or make it"
            ),
            Outcome::LinkDown { link } => {
                write!(f, "the link is down; run `{inside} ip link set {link} up`")
            }
            Outcome::Ipv6Off => {
                write!(f, "IPv6 is disabled there; run {}", self.sysctl(link::ENABLE_IPV6))
            }
            Outcome::ProxyNdpLocked { link } => f.write_str(&link::proxy_ndp_locked(link)),
            Outcome::NoWayBack { link, refused } => write!(
                f,
                "no route leads back to hosts beside that address{}; give the link an address of their network \
                 (`{inside} ip address add … dev {link}`), or add a route",
                if *refused { ", and reverse path filtering refuses their packets" } else { "" }
            ),
            Outcome::NotDelivered { reason } => write!(
                f,
                "the kernel does not deliver the packet: {reason}; look at `{inside} ip route get {}`",
                self.packet.question(device)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(target: &str, outcome: Outcome) -> Finding {
        Finding {
            namespace: "/run/netns/provider".into(),
            device: "sg-orders".into(),
            packet: Packet::FromNode { node: IpAddr::from([10, 2, 9, 1]), target: target.parse().unwrap() },
            outcome,
        }
    }

    #[test]
    fn the_remedy_can_be_pasted() {
        let four = finding("10.3.0.5", Outcome::ForwardingOff).to_string();
        assert!(four.ends_with("run `ip netns exec provider sysctl -w net.ipv4.ip_forward=1`"), "{four}");
        let six = finding("fd00::5", Outcome::ForwardingOff).to_string();
        assert!(
            six.ends_with("run `ip netns exec provider sysctl -w net.ipv6.conf.all.forwarding=1`"),
            "{six}"
        );
    }

    #[test]
    fn only_arriving_is_fine() {
        let severity = |outcome| finding("10.2.0.2", outcome).severity();
        assert_eq!(severity(Outcome::Local), Severity::Fine);
        assert_eq!(severity(Outcome::Forwarded { via: "eth0".into() }), Severity::Fine);
        assert_eq!(
            severity(Outcome::ForwardHookDrops { chain: "inet filter forward".into() }),
            Severity::Warning
        );
        assert_eq!(severity(Outcome::NoRoute), Severity::Broken);
    }
}
