//! The topology's types: what a validated operator's file means.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wire::Protocol;

use crate::succession::Identities;
use crate::{Arena, DeviceId, Id, Target, TargetGroup};

/// The validated, immutable picture of everything the operator declared. A change is a new one.
#[derive(Clone, Debug)]
pub struct Topology {
    /// How this instance runs.
    pub run: Run,
    /// Limits of the flow table.
    pub flows: FlowLimits,
    /// Limits of what is terminated.
    pub terminate: TerminateLimits,
    /// The namespaces, each with one device; indexed by [`DeviceId`]. Some were in use only before a reload.
    pub namespaces: Vec<Namespace>,
    /// What providers publish.
    pub services: Arena<Service>,
    /// The load balancers' addresses.
    pub nodes: Arena<Node>,
    /// What services listen on.
    pub listeners: Arena<Listener>,
    /// Groups of targets.
    pub groups: Arena<TargetGroup>,
    /// Where traffic ends up.
    pub targets: Arena<Target>,
    /// The consumers' doors.
    pub endpoints: Arena<Endpoint>,
    /// The doors' addresses.
    pub interfaces: Arena<Interface>,
    /// Everything that has an id, with what is gone. Empty until the first reload.
    pub(crate) identities: Arc<Identities>,
}

/// Identifies a [`Service`].
pub type ServiceId = Id<Service>;
/// Identifies a [`Node`].
pub type NodeId = Id<Node>;
/// Identifies a [`Listener`].
pub type ListenerId = Id<Listener>;
/// Identifies a [`TargetGroup`].
pub type TargetGroupId = Id<TargetGroup>;
/// Identifies a [`Target`].
pub type TargetId = Id<Target>;
/// Identifies an [`Endpoint`].
pub type EndpointId = Id<Endpoint>;
/// Identifies an [`Interface`].
pub type InterfaceId = Id<Interface>;

/// `[run]`: how this instance runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// The instance's name; its devices' and its socket's names derive from it.
    pub name: String,
    /// Worker threads; `None` is one per core. A plain device has one.
    pub workers: Option<usize>,
    /// Which device backend to use.
    pub device: DeviceBackend,
    /// How packets find their worker.
    pub steering: Steering,
    /// The largest IP packet that the path carries; larger ones disappear, as in the real thing. Default 8500.
    pub mtu: u16,
    /// The largest MSS that a SYN may carry over IPv4 (over IPv6: 20 less). Default: 135 less than the MTU, which is
    /// the 8365 of the real thing for its 8500.
    pub mss_ceiling: u16,
    /// How much of ICMP is answered and passed on.
    pub icmp: IcmpPolicy,
    /// By how much the listeners' idle time-outs are shortened, so that a test of one need not wait for it. Default 1.
    pub time_scale: u32,
    /// How long after a reload what has changed takes effect. Default 0; the real service may take minutes.
    pub propagation_delay: Duration,
    /// Whether each worker stays on a core of its own. Default: the kernel moves them as it likes.
    pub pin: bool,
}

/// `run.icmp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpPolicy {
    /// As the real service: errors that a flow needs are translated (destination unreachable, packet too big); no ping is
    /// answered, and what is too long or has been through too many hops disappears in silence. The default.
    Faithful,
    /// Says what the real service keeps to itself: answers ping, names the MTU and the last hop, and translates
    /// time-exceeded too.
    Helpful,
}

/// `run.device`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceBackend {
    /// Several queues, with the kernel's offloads: super-packets pass through whole. The default.
    Offload,
    /// One queue, one packet a read, no offloads.
    Plain,
}

/// `run.steering`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steering {
    /// Each direction of a flow stays with one worker, where the kernel lets us see to that. The default.
    Flow,
    /// As the kernel does it by itself.
    Kernel,
}

/// `[flows]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowLimits {
    /// How many flows there can be at once. Default 262,144.
    pub capacity: usize,
    /// Source ports from each node to each target: so many flows at most. Default 55,000, as the real thing has.
    pub ports: usize,
    /// What the two ends of a TCP flow that expires are told.
    pub expiry: Expiry,
}

/// `[terminate]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TerminateLimits {
    /// Bytes of memory for the buffers of all terminated connections together. Default 1 GiB.
    pub memory: usize,
}

/// `flows.expiry`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// Nothing, as from the real service: whoever speaks next gets a RST. The default.
    Silent,
    /// Both ends get a RST at once.
    Reset,
}

impl Expiry {
    /// As the file says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Reset => "reset",
        }
    }
}

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A zone's name; whatever has none is in every zone.
pub type Zone = Arc<str>;

/// A network namespace, and what its one device has to carry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// As the operator wrote it: a name under `ip netns`, or a path.
    pub name: String,
    /// The namespace's file.
    pub path: PathBuf,
    /// The addresses that are routed to the device: interfaces and nodes.
    pub routed: Vec<IpAddr>,
    /// Addresses to put on the device, as the consumer's own (`local`), each as a /32 or /128 and as the preferred
    /// source of the routes of its family. At most one per family.
    pub local: Vec<IpAddr>,
    /// The routed addresses that hosts on a link are answered for.
    pub answers: Vec<Answer>,
}

/// Hosts on a link hold an address of ours to be one of their neighbours': they are told that it is here (`answer_on`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The link's name.
    pub link: String,
    /// The address of an interface or a node.
    pub address: IpAddr,
}

impl Namespace {
    /// Where `ip netns` keeps its names.
    pub const NAMED: &'static str = "/run/netns";

    /// Whether anything is here. A namespace that was in use before keeps its place, and nothing is routed there.
    pub fn is_used(&self) -> bool {
        !self.routed.is_empty()
    }

    /// This namespace, with nothing in it.
    pub(crate) fn unused(&self) -> Self {
        let Self { name, path, .. } = self.clone();
        Self { name, path, routed: Vec::new(), local: Vec::new(), answers: Vec::new() }
    }

    /// The file that the operator's word means: a path as it stands, but that /var/run is /run, a name as `ip netns`
    /// keeps it.
    pub fn file(name: &str) -> PathBuf {
        if !name.contains('/') {
            return FsPath::new(Self::NAMED).join(name);
        }
        let path = FsPath::new(name);
        path.strip_prefix("/var/run").map_or_else(|_| path.into(), |within| FsPath::new("/run").join(within))
    }
}

/// What a provider publishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where its load balancer lives.
    pub device: DeviceId,
    /// The load balancer's addresses.
    pub nodes: Vec<NodeId>,
    /// What it listens on.
    pub listeners: Vec<ListenerId>,
}

/// One address of a service's load balancer: one per zone and family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Whose node it is.
    pub service: ServiceId,
    /// The device that its address is routed to.
    pub device: DeviceId,
    /// Its zone.
    pub zone: Option<Zone>,
    /// Its address: what targets see as the source.
    pub address: IpAddr,
}

/// Protocol, port, and where the traffic goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Whose listener it is.
    pub service: ServiceId,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port at the endpoint's address.
    pub port: u16,
    /// The target groups behind it.
    pub forward: Vec<Forward>,
    /// How its traffic is carried.
    pub path: Path,
    /// How long a flow may stay silent. Default 350 s (TCP, 60-6000), 120 s (UDP).
    pub idle_timeout: Duration,
}

/// A target group that a listener forwards to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forward {
    /// The group.
    pub group: TargetGroupId,
    /// Its share of new flows, beside the listener's other groups: 0 to 999, 1 unless told.
    pub weight: u16,
}

/// How a listener's traffic is carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// Packets are rewritten and pass through.
    Nat,
    /// TCP ends here; a second connection goes on.
    Terminate,
    /// The consumer's handshake ends here; once the target has answered another one, packets pass through.
    Splice,
}

impl DeviceBackend {
    /// As the operator writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offload => "offload",
            Self::Plain => "plain",
        }
    }
}

impl Steering {
    /// As the operator writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Kernel => "kernel",
        }
    }
}

impl IcmpPolicy {
    /// As the operator writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Faithful => "faithful",
            Self::Helpful => "helpful",
        }
    }
}

impl Path {
    /// As the operator writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Terminate => "terminate",
            Self::Splice => "splice",
        }
    }
}

/// The consumer's door to a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// The service behind it.
    pub service: ServiceId,
    /// The device in the consumer's namespace.
    pub device: DeviceId,
    /// Its addresses.
    pub interfaces: Vec<InterfaceId>,
    /// What targets that are told through which endpoint a client has come are told.
    pub ids: EndpointIds,
}

/// An endpoint's ids, as each cloud's proxy protocol says them. What the operator does not give follows from the endpoint's name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointIds {
    /// AWS: `vpce-` and 17 hexadecimal digits, or 8 as the first ones had.
    pub aws: String,
    /// GCP: the connection's.
    pub gcp: u64,
    /// Azure: the link's.
    pub azure: u32,
}

/// One address of an endpoint: one per zone and family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Whose interface it is.
    pub endpoint: EndpointId,
    /// The device that its address is routed to.
    pub device: DeviceId,
    /// Its zone.
    pub zone: Option<Zone>,
    /// Its address: what the consumer connects to.
    pub address: IpAddr,
}
