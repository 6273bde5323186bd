//! What the kernel would do with sidegate's packets, found out by asking it: for `check --live`.
//!
//! The question is always the same: a packet arrives from the TUN, for a target, or from a link, for an address of ours;
//! then what? Only the kernel knows: routes, rules, forwarding, filters of every sort have a say. Each answer is a
//! [`Finding`].

mod finding;
mod hooks;

use std::fs::{self, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;
use rustix::net::netdevice;

pub use finding::{Finding, Outcome, Packet, Severity};

use crate::link::Link;
use crate::name::probe_name;
use crate::netlink::Netlink;
use crate::route::{self, Arrival, Way};
use crate::{Answer, DeviceError, DeviceSpec, Offloads, Opener, Place, device_name, link, namespace};

/// The `rp_filter` that takes packets only from where their answers would go.
const STRICT: u32 = 1;

/// Asks about each packet in a namespace where `device` is up and has the routes to our addresses.
pub fn routes(namespace: &Path, device: &str, packets: &[Packet]) -> Result<Vec<Finding>, DeviceError> {
    if packets.is_empty() {
        return Ok(Vec::new());
    }
    let place = Place { device: device.into(), namespace: namespace.into() };
    namespace::visit(namespace, |_| {
        let ask = || -> io::Result<Vec<Finding>> {
            let mut prober = Prober::through(&place)?;
            Ok(packets.iter().flat_map(|packet| prober.findings(packet)).collect())
        };
        ask().map_err(|cause| DeviceError::step(&place, "ask for routes", cause))
    })?
}

/// Asks about each packet of an instance that need not run, and finds out whether all of its addresses in the
/// namespace can be `routed`. Those that the instance's own device has already are asked about through that device; the
/// others are routed to a temporary one, of another name, which `opener` makes.
pub fn with_temporary_device(
    opener: &dyn Opener,
    namespace: &Path,
    instance: &str,
    routed: &[IpAddr],
    packets: &[Packet],
) -> Result<Vec<Finding>, DeviceError> {
    let own = device_name(instance);
    let temporary = Place { device: probe_name(instance), namespace: namespace.into() };
    let (held, free): (Vec<IpAddr>, Vec<IpAddr>) = namespace::visit(namespace, |_| {
        let mut netlink = Netlink::open(NETLINK_ROUTE)?;
        let through_own = Some(Way::Through(own.clone()));
        Ok(routed.iter().partition(|address| route::way(&mut netlink, **address, None).ok() == through_own))
    })?
    .map_err(|cause| DeviceError::step(&temporary, "ask for routes", cause))?;

    let (running, others): (Vec<Packet>, Vec<Packet>) =
        packets.iter().cloned().partition(|packet| held.contains(&packet.own_address()));
    let mut findings = routes(namespace, &own, &running)?;
    if !free.is_empty() {
        let _opened = opener.open(&spec(&temporary, free))?;
        let found = routes(namespace, &temporary.device, &others)?;
        // What is found is about the device that the instance will have.
        findings.extend(found.into_iter().map(|finding| Finding { device: own.clone(), ..finding }));
    }
    Ok(findings)
}

fn spec(temporary: &Place, routed: Vec<IpAddr>) -> DeviceSpec {
    DeviceSpec {
        name: temporary.device.clone(),
        namespace: temporary.namespace.clone(),
        queues: 1,
        mtu: 1500,
        offloads: Offloads::ALL,
        steering: None,
        routed,
        local: Vec::new(),
        answers: Vec::new(),
        answers_may_wait: false,
    }
}

/// Asks on behalf of one device, in the namespace of its thread.
struct Prober<'a> {
    place: &'a Place,
    netlink: Netlink,
    interface: u32,
    hooks: Vec<hooks::Chain>,
}

impl<'a> Prober<'a> {
    fn through(place: &'a Place) -> io::Result<Self> {
        let netlink = Netlink::open(NETLINK_ROUTE)?;
        let interface = netdevice::name_to_index(&netlink, &place.device)?;
        Ok(Self { place, netlink, interface, hooks: hooks::that_drop_forwarded() })
    }

    /// What becomes of the packet, and if it is to be forwarded, who may yet drop it.
    fn findings(&mut self, packet: &Packet) -> Vec<Finding> {
        let finding = |outcome| Finding {
            namespace: self.place.namespace.clone(),
            device: self.place.device.clone(),
            packet: packet.clone(),
            outcome,
        };
        let outcome = match packet {
            Packet::FromNode { node, target } => self.way_to_target(*node, *target),
            Packet::FromHosts(answer) => self.way_from_hosts(answer).unwrap_or_else(|outcome| outcome),
        };
        let forwarded = matches!(outcome, Outcome::Forwarded { .. } | Outcome::Answered);
        let chains = self.hooks.iter().filter(|chain| forwarded && chain.sees(packet.destination()));
        let warnings = chains.map(|chain| finding(Outcome::ForwardHookDrops { chain: chain.to_string() }));
        std::iter::once(finding(outcome)).chain(warnings).collect()
    }

    fn way_to_target(&mut self, node: IpAddr, target: IpAddr) -> Outcome {
        let arrival = Arrival { interface: self.interface, source: node };
        match route::way(&mut self.netlink, target, Some(arrival)) {
            Ok(Way::Local) => Outcome::Local,
            Ok(Way::Through(via)) if self.forwards(&self.place.device, target) => Outcome::Forwarded { via },
            Ok(Way::Through(_)) => Outcome::ForwardingOff,
            Ok(Way::Other(kind)) => {
                Outcome::NotDelivered { reason: format!("its route is of type {kind:?}") }
            }
            Err(_) if target.is_loopback() => Outcome::LoopbackTarget,
            Err(error) => self.refusal(node, target, error),
        }
    }

    /// What becomes of a host's question for the address, and then of its packets: the kernel treats both alike. `Err` is
    /// what stands in their way.
    fn way_from_hosts(&mut self, Answer { link: name, address }: &Answer) -> Result<Outcome, Outcome> {
        let mut link = Link::find(name).map_err(|_| Outcome::LinkMissing)?;
        if !link.is_up().map_err(not_delivered)? {
            return Err(Outcome::LinkDown { link: name.clone() });
        }
        if address.is_ipv6() && !link.has_ipv6() {
            return Err(Outcome::Ipv6Off);
        }
        if !self.answers(name, *address) {
            return Err(Outcome::ForwardingOff);
        }
        if address.is_ipv6() && !may_answer_ipv6(name) {
            return Err(Outcome::ProxyNdpLocked { link: name.clone() });
        }
        let host = self.host_beside(name, *address).ok_or_else(|| self.no_way_back(name, *address))?;
        let arrival = Arrival { interface: link.index, source: host };
        match route::way(&mut self.netlink, *address, Some(arrival)).map_err(not_delivered)? {
            Way::Through(via) if via == self.place.device => Ok(Outcome::Answered),
            other => Err(Outcome::NotDelivered { reason: format!("its way is {other:?}") }),
        }
    }

    /// An address near to ours that the link leads to: hosts that hold ours to be a neighbour's are of its network.
    fn host_beside(&mut self, link: &str, address: IpAddr) -> Option<IpAddr> {
        let through_link = Way::Through(link.into());
        let near = (1..16).map(|difference| match address {
            IpAddr::V4(v4) => IpAddr::from((v4.to_bits() ^ difference).to_be_bytes()),
            IpAddr::V6(v6) => IpAddr::from((v6.to_bits() ^ u128::from(difference)).to_be_bytes()),
        });
        near.into_iter()
            .find(|host| route::way(&mut self.netlink, *host, None).is_ok_and(|way| way == through_link))
    }

    /// Nothing leads back to the hosts; strict reverse path filtering, which only IPv4 has, refuses their packets as well.
    fn no_way_back(&self, link: &str, address: IpAddr) -> Outcome {
        let filter = setting("ipv4", "all", "rp_filter").max(setting("ipv4", link, "rp_filter"));
        Outcome::NoWayBack { link: link.into(), refused: address.is_ipv4() && filter == STRICT }
    }

    /// What the kernel means by refusing to route the packet.
    fn refusal(&mut self, node: IpAddr, target: IpAddr, error: io::Error) -> Outcome {
        let forwards = self.forwards(&self.place.device, target);
        match Errno::from_io_error(&error) {
            Some(Errno::HOSTUNREACH | Errno::NETUNREACH) if !forwards => Outcome::ForwardingOff,
            Some(Errno::HOSTUNREACH | Errno::NETUNREACH) => Outcome::NoRoute,
            // Older kernels say EXDEV for reverse path filtering, newer ones EINVAL for every odd packet.
            Some(Errno::XDEV | Errno::INVAL) => self.reverse_path(node).unwrap_or(Outcome::Martian),
            _ => not_delivered(error),
        }
    }

    /// Whether reverse path filtering (which only IPv4 has) is on, and the way back to the node is not the device.
    fn reverse_path(&mut self, node: IpAddr) -> Option<Outcome> {
        let all = setting("ipv4", "all", "rp_filter");
        let device = setting("ipv4", &self.place.device, "rp_filter");
        let way_back = route::way(&mut self.netlink, node, None).ok();
        let elsewhere = way_back != Some(Way::Through(self.place.device.clone()));
        (node.is_ipv4() && all.max(device) != 0 && elsewhere).then_some(Outcome::ReversePath { all, device })
    }

    /// Whether the kernel answers hosts on the link, passes their packets on to the device, and the other way round. It
    /// asks the link's own setting before it answers, over IPv6 too.
    fn answers(&self, link: &str, address: IpAddr) -> bool {
        let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
        setting(family, link, "forwarding") != 0
            && [link, &self.place.device].iter().all(|interface| self.forwards(interface, address))
    }

    /// Whether the kernel forwards what comes from an interface: IPv4 asks the interface's own setting, IPv6 the whole
    /// namespace's, which newer kernels let an interface override.
    fn forwards(&self, interface: &str, destination: IpAddr) -> bool {
        match destination {
            IpAddr::V4(_) => setting("ipv4", interface, "forwarding") != 0,
            IpAddr::V6(_) => {
                setting("ipv6", "all", "forwarding") != 0
                    || setting("ipv6", interface, "force_forwarding") != 0
            }
        }
    }
}

/// Whether the kernel answers neighbour solicitations on the link, or can be told to.
fn may_answer_ipv6(link: &str) -> bool {
    let is_on = |interface| setting("ipv6", interface, "proxy_ndp") != 0;
    let is_open = || OpenOptions::new().write(true).open(link::ipv6_setting(link, "proxy_ndp")).is_ok();
    is_on("all") || is_on(link) || is_open()
}

fn not_delivered(error: io::Error) -> Outcome {
    Outcome::NotDelivered { reason: error.to_string() }
}

/// A setting's value; one that is not there is 0.
fn setting(family: &str, interface: &str, name: &str) -> u32 {
    let path: PathBuf = ["/proc/sys/net", family, "conf", interface, name].iter().collect();
    fs::read_to_string(path).ok().and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
