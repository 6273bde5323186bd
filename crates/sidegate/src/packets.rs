//! The packets that `check --live` and `run` ask the kernel about.

use device::probe::Packet;
use topology::{DeviceId, Topology};

/// One for each way from a node of the device's to a target, and one for each address that hosts on a link are answered
/// for.
pub(crate) fn of(topology: &Topology, device: DeviceId) -> Vec<Packet> {
    let ways = topology.ways_from(device).into_iter();
    let answers = runtime::answers(&topology.namespaces[device.index()]).into_iter();
    let from_node = |(node, target)| Packet::FromNode { node, target };
    ways.map(from_node).chain(answers.map(Packet::FromHosts)).collect()
}
