//! Another topology in a running process: why it may be refused, and what it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use device::DeviceError;
use thiserror::Error;
use topology::{
    Attributes, Endpoint, HealthCheck, Interface, Listener, Namespace, Node, OutOfIds, Service, Target,
    Topology,
};

use crate::snapshot::{Change, ChangeKind};

/// How long whoever asks waits for an answer. Opening a device takes some hundredths of a second.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Why a new topology does not come into force. But for [`ReloadError::Silent`], nothing is different than before.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// It has other settings than the process was started with.
    #[error("{}; that cannot change while sidegate runs: restart it", .0.join("; "))]
    Unchangeable(Vec<String>),
    /// There are no ids left for what is new.
    #[error(transparent)]
    OutOfIds(#[from] OutOfIds),
    /// A device could not be made, or not have what it needs.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Nobody answered: it may yet come into force.
    #[error("nobody answered; look at the log of that sidegate for what has become of the reload")]
    Silent,
}

/// What is different in the next topology, which knows things under the same ids: service by service, and so on.
pub(crate) fn changes(now: &Topology, next: &Topology) -> Vec<Change> {
    let (before, after) = (inventory(now), inventory(next));
    let names: BTreeSet<&Name> = before.keys().chain(after.keys()).collect();
    let changes = names.into_iter().filter_map(|name| match (before.get(name), after.get(name)) {
        (None, _) => Some(change(name, ChangeKind::Added)),
        (_, None) => Some(change(name, ChangeKind::Removed)),
        (old, new) if old != new => Some(change(name, ChangeKind::Changed)),
        _ => None,
    });
    changes.chain(namespaces(now, next)).chain(delay(now, next)).collect()
}

fn change((thing, name): &Name, how: ChangeKind) -> Change {
    Change { thing: thing.to_string(), name: name.clone(), how }
}

/// The namespaces that get other addresses of their own, or whose hosts are answered on other links. What comes and goes
/// with an address of ours is not said here: that is.
fn namespaces(now: &Topology, next: &Topology) -> impl Iterator<Item = Change> {
    let answers = |own: &Namespace, other: &Namespace| -> BTreeSet<(IpAddr, String)> {
        let lasting = own.answers.iter().filter(|answer| other.routed.contains(&answer.address));
        lasting.map(|answer| (answer.address, answer.link.clone())).collect()
    };
    let is_other = move |(old, new): &(&Namespace, &Namespace)| {
        let is_used = old.is_used() && new.is_used();
        is_used && (old.local != new.local || answers(old, new) != answers(new, old))
    };
    let both = now.namespaces.iter().zip(&next.namespaces).filter(is_other);
    both.map(|(_, new)| change(&(Thing::Namespace, new.name.clone()), ChangeKind::Changed))
}

fn delay(now: &Topology, next: &Topology) -> Option<Change> {
    let name = (Thing::Setting, "run.propagation_delay".into());
    (now.run.propagation_delay != next.run.propagation_delay).then(|| change(&name, ChangeKind::Changed))
}

/// What a thing is, and which.
type Name = (Thing, String);

/// What an operator declares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Service,
    Group,
    Target,
    Endpoint,
    Namespace,
    Setting,
}

/// All that is said about a thing.
#[derive(PartialEq)]
enum Content<'a> {
    Service(&'a Service, Vec<&'a Node>, Vec<&'a Listener>),
    Group(&'a Option<HealthCheck>, &'a Attributes),
    Target(&'a Target),
    Endpoint(&'a Endpoint, Vec<&'a Interface>),
}

fn inventory(topology: &Topology) -> BTreeMap<Name, Content<'_>> {
    let services = topology.services.iter().map(|(_, own)| {
        let nodes = own.nodes.iter().map(|id| &topology.nodes[*id]).collect();
        let listeners = own.listeners.iter().map(|id| &topology.listeners[*id]).collect();
        ((Thing::Service, own.name.clone()), Content::Service(own, nodes, listeners))
    });
    let groups = topology.groups.iter().map(|(_, own)| {
        ((Thing::Group, own.name.clone()), Content::Group(&own.health_check, &own.attributes))
    });
    let targets = topology.targets.iter().map(|(_, own)| {
        let name = format!("{} of {}", own.socket(), topology.groups[own.group].name);
        ((Thing::Target, name), Content::Target(own))
    });
    let endpoints = topology.endpoints.iter().map(|(_, own)| {
        let interfaces = own.interfaces.iter().map(|id| &topology.interfaces[*id]).collect();
        ((Thing::Endpoint, own.name.clone()), Content::Endpoint(own, interfaces))
    });
    services.chain(groups).chain(targets).chain(endpoints).collect()
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "service",
            Self::Group => "group",
            Self::Target => "target",
            Self::Endpoint => "endpoint",
            Self::Namespace => "namespace",
            Self::Setting => "setting",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use topology::Origin;

    use super::*;

    const FILE: &str = r#"
        [[service]]
        name = "orders"
        namespace = "provider"
        nodes = [{ address = "10.2.9.1" }]
        listeners = [{ protocol = "tcp", port = 80, forward = "web" }]
        [[target_group]]
        name = "web"
        targets = [{ address = "10.2.0.2", port = 8080 }, { address = "10.2.0.3", port = 8080 }]
        [[endpoint]]
        name = "orders-a"
        service = "orders"
        namespace = "consumer"
        interfaces = [{ address = "10.1.9.50" }]
        "#;

    fn parse(file: &str) -> Topology {
        Topology::parse(file, &Origin::new(Path::new("/orders.toml"))).unwrap()
    }

    /// What is different after `from` was replaced by `to` in the file.
    fn after(from: &str, to: &str) -> Vec<String> {
        let now = parse(FILE);
        let next = parse(&FILE.replace(from, to)).succeed(&now).unwrap();
        changes(&now, &next).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_difference_is_told_by_what_the_operator_calls_it() {
        assert!(after("", "").is_empty());
        assert!(after("name =", "name  =").is_empty(), "another file that says the same");
        let second = r#", { address = "10.2.0.3", port = 8080 }"#;
        let cases: [(&str, &str, &[&str]); 15] = [
            (second, "", &["target 10.2.0.3:8080 of web removed"]),
            (
                "10.2.0.3",
                "10.2.0.4",
                &["target 10.2.0.3:8080 of web removed", "target 10.2.0.4:8080 of web added"],
            ),
            (
                "0.3\", port = 8080",
                "0.3\", port = 8080, weight = 5",
                &["target 10.2.0.3:8080 of web changed"],
            ),
            ("port = 80,", "port = 81,", &["service orders changed"]),
            ("10.2.9.1", "10.2.9.2", &["service orders changed"]),
            ("targets =", "health_check = { protocol = \"tcp\" }\ntargets =", &["group web changed"]),
            (
                "targets =",
                "attributes = { \"proxy_protocol_v2.enabled\" = true }\ntargets =",
                &["group web changed"],
            ),
            ("forward =", "path = \"splice\", forward =", &["service orders changed"]),
            ("10.1.9.50", "10.1.9.51", &["endpoint orders-a changed"]),
            ("interfaces =", "ids = { azure = 7 }\ninterfaces =", &["endpoint orders-a changed"]),
            (
                "name = \"orders-a\"",
                "name = \"orders-a\"\nlocal = \"10.1.9.1\"",
                &["namespace consumer changed"],
            ),
            ("listeners", "answer_on = [\"br0\"]\nlisteners", &["namespace provider changed"]),
            ("10.1.9.50\" }]", "10.1.9.51\" }]\nanswer_on = [\"br0\"]", &["endpoint orders-a changed"]),
            (
                "[[service]]",
                "[run]\npropagation_delay = 5\n[[service]]",
                &["setting run.propagation_delay changed"],
            ),
            ("orders-a", "orders-b", &["endpoint orders-a removed", "endpoint orders-b added"]),
        ];
        for (from, to, expected) in cases {
            assert_eq!(after(from, to), expected, "{from} becomes {to}");
        }
    }

    #[test]
    fn a_refusal_says_everything_that_cannot_change() {
        let refused = ReloadError::Unchangeable(vec!["run.mtu is 1, and would become 2".into(), "x".into()]);
        assert_eq!(
            refused.to_string(),
            "run.mtu is 1, and would become 2; x; that cannot change while sidegate runs: restart it"
        );
    }
}
