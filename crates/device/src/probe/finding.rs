//! What a probe found, and the sentence for it: what happens, where, and the remedy.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::namespace::{command_in, label};

/// What becomes of packets from a node to a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The file of the namespace that was asked.
    pub namespace: PathBuf,
    /// The device that the packets come from.
    pub device: String,
    /// The node: the packets' source.
    pub node: IpAddr,
    /// The target: their destination.
    pub target: IpAddr,
    /// What becomes of them.
    pub outcome: Outcome,
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
    /// It would be forwarded, but a filter's forward hook drops what no rule accepts.
    ForwardHookDrops {
        /// The chain, as `nft` names it.
        chain: String,
    },
    /// The target is elsewhere, and the namespace does not forward.
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
            Outcome::Local | Outcome::Forwarded { .. } => Severity::Fine,
            Outcome::ForwardHookDrops { .. } => Severity::Warning,
            _ => Severity::Broken,
        }
    }

    fn sysctl(&self, settings: &str) -> String {
        format!("`{} sysctl -w {settings}`", command_in(&self.namespace))
    }

    fn enable_forwarding(&self) -> String {
        self.sysctl(if self.target.is_ipv4() {
            "net.ipv4.ip_forward=1"
        } else {
            "net.ipv6.conf.all.forwarding=1"
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, node, target, .. } = self;
        write!(f, "{} -> {} in namespace {}: ", node, target, label(&self.namespace))?;
        match &self.outcome {
            Outcome::Local => f.write_str("delivered there"),
            Outcome::Forwarded { via } => write!(f, "forwarded through {via}"),
            Outcome::ForwardHookDrops { chain } => write!(
                f,
                "the filter in {chain} drops forwarded packets by default; make sure that a rule accepts those from and to \
                 {device}, or run `{} nft add rule {chain} iifname {device} accept` and the same with oifname",
                command_in(&self.namespace)
            ),
            Outcome::ForwardingOff => write!(
                f,
                "the target is not local and the namespace does not forward; run {}",
                self.enable_forwarding()
            ),
            Outcome::NoRoute => write!(
                f,
                "no route leads to the target; add one with `{} ip route add {target} …`, or correct its address",
                command_in(&self.namespace)
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
            Outcome::NotDelivered { reason } => write!(
                f,
                "the kernel does not deliver the packet: {reason}; look at `{} ip route get {target} from {node} iif \
                 {device}`",
                command_in(&self.namespace)
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
            node: IpAddr::from([10, 2, 9, 1]),
            target: target.parse().unwrap(),
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
