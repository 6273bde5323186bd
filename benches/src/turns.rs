//! Whose turn it is. What comes before a run may show in it: caches, the machine's clocks, what a predecessor left to be tidied up. So
//! nobody always begins, and nobody always follows the same one.

/// Everyone once, in this round, at the piece of work with this number. Odd rounds go the other way round; each two rounds, somebody
/// else begins.
pub fn in_turn<T>(mut all: Vec<T>, round: usize, work: usize) -> Vec<T> {
    if !round.is_multiple_of(2) {
        all.reverse();
    }
    let first = (work + round / 2) % all.len().max(1);
    all.rotate_left(first);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_turn_round() {
        let order = |round, work| in_turn(vec!['a', 'b', 'c'], round, work).into_iter().collect::<String>();
        assert_eq!([0, 1, 2, 3, 4].map(|round| order(round, 0)), ["abc", "cba", "bca", "bac", "cab"]);
        assert_eq!([0, 1, 2, 3, 4].map(|round| order(round, 1)), ["bca", "bac", "cab", "acb", "abc"]);
        assert!(in_turn(Vec::<char>::new(), 3, 2).is_empty());
    }

    #[test]
    fn everyone_begins_as_often() {
        for peers in 1..=7 {
            let mut begun = vec![0; peers];
            for round in 0..2 * peers {
                begun[in_turn((0..peers).collect(), round, 5)[0]] += 1;
            }
            assert!(begun.iter().all(|times| *times == 2), "of {peers}: {begun:?}");
        }
    }

    #[test]
    fn nobody_follows_the_same_one_in_the_next_round() {
        let followed = |round| {
            let order = in_turn((0..6).collect::<Vec<_>>(), round, 0);
            order.windows(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>()
        };
        for round in 0..12 {
            let (now, next) = (followed(round), followed(round + 1));
            assert!(now.iter().all(|pair| !next.contains(pair)), "{now:?} {next:?}");
        }
    }
}
