//! Where smoltcp meets frames: one frame in, and every packet that it builds out through a closure.

use std::num::{NonZeroU16, NonZeroUsize};

use smoltcp::phy::{Checksum as Computes, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;
use wire::{
    Checksum, Frame, Offload, Packet, Protocol, Segmentation, SegmentationKind, parse, pseudo_header,
};

use crate::challenge::Challenge;

/// What the far side of the closure can do.
pub(crate) struct Link {
    capabilities: DeviceCapabilities,
    offload: bool,
}

impl Link {
    pub(crate) fn new(mtu: usize, offload: bool) -> Self {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = mtu;
        // What comes in is checked before smoltcp sees it, unless the kernel vouches for it.
        capabilities.checksum.tcp = if offload { Computes::None } else { Computes::Tx };
        if offload {
            // smoltcp drops IPv6 packets that exceed the MTU, offloaded or not: so `tcpv6` stays unset.
            capabilities.segmentation.tcpv4 = NonZeroUsize::new(usize::from(u16::MAX));
        }
        Self { capabilities, offload }
    }

    /// The same, with offloads or without.
    pub(crate) fn with_offload(&self, offload: bool) -> Self {
        Self::new(self.capabilities.max_transmission_unit, offload)
    }

    /// The same, for a path that carries no more than `mtu`.
    pub(crate) fn lowered(&self, mtu: usize) -> Self {
        Self::new(mtu.min(self.capabilities.max_transmission_unit), self.offload)
    }

    /// The offload state for `packet` in `bytes`, which is cut into `segment`s if there is such a size. A checksum that is
    /// left to others becomes the partial one that they expect.
    fn finish(&self, packet: &Packet, bytes: &mut [u8], segment: Option<NonZeroU16>) -> Offload {
        if !self.offload {
            return Offload::NONE;
        }
        let partial =
            pseudo_header(packet.source, packet.destination, packet.protocol, packet.len - packet.transport);
        let at = packet.transport + Protocol::Tcp.checksum_offset();
        bytes[at..at + 2].copy_from_slice(&partial.to_be_bytes());
        let segmentation =
            segment.map(|size| Segmentation { kind: SegmentationKind::Tcp4, ecn: false, size: size.get() });
        Offload { checksum: Checksum::Partial, segmentation }
    }
}

/// The device that smoltcp sees during one call.
pub(crate) struct Port<'a, E> {
    /// The packet that has come in, until it is taken.
    pub(crate) inbound: Option<&'a [u8]>,
    /// Where packets are built.
    pub(crate) scratch: &'a mut [u8],
    pub(crate) link: &'a Link,
    /// What takes note of them.
    pub(crate) challenge: &'a mut Challenge,
    /// Where they go.
    pub(crate) emit: &'a mut E,
}

impl<E: FnMut(&mut Frame<'_>)> Device for Port<'_, E> {
    type RxToken<'t>
        = Inbound<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Outbound<'t, E>
    where
        Self: 't;

    fn receive(&mut self, now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let bytes = self.inbound.take()?;
        Some((Inbound(bytes), self.transmit(now)?))
    }

    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        let Self { scratch, link, challenge, emit, .. } = self;
        Some(Outbound { scratch, link, challenge, emit, segment: None })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.link.capabilities.clone()
    }
}

/// The packet that has come in.
pub(crate) struct Inbound<'t>(&'t [u8]);

impl RxToken for Inbound<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

/// Leave to send one packet.
pub(crate) struct Outbound<'t, E> {
    scratch: &'t mut [u8],
    link: &'t Link,
    challenge: &'t mut Challenge,
    emit: &'t mut E,
    segment: Option<NonZeroU16>,
}

impl<E: FnMut(&mut Frame<'_>)> TxToken for Outbound<'_, E> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, build: F) -> R {
        // An IP packet's length fits 16 bits, and the scratch buffer holds the largest.
        let bytes = &mut self.scratch[..len];
        let result = build(bytes);
        let offload = parse(bytes).map_or(Offload::NONE, |packet| {
            self.challenge.note(&packet, bytes);
            self.link.finish(&packet, bytes, self.segment)
        });
        (self.emit)(&mut Frame { offload, bytes });
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size;
    }
}
