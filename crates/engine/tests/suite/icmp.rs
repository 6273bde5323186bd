//! ICMP beside the road: flows of both families, and messages about them.

#![allow(clippy::unwrap_used)] // building a packet for a test cannot fail

mod answers;
mod errors;
mod terminated;

use crate::lab::*;
use engine::Reason;
use etherparse::PacketBuilder;
use topology::DeviceId;

/// The four addresses of a flow, and a router on each side.
#[derive(Clone, Copy)]
struct Ends {
    client: &'static str,
    interface: &'static str,
    node: &'static str,
    target: &'static str,
    near: &'static str,
    far: &'static str,
}

const V4: Ends = Ends {
    client: CLIENT,
    interface: INTERFACE,
    node: NODE,
    target: TARGET,
    near: "10.1.0.1",
    far: "10.2.0.1",
};
const V6: Ends = Ends {
    client: "fd01::2",
    interface: "fd01::9:50",
    node: "fd02::9:1",
    target: "fd02::2",
    near: "fd01::1",
    far: "fd02::1",
};

/// Type, code and the rest of an ICMP header.
pub(crate) type Header = (u8, u8, u32);

const PING_V4: Header = (8, 0, 0x0007_0001);
const PING_V6: Header = (128, 0, 0x0007_0001);

impl Ends {
    fn is_v4(&self) -> bool {
        self.client == CLIENT
    }

    /// "Nobody listens on that port."
    fn unreachable(&self) -> Header {
        if self.is_v4() { (3, 3, 0) } else { (1, 4, 0) }
    }

    fn too_big(&self, mtu: u32) -> Header {
        if self.is_v4() { (3, 4, mtu) } else { (2, 0, mtu) }
    }

    fn time_exceeded(&self) -> Header {
        if self.is_v4() { (11, 0, 0) } else { (3, 0, 0) }
    }

    fn ping(&self) -> Header {
        if self.is_v4() { PING_V4 } else { PING_V6 }
    }

    /// Opens a UDP flow: a question as the client has sent it, and as it has left.
    fn ask(&self, lab: &mut Lab, device: DeviceId) -> (Vec<u8>, Vec<u8>) {
        let question = udp((self.client, 5000), (self.interface, 53), b"who are you, and what do you want?");
        let said = lab.input(device, &question);
        assert_eq!(said.verdicts[0].reason, Reason::Forwarded);
        (question, said.sent[0].1.clone())
    }

    /// An error from the provider's network about what has left.
    fn error(&self, header: Header, quote: &[u8]) -> Vec<u8> {
        icmp(header, self.far, self.node, quote)
    }
}

pub(crate) fn icmp((kind, code, rest): Header, from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (addr(from), addr(to));
    let mut bytes = Vec::new();
    let rest = rest.to_be_bytes();
    if source.is_v4() {
        let builder = PacketBuilder::ipv4(source.v4_octets(), destination.v4_octets(), 64);
        builder.icmpv4_raw(kind, code, rest).write(&mut bytes, payload).unwrap();
    } else {
        let builder = PacketBuilder::ipv6(source.octets(), destination.octets(), 64);
        builder.icmpv6_raw(kind, code, rest).write(&mut bytes, payload).unwrap();
    }
    bytes
}

fn helpful() -> Lab {
    Lab::of(&FILE.replace("name = \"lab\"", "name = \"lab\"\nicmp = \"helpful\""), 1)
}
