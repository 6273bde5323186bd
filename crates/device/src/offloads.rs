//! Which work the kernel leaves undone on a device: agreed from the most down, and proven with a real packet, because
//! kernels exist that accept offloads and then refuse the packets. One that does so later is told by [`Undone::by`].

use std::fmt;
use std::io;
use std::ops::BitAnd;

use tracing::{debug, warn};
use wire::{Checksum, Frame, Offload, Packet, Protocol, Segmentation, SegmentationKind};

use crate::Queue;

/// The offloads of a device. They show as `csum tso4 tso6 …`, or `none`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offloads(u32);

impl Offloads {
    /// Every packet is whole and complete.
    pub const NONE: Self = Self(0);
    /// Checksums only.
    pub const CHECKSUM: Self = Self(libc::TUN_F_CSUM);
    /// Checksums, and super-packets of TCP.
    pub const TCP: Self = Self(Self::CHECKSUM.0 | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN);
    /// Super-packets of UDP too. The driver takes the two families of USO together or not at all.
    pub const ALL: Self = Self(Self::TCP.0 | libc::TUN_F_USO4 | libc::TUN_F_USO6);

    const NAMES: [(u32, &str); 6] = [
        (libc::TUN_F_CSUM, "csum"),
        (libc::TUN_F_TSO4, "tso4"),
        (libc::TUN_F_TSO6, "tso6"),
        (libc::TUN_F_TSO_ECN, "ecn"),
        (libc::TUN_F_USO4, "uso4"),
        (libc::TUN_F_USO6, "uso6"),
    ];

    /// Whether this may be left undone.
    pub const fn allow(self, undone: Undone) -> bool {
        self.0 & undone.flags() != 0
    }

    /// What is left when this may not be left undone any more.
    #[must_use]
    pub const fn without(self, undone: Undone) -> Self {
        Self(self.0 & !undone.flags())
    }

    /// The driver's `TUN_F_…`.
    pub(crate) const fn flags(self) -> u32 {
        self.0
    }
}

/// What two devices have in common.
impl BitAnd for Offloads {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        let names = Self::NAMES.iter().filter(|(flag, _)| self.0 & flag != 0).map(|(_, name)| *name);
        f.write_str(&names.collect::<Vec<_>>().join(" "))
    }
}

/// A kind of work that a frame leaves undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undone {
    /// A checksum is to be completed.
    Checksum,
    /// A super-packet of TCP is to be cut.
    Tcp,
    /// A super-packet of UDP is to be cut.
    Udp,
}

impl Undone {
    const ALL: [Self; 3] = [Self::Checksum, Self::Tcp, Self::Udp];

    /// What a frame of these bytes leaves undone, if it does so rightly: a kernel that refuses it does not take this kind,
    /// whatever it has agreed to. `None` if there is nothing, or the frame itself is at fault.
    pub fn by(offload: Offload, bytes: &[u8]) -> Option<Self> {
        let packet = wire::parse(bytes).ok()?;
        match offload {
            Offload { checksum: Checksum::Partial, segmentation: None } => Some(Self::Checksum),
            Offload { checksum: Checksum::Partial, segmentation: Some(segmentation) } => {
                Self::by_super_packet(&packet, segmentation)
            }
            _ => None,
        }
    }

    fn by_super_packet(packet: &Packet, segmentation: Segmentation) -> Option<Self> {
        /// More than the kernel cuts a datagram into.
        const TOO_MANY: usize = 129;
        match (segmentation.kind, packet.protocol, packet.source.is_v4()) {
            (SegmentationKind::Tcp4, Protocol::Tcp, true)
            | (SegmentationKind::Tcp6, Protocol::Tcp, false) => Some(Self::Tcp),
            (SegmentationKind::Udp, Protocol::Udp, _) => {
                let segments = packet.payload_len().div_ceil(usize::from(segmentation.size.max(1)));
                (segments < TOO_MANY).then_some(Self::Udp)
            }
            _ => None,
        }
    }

    /// The driver's flags for it, and for what rests on it.
    const fn flags(self) -> u32 {
        match self {
            Self::Checksum => Offloads::ALL.0,
            Self::Tcp => Offloads::TCP.0 & !Offloads::CHECKSUM.0,
            Self::Udp => Offloads::ALL.0 & !Offloads::TCP.0,
        }
    }

    /// Packets that leave this undone, one of each family. A super-packet has one and a half segments: kernels that go wrong
    /// do so over a short tail. A kernel that accepts them drops them before anybody sees them: the IPv4 header checksum is
    /// wrong, and the IPv6 source is a multicast address.
    fn proofs(self) -> [(Offload, Vec<u8>); 2] {
        const TCP: &[u8] = &[0, 9, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0];
        const UDP: &[u8] = &[0, 9, 0, 9, 0x05, 0xe4, 0, 0];
        let (protocol, transport, kinds) = match self {
            Self::Checksum => (17, UDP, [None, None]),
            Self::Tcp => (6, TCP, [Some(SegmentationKind::Tcp4), Some(SegmentationKind::Tcp6)]),
            Self::Udp => (17, UDP, [Some(SegmentationKind::Udp); 2]),
        };
        let length = transport.len() as u16 + 1500;
        let [mut v4, mut v6] = [vec![0; 20], vec![0; 40]];
        v4[0] = 0x45;
        v4[2..4].copy_from_slice(&(20 + length).to_be_bytes());
        v4[8] = 1;
        v4[9] = protocol;
        v6[0] = 0x60;
        v6[4..6].copy_from_slice(&length.to_be_bytes());
        v6[6] = protocol;
        v6[7] = 1;
        v6[8..10].copy_from_slice(&[0xff, 0x02]);
        let [four, six] = kinds.map(|kind| {
            let segmentation = kind.map(|kind| Segmentation { kind, ecn: false, size: 1000 });
            Offload { checksum: Checksum::Partial, segmentation }
        });
        [(four, v4), (six, v6)]
            .map(|(offload, header)| (offload, [&header[..], transport, &[0; 1500]].concat()))
    }
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checksum => "a partial checksum",
            Self::Tcp => "a TCP super-packet",
            Self::Udp => "a UDP super-packet",
        })
    }
}

/// Agrees on `most` of the offloads, or as many as the kernel both accepts and keeps to. The device has to be up.
pub(crate) fn negotiate(device: &str, most: Offloads, queues: &mut [impl Queue]) -> Offloads {
    for offloads in steps(most) {
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

/// What to ask for: the most, and fewer each time.
fn steps(most: Offloads) -> Vec<Offloads> {
    let mut steps =
        [Offloads::ALL, Offloads::TCP, Offloads::CHECKSUM, Offloads::NONE].map(|step| step & most).to_vec();
    steps.dedup();
    steps
}

/// Asks the driver for them. It keeps them per device, but says so nowhere: every queue is told.
fn agree(queues: &mut [impl Queue], offloads: Offloads) -> io::Result<()> {
    queues.iter_mut().try_for_each(|queue| queue.set_offloads(offloads))
}

/// Sends packets that need them, of each kind and family.
fn prove(queues: &mut [impl Queue], offloads: Offloads) -> io::Result<()> {
    let Some(queue) = queues.first_mut() else { return Ok(()) };
    let undone = Undone::ALL.into_iter().filter(|undone| offloads.allow(*undone));
    undone
        .flat_map(Undone::proofs)
        .try_for_each(|(offload, mut bytes)| queue.write(&Frame { offload, bytes: &mut bytes }))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsFd, BorrowedFd};

    use super::*;

    #[test]
    fn offloads_show_by_name() {
        assert_eq!(Offloads::ALL.to_string(), "csum tso4 tso6 ecn uso4 uso6");
        assert_eq!(Offloads::ALL.without(Undone::Udp), Offloads::TCP);
        assert_eq!(Offloads::ALL.without(Undone::Tcp).to_string(), "csum uso4 uso6");
        assert_eq!(Offloads::ALL.without(Undone::Checksum).to_string(), "none");
    }

    #[test]
    fn a_proof_is_a_good_packet_in_all_but_what_has_it_dropped() {
        for (undone, length) in [(Undone::Checksum, 1508), (Undone::Tcp, 1520), (Undone::Udp, 1508)] {
            let proofs = undone.proofs();
            assert_eq!(proofs[0].1[10..12], [0, 0], "the header checksum stays wrong");
            assert_eq!(proofs[1].1[8], 0xff, "the source is a multicast address");
            for ((offload, bytes), header) in proofs.into_iter().zip([20, 40]) {
                assert_eq!(bytes.len(), header + length);
                assert_eq!(Undone::by(offload, &bytes), Some(undone));
            }
        }
    }

    #[test]
    fn a_frame_that_is_at_fault_itself_tells_nothing_about_the_kernel() {
        let [(offload, bytes), _] = Undone::Udp.proofs();
        assert_eq!(Undone::by(Offload { checksum: Checksum::Complete, ..offload }, &bytes), None);
        for (kind, size) in [(SegmentationKind::Tcp4, 1000), (SegmentationKind::Udp, 11)] {
            let segmentation = Some(Segmentation { kind, ecn: false, size });
            assert_eq!(Undone::by(Offload { segmentation, ..offload }, &bytes), None, "{kind:?} of {size}");
        }
        assert_eq!(Undone::by(offload, &bytes[..1000]), None, "cut off");
        assert_eq!(Undone::by(Offload::NONE, &bytes), None, "nothing is left undone");
    }

    /// A kernel that accepts some offloads, and takes the packets of fewer, or of fewer if they are of IPv6.
    struct Kernel {
        file: File,
        accepts: Offloads,
        takes: Offloads,
        takes_v6: Offloads,
        now: Offloads,
    }

    impl AsFd for Kernel {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.file.as_fd()
        }
    }

    impl Queue for Kernel {
        fn read(&mut self, _: &mut [u8]) -> io::Result<Option<(usize, Offload)>> {
            Ok(None)
        }

        fn write(&mut self, frame: &Frame<'_>) -> io::Result<()> {
            let undone = Undone::by(frame.offload, frame.bytes).ok_or(io::ErrorKind::InvalidData)?;
            let takes = if frame.bytes[0] >> 4 == 6 { self.takes_v6 } else { self.takes };
            if takes.allow(undone) { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
        }

        fn set_offloads(&mut self, offloads: Offloads) -> io::Result<()> {
            if offloads & self.accepts != offloads {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            self.now = offloads;
            Ok(())
        }
    }

    #[test]
    fn no_more_is_agreed_than_the_kernel_keeps_to() {
        use Offloads as O;
        let without_tcp = O::ALL.without(Undone::Tcp);
        for (asked, accepts, takes, agreed) in [
            (O::ALL, O::ALL, O::ALL, O::ALL),
            (O::ALL, O::TCP, O::TCP, O::TCP),
            (O::ALL, O::ALL, O::TCP, O::TCP),
            (O::ALL, O::ALL, O::CHECKSUM, O::CHECKSUM),
            (O::ALL, O::ALL, O::NONE, O::NONE),
            (O::ALL, O::NONE, O::NONE, O::NONE),
            (without_tcp, O::ALL, O::ALL, without_tcp),
            (without_tcp, O::ALL, O::CHECKSUM, O::CHECKSUM),
            (O::NONE, O::ALL, O::ALL, O::NONE),
        ] {
            for (takes, takes_v6) in [(takes, takes), (takes, O::ALL), (O::ALL, takes)] {
                let file = File::open("/dev/null").unwrap();
                let mut kernel = [Kernel { file, accepts, takes, takes_v6, now: O::ALL }];
                let agreed_on = negotiate("sg-test", asked, &mut kernel);
                assert_eq!(
                    agreed_on, agreed,
                    "{asked} of one that accepts {accepts}, takes {takes}, {takes_v6}"
                );
                assert_eq!(kernel[0].now, agreed, "the driver is left with what was agreed");
            }
        }
    }
}
