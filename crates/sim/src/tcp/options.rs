//! TCP's options, read and written by other code than the forwarder's.

use wire::Packet;

use crate::rng::Rng;

/// What a segment's options say.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// The MSS.
    pub mss: Option<u16>,
    /// The window scale.
    pub scale: Option<u8>,
    /// Whether a SYN's payload is meant to be taken.
    pub fast_open: bool,
    /// Whether selective acknowledgements are permitted.
    pub sack: bool,
    /// When it was sent, and the latest such time that its sender has heard.
    pub timestamps: Option<(u32, u32)>,
    /// What is acknowledged selectively.
    pub blocks: Vec<(u32, u32)>,
}

const END: u8 = 0;
const FILLER: u8 = 1;

impl Options {
    /// What a packet says.
    pub fn of(packet: &Packet, bytes: &[u8]) -> Self {
        Self::read(&bytes[packet.transport + 20..packet.payload])
    }

    /// Reads what lies between a header and its payload.
    pub fn read(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        while let [kind, rest @ ..] = bytes {
            match (*kind, rest) {
                (END, _) => break,
                (FILLER, _) => bytes = rest,
                (_, [len, ..]) if (2..=bytes.len()).contains(&usize::from(*len)) => {
                    let (option, next) = bytes.split_at(usize::from(*len));
                    options.take(*kind, &option[2..]);
                    bytes = next;
                }
                _ => break,
            }
        }
        options
    }

    fn take(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (2, [high, low]) => self.mss = Some(u16::from_be_bytes([*high, *low])),
            (3, [scale]) => self.scale = Some(*scale),
            (4, []) => self.sack = true,
            (34, _) => self.fast_open = true,
            (5, edges) => self.blocks.extend(edges.chunks_exact(8).map(block)),
            (8, stamps) if stamps.len() == 8 => self.timestamps = Some(block(stamps)),
            _ => {}
        }
    }

    /// Writes them, whole words long: at even or at odd places, as it comes.
    pub(super) fn write(&self, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = Vec::new();
        if rng.per_mille(300) && (self.mss.is_some() || self.scale.is_some()) {
            bytes.push(FILLER);
        }
        if let Some(mss) = self.mss {
            bytes.extend([2, 4]);
            bytes.extend(mss.to_be_bytes());
        }
        if let Some(scale) = self.scale {
            bytes.extend([3, 3, scale]);
        }
        if self.sack {
            bytes.extend([4, 2]);
        }
        if self.fast_open {
            bytes.extend([34, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
        }
        if let Some((value, echo)) = self.timestamps {
            bytes.extend([FILLER, FILLER, 8, 10]);
            bytes.extend(value.to_be_bytes());
            bytes.extend(echo.to_be_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(4), FILLER);
        bytes
    }
}

/// Two numbers.
fn block(bytes: &[u8]) -> (u32, u32) {
    let number = |at: usize| bytes[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    (number(0), number(4))
}

/// What has come out of order, as an option.
pub(super) fn selective_acknowledgement(blocks: &[(u32, u32)]) -> Vec<u8> {
    if blocks.is_empty() {
        return Vec::new();
    }
    let mut bytes = vec![FILLER, FILLER, 5, 2 + 8 * blocks.len() as u8];
    for (begin, end) in blocks {
        bytes.extend(begin.to_be_bytes());
        bytes.extend(end.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut rng = Rng::new(1);
        for bits in 0..32 {
            let options = Options {
                mss: (bits & 1 != 0).then_some(1440),
                scale: (bits & 2 != 0).then_some(7),
                sack: bits & 4 != 0,
                fast_open: bits & 16 != 0,
                timestamps: (bits & 8 != 0).then_some((5, 6)),
                blocks: vec![(1, 2)],
            };
            for _ in 0..8 {
                let mut bytes = options.write(&mut rng);
                assert!(bytes.len() <= 40, "as a SYN has them");
                bytes.extend(selective_acknowledgement(&[(1, 2)]));
                assert!(bytes.len().is_multiple_of(4));
                assert_eq!(Options::read(&bytes), options);
            }
        }
    }

    #[test]
    fn what_is_broken_off_ends_there() {
        assert_eq!(Options::read(&[2, 4, 1]), Options::default());
        assert_eq!(Options::read(&[3, 3, 7, 8, 0]).scale, Some(7));
        assert_eq!(Options::read(&[0, 3, 3, 7]).scale, None);
    }
}
