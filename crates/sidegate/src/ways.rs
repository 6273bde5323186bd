//! Whether packets arrive where the file sends them: the kernel is asked, and the log tells.

use std::sync::Arc;

use device::device_name;
use device::probe::{self, Packet, Severity};
use topology::{DeviceId, Topology};
use tracing::warn;

use crate::packets;

/// Warns of what each topology breaks that comes into force after this one.
pub(crate) fn watch(mut topology: Arc<Topology>, successions: impl Iterator<Item = Arc<Topology>>) {
    for next in successions {
        warn_of_broken(&next, Some(&topology));
        topology = next;
    }
}

/// Warns of all that do not arrive; nothing of it keeps the rest from flowing. What `before` has had as well is not told
/// again.
pub(crate) fn warn_of_broken(topology: &Topology, before: Option<&Topology>) {
    let device = device_name(&topology.run.name);
    for (index, namespace) in topology.namespaces.iter().enumerate() {
        let mut packets = packets::of(topology, DeviceId(index as u16));
        let known = before.map_or_else(Vec::new, |before| packets_in(before, &namespace.name));
        packets.retain(|packet| !known.contains(packet));
        if packets.is_empty() {
            continue;
        }
        match probe::routes(&namespace.path, &device, &packets) {
            Ok(findings) => findings
                .iter()
                .filter(|finding| finding.severity() > Severity::Fine)
                .for_each(|finding| warn!("{finding}")),
            Err(error) => warn!("{error}"),
        }
    }
}

/// Those of a namespace, if the topology has it.
fn packets_in(topology: &Topology, namespace: &str) -> Vec<Packet> {
    let index = topology.namespaces.iter().position(|own| own.name == namespace);
    index.map_or_else(Vec::new, |index| packets::of(topology, DeviceId(index as u16)))
}
