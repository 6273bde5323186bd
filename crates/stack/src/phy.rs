//! Where smoltcp meets frames: one frame in, and every packet that it builds out through a closure.

use std::num::NonZeroUsize;
use std::time::Duration;

use smoltcp::phy::{Checksum as Computes, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use wire::{
    Checksum, Frame, Offload, Packet, Protocol, Segmentation, SegmentationKind, clamp_mss, parse,
    pseudo_header, transport_checksum,
};

use crate::loss::{Leave, Sender};
use crate::standing::Standing;
use crate::window::Window;

/// What the far side of the closure can do.
pub(crate) struct Link {
    capabilities: DeviceCapabilities,
    /// The largest packet that the path carries.
    mtu: usize,
    offload: bool,
}

impl Link {
    pub(crate) fn new(mtu: usize, offload: bool) -> Self {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        // What comes in is checked before smoltcp sees it, unless the kernel vouches for it; what goes out, `finish` sees to.
        capabilities.checksum.tcp = Computes::None;
        capabilities.checksum.ipv4 = Computes::Tx;
        capabilities.max_transmission_unit = mtu;
        if offload {
            // smoltcp drops IPv6 packets that exceed the MTU, offloaded or not. So it is told of none, and `finish` says where
            // to cut.
            capabilities.max_transmission_unit = usize::from(u16::MAX);
            capabilities.segmentation.tcpv4 = NonZeroUsize::new(usize::from(u16::MAX));
            capabilities.segmentation.tcpv6 = NonZeroUsize::new(usize::from(u16::MAX));
        }
        Self { capabilities, mtu, offload }
    }

    /// The same, with offloads or without.
    pub(crate) fn with_offload(&self, offload: bool) -> Self {
        Self::new(self.mtu, offload)
    }

    /// The same, for a path that carries no more than `mtu`.
    pub(crate) fn lowered(&self, mtu: usize) -> Self {
        Self::new(mtu.min(self.mtu), self.offload)
    }

    /// The same, for packets of no more than `longest` bytes.
    pub(crate) fn limited(mut self, longest: Option<usize>) -> Self {
        if let Some(longest) = longest.and_then(NonZeroUsize::new) {
            self.capabilities.segmentation.tcpv4 = Some(longest);
            self.capabilities.segmentation.tcpv6 = Some(longest);
        }
        self
    }

    /// The largest packet that the path carries.
    pub(crate) fn mtu(&self) -> usize {
        self.mtu
    }

    /// Whether packets may be larger than that.
    pub(crate) fn offloads(&self) -> bool {
        self.offload
    }

    /// Makes what smoltcp has built fit for the path, which is cut into `segment`s for its receiver's sake if it has
    /// data. Its checksum becomes right, or the partial one that whoever completes it expects.
    fn finish(&self, packet: &Packet, bytes: &mut [u8], segment: Option<u32>) -> Offload {
        if packet.flags.syn() {
            self.announce_mss(packet, bytes);
        }
        let at = packet.transport + Protocol::Tcp.checksum_offset();
        if !self.offload {
            let sum = transport_checksum(bytes, packet);
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            return Offload::NONE;
        }
        let partial =
            pseudo_header(packet.source, packet.destination, packet.protocol, packet.len - packet.transport);
        bytes[at..at + 2].copy_from_slice(&partial.to_be_bytes());
        Offload { checksum: Checksum::Partial, segmentation: self.segmentation(packet, segment) }
    }

    /// Where `packet` is to be cut, so that neither its receiver nor the path finds a segment too long.
    fn segmentation(&self, packet: &Packet, segment: Option<u32>) -> Option<Segmentation> {
        let kind = if packet.source.is_v4() { SegmentationKind::Tcp4 } else { SegmentationKind::Tcp6 };
        let own = (self.mtu - packet.payload) as u16;
        let size = segment.map_or(own, |segment| own.min(segment as u16));
        (packet.payload_len() > usize::from(size)).then_some(Segmentation { kind, ecn: false, size })
    }

    /// A SYN says what the path carries, whatever smoltcp was told.
    fn announce_mss(&self, packet: &Packet, bytes: &mut [u8]) {
        let mss = self.mtu - packet.transport - TCP_HEADER;
        // The checksum is not there yet.
        let offload = Offload { checksum: Checksum::Partial, segmentation: None };
        clamp_mss(&mut Frame { offload, bytes }, packet, mss as u16);
    }
}

/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;

/// The device that smoltcp sees during one call.
pub(crate) struct Port<'a, E> {
    /// The packet that has come in, until it is taken.
    pub(crate) inbound: Option<&'a [u8]>,
    /// Where packets are built.
    pub(crate) scratch: &'a mut [u8],
    pub(crate) link: &'a Link,
    /// What takes note of them.
    pub(crate) standing: &'a mut Standing,
    /// What holds down the window that they tell.
    pub(crate) window: &'a mut Window,
    /// What decides which of them leave, once the connection is open.
    pub(crate) sender: Option<&'a mut Sender>,
    /// What it has given leave for.
    pub(crate) leave: Leave,
    pub(crate) now: Duration,
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
        let Self { scratch, link, standing, window, sender, leave, now, emit, .. } = self;
        let (sender, leave, now) = (sender.as_deref_mut(), *leave, *now);
        Some(Outbound { scratch, link, standing, window, sender, leave, now, emit })
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
    standing: &'t mut Standing,
    window: &'t mut Window,
    sender: Option<&'t mut Sender>,
    leave: Leave,
    now: Duration,
    emit: &'t mut E,
}

impl<E: FnMut(&mut Frame<'_>)> TxToken for Outbound<'_, E> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, build: F) -> R {
        // An IP packet's length fits 16 bits, and the scratch buffer holds the largest.
        let bytes = &mut self.scratch[..len];
        let result = build(bytes);
        let Ok(mut packet) = parse(bytes) else { return result };
        // Also what does not leave: smoltcp believes it said.
        self.window.hold(&packet, bytes, self.standing);
        let mut segment = None;
        if let Some(sender) = self.sender {
            if !sender.passes(&mut packet, bytes, self.leave, self.now) {
                return result;
            }
            segment = Some(sender.segment());
        }
        self.standing.note(&packet, bytes);
        let offload = self.link.finish(&packet, bytes, segment);
        (self.emit)(&mut Frame { offload, bytes });
        result
    }
}
