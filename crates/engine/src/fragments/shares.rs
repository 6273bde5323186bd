//! What all places share, and how much of it each of them has. When it runs out, the place that has most makes room: so
//! nobody's flood takes it from the others.

use std::collections::HashMap;

use ahash::RandomState;
use flow::Place;

/// How many things each place has.
pub(super) struct Shares(HashMap<Place, usize, RandomState>);

impl Shares {
    /// So many things at most, of all places.
    pub(super) fn new(most: usize, keys: RandomState) -> Self {
        // Twice what is needed, so that the map never grows to get rid of what was removed.
        Self(HashMap::with_capacity_and_hasher(2 * most, keys))
    }

    /// The place has one more.
    pub(super) fn add(&mut self, place: Place) {
        *self.0.entry(place).or_default() += 1;
    }

    /// The place has one less.
    pub(super) fn remove(&mut self, place: Place) {
        if let Some(count) = self.0.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&place);
            }
        }
    }

    /// The place that has most.
    pub(super) fn greediest(&self) -> Option<Place> {
        self.0.iter().max_by_key(|(_, count)| **count).map(|(place, _)| *place)
    }
}

#[cfg(test)]
mod tests {
    use topology::{InterfaceId, NodeId};

    use super::*;

    #[test]
    fn who_has_most_is_the_greediest() {
        let [one, other] = [Place::Interface(InterfaceId::new(0)), Place::Node(NodeId::new(0))];
        let mut shares = Shares::new(8, RandomState::with_seeds(1, 2, 3, 4));
        assert_eq!(shares.greediest(), None);
        shares.add(one);
        shares.add(other);
        shares.add(other);
        assert_eq!(shares.greediest(), Some(other));
        shares.remove(other);
        shares.remove(other);
        assert_eq!(shares.greediest(), Some(one));
        shares.remove(one);
        assert_eq!(shares.greediest(), None);
    }
}
