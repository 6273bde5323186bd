//! Fragments that came before their datagram's first one: the only packets that are kept. Buffers are made once, and are
//! used again.

use ahash::RandomState;
use bytes::BytesMut;
use flow::Place;
use wire::Fragment;

use super::shares::Shares;

/// Fragments that may wait, of all datagrams of one worker.
const ROOM: usize = 64;
/// Fragments that may wait of one datagram.
const ROOM_PER_DATAGRAM: usize = 16;

/// The fragments that wait.
pub(super) struct Waiting {
    /// In the order in which they came.
    kept: Vec<Kept>,
    spare: Vec<BytesMut>,
    shares: Shares,
}

/// A fragment that waits.
pub(crate) struct Kept {
    /// Where its datagram is kept.
    datagram: usize,
    place: Place,
    pub(crate) fragment: Fragment,
    pub(crate) bytes: BytesMut,
}

/// Too many of its datagram wait already.
pub(super) struct NoRoom;

impl Waiting {
    /// Room for fragments of up to `longest` bytes.
    pub(super) fn new(longest: usize, keys: RandomState) -> Self {
        Self {
            kept: Vec::with_capacity(ROOM),
            spare: (0..ROOM).map(|_| BytesMut::with_capacity(longest)).collect(),
            shares: Shares::new(ROOM, keys),
        }
    }

    /// The datagram that makes room for another fragment, if there is none: the oldest of the place that has most waiting.
    pub(super) fn makes_room(&self) -> Option<usize> {
        let greediest = self.spare.is_empty().then(|| self.shares.greediest())?;
        self.kept.iter().find(|kept| Some(kept.place) == greediest).map(|kept| kept.datagram)
    }

    /// Keeps a copy.
    pub(super) fn keep(
        &mut self,
        datagram: usize,
        place: Place,
        fragment: &Fragment,
        bytes: &[u8],
    ) -> Result<(), NoRoom> {
        if self.kept.iter().filter(|kept| kept.datagram == datagram).count() >= ROOM_PER_DATAGRAM {
            return Err(NoRoom);
        }
        let mut copy = self.spare.pop().ok_or(NoRoom)?;
        copy.extend_from_slice(bytes);
        self.kept.push(Kept { datagram, place, fragment: *fragment, bytes: copy });
        self.shares.add(place);
        Ok(())
    }

    /// The one of a datagram's fragments that stands first in it.
    pub(super) fn take(&mut self, datagram: usize) -> Option<Kept> {
        let of_datagram = self.kept.iter().enumerate().filter(|(_, kept)| kept.datagram == datagram);
        let (first, _) = of_datagram.min_by_key(|(_, kept)| kept.fragment.start)?;
        let kept = self.kept.remove(first);
        self.shares.remove(kept.place);
        Some(kept)
    }

    /// Takes the buffer back.
    pub(super) fn give_back(&mut self, mut kept: Kept) {
        kept.bytes.clear();
        self.spare.push(kept.bytes);
    }

    /// Drops all of a datagram's fragments; says how many they were.
    pub(super) fn discard(&mut self, datagram: usize) -> usize {
        let mut count = 0;
        while let Some(kept) = self.take(datagram) {
            self.give_back(kept);
            count += 1;
        }
        count
    }
}
