//! What the kernel would do with sidegate's packets, found out by asking it: for `check --live`.
//!
//! The question is always the same: a packet from a load balancer's node to a target arrives from the TUN; then what?
//! Only the kernel knows: routes, rules, forwarding, filters of every sort have a say. Each answer is a [`Finding`].

mod finding;
mod hooks;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;
use rustix::net::netdevice;

pub use finding::{Finding, Outcome, Severity};

use crate::name::probe_name;
use crate::netlink::Netlink;
use crate::route::{self, Arrival, Way};
use crate::{DeviceError, DeviceSpec, OffloadOpener, Opener, Place, device_name, namespace};

/// A node and one of its targets.
pub type Pair = (IpAddr, IpAddr);

/// Asks about each (node, target) through a device that is up in `namespace` and has the routes to the nodes.
pub fn routes(namespace: &Path, device: &str, pairs: &[Pair]) -> Result<Vec<Finding>, DeviceError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let place = Place { device: device.into(), namespace: namespace.into() };
    namespace::visit(namespace, |_| {
        let ask = || -> io::Result<Vec<Finding>> {
            let mut prober = Prober::through(&place)?;
            Ok(pairs.iter().flat_map(|pair| prober.findings(*pair)).collect())
        };
        ask().map_err(|cause| DeviceError::step(&place, "ask for routes", cause))
    })?
}

/// Asks about each (node, target) of an instance that need not run, and finds out whether all of its addresses in the
/// namespace can be `routed`. Those that the instance's own device has already are asked about through that device; the
/// others are routed to a temporary one, of another name.
pub fn with_temporary_device(
    namespace: &Path,
    instance: &str,
    routed: &[IpAddr],
    pairs: &[Pair],
) -> Result<Vec<Finding>, DeviceError> {
    let own = device_name(instance);
    let temporary = Place { device: probe_name(instance), namespace: namespace.into() };
    let (held, free): (Vec<IpAddr>, Vec<IpAddr>) = namespace::visit(namespace, |_| {
        let mut netlink = Netlink::open(NETLINK_ROUTE)?;
        let through_own = Some(Way::Through(own.clone()));
        Ok(routed.iter().partition(|address| route::way(&mut netlink, **address, None).ok() == through_own))
    })?
    .map_err(|cause| DeviceError::step(&temporary, "ask for routes", cause))?;

    let (running, others): (Vec<Pair>, Vec<Pair>) = pairs.iter().partition(|(node, _)| held.contains(node));
    let mut findings = routes(namespace, &own, &running)?;
    if !free.is_empty() {
        let _opened = OffloadOpener.open(&spec(&temporary, free))?;
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
        routed,
        local: Vec::new(),
    }
}

/// Asks through one device, in the namespace of its thread.
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
    fn findings(&mut self, (node, target): Pair) -> Vec<Finding> {
        let finding = |outcome| Finding {
            namespace: self.place.namespace.clone(),
            device: self.place.device.clone(),
            node,
            target,
            outcome,
        };
        let arrival = Arrival { interface: self.interface, source: node };
        let outcome = match route::way(&mut self.netlink, target, Some(arrival)) {
            Ok(Way::Local) => Outcome::Local,
            Ok(Way::Through(via)) if self.forwards(target) => Outcome::Forwarded { via },
            Ok(Way::Through(_)) => Outcome::ForwardingOff,
            Ok(Way::Other(kind)) => {
                Outcome::NotDelivered { reason: format!("its route is of type {kind:?}") }
            }
            Err(_) if target.is_loopback() => Outcome::LoopbackTarget,
            Err(error) => self.refusal(node, target, error),
        };
        let forwarded = matches!(outcome, Outcome::Forwarded { .. });
        let chains = self.hooks.iter().filter(|chain| forwarded && chain.sees(target));
        let warnings = chains.map(|chain| finding(Outcome::ForwardHookDrops { chain: chain.to_string() }));
        std::iter::once(finding(outcome)).chain(warnings).collect()
    }

    /// What the kernel means by refusing to route the packet.
    fn refusal(&mut self, node: IpAddr, target: IpAddr, error: io::Error) -> Outcome {
        match Errno::from_io_error(&error) {
            Some(Errno::HOSTUNREACH | Errno::NETUNREACH) if !self.forwards(target) => Outcome::ForwardingOff,
            Some(Errno::HOSTUNREACH | Errno::NETUNREACH) => Outcome::NoRoute,
            // Older kernels say EXDEV for reverse path filtering, newer ones EINVAL for every odd packet.
            Some(Errno::XDEV | Errno::INVAL) => self.reverse_path(node).unwrap_or(Outcome::Martian),
            _ => Outcome::NotDelivered { reason: error.to_string() },
        }
    }

    /// Whether reverse path filtering (which only IPv4 has) is on, and the way back to the node is not the device.
    fn reverse_path(&mut self, node: IpAddr) -> Option<Outcome> {
        let all = self.setting("ipv4", "all", "rp_filter");
        let device = self.setting("ipv4", &self.place.device, "rp_filter");
        let way_back = route::way(&mut self.netlink, node, None).ok();
        let elsewhere = way_back != Some(Way::Through(self.place.device.clone()));
        (node.is_ipv4() && all.max(device) != 0 && elsewhere).then_some(Outcome::ReversePath { all, device })
    }

    /// Whether the kernel forwards what comes from the device: IPv4 asks the device's own setting, IPv6 the whole
    /// namespace's, which newer kernels let a device override.
    fn forwards(&self, target: IpAddr) -> bool {
        let device = &self.place.device;
        match target {
            IpAddr::V4(_) => self.setting("ipv4", device, "forwarding") != 0,
            IpAddr::V6(_) => {
                self.setting("ipv6", "all", "forwarding") != 0
                    || self.setting("ipv6", device, "force_forwarding") != 0
            }
        }
    }

    /// A setting's value; one that is not there is 0.
    fn setting(&self, family: &str, device: &str, name: &str) -> u32 {
        let path: PathBuf = ["/proc/sys/net", family, "conf", device, name].iter().collect();
        fs::read_to_string(path).ok().and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }
}
