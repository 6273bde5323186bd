//! A TCP header's options: where the value of one stands, and what a SYN's say.

use std::ops::Range;

use crate::{Packet, Protocol};

/// The options that somebody here asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcpOption {
    /// The largest segment that the sender takes: 2 bytes.
    Mss,
    /// By how many bits window fields are shifted: 1 byte.
    WindowScale,
    /// Whether the sender understands [`TcpOption::Sack`]: no value.
    SackPermitted,
    /// Up to four ranges that have arrived out of order: 8 bytes each.
    Sack,
    /// TSval and TSecr: 4 bytes each.
    Timestamps,
    /// TCP Fast Open's cookie, or the wish for one, by its own number or as the experiment that it was (RFC 7413, RFC 6994).
    FastOpen,
    /// Whatever MPTCP says (RFC 8684).
    Multipath,
}

impl TcpOption {
    /// Which one a kind and a value are. What has another length than the option's is none.
    #[inline]
    fn of(kind: u8, value: &[u8]) -> Option<Self> {
        match (kind, value.len()) {
            (2, 2) => Some(Self::Mss),
            (3, 1) => Some(Self::WindowScale),
            (4, 0) => Some(Self::SackPermitted),
            (5, 8 | 16 | 24 | 32) => Some(Self::Sack),
            (8, 8) => Some(Self::Timestamps),
            (30, _) => Some(Self::Multipath),
            (34, _) => Some(Self::FastOpen),
            (254, _) if value.starts_with(&[0xf9, 0x89]) => Some(Self::FastOpen),
            _ => None,
        }
    }
}

/// The options of a TCP packet, one after the other.
pub(crate) struct Options {
    at: usize,
    end: usize,
}

impl Options {
    /// All that a packet has (of UDP: none).
    #[inline]
    pub(crate) fn of(packet: &Packet) -> Self {
        match packet.protocol {
            Protocol::Tcp => Self { at: packet.transport + 20, end: packet.payload },
            Protocol::Udp => Self { at: 0, end: 0 },
        }
    }

    /// The next one, and where its value stands; `bytes` are the packet's. What nobody asks for is passed over; an option that
    /// contradicts itself is the end.
    #[inline]
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Option<(TcpOption, Range<usize>)> {
        let options = &bytes[..self.end];
        while self.at < self.end {
            match options[self.at] {
                0 => return None,
                1 => self.at += 1,
                kind => {
                    let value = self.at + 2..self.at + usize::from(*options.get(self.at + 1)?);
                    let option = TcpOption::of(kind, options.get(value.clone())?);
                    self.at = value.end;
                    if let Some(option) = option {
                        return Some((option, value));
                    }
                }
            }
        }
        None
    }
}

/// Where the value of a TCP packet's first such option stands. What has another length than the option's is passed over;
/// `None` where what comes before contradicts itself.
pub fn find_option(bytes: &[u8], packet: &Packet, option: TcpOption) -> Option<Range<usize>> {
    let mut options = Options::of(packet);
    std::iter::from_fn(|| options.next(bytes)).find(|(found, _)| *found == option).map(|(_, value)| value)
}

/// The MSS option of a TCP packet, if it has one.
pub fn mss_of(bytes: &[u8], packet: &Packet) -> Option<u16> {
    find_option(bytes, packet, TcpOption::Mss).map(|value| u16_at(bytes, value.start))
}

/// TSval and TSecr of a TCP packet, if it has them.
pub fn timestamps_of(bytes: &[u8], packet: &Packet) -> Option<[u32; 2]> {
    find_option(bytes, packet, TcpOption::Timestamps).map(|value| pair_at(bytes, value.start))
}

/// The window field of a TCP packet, as it stands.
pub fn window_of(bytes: &[u8], packet: &Packet) -> u16 {
    u16_at(bytes, packet.transport + WINDOW)
}

/// Where the window field stands in a TCP header.
pub(crate) const WINDOW: usize = 14;

/// The largest shift of a window (RFC 7323).
pub(crate) const MOST_SCALE: u8 = 14;

/// What the options of a SYN say, or of a SYN-ACK. (Of other segments: the timestamps.)
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SynOptions {
    /// The largest segment that its sender takes. (One of 0 says nothing, as to Linux.)
    pub mss: Option<u16>,
    /// By how many bits its sender shifts window fields: what says more than 14 is read as 14 (RFC 7323).
    pub window_scale: Option<u8>,
    /// Whether its sender understands SACK.
    pub sack_permitted: bool,
    /// TSval and TSecr.
    pub timestamps: Option<[u32; 2]>,
}

impl SynOptions {
    /// The largest segment that everybody takes who says nothing else (RFC 9293).
    pub const fn default_mss(is_v4: bool) -> u16 {
        if is_v4 { 536 } else { 1220 }
    }

    /// What those of a TCP packet say.
    pub fn read(bytes: &[u8], packet: &Packet) -> Self {
        let mut said = Self::default();
        let mut options = Options::of(packet);
        while let Some((option, value)) = options.next(bytes) {
            match option {
                TcpOption::Mss => said.mss = Some(u16_at(bytes, value.start)).filter(|mss| *mss > 0),
                TcpOption::WindowScale => said.window_scale = Some(bytes[value.start].min(MOST_SCALE)),
                TcpOption::SackPermitted => said.sack_permitted = true,
                TcpOption::Timestamps => said.timestamps = Some(pair_at(bytes, value.start)),
                TcpOption::Sack | TcpOption::FastOpen | TcpOption::Multipath => {}
            }
        }
        said
    }
}

#[inline]
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The number at `at`.
#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The two numbers at `at`.
#[inline]
pub(crate) fn pair_at(bytes: &[u8], at: usize) -> [u32; 2] {
    [u32_at(bytes, at), u32_at(bytes, at + 4)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Addr, TcpFlags};

    /// The value of `option` among `options`.
    fn value(options: &[u8], option: TcpOption) -> Option<&[u8]> {
        let packet = Packet {
            source: Addr::v4([10, 0, 0, 1]),
            destination: Addr::v4([10, 0, 0, 2]),
            protocol: Protocol::Tcp,
            source_port: 1,
            destination_port: 2,
            ttl: 64,
            flags: TcpFlags::new(TcpFlags::ACK),
            sequence: 0,
            acknowledgement: 0,
            transport: 0,
            payload: 20 + options.len(),
            len: 20 + options.len(),
        };
        let bytes = [&[0; 20], options].concat();
        find_option(&bytes, &packet, option).map(|value| &options[value.start - 20..value.end - 20])
    }

    #[test]
    fn an_option_is_found_among_others() {
        let options =
            [2, 4, 5, 180, 1, 3, 3, 7, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 5, 10, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(value(&options, TcpOption::Mss), Some(&[5, 180][..]));
        assert_eq!(value(&options, TcpOption::WindowScale), Some(&[7][..]));
        assert_eq!(value(&options, TcpOption::Timestamps), Some(&[0, 0, 0, 1, 0, 0, 0, 2][..]));
        assert_eq!(value(&options, TcpOption::Sack), Some(&[1, 2, 3, 4, 5, 6, 7, 8][..]));
    }

    #[test]
    fn nonsense_is_passed_over_and_ends() {
        assert_eq!(
            value(&[3, 4, 9, 9, 3, 3, 7, 0], TcpOption::WindowScale),
            Some(&[7][..]),
            "another length"
        );
        assert_eq!(value(&[0, 3, 3, 7], TcpOption::WindowScale), None, "after the end");
        assert_eq!(value(&[1, 1, 1, 3], TcpOption::WindowScale), None, "cut off");
        assert_eq!(value(&[1, 3, 3, 7], TcpOption::WindowScale), Some(&[7][..]));
        assert_eq!(value(&[9, 0, 9, 1], TcpOption::WindowScale), None, "no length at all");
        assert_eq!(value(&[1, 1, 8, 10], TcpOption::Timestamps), None, "beyond the header");
        assert_eq!(value(&[5, 2, 1, 1], TcpOption::Sack), None);
    }
}
