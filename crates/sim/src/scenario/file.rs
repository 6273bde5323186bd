//! The operator's file of a scenario.

use std::net::IpAddr;

use super::{Consumer, DNS, PROVIDER, WEB};
use crate::ailment::Check;
use topology::{Path, ProxyProtocol};

use crate::provider::SILENT;
use crate::proxy::Ids;
use crate::rng::Rng;
use crate::shop::{self, DEAF, RUDE, Shop};

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
    pub(super) name: String,
    pub(super) targets: Vec<Target>,
    pub(super) check: Option<Check>,
    /// As the file says them.
    pub(super) attributes: String,
    /// How its targets are told who their clients are.
    pub(super) header: Option<ProxyProtocol>,
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
    pub(super) fn draw(consumers: &[Consumer], shops: &[Shop], rng: &mut Rng) -> Self {
        let mtu = [1500, 8500][rng.index(2)];
        let icmp = if rng.per_mille(333) { "helpful" } else { "faithful" };
        let at = |port| [WEB[0], WEB[2]].map(|(address, _)| (address, port));
        let [closed, silent] = [9, SILENT].map(at);
        let told = shops
            .iter()
            .enumerate()
            .map(|(shop, kind)| Group::new(&shop::group(shop), &at(shop::target(shop))).told(kind.header));
        let header = Some(ProxyProtocol::default());
        let odd =
            [("deaf", DEAF), ("rude", RUDE)].map(|(name, port)| Group::new(name, &at(port)).told(header));
        Self {
            mtu,
            icmp,
            split: vec![("web", 1)],
            closed: [80, 53].map(|port| (port, false)),
            groups: [
                Group::new("web", &WEB),
                Group::new("web4", &WEB[..2]),
                Group::new("web6", &WEB[2..]),
                Group::new("silent", &silent),
                Group::new("closed", &closed),
                Group::new("dns", &DNS),
            ]
            .into_iter()
            .chain(told)
            .chain(odd)
            .collect(),
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
ids        = {}
"#,
                Ids::of(number).text()
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
        let mut listeners: Vec<String> = all
            .iter()
            .filter(|(_, port, ..)| !self.closed.contains(&(*port, true)))
            .map(|(protocol, port, forward, path)| {
                format!("{{ protocol = \"{protocol}\", port = {port}, forward = {forward}{path} }}")
            })
            .collect();
        listeners.extend(shop::listeners().map(|(path, port, group)| {
            let path = Path::as_str(path);
            format!("{{ protocol = \"tcp\", port = {port}, forward = \"{group}\", path = \"{path}\" }}")
        }));
        listed(&listeners, String::clone)
    }
}

impl Group {
    pub(super) fn new(name: &str, targets: &[(IpAddr, u16)]) -> Self {
        let targets = targets.iter().map(|(address, port)| Target {
            address: *address,
            port: *port,
            weight: 1,
            is_there: true,
        });
        let (name, targets) = (name.into(), targets.collect());
        Self { name, targets, check: None, attributes: String::new(), header: None }
    }

    fn told(self, header: Option<ProxyProtocol>) -> Self {
        Self { header, ..self }
    }

    fn text(&self) -> String {
        let Self { name, targets, check, attributes, header } = self;
        let there: Vec<Target> = targets.iter().copied().filter(|target| target.is_there).collect();
        let targets = listed(&there, |Target { address, port, weight, .. }| {
            format!("{{ address = \"{address}\", port = {port}, weight = {weight} }}")
        });
        let check = check.map_or_else(String::new, |check| format!("health_check = {}\n", check.text()));
        let told = header.map(|ProxyProtocol { placement, words }| {
            format!(
                "\"proxy_protocol_v2.enabled\" = true, \
                 \"proxy_protocol_v2.client_to_server.header_placement\" = \"{}\", \
                 \"proxy_protocol_v2.tlv\" = \"{}\"",
                placement.as_str(),
                words.as_str()
            )
        });
        let all = told.into_iter().chain((!attributes.is_empty()).then(|| attributes.clone()));
        let attributes = all.collect::<Vec<_>>().join(", ");
        format!(
            "\n[[target_group]]\nname = \"{name}\"\ntargets = {targets}\nattributes = {{ {attributes} }}\n{check}"
        )
    }
}

fn listed<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", "))
}
