//! The offload header (`virtio_net_hdr`, 10 bytes) that a TUN puts in front of every packet, as types.
//!
//! With [`Checksum::Partial`] the transport checksum field holds the folded, uncomplemented pseudo-header sum, and
//! whoever sends the packet on completes it. With a [`Segmentation`] the packet is a super-packet that stands for
//! many: the kernel cuts it at `size` payload bytes, if it ever has to. sidegate passes both through.

use thiserror::Error;

/// What state the transport checksum is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// Complete in the packet; nobody has verified it.
    Complete,
    /// Complete in the packet, and the kernel vouches for it.
    Verified,
    /// Only the pseudo-header's sum is in the field; the rest is the sender's to add.
    Partial,
}

/// What kind of super-packet this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentationKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP (USO): datagrams of equal size, over either family.
    Udp,
}

/// A super-packet's segmentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segmentation {
    /// What the segments are.
    pub kind: SegmentationKind,
    /// The TCP flow negotiated ECN: CWR is set on the first segment only.
    pub ecn: bool,
    /// Payload bytes of each segment but the last.
    pub size: u16,
}

/// The offload header, parsed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offload {
    /// The transport checksum's state.
    pub checksum: Checksum,
    /// `None` for an ordinary packet.
    pub segmentation: Option<Segmentation>,
}

/// An offload header that makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum OffloadError {
    /// A segmentation type that was never asked for.
    #[error("segmentation type {0:#04x} is not one that sidegate asked the kernel for")]
    UnknownSegmentation(u8),
    /// Segmentation without a size.
    #[error("a super-packet with segment size 0")]
    ZeroSegment,
}

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

impl Offload {
    /// Bytes of the header on the device.
    pub const LEN: usize = 10;

    /// Nothing left to do: the checksum is complete, the packet is one packet.
    pub const NONE: Self = Self { checksum: Checksum::Complete, segmentation: None };

    /// Reads the header as the kernel wrote it (native byte order). `hdr_len`, `csum_start` and `csum_offset` are not
    /// kept: they follow from the packet, and `hdr_len` is not to be trusted anyway.
    pub fn decode(raw: &[u8; Self::LEN]) -> Result<Self, OffloadError> {
        let flags = raw[0];
        let checksum = if flags & NEEDS_CSUM != 0 {
            Checksum::Partial
        } else if flags & DATA_VALID != 0 {
            Checksum::Verified
        } else {
            Checksum::Complete
        };
        let kind = match raw[1] & !GSO_ECN {
            GSO_NONE => return Ok(Self { checksum, segmentation: None }),
            GSO_TCPV4 => SegmentationKind::Tcp4,
            GSO_TCPV6 => SegmentationKind::Tcp6,
            GSO_UDP_L4 => SegmentationKind::Udp,
            _ => return Err(OffloadError::UnknownSegmentation(raw[1])),
        };
        let size = u16::from_ne_bytes([raw[4], raw[5]]);
        if size == 0 {
            return Err(OffloadError::ZeroSegment);
        }
        Ok(Self { checksum, segmentation: Some(Segmentation { kind, ecn: raw[1] & GSO_ECN != 0, size }) })
    }

    /// The length of the headers in front of what is to be segmented, as the kernel wrote it: not to be relied on.
    pub fn headers(raw: &[u8; Self::LEN]) -> usize {
        usize::from(u16::from_ne_bytes([raw[2], raw[3]]))
    }

    /// Writes the header for the packet `bytes`. The kernel wants `hdr_len` to be the IP and transport headers, and the
    /// checksum's place: both are read from the packet's own headers, which [`crate::parse`] has validated.
    pub fn encode(&self, bytes: &[u8]) -> [u8; Self::LEN] {
        let mut raw = [0; Self::LEN];
        let headers = Headers::of(bytes);
        match self.checksum {
            Checksum::Complete => {}
            Checksum::Verified => raw[0] = DATA_VALID,
            Checksum::Partial => {
                raw[0] = NEEDS_CSUM;
                raw[6..8].copy_from_slice(&headers.transport.to_ne_bytes());
                raw[8..10].copy_from_slice(&headers.checksum_offset.to_ne_bytes());
            }
        }
        if let Some(segmentation) = self.segmentation {
            raw[1] = match segmentation.kind {
                SegmentationKind::Tcp4 => GSO_TCPV4,
                SegmentationKind::Tcp6 => GSO_TCPV6,
                SegmentationKind::Udp => GSO_UDP_L4,
            } | if segmentation.ecn { GSO_ECN } else { 0 };
            raw[4..6].copy_from_slice(&segmentation.size.to_ne_bytes());
        }
        // Of a fragment there may be less than a whole transport header, and the kernel refuses to be told of more.
        let len = usize::from(headers.len).min(bytes.len()) as u16;
        raw[2..4].copy_from_slice(&len.to_ne_bytes());
        raw
    }
}

/// The offsets that the offload header repeats.
struct Headers {
    transport: u16,
    checksum_offset: u16,
    len: u16,
}

impl Headers {
    fn of(bytes: &[u8]) -> Self {
        let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
        // The road forwards no IPv6 extension header but a fragment's, behind which nothing is left to offload.
        let (transport, protocol) =
            if at(0) >> 4 == 4 { (u16::from(at(0) & 15) * 4, at(9)) } else { (40, at(6)) };
        match protocol {
            6 => {
                let header = u16::from(at(usize::from(transport) + 12) >> 4) * 4;
                Self { transport, checksum_offset: 16, len: transport + header }
            }
            17 => Self { transport, checksum_offset: 6, len: transport + 8 },
            _ => Self { transport, checksum_offset: 0, len: transport },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp4() -> Vec<u8> {
        let mut bytes = vec![0; 60];
        bytes[0] = 0x45;
        bytes[9] = 6;
        bytes[32] = 0x80;
        bytes
    }

    #[test]
    fn a_super_packet_survives_the_round_trip() {
        let segmentation = Segmentation { kind: SegmentationKind::Tcp4, ecn: true, size: 1448 };
        let offload = Offload { checksum: Checksum::Partial, segmentation: Some(segmentation) };
        let raw = offload.encode(&tcp4());
        assert_eq!(Offload::decode(&raw), Ok(offload));
        assert_eq!(u16::from_ne_bytes([raw[2], raw[3]]), 20 + 32, "header length is IP + TCP");
        assert_eq!(u16::from_ne_bytes([raw[6], raw[7]]), 20);
        assert_eq!(u16::from_ne_bytes([raw[8], raw[9]]), 16);
    }

    #[test]
    fn no_more_header_is_announced_than_there_is() {
        let mut last = vec![0; 23];
        (last[0], last[9]) = (0x45, 17);
        assert_eq!(Offload::NONE.encode(&last)[2..4], 23u16.to_ne_bytes(), "three bytes of a datagram's end");
        let mut v6 = vec![0xff; 56];
        (v6[0], v6[6]) = (0x60, 44);
        assert_eq!(Offload::NONE.encode(&v6)[2..4], 40u16.to_ne_bytes());
    }

    #[test]
    fn odd_headers_are_refused() {
        let mut raw = [0; 10];
        raw[1] = GSO_TCPV4;
        assert_eq!(Offload::decode(&raw), Err(OffloadError::ZeroSegment));
        raw[1] = 3;
        assert_eq!(Offload::decode(&raw), Err(OffloadError::UnknownSegmentation(3)));
    }
}
