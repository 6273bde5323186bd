//! Packets by other code than the forwarder's: built, taken apart, cut and summed up here, byte by byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const ICMP_V6: u8 = 58;

/// Where things are in a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// Where the transport header begins, behind a fragment header.
    pub(crate) transport: usize,
    pub(crate) fragment: Option<Fragment>,
}

/// A fragment's place in its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fragment {
    pub(crate) offset: usize,
    pub(crate) more: bool,
}

impl Layout {
    /// The layout of a whole packet; `None` if it contradicts its own length.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let layout = Self::of_quote(bytes)?;
        let len = match layout.source {
            IpAddr::V4(_) => usize::from(word(bytes, 2)),
            IpAddr::V6(_) => usize::from(word(bytes, 4)) + 40,
        };
        (len == bytes.len()).then_some(layout)
    }

    /// The layout of a packet whose end may be missing.
    pub(crate) fn of_quote(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::of_v4(bytes),
            6 => Self::of_v6(bytes),
            _ => None,
        }
    }

    fn of_v4(bytes: &[u8]) -> Option<Self> {
        let transport = usize::from(bytes[0] & 15) * 4;
        if transport < 20 || transport > bytes.len() {
            return None;
        }
        let place = word(bytes, 6);
        let (offset, more) = (usize::from(place & 0x1fff) * 8, place & 0x2000 != 0);
        Some(Self {
            source: Ipv4Addr::from(*bytes[12..].first_chunk::<4>()?).into(),
            destination: Ipv4Addr::from(*bytes[16..].first_chunk::<4>()?).into(),
            protocol: bytes[9],
            transport,
            fragment: (offset > 0 || more).then_some(Fragment { offset, more }),
        })
    }

    fn of_v6(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<40>()?;
        let plain = Self {
            source: Ipv6Addr::from(*header[8..].first_chunk::<16>()?).into(),
            destination: Ipv6Addr::from(*header[24..].first_chunk::<16>()?).into(),
            protocol: header[6],
            transport: 40,
            fragment: None,
        };
        match (plain.protocol, bytes.get(40..48)) {
            (FRAGMENT, Some(header)) => {
                let place = word(header, 2);
                let fragment = Fragment { offset: usize::from(place & !7), more: place & 1 != 0 };
                Some(Self { protocol: header[0], transport: 48, fragment: Some(fragment), ..plain })
            }
            _ => Some(plain),
        }
    }

    /// Whether the transport header is here: not in a later fragment.
    pub(crate) fn begins(&self) -> bool {
        self.fragment.is_none_or(|fragment| fragment.offset == 0)
    }

    /// Source and destination port, of what has them.
    pub(crate) fn ports(&self, bytes: &[u8]) -> Option<[u16; 2]> {
        let has = self.begins() && matches!(self.protocol, TCP | UDP);
        let ports = bytes.get(self.transport..self.transport + 4).filter(|_| has)?;
        Some([word(ports, 0), word(ports, 2)])
    }

    /// Where the transport checksum is, if there is room for one.
    fn checksum_at(&self, bytes: &[u8]) -> Option<usize> {
        let at = self.transport
            + match self.protocol {
                TCP => 16,
                UDP => 6,
                ICMP | ICMP_V6 => 2,
                _ => return None,
            };
        (self.begins() && at + 2 <= bytes.len()).then_some(at)
    }

    /// The sum of the pseudo-header, of a protocol that has one.
    pub(crate) fn pseudo_sum(&self, bytes: &[u8]) -> u16 {
        if self.protocol == ICMP {
            return 0;
        }
        let len = (bytes.len() - self.transport) as u32;
        fold(address_sum(self.source) + address_sum(self.destination) + u32::from(self.protocol) + len)
    }

    /// The sum of all that the transport checksum covers, itself included: 0xffff if it is right.
    pub(crate) fn total_sum(&self, bytes: &[u8]) -> u16 {
        fold(u32::from(self.pseudo_sum(bytes)) + sum(&bytes[self.transport..]))
    }

    /// What stands in the transport checksum's field.
    pub(crate) fn checksum(&self, bytes: &[u8]) -> Option<u16> {
        self.checksum_at(bytes).map(|at| word(bytes, at))
    }

    /// Whether an IPv4 datagram has no checksum, as it may.
    pub(crate) fn lacks_checksum(&self, bytes: &[u8]) -> bool {
        self.protocol == UDP && self.source.is_ipv4() && self.checksum(bytes) == Some(0)
    }

    /// Whether the IPv4 header's checksum is right.
    pub(crate) fn header_is_right(&self, bytes: &[u8]) -> bool {
        self.source.is_ipv6() || fold(sum(&bytes[..usize::from(bytes[0] & 15) * 4])) == 0xffff
    }

    /// Whether a whole packet's transport checksum is right: complete, or partial.
    pub(crate) fn checksum_is_right(&self, bytes: &[u8], partial: bool) -> bool {
        match self.checksum(bytes) {
            Some(field) if partial => field == self.pseudo_sum(bytes),
            Some(_) => self.lacks_checksum(bytes) || self.total_sum(bytes) == 0xffff,
            None => false,
        }
    }

    /// Makes both checksums right, as far as there is room for them.
    pub(crate) fn mend(&self, bytes: &mut [u8], partial: bool) {
        if self.source.is_ipv4() {
            let header = usize::from(bytes[0] & 15) * 4;
            write(bytes, 10, 0);
            let checksum = !fold(sum(&bytes[..header]));
            write(bytes, 10, checksum);
        }
        let Some(at) = self.checksum_at(bytes) else { return };
        write(bytes, at, 0);
        let checksum = match (partial, !self.total_sum(bytes)) {
            (true, _) => self.pseudo_sum(bytes),
            (false, 0) if self.protocol == UDP => 0xffff,
            (false, checksum) => checksum,
        };
        write(bytes, at, checksum);
    }
}

/// Puts an IP header before `transport`. Its checksums are left to [`Layout::mend`].
pub(crate) fn packet(source: IpAddr, destination: IpAddr, protocol: u8, transport: &[u8]) -> Vec<u8> {
    const TTL: u8 = 64;
    const DONT_FRAGMENT: u8 = 0x40;
    let mut bytes = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let [high, low] = (20 + transport.len() as u16).to_be_bytes();
            let mut header = vec![0x45, 0, high, low, 0x12, 0x34, DONT_FRAGMENT, 0, TTL, protocol, 0, 0];
            header.extend([source.octets(), destination.octets()].concat());
            header
        }
        (source, destination) => {
            let [high, low] = (transport.len() as u16).to_be_bytes();
            let mut header = vec![0x60, 0, 0, 0, high, low, protocol, TTL];
            header.extend([v6(source).octets(), v6(destination).octets()].concat());
            header
        }
    };
    bytes.extend(transport);
    bytes
}

/// The piece of a packet that begins `offset` bytes into its payload, as a packet of its own.
pub(crate) fn piece(whole: &[u8], layout: &Layout, offset: usize, len: usize, id: u8) -> Vec<u8> {
    let payload = &whole[layout.transport..];
    let start = offset.min(payload.len());
    let end = (start + len).min(payload.len());
    let more = end < payload.len();
    let place = (offset as u16 & 0xfff8, u16::from(more));
    let mut bytes = whole[..layout.transport].to_vec();
    if layout.source.is_ipv4() {
        write(&mut bytes, 2, (layout.transport + end - start) as u16);
        write(&mut bytes, 4, id.into());
        write(&mut bytes, 6, place.0 >> 3 | place.1 << 13);
    } else {
        bytes[6] = FRAGMENT;
        write(&mut bytes, 4, (8 + end - start) as u16);
        bytes.extend([layout.protocol, 0]);
        bytes.extend((place.0 | place.1).to_be_bytes());
        bytes.extend([0, 0, 0, id]);
    }
    bytes.extend(&payload[start..end]);
    if layout.source.is_ipv4() {
        write(&mut bytes, 10, 0);
        let checksum = !fold(sum(&bytes[..layout.transport]));
        write(&mut bytes, 10, checksum);
    }
    bytes
}

/// The 16-bit word at `at`.
pub(crate) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The 32-bit word at `at`.
pub(crate) fn double_word(bytes: &[u8], at: usize) -> u32 {
    u32::from(word(bytes, at)) << 16 | u32::from(word(bytes, at + 2))
}

fn write(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn address_sum(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    }
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
