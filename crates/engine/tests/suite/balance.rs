//! The load balancer on the road: who is chosen, whose flows end, and what a reload changes.

#![allow(clippy::unwrap_used)] // setting up a test cannot fail

use std::net::IpAddr;
use std::time::Duration;

use balance::{Reason as Unwell, Standing, State};
use engine::{Event, Message, Reason};
use flow::Cause;
use topology::{DeviceId, TargetId};
use wire::Packet;

use crate::lab::*;

mod choice;
mod ends;
mod explain;
mod reload;
mod threads;

const UNWELL: Standing = Standing::of(State::Unhealthy, Unwell::Timeout);

/// Ports of the service below.
const NAT: u16 = 80;
const TERMINATED: u16 = 8443;
/// Where targets are asked how they are.
const CHECKED: u16 = 9;

/// What a test's file says beyond what all have.
#[derive(Clone)]
struct Setup {
    nodes: &'static str,
    /// Where the listeners lead.
    forward: &'static str,
    /// Which listeners there are, beside that for UDP.
    tcp: bool,
    targets: String,
    /// Of the group: its health check and attributes.
    group: String,
    /// More groups and endpoints.
    more: &'static str,
    interfaces: &'static str,
}

impl Setup {
    /// Targets that are checked, with these attributes; but a test says itself what has been found out.
    fn checked(targets: u8, attributes: &str) -> Self {
        let check = format!(
            "health_check = {{ protocol = \"tcp\", port = {CHECKED}, interval = 300, timeout = 120 }}"
        );
        Self { group: format!("{check}\nattributes = {{ {attributes} }}"), ..Self::plain(targets, "") }
    }

    /// Targets that are not checked, with these attributes.
    fn plain(targets: u8, attributes: &str) -> Self {
        let target = |n| format!("{{ address = \"10.2.0.{n}\", port = 8080 }},");
        Self {
            nodes: "{ zone = \"a\", address = \"10.2.9.1\" }",
            forward: "\"web\"",
            tcp: true,
            targets: (1..=targets).map(target).collect(),
            group: format!("attributes = {{ {attributes} }}"),
            more: "",
            interfaces: "{ zone = \"a\", address = \"10.1.9.50\" }",
        }
    }

    fn file(&self) -> String {
        let Self { nodes, forward, tcp, targets, group, more, interfaces } = self;
        let tcp = if *tcp {
            format!(
                "{{ protocol = \"tcp\", port = {NAT}, forward = {forward} }},
                 {{ protocol = \"tcp\", port = {TERMINATED}, forward = {forward}, path = \"terminate\" }},"
            )
        } else {
            String::new()
        };
        format!(
            "[run]\nname = \"lab\"\n[flows]\ncapacity = 65536
            [[service]]\nname = \"orders\"\nnamespace = \"provider\"\nnodes = [{nodes}]
            listeners = [{tcp} {{ protocol = \"udp\", port = 53, forward = {forward} }}]
            [[target_group]]\nname = \"web\"\ntargets = [{targets}]\n{group}\n{more}
            [[endpoint]]\nname = \"orders-a\"\nservice = \"orders\"\nnamespace = \"consumer-a\"
            interfaces = [{interfaces}]
            [[endpoint]]\nname = \"orders-b\"\nservice = \"orders\"\nnamespace = \"consumer-b\"
            interfaces = [{{ zone = \"a\", address = \"10.1.9.50\" }}]"
        )
    }

    /// A lab in which the first checks have begun.
    fn lab(&self) -> Lab {
        let mut lab = Lab::of(&self.file(), 1);
        lab.pass(0, START, &mut Said::default());
        lab.now = START;
        lab
    }
}

/// When a test begins: all targets are being asked by then, and for a while none will have answered.
const START: Duration = Duration::from_secs(1);

fn after(seconds: u64) -> Duration {
    START + Duration::from_secs(seconds)
}

/// The target with this last digit.
fn target(lab: &Lab, last: u8) -> TargetId {
    let address = IpAddr::from([10, 2, 0, last]);
    let topology = lab.shared.topology();
    topology.targets.iter().find(|(_, target)| target.address == address).unwrap().0
}

/// Checks have found this out about targets; when the next review is due.
fn found(lab: &Lab, targets: impl IntoIterator<Item = u8>, standing: Standing, now: Duration) -> Duration {
    for last in targets {
        lab.shared.health().set(target(lab, last), standing);
    }
    lab.shared.review(now)
}

/// Where a datagram is sent on to: the last digit of its target.
fn asks(lab: &mut Lab, client: &str, port: u16) -> Result<u8, Reason> {
    asks_at(lab, client, port, (INTERFACE, 53), START)
}

fn asks_at(lab: &mut Lab, client: &str, port: u16, to: (&str, u16), now: Duration) -> Result<u8, Reason> {
    let device = lab.consumers[0];
    let said = lab.input_at(0, device, &udp((client, port), to, b"who?"), now);
    match said.verdicts[0].reason {
        Reason::Forwarded => Ok(last_digit(&wire::parse(&said.sent[0].1).unwrap())),
        reason => Err(reason),
    }
}

fn last_digit(packet: &Packet) -> u8 {
    packet.destination.v4_octets()[3]
}

fn causes(said: &Said) -> Vec<Cause> {
    let closed = said.events.iter().filter_map(|event| match event {
        Event::FlowClosed { cause, .. } => Some(*cause),
        _ => None,
    });
    closed.collect()
}

/// The RSTs among what was sent, by device, but for those of checks.
fn resets(said: &Said) -> Vec<(DeviceId, Packet)> {
    let packets = said.sent.iter().map(|(device, bytes)| (*device, wire::parse(bytes).unwrap()));
    packets.filter(|(_, packet)| packet.flags.rst() && packet.destination_port != CHECKED).collect()
}
