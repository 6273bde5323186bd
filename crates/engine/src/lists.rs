//! Lists of places that need no memory of their own: every place has one link, and is in one list at most.

const NONE: u32 = u32::MAX;

/// Some lists over the same places. Whatever is asked of them takes as long for one place as for many.
pub(crate) struct Lists {
    ends: Vec<Ends>,
    /// By place; there are as many as the highest place that has ever been in a list.
    links: Vec<Link>,
}

#[derive(Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

#[derive(Clone, Copy)]
struct Link {
    list: u32,
    before: u32,
    after: u32,
}

impl Ends {
    const NONE: Self = Self { first: NONE, last: NONE };
}

impl Link {
    const FREE: Self = Self { list: NONE, before: NONE, after: NONE };
}

impl Lists {
    /// So many empty lists.
    pub(crate) fn new(count: usize) -> Self {
        Self { ends: vec![Ends::NONE; count], links: Vec::new() }
    }

    /// There are so many lists now, and not fewer than before. New ones are empty.
    pub(crate) fn grow(&mut self, count: usize) {
        self.ends.resize(count, Ends::NONE);
    }

    /// Puts a place that is in no list at the end of this one.
    pub(crate) fn push(&mut self, list: usize, place: u32) {
        let at = place as usize;
        if at >= self.links.len() {
            self.links.resize(at + 1, Link::FREE);
        }
        let before = self.ends[list].last;
        self.links[at] = Link { list: list as u32, before, after: NONE };
        match self.links.get_mut(before as usize) {
            Some(link) => link.after = place,
            None => self.ends[list].first = place,
        }
        self.ends[list].last = place;
    }

    /// Takes a place out of its list, and says which that was.
    pub(crate) fn remove(&mut self, place: u32) -> Option<usize> {
        let list = self.list_of(place)?;
        let Link { before, after, .. } = std::mem::replace(&mut self.links[place as usize], Link::FREE);
        match self.links.get_mut(before as usize) {
            Some(link) => link.after = after,
            None => self.ends[list].first = after,
        }
        match self.links.get_mut(after as usize) {
            Some(link) => link.before = before,
            None => self.ends[list].last = before,
        }
        Some(list)
    }

    /// The list that a place is in.
    pub(crate) fn list_of(&self, place: u32) -> Option<usize> {
        self.links
            .get(place as usize)
            .map(|link| link.list)
            .filter(|list| *list != NONE)
            .map(|list| list as usize)
    }

    /// The place that has been in a list for longest.
    pub(crate) fn first(&self, list: usize) -> Option<u32> {
        Some(self.ends[list].first).filter(|first| *first != NONE)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_as_queues_from_whose_middle_one_may_leave(
            steps in prop::collection::vec((0usize..3, 0u32..20), 0..200)
        ) {
            let mut lists = Lists::new(1);
            lists.grow(3);
            let mut model: [VecDeque<u32>; 3] = Default::default();
            for (list, place) in steps {
                let known = model.iter().position(|queue| queue.contains(&place));
                prop_assert_eq!(lists.list_of(place), known);
                prop_assert_eq!(lists.remove(place), known);
                match known {
                    Some(known) => model[known].retain(|other| *other != place),
                    None => {
                        lists.push(list, place);
                        model[list].push_back(place);
                    }
                }
                for (list, queue) in model.iter().enumerate() {
                    prop_assert_eq!(lists.first(list), queue.front().copied());
                }
            }
            for (list, queue) in model.iter_mut().enumerate() {
                while let Some(place) = queue.pop_front() {
                    prop_assert_eq!(lists.first(list), Some(place));
                    lists.remove(place);
                }
                prop_assert_eq!(lists.first(list), None);
            }
        }
    }
}
