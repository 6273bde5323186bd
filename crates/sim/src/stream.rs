//! What connections carry. Every 8 bytes name the connection, the way they go and their place in the stream, so that a
//! byte in the wrong place, or in the wrong namespace, gives itself away.

/// A connection (or a series of datagrams), of all that a scenario has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConnectionId(pub u16);

impl ConnectionId {
    /// What nobody has opened: the mark of whoever forces a way in.
    pub const INTRUDER: Self = Self(0x7fff);
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the consumer to the target.
    Up,
    /// From the target to the consumer.
    Down,
}

/// What a piece of a stream says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    /// Whose it is.
    pub connection: ConnectionId,
    /// Which way it goes.
    pub way: Way,
    /// Its place in the stream, in words.
    pub index: u32,
}

/// Bytes in a word of a stream: `mark (16) | way (1) | connection (15) | index (32)`.
pub const WORD: usize = 8;
/// Opens every word. Streams stay so short that no index contains it.
const MARK: [u8; 2] = [0xa5, 0xc3];

/// A piece of a stream.
pub fn piece(connection: ConnectionId, way: Way, offset: usize, len: usize) -> Vec<u8> {
    (offset..offset + len).map(|at| word(connection, way, (at / WORD) as u32)[at % WORD]).collect()
}

/// The tag of the first whole word in `payload`, which may begin anywhere in a stream.
pub fn tag_in(payload: &[u8]) -> Option<Tag> {
    let word = payload.windows(WORD).take(WORD).find(|word| word[..2] == MARK)?;
    let name = u16::from_be_bytes([word[2], word[3]]);
    Some(Tag {
        connection: ConnectionId(name & 0x7fff),
        way: if name >> 15 == 0 { Way::Up } else { Way::Down },
        index: u32::from_be_bytes([word[4], word[5], word[6], word[7]]),
    })
}

fn word(connection: ConnectionId, way: Way, index: u32) -> [u8; WORD] {
    let way = if way == Way::Down { 1 << 15 } else { 0 };
    let [n0, n1] = (connection.0 | way).to_be_bytes();
    let [i0, i1, i2, i3] = index.to_be_bytes();
    [MARK[0], MARK[1], n0, n1, i0, i1, i2, i3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_says_whose_it_is_wherever_it_begins() {
        for offset in 0..50 {
            let tag = tag_in(&piece(ConnectionId(7), Way::Down, offset, 15)).unwrap();
            assert_eq!((tag.connection, tag.way), (ConnectionId(7), Way::Down));
            assert_eq!(tag.index as usize, offset.div_ceil(WORD));
        }
        assert_eq!(tag_in(&piece(ConnectionId(7), Way::Up, 1, 7)), None, "no whole word");
    }
}
