//! A TCP header's options: where the value of one stands.

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
}

impl TcpOption {
    const fn kind(self) -> u8 {
        match self {
            Self::Mss => 2,
            Self::WindowScale => 3,
            Self::SackPermitted => 4,
            Self::Sack => 5,
            Self::Timestamps => 8,
        }
    }

    const fn has_len(self, len: usize) -> bool {
        match self {
            Self::Mss => len == 2,
            Self::WindowScale => len == 1,
            Self::SackPermitted => len == 0,
            Self::Sack => len > 0 && len.is_multiple_of(8),
            Self::Timestamps => len == 8,
        }
    }
}

/// Where the value of a TCP packet's first such option stands. What has another length than the option's is passed over;
/// `None` where what comes before contradicts itself.
pub fn find_option(bytes: &[u8], packet: &Packet, option: TcpOption) -> Option<Range<usize>> {
    if packet.protocol != Protocol::Tcp {
        return None;
    }
    let mut at = packet.transport + 20;
    while at < packet.payload {
        match bytes[at] {
            0 => return None,
            1 => at += 1,
            kind => {
                let len = usize::from(*bytes[..packet.payload].get(at + 1)?);
                let value = at + 2..at + len.max(2);
                if kind == option.kind() && option.has_len(value.len()) && value.end <= packet.payload {
                    return Some(value);
                }
                at = value.end;
            }
        }
    }
    None
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
