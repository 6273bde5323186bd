//! Which bytes of a datagram have come.

use arrayvec::ArrayVec;
use wire::Fragment;

/// Stretches without a hole that a datagram may have come in so far. A sender cuts in order: what makes more of them than
/// a few is no accident.
const STRETCHES: usize = 16;

/// The bytes that have come, as stretches without a hole, in order.
#[derive(Default)]
pub(super) struct Coverage {
    stretches: ArrayVec<Stretch, STRETCHES>,
    /// Where the datagram ends, once its last fragment has come.
    end: Option<u16>,
}

#[derive(Clone, Copy)]
struct Stretch {
    start: u16,
    end: u16,
}

/// Why a fragment does not fit to those that have come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Misfit {
    /// All of its bytes have come already: the network has doubled it, or somebody cut anew what was lost. Whatever it
    /// holds, it is dropped and changes nothing.
    Duplicate,
    /// Some of its bytes have come already, or it lies beyond the datagram's end.
    Overlap,
    /// There are too many holes.
    Holes,
}

impl Coverage {
    /// Notes a fragment that has come.
    pub(super) fn add(&mut self, fragment: &Fragment) -> Result<(), Misfit> {
        let Fragment { start, end, last, .. } = *fragment;
        let furthest = self.stretches.last().map_or(0, |stretch| stretch.end);
        let contradicts = match self.end {
            Some(known) => end > known || (last && end < known),
            None => last && end < furthest,
        };
        if contradicts {
            return Err(Misfit::Overlap);
        }
        if let Some(met) = self.stretches.iter().find(|stretch| stretch.start < end && start < stretch.end) {
            let within = met.start <= start && end <= met.end;
            return Err(if within { Misfit::Duplicate } else { Misfit::Overlap });
        }
        self.insert(start, end)?;
        if last {
            self.end = Some(end);
        }
        Ok(())
    }

    /// Whether nothing is missing.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.stretches[..], [Stretch { start: 0, end }] if self.end == Some(end))
    }

    /// Adds a stretch that overlaps none, and joins it to its neighbours.
    fn insert(&mut self, start: u16, end: u16) -> Result<(), Misfit> {
        let at = self.stretches.partition_point(|stretch| stretch.start < start);
        let (before, after) = self.stretches.split_at_mut(at);
        let before = before.last_mut().filter(|before| before.end == start);
        let after = after.first_mut().filter(|after| after.start == end);
        match (before, after) {
            (Some(before), Some(after)) => {
                before.end = after.end;
                self.stretches.remove(at);
            }
            (Some(before), None) => before.end = end,
            (None, Some(after)) => after.start = start,
            (None, None) => {
                self.stretches.try_insert(at, Stretch { start, end }).map_err(|_| Misfit::Holes)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wire::Addr;

    use super::*;

    /// A fragment of the units (of 8 bytes) from `start` to `end`.
    fn piece(start: u16, end: u16, last: bool) -> Fragment {
        let addr = Addr::v4([10, 0, 0, 1]);
        let (start, end) = (start * 8, end * 8);
        Fragment { source: addr, destination: addr, ttl: 64, identification: 1, start, end, last, head: None }
    }

    fn coverage(pieces: &[(u16, u16)]) -> Coverage {
        let mut coverage = Coverage::default();
        for (start, end) in pieces {
            coverage.add(&piece(*start, *end, false)).unwrap();
        }
        coverage
    }

    #[test]
    fn it_is_complete_when_nothing_is_missing_whatever_the_order() {
        let pieces = [(0, 2, false), (2, 3, false), (3, 7, false), (7, 8, true)];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let mut coverage = Coverage::default();
            for (n, at) in order.into_iter().enumerate() {
                assert!(!coverage.is_complete(), "{order:?} after {n}");
                let (start, end, last) = pieces[at];
                coverage.add(&piece(start, end, last)).unwrap();
            }
            assert!(coverage.is_complete(), "{order:?}");
        }
    }

    #[test]
    fn what_has_come_is_a_duplicate_and_what_has_come_in_part_overlaps() {
        let add = |start, end| coverage(&[(2, 4), (4, 6), (8, 9)]).add(&piece(start, end, false));
        for (start, end) in [(2, 4), (4, 6), (3, 5), (2, 6), (8, 9)] {
            assert_eq!(add(start, end), Err(Misfit::Duplicate), "{start}..{end}");
        }
        for (start, end) in [(1, 3), (5, 7), (0, 9), (7, 10), (8, 10)] {
            assert_eq!(add(start, end), Err(Misfit::Overlap), "{start}..{end}");
        }
        for (start, end) in [(0, 2), (6, 8), (6, 7), (9, 10)] {
            assert_eq!(add(start, end), Ok(()), "{start}..{end}");
        }
    }

    #[test]
    fn a_datagram_has_one_end() {
        let mut ended = coverage(&[(0, 1)]);
        ended.add(&piece(3, 4, true)).unwrap();
        assert_eq!(ended.add(&piece(4, 5, false)), Err(Misfit::Overlap), "beyond it");
        assert_eq!(ended.add(&piece(4, 5, true)), Err(Misfit::Overlap), "another one");
        assert_eq!(ended.add(&piece(1, 2, true)), Err(Misfit::Overlap), "another one, before");
        assert_eq!(ended.add(&piece(3, 4, true)), Err(Misfit::Duplicate));
        assert_eq!(ended.add(&piece(1, 3, false)), Ok(()));
        assert!(ended.is_complete());
        assert_eq!(coverage(&[(3, 4)]).add(&piece(1, 2, true)), Err(Misfit::Overlap), "before what has come");
    }

    #[test]
    fn holes_are_counted() {
        let mut holey = Coverage::default();
        for n in 0..STRETCHES as u16 {
            holey.add(&piece(n * 2, n * 2 + 1, false)).unwrap();
        }
        assert_eq!(holey.add(&piece(100, 101, false)), Err(Misfit::Holes));
        holey.add(&piece(1, 2, false)).unwrap();
        holey.add(&piece(100, 101, false)).unwrap();
    }
}
