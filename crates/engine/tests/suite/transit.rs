//! Nothing is transitive: what has come through one endpoint does not go through another.

use crate::lab::*;
use engine::Reason;
use topology::DeviceId;

/// Behind `first`, a target that is `second`'s interface, two networks further.
const CHAIN: &str = r#"
[run]
name = "chain"
[flows]
capacity = 4096
[[service]]
name = "near"
namespace = "provider"
nodes = [{ address = "10.2.9.1" }]
listeners = [{ protocol = "tcp", port = 80, forward = "next-door" }]
[[service]]
name = "far"
namespace = "consumer-b"
nodes = [{ address = "10.3.9.1" }]
listeners = [{ protocol = "tcp", port = 80, forward = "end" }]
[[target_group]]
name = "next-door"
targets = [{ address = "10.4.9.50", port = 80 }]
[[target_group]]
name = "end"
targets = [{ address = "10.3.0.2", port = 80 }]
[[endpoint]]
name = "first"
service = "near"
namespace = "consumer-a"
interfaces = [{ address = "10.1.9.50" }]
[[endpoint]]
name = "second"
service = "far"
namespace = "behind"
interfaces = [{ address = "10.4.9.50" }]
"#;

#[test]
fn a_packet_that_came_through_an_endpoint_is_refused_at_the_next() {
    let mut lab = Lab::of(CHAIN, 1);
    let behind =
        DeviceId(lab.shared.topology().namespaces.iter().position(|n| n.name == "behind").unwrap() as u16);
    let first = lab.consumers[0];
    let said = lab.input(first, &tcp((CLIENT, 40_000), (INTERFACE, 80), SYN, (1, 0), &[]));
    let (device, syn) = &said.sent[0];
    assert_eq!((*device, said.verdicts[0].reason), (lab.provider, Reason::Forwarded));
    let port = wire::parse(syn).unwrap().source_port;
    // The provider's network routes it on to where the second endpoint is.
    assert_eq!(lab.refused(behind, syn), Reason::Transit);
    // Networks may overlap: a host there may have our node's address, and is let in.
    lab.carried(behind, &tcp((NODE, port ^ 1), ("10.4.9.50", 80), SYN, (1, 0), &[]));
}
