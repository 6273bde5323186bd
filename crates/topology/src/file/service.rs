//! `[[service]]`: what a provider publishes.

use std::time::Duration;

use wire::Protocol;

use super::address::ZonedAddress;
use super::links::DeclaredLink;
use super::names::{Names, NamespaceRef, name, namespace};
use super::tree::{Bounds, Keys, Table, Value};
use crate::problem::{Place, Read};
use crate::{Family, Path, TargetGroup, TargetGroupId};

/// A port, of a listener or of a target.
pub(super) const PORT: Bounds<u16> = Bounds { what: "a port", range: 1..=u16::MAX, why: "" };

/// A service as the file declares it.
pub(crate) struct DeclaredService<'t> {
    pub(crate) place: Place,
    pub(crate) name: Read<&'t str>,
    pub(crate) namespace: Read<NamespaceRef<'t>>,
    pub(crate) nodes: Vec<Read<ZonedAddress>>,
    pub(crate) listeners: Vec<Read<DeclaredListener>>,
    pub(crate) answer_on: Vec<Read<DeclaredLink<'t>>>,
}

impl<'t> DeclaredService<'t> {
    pub(super) const KEYS: Keys =
        Keys { known: &["name", "namespace", "nodes", "listeners", "answer_on"], later: &[] };

    pub(super) fn read(table: Table<'t>, groups: &Names<'t, TargetGroup>) -> Self {
        Self {
            name: table.required("name", name),
            namespace: table.required("namespace", namespace),
            nodes: table.list("nodes", ZonedAddress::read),
            answer_on: DeclaredLink::read_all(&table),
            listeners: table.list("listeners", |value| DeclaredListener::read(value, groups)),
            place: table.place,
        }
    }

    /// The listeners on one path.
    pub(crate) fn listeners_on(&self, path: Path) -> impl Iterator<Item = &DeclaredListener> {
        self.listeners.iter().flatten().filter(move |listener| listener.path == path)
    }

    /// The family of each node; `None` for one that could not be read.
    pub(crate) fn node_families(&self) -> impl Iterator<Item = Option<Family>> {
        self.nodes.iter().map(|node| node.as_ref().ok().map(ZonedAddress::family))
    }
}

/// A listener as the file declares it.
pub(crate) struct DeclaredListener {
    pub(crate) place: Place,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    /// Where its target group is named.
    pub(crate) forward: Place,
    pub(crate) group: Read<TargetGroupId>,
    pub(crate) path: Path,
    pub(crate) idle_timeout: Duration,
}

impl DeclaredListener {
    const KEYS: Keys = Keys { known: &["protocol", "port", "forward", "path", "idle_timeout"], later: &[] };

    fn read<'t>(value: Value<'t>, groups: &Names<'t, TargetGroup>) -> Read<Self> {
        let table = value.table(&Self::KEYS)?;
        let protocol = table.required("protocol", protocol);
        let port = table.required("port", |value| value.integer(&PORT));
        let forward = table.required("forward", |value| Ok((value.place.clone(), groups.find(&value))));
        let path = table.optional("path", |value| path(&value, protocol));
        let idle_timeout = table.optional("idle_timeout", |value| idle_timeout(&value, protocol?));
        let (protocol, (forward, group)) = (protocol?, forward?);
        Ok(Self {
            place: table.place,
            protocol,
            port: port?,
            forward,
            group,
            path: path?.unwrap_or(Path::Nat),
            idle_timeout: idle_timeout?.unwrap_or(default_idle_timeout(protocol)),
        })
    }
}

fn protocol(value: Value<'_>) -> Read<Protocol> {
    value.word(&[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)], &[])
}

fn path(value: &Value<'_>, protocol: Read<Protocol>) -> Read<Path> {
    let path = value.word(&[("nat", Path::Nat), ("terminate", Path::Terminate)], &["splice", "local"])?;
    if path == Path::Terminate && matches!(protocol, Ok(Protocol::Udp)) {
        return Err(value.refuse("udp cannot be terminated", "write \"nat\", or listen on tcp"));
    }
    Ok(path)
}

fn idle_timeout(value: &Value<'_>, protocol: Protocol) -> Read<Duration> {
    let bounds = match protocol {
        Protocol::Tcp => Bounds { what: "a tcp idle time-out in seconds", range: 60..=6000, why: "" },
        Protocol::Udp => Bounds { what: "a udp idle time-out in seconds", range: 1..=6000, why: "" },
    };
    value.integer(&bounds).map(Duration::from_secs)
}

const fn default_idle_timeout(protocol: Protocol) -> Duration {
    match protocol {
        Protocol::Tcp => Duration::from_secs(350),
        Protocol::Udp => Duration::from_secs(120),
    }
}
