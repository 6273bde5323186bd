//! The operator's file of a scenario.

use std::net::IpAddr;

use super::{Consumer, DNS, PROVIDER, WEB};
use crate::provider::SILENT;
use crate::rng::Rng;

/// One service, with a listener of every kind, and an endpoint for each consumer.
pub(super) fn operators_file(consumers: &[Consumer], rng: &mut Rng) -> String {
    let mtu = [1500, 8500][rng.index(2)];
    let icmp = if rng.per_mille(333) { "helpful" } else { "faithful" };
    let targets = |targets: &[(IpAddr, u16)]| {
        let one = |(address, port): &(IpAddr, u16)| format!("{{ address = \"{address}\", port = {port} }}");
        targets.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let (web, dns) = (targets(&WEB), targets(&DNS));
    let [closed, silent] =
        [9, SILENT].map(|port| targets(&[WEB[0], WEB[2]].map(|(address, _)| (address, port))));
    let [web4, web6] = [&WEB[..2], &WEB[2..]].map(targets);
    let mut file = format!(
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
listeners = [
  {{ protocol = "tcp", port = 80,   forward = "web" }},
  {{ protocol = "tcp", port = 81,   forward = "closed" }},
  {{ protocol = "tcp", port = 8443, forward = "web", path = "terminate" }},
  {{ protocol = "tcp", port = 8444, forward = "closed", path = "terminate" }},
  {{ protocol = "tcp", port = 8445, forward = "silent", path = "terminate" }},
  {{ protocol = "tcp", port = 8446, forward = "web4", path = "terminate" }},
  {{ protocol = "tcp", port = 8447, forward = "web6", path = "terminate" }},
  {{ protocol = "udp", port = 53,   forward = "dns" }},
  {{ protocol = "udp", port = 54,   forward = "closed" }},
]

[[target_group]]
name    = "web"
targets = [{web}]

[[target_group]]
name    = "web4"
targets = [{web4}]

[[target_group]]
name    = "web6"
targets = [{web6}]

[[target_group]]
name    = "silent"
targets = [{silent}]

[[target_group]]
name    = "closed"
targets = [{closed}]

[[target_group]]
name    = "dns"
targets = [{dns}]
"#
    );
    for (number, Consumer { namespace, v4: [_, v4], v6: [_, v6] }) in consumers.iter().enumerate() {
        file += &format!(
            r#"
[[endpoint]]
name       = "orders-{number}"
service    = "orders"
namespace  = "{namespace}"
interfaces = [{{ address = "{v4}" }}, {{ address = "{v6}" }}]
"#
        );
    }
    file
}
