//! Which work the kernel leaves undone on a device: agreed from the most down, and proven with a real packet, because
//! kernels exist that accept offloads and then refuse the packets.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use tracing::{debug, warn};
use wire::{Checksum, Frame, Offload, Segmentation, SegmentationKind};

use crate::Queue;
use crate::queue::TunQueue;
use crate::tun;

/// The offloads of a device. They show as `csum tso4 tso6 …`, or `none`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offloads(u32);

impl Offloads {
    /// Every packet is whole and complete.
    pub const NONE: Self = Self(0);
    const CHECKSUM: Self = Self(libc::TUN_F_CSUM);
    const TCP: Self = Self(Self::CHECKSUM.0 | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN);
    /// The driver takes the two families of USO together or not at all.
    const ALL: Self = Self(Self::TCP.0 | libc::TUN_F_USO4 | libc::TUN_F_USO6);

    const NAMES: [(u32, &str); 6] = [
        (libc::TUN_F_CSUM, "csum"),
        (libc::TUN_F_TSO4, "tso4"),
        (libc::TUN_F_TSO6, "tso6"),
        (libc::TUN_F_TSO_ECN, "ecn"),
        (libc::TUN_F_USO4, "uso4"),
        (libc::TUN_F_USO6, "uso6"),
    ];

    fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        let names = Self::NAMES.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| *name);
        f.write_str(&names.collect::<Vec<_>>().join(" "))
    }
}

/// Agrees on the most offloads that the kernel both accepts and keeps to. The device has to be up.
pub(crate) fn negotiate(device: &str, queues: &mut [TunQueue]) -> Offloads {
    for offloads in [Offloads::ALL, Offloads::TCP, Offloads::CHECKSUM] {
        if let Err(error) = agree(queues, offloads) {
            // Nothing is wrong: kernels before 6.2 know no USO.
            debug!(device, %offloads, %error, "the kernel does not know these offloads; trying fewer");
            continue;
        }
        match prove(queues, offloads) {
            Ok(()) => return offloads,
            Err(error) => {
                warn!(device, %offloads, %error, "the kernel does not keep to these offloads; trying fewer");
            }
        }
    }
    Offloads::NONE
}

/// Asks the driver for them. It keeps them per device, but says so nowhere: every queue is told.
fn agree(queues: &[TunQueue], offloads: Offloads) -> io::Result<()> {
    queues.iter().try_for_each(|queue| tun::set_offloads(queue.as_fd(), offloads.0))
}

/// Sends a packet that needs them, of each kind.
fn prove(queues: &mut [TunQueue], offloads: Offloads) -> io::Result<()> {
    let Some(queue) = queues.first_mut() else { return Ok(()) };
    for (flag, kind) in
        [(libc::TUN_F_TSO4, SegmentationKind::Tcp4), (libc::TUN_F_USO4, SegmentationKind::Udp)]
    {
        if offloads.has(flag) {
            let segmentation = Segmentation { kind, ecn: false, size: 1000 };
            let offload = Offload { checksum: Checksum::Partial, segmentation: Some(segmentation) };
            queue.write(&Frame { offload, bytes: &mut super_packet(kind) })?;
        }
    }
    Ok(())
}

/// A super-packet of one and a half segments: kernels that go wrong do so over a short tail. Its IP header checksum
/// is left wrong, so a kernel that accepts it drops it before anybody sees it.
fn super_packet(kind: SegmentationKind) -> Vec<u8> {
    let transport: &[u8] = match kind {
        SegmentationKind::Udp => &[0, 9, 0, 9, 0x05, 0xe4, 0, 0],
        _ => &[0, 9, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0],
    };
    let protocol = if kind == SegmentationKind::Udp { 17 } else { 6 };
    let length = 20 + transport.len() as u16 + 1500;
    let mut bytes = vec![0; usize::from(length)];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes[8] = 1;
    bytes[9] = protocol;
    bytes[20..20 + transport.len()].copy_from_slice(transport);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_show_by_name() {
        assert_eq!(Offloads::ALL.to_string(), "csum tso4 tso6 ecn uso4 uso6");
        assert_eq!(Offloads::CHECKSUM.to_string(), "csum");
        assert_eq!(Offloads::NONE.to_string(), "none");
    }

    #[test]
    fn the_proof_is_a_super_packet_in_all_but_its_header_checksum() {
        for (kind, length) in [(SegmentationKind::Tcp4, 1540), (SegmentationKind::Udp, 1528)] {
            let bytes = super_packet(kind);
            assert_eq!(bytes.len(), length);
            assert_eq!(usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), length);
            assert_eq!(bytes[10..12], [0, 0], "the header checksum stays wrong");
        }
        let datagram = super_packet(SegmentationKind::Udp);
        assert_eq!(u16::from_be_bytes([datagram[24], datagram[25]]), 1508, "the UDP length");
    }
}
