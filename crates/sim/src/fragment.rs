//! Datagrams in pieces: cut as a host or a router cuts them, and put together again as a kernel does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use topology::DeviceId;

use crate::header::{self, FRAGMENT, Header, set_ttl};
use crate::packet::OwnedFrame;

/// Cuts a packet that is longer than `mtu` into fragments with this identifier. A fragment that is cut again keeps its own.
/// Whatever is not to be cut is left as it is.
pub fn cut(frame: OwnedFrame, mtu: usize, identifier: u32) -> Vec<OwnedFrame> {
    let Some(header) = Header::read(&frame.bytes).filter(|_| frame.bytes.len() > mtu) else {
        return vec![frame];
    };
    let is_v4 = header.source.is_ipv4();
    let identifier = if header.is_fragment() { header.identifier } else { identifier };
    let payload = &frame.bytes[header.payload..];
    let room = (mtu - if is_v4 { 20 } else { 48 }) / 8 * 8;
    let pieces = payload.chunks(room).enumerate().map(|(number, piece)| {
        let at = number * room;
        let more = header.more || at + piece.len() < payload.len();
        let place = Header { identifier, offset: header.offset + at, more, ..header };
        OwnedFrame { bytes: fragment(&place, piece), ..frame.clone() }
    });
    pieces.collect()
}

/// One fragment: what the header says about its place, and a piece of the datagram.
pub fn fragment(header: &Header, piece: &[u8]) -> Vec<u8> {
    let Header { source, destination, number, identifier, offset, more, .. } = *header;
    let mut bytes = if source.is_ipv4() {
        let mut bytes = header::build(source, destination, number, piece.len());
        let place = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
        bytes[4..6].copy_from_slice(&(identifier as u16).to_be_bytes());
        bytes[6..8].copy_from_slice(&place.to_be_bytes());
        bytes
    } else {
        let mut bytes = header::build(source, destination, FRAGMENT, 8 + piece.len());
        let place = offset as u16 | u16::from(more);
        bytes.extend([number, 0]);
        bytes.extend(place.to_be_bytes());
        bytes.extend(identifier.to_be_bytes());
        bytes
    };
    set_ttl(&mut bytes, header.ttl);
    bytes.extend(piece);
    bytes
}

/// The header of a fragment, and its piece; `None` for any other packet.
pub fn read(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let header = Header::read(bytes).filter(|header| header.is_fragment() && header.len == bytes.len())?;
    Some((header, bytes.get(header.payload..)?))
}

/// By what a kernel tells whose piece a fragment is: nothing but addresses, protocol and identifier (and where it is).
type Name = (DeviceId, IpAddr, IpAddr, u8, u32);

/// The datagrams that hosts are putting together.
#[derive(Default)]
pub struct Reassembly(BTreeMap<Name, Datagram>);

struct Datagram {
    pieces: BTreeMap<usize, Vec<u8>>,
    /// Known once the last piece has come.
    len: Option<usize>,
    expires: Duration,
}

impl Reassembly {
    /// Takes a fragment that has reached a host behind `device`. Returns the datagram once it is whole.
    pub fn take(&mut self, device: DeviceId, bytes: &[u8], now: Duration) -> Option<OwnedFrame> {
        let (header, piece) = read(bytes)?;
        let name = (device, header.source, header.destination, header.number, header.identifier);
        self.0.retain(|_, datagram| datagram.expires > now);
        let patience = Duration::from_secs(if header.source.is_ipv4() { 30 } else { 60 });
        let fresh = Datagram { pieces: BTreeMap::new(), len: None, expires: now + patience };
        let datagram = self.0.entry(name).or_insert(fresh);
        if !datagram.accept(&header, piece) {
            self.0.remove(&name);
            return None;
        }
        let payload = datagram.whole()?;
        self.0.remove(&name);
        let mut whole = header::build(header.source, header.destination, header.number, payload.len());
        whole.extend(payload);
        Some(OwnedFrame::plain(whole))
    }
}

impl Datagram {
    /// `false` if the piece overlaps another, or does not fit: then all are thrown away. One that is there already is no
    /// matter, whatever it says.
    fn accept(&mut self, header: &Header, piece: &[u8]) -> bool {
        let (begin, end) = (header.offset, header.offset + piece.len());
        if self.pieces.get(&begin).is_some_and(|known| known.len() == piece.len()) {
            return true;
        }
        let overlaps = self.pieces.iter().any(|(at, known)| *at < end && begin < at + known.len());
        let furthest = self.pieces.last_key_value().map_or(0, |(at, known)| at + known.len());
        let fits = match (self.len, header.more) {
            (Some(len), true) => end <= len,
            (Some(len), false) => end == len,
            (None, true) => true,
            (None, false) => furthest <= end,
        };
        if !header.more {
            self.len = Some(end);
        }
        self.pieces.insert(begin, piece.to_vec());
        !overlaps && fits
    }

    fn whole(&self) -> Option<Vec<u8>> {
        let payload: Vec<u8> = self.pieces.values().flatten().copied().collect();
        (self.len == Some(payload.len())).then_some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Route, Shape, udp};

    const HERE: DeviceId = DeviceId(0);
    const NOW: Duration = Duration::ZERO;

    fn datagram(v4: bool, fill: u8) -> OwnedFrame {
        let [source, destination] = if v4 {
            [([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 2).into()]
        } else {
            [([1, 0, 0, 0, 0, 0, 0, 1], 1).into(), ([1, 0, 0, 0, 0, 0, 0, 2], 2).into()]
        };
        udp(Route { source, destination }, &[fill; 5000], Shape::Plain)
    }

    #[test]
    fn what_was_cut_and_cut_again_is_put_together() {
        for v4 in [true, false] {
            let pieces = cut(datagram(v4, 7), 1500, 9);
            assert!(pieces.len() == 4 && pieces.iter().all(|piece| piece.bytes.len() <= 1500));
            let again: Vec<OwnedFrame> =
                if v4 { pieces.into_iter().flat_map(|piece| cut(piece, 576, 0)).collect() } else { pieces };
            let mut host = Reassembly::default();
            let whole: Vec<OwnedFrame> =
                again.iter().rev().filter_map(|piece| host.take(HERE, &piece.bytes, NOW)).collect();
            assert_eq!(whole.len(), 1);
            assert_eq!(whole[0].bytes, datagram(v4, 7).bytes);
            assert!(host.0.is_empty());
        }
    }

    #[test]
    fn equal_identifiers_mix_and_others_do_not() {
        for (other, mixes) in [(9, true), (8, false)] {
            let (ours, theirs) = (cut(datagram(true, 1), 1500, 9), cut(datagram(true, 2), 1500, other));
            let mut host = Reassembly::default();
            let arriving = ours[..2].iter().chain(&theirs).chain(&ours[2..]);
            let first = arriving.filter_map(|piece| host.take(HERE, &piece.bytes, NOW)).next().unwrap();
            assert_eq!(first.bytes[20..] != datagram(true, 2).bytes[20..], mixes);
        }
    }

    #[test]
    fn an_overlap_and_a_late_piece_lose_the_datagram() {
        let pieces = cut(datagram(true, 1), 1500, 9);
        let (header, piece) = read(&pieces[1].bytes).unwrap();
        let overlap = fragment(&Header { offset: header.offset - 8, ..header }, piece);
        let mut host = Reassembly::default();
        assert!(host.take(HERE, &pieces[0].bytes, NOW).is_none());
        assert!(host.take(HERE, &overlap, NOW).is_none());
        assert!(host.0.is_empty());
        for (piece, second) in pieces.iter().zip([0, 0, 0, 31]) {
            assert!(host.take(HERE, &piece.bytes, Duration::from_secs(second)).is_none());
        }
    }
}
