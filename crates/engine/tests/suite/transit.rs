//! Nothing is transitive: what has come through one endpoint does not go through another.

#![allow(clippy::unwrap_used)] // setting up a test cannot fail

use std::time::Duration;

use crate::fragments::cut;
use crate::lab::*;
use engine::{Message, Reason};
use topology::DeviceId;

/// Behind `first`, every target is `second`'s interface, two networks further. Of TCP, the last two digits of a port of
/// `first` say how each of them carries it: 0 is nat, 1 is terminate.
const CHAIN: &str = r#"
[run]
name = "chain"
[flows]
capacity = 4096
[[service]]
name = "near"
namespace = "provider"
nodes = [{ address = "10.2.9.1" }, { address = "fd02::9:1" }]
listeners = [
  { protocol = "tcp", port = 8000, forward = "second-nat" },
  { protocol = "tcp", port = 8001, forward = "second-terminate" },
  { protocol = "tcp", port = 8010, forward = "second-nat", path = "terminate" },
  { protocol = "tcp", port = 8011, forward = "second-terminate", path = "terminate" },
  { protocol = "udp", port = 53, forward = "second-dns" },
]
[[service]]
name = "far"
namespace = "consumer-b"
nodes = [{ address = "10.3.9.1" }, { address = "fd03::9:1" }]
listeners = [
  { protocol = "tcp", port = 80, forward = "end" },
  { protocol = "tcp", port = 81, forward = "end", path = "terminate" },
  { protocol = "udp", port = 53, forward = "end" },
]
[[target_group]]
name = "second-nat"
targets = [{ address = "10.4.9.50", port = 80 }, { address = "fd04::9:50", port = 80 }]
[[target_group]]
name = "second-terminate"
targets = [{ address = "10.4.9.50", port = 81 }, { address = "fd04::9:50", port = 81 }]
[[target_group]]
name = "second-dns"
targets = [{ address = "10.4.9.50", port = 53 }, { address = "fd04::9:50", port = 53 }]
[[target_group]]
name = "end"
targets = [{ address = "10.3.0.2", port = 80 }, { address = "fd03::2", port = 80 }]
[[endpoint]]
name = "first"
service = "near"
namespace = "consumer-a"
interfaces = [{ address = "10.1.9.50" }, { address = "fd01::9:50" }]
[[endpoint]]
name = "second"
service = "far"
namespace = "behind"
interfaces = [{ address = "10.4.9.50" }, { address = "fd04::9:50" }]
"#;

/// Client, `first`'s interface and node, and `second`'s interface, by family.
const FAMILIES: [[&str; 4]; 2] =
    [[CLIENT, INTERFACE, NODE, "10.4.9.50"], ["fd01::2", "fd01::9:50", "fd02::9:1", "fd04::9:50"]];

/// The chain, and the device that `second` is on.
fn chain() -> (Lab, DeviceId) {
    let mut lab = Lab::of(CHAIN, 1);
    let behind = lab.shared.topology().namespaces.iter().position(|own| own.name == "behind").unwrap();
    // What a terminated flow says is to come in again as it left: complete.
    lab.workers[0].message(Message::Offload(false), Duration::ZERO, &mut Said::default());
    (lab, DeviceId(behind as u16))
}

/// What opens a flow: a SYN, a datagram, a datagram's fragments.
type Opener = fn((&str, u16), (&str, u16)) -> Vec<Vec<u8>>;

/// Sends it through `first`, and what comes out (by the provider's network) to `second`.
fn comes_round(
    [client, interface, node, second]: [&str; 4],
    ports: [u16; 2],
    opener: Opener,
    carried: Reason,
) {
    let (mut lab, behind) = chain();
    let consumer = lab.consumers[0];
    let [near, far] = ports;
    let opening = opener((client, 40_000), (interface, near));
    let left: Vec<_> = opening.iter().flat_map(|packet| lab.input(consumer, packet).sent).collect();
    assert!(left.len() == opening.len() && left.iter().all(|(device, _)| *device == lab.provider));
    let packet = wire::parse_fragment(&left[0].1).ok().and_then(|fragment| fragment.head);
    let port = packet.unwrap_or_else(|| wire::parse(&left[0].1).unwrap()).source_port;
    // Networks may overlap: a host there may have our node's address, and is let in.
    for packet in opener((node, port ^ 1), (second, far)) {
        assert_eq!(lab.input(behind, &packet).verdicts[0].reason, carried);
    }
    let flows = lab.shared.flows().len();
    let reasons: Vec<_> = left.iter().map(|(_, packet)| lab.refused(behind, packet)).collect();
    assert_eq!(reasons[0], Reason::Transit);
    assert!(reasons[1..].iter().all(|reason| *reason == Reason::FragmentRefused));
    assert_eq!(lab.shared.flows().len(), flows, "nothing is opened");
}

#[test]
fn a_packet_that_came_through_an_endpoint_is_refused_at_the_next() {
    let syn: Opener = |from, to| vec![tcp(from, to, SYN, (1, 0), &[])];
    let datagram: Opener = |from, to| vec![udp(from, to, b"who?")];
    let fragments: Opener = |from, to| cut(&udp(from, to, &[7; 3000]), 0x1234, 1480);
    for family in FAMILIES {
        for first in [8000, 8010] {
            comes_round(family, [first, 80], syn, Reason::Forwarded);
            comes_round(family, [first + 1, 81], syn, Reason::Terminated);
        }
        comes_round(family, [53, 53], datagram, Reason::Forwarded);
        comes_round(family, [53, 53], fragments, Reason::FragmentForwarded);
    }
}
