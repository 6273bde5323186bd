//! The operator's file of a scenario.

use std::net::IpAddr;

use super::{Consumer, DNS, PROVIDER, WEB};
use crate::ailment::Check;
use crate::provider::SILENT;
use crate::rng::Rng;

/// What the operator declares, as far as it is not the same in every file.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    mtu: u16,
    icmp: &'static str,
    /// The groups behind the listeners that share their flows out among several, each with its weight.
    pub(super) split: Vec<(&'static str, u16)>,
    pub(super) groups: Vec<Group>,
    /// The ports of listeners that may be taken away, and whether they are now.
    pub(super) closed: [(u16, bool); 2],
    /// Everybody who may have an endpoint, and whether he has one now.
    pub(super) endpoints: Vec<(Consumer, bool)>,
}

/// A target group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) targets: Vec<Target>,
    pub(super) check: Option<Check>,
    /// As the file says them.
    pub(super) attributes: String,
}

/// A target, and whether it is registered now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) address: IpAddr,
    port: u16,
    pub(super) weight: u16,
    pub(super) is_there: bool,
}

impl Declared {
    /// One service, with a listener of every kind, and an endpoint for each consumer.
    pub(super) fn draw(consumers: &[Consumer], rng: &mut Rng) -> Self {
        let mtu = [1500, 8500][rng.index(2)];
        let icmp = if rng.per_mille(333) { "helpful" } else { "faithful" };
        let [closed, silent] = [9, SILENT].map(|port| [WEB[0], WEB[2]].map(|(address, _)| (address, port)));
        Self {
            mtu,
            icmp,
            split: vec![("web", 1)],
            closed: [80, 53].map(|port| (port, false)),
            groups: vec![
                Group::new("web", &WEB),
                Group::new("web4", &WEB[..2]),
                Group::new("web6", &WEB[2..]),
                Group::new("silent", &silent),
                Group::new("closed", &closed),
                Group::new("dns", &DNS),
            ],
            endpoints: consumers.iter().map(|consumer| (*consumer, true)).collect(),
        }
    }

    /// The file.
    pub(super) fn text(&self) -> String {
        let Self { mtu, icmp, .. } = self;
        let listeners = self.listeners();
        let mut text = format!(
            r#"
[run]
name = "simulated"
mtu = {mtu}
icmp = "{icmp}"

[flows]
capacity = 1024

[[service]]
name      = "orders"
namespace = "{PROVIDER}"
nodes     = [{{ address = "10.2.9.1" }}, {{ address = "fd00:2::901" }}]
listeners = {listeners}
"#
        );
        text.extend(self.groups.iter().map(Group::text));
        let endpoints = self.endpoints.iter().enumerate().filter(|(_, (_, is_there))| *is_there);
        for (number, (Consumer { namespace, v4: [_, v4], v6: [_, v6] }, _)) in endpoints {
            text += &format!(
                r#"
[[endpoint]]
name       = "orders-{number}"
service    = "orders"
namespace  = "{namespace}"
interfaces = [{{ address = "{v4}" }}, {{ address = "{v6}" }}]
"#
            );
        }
        text
    }

    fn listeners(&self) -> String {
        let split = listed(&self.split, |(group, weight)| {
            format!("{{ target_group = \"{group}\", weight = {weight} }}")
        });
        // A check names the first listener that leads to its target: that one stays.
        let all = [
            ("tcp", 8443, split.as_str(), ", path = \"terminate\""),
            ("tcp", 80, &split, ""),
            ("tcp", 81, "\"closed\"", ""),
            ("tcp", 8444, "\"closed\"", ", path = \"terminate\""),
            ("tcp", 8445, "\"silent\"", ", path = \"terminate\""),
            ("tcp", 8446, "\"web4\"", ", path = \"terminate\""),
            ("tcp", 8447, "\"web6\"", ", path = \"terminate\""),
            ("udp", 53, "\"dns\"", ""),
            ("udp", 54, "\"closed\"", ""),
        ];
        let open: Vec<_> = all.iter().filter(|(_, port, ..)| !self.closed.contains(&(*port, true))).collect();
        listed(&open, |(protocol, port, forward, path)| {
            format!("{{ protocol = \"{protocol}\", port = {port}, forward = {forward}{path} }}")
        })
    }
}

impl Group {
    pub(super) fn new(name: &'static str, targets: &[(IpAddr, u16)]) -> Self {
        let targets = targets.iter().map(|(address, port)| Target {
            address: *address,
            port: *port,
            weight: 1,
            is_there: true,
        });
        Self { name, targets: targets.collect(), check: None, attributes: String::new() }
    }

    fn text(&self) -> String {
        let Self { name, targets, check, attributes } = self;
        let there: Vec<Target> = targets.iter().copied().filter(|target| target.is_there).collect();
        let targets = listed(&there, |Target { address, port, weight, .. }| {
            format!("{{ address = \"{address}\", port = {port}, weight = {weight} }}")
        });
        let check = check.map_or_else(String::new, |check| format!("health_check = {}\n", check.text()));
        format!(
            "\n[[target_group]]\nname = \"{name}\"\ntargets = {targets}\nattributes = {{ {attributes} }}\n{check}"
        )
    }
}

fn listed<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", "))
}
