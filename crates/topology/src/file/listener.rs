//! `listeners` of a service: protocol, port, path, and the target groups behind them.

use std::time::Duration;

use wire::Protocol;

use super::names::Names;
use super::tree::{Bounds, Keys, Value};
use crate::problem::{Place, Read};
use crate::{Path, TargetGroup, TargetGroupId};

/// A port, of a listener or of a target.
pub(super) const PORT: Bounds<u16> = Bounds { what: "a port", range: 1..=u16::MAX, why: "" };
/// A share of new flows, of a target or of a group.
pub(super) const WEIGHT: Bounds<u16> = Bounds { what: "a weight", range: 0..=999, why: "" };
pub(super) const DEFAULT_WEIGHT: u16 = 1;

/// A listener as the file declares it.
pub(crate) struct DeclaredListener {
    pub(crate) place: Place,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) forward: Vec<Read<DeclaredForward>>,
    pub(crate) path: Path,
    pub(crate) idle_timeout: Duration,
}

impl DeclaredListener {
    const KEYS: Keys = &["protocol", "port", "forward", "path", "idle_timeout"];

    pub(super) fn read<'t>(value: Value<'t>, groups: &Names<'t, TargetGroup>) -> Read<Self> {
        let table = value.table(Self::KEYS)?;
        let protocol = table.required("protocol", protocol);
        let port = table.required("port", |value| value.integer(&PORT));
        let forward = table.required("forward", |value| Ok(DeclaredForward::read_all(value, groups)));
        let path = table.optional("path", |value| path(&value, protocol));
        let idle_timeout = table.optional("idle_timeout", |value| idle_timeout(&value, protocol?));
        let protocol = protocol?;
        Ok(Self {
            place: table.place,
            protocol,
            port: port?,
            forward: forward.unwrap_or_else(|reported| vec![Err(reported)]),
            path: path?.unwrap_or(Path::Nat),
            idle_timeout: idle_timeout?.unwrap_or(default_idle_timeout(protocol)),
        })
    }
}

/// A target group that a listener forwards to.
pub(crate) struct DeclaredForward {
    /// Where the group is named.
    pub(crate) place: Place,
    pub(crate) group: TargetGroupId,
    pub(crate) weight: u16,
}

impl DeclaredForward {
    const KEYS: Keys = &["target_group", "weight"];
    /// As many as the real thing takes.
    const MOST: usize = 5;

    /// The name of one group, or a list of groups and their weights.
    fn read_all<'t>(value: Value<'t>, groups: &Names<'t, TargetGroup>) -> Vec<Read<Self>> {
        if !value.is_list() {
            let group = groups.find(&value);
            return vec![group.map(|group| Self { place: value.place, group, weight: DEFAULT_WEIGHT })];
        }
        let (list, problems) = (value.place.clone(), value.problems);
        let forwards: Vec<_> = match value.elements("name a target group") {
            Ok(elements) => elements.into_iter().map(|element| Self::read(element, groups)).collect(),
            Err(reported) => vec![Err(reported)],
        };
        if forwards.len() > Self::MOST {
            let message = format!("{} target groups are too many for one listener", forwards.len());
            problems.report(&list, message, format!("keep {} at most, as the real thing does", Self::MOST));
        }
        if forwards.iter().all(|forward| forward.as_ref().is_ok_and(|forward| forward.weight == 0)) {
            problems.report(&list, "no group would get any flow", "give one of them a weight above 0");
        }
        forwards
    }

    fn read<'t>(value: Value<'t>, groups: &Names<'t, TargetGroup>) -> Read<Self> {
        let table = value.table(Self::KEYS)?;
        let group = table.required("target_group", |value| Ok((groups.find(&value)?, value.place)));
        let weight = table.optional("weight", |value| value.integer(&WEIGHT));
        let (group, place) = group?;
        Ok(Self { place, group, weight: weight?.unwrap_or(DEFAULT_WEIGHT) })
    }
}

fn protocol(value: Value<'_>) -> Read<Protocol> {
    value.word(&[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)], &[])
}

fn path(value: &Value<'_>, protocol: Read<Protocol>) -> Read<Path> {
    let words = [("nat", Path::Nat), ("terminate", Path::Terminate), ("splice", Path::Splice)];
    let path = value.word(&words, &["local"])?;
    match (path, protocol) {
        (Path::Terminate | Path::Splice, Ok(Protocol::Udp)) => {
            let message =
                if path == Path::Splice { "udp cannot be spliced" } else { "udp cannot be terminated" };
            Err(value.refuse(message, "write \"nat\", or listen on tcp"))
        }
        _ => Ok(path),
    }
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
