//! Stable identities. An id belongs to one thing for the life of a process, and no other thing ever gets it: whoever holds
//! the id of something that is gone finds nothing instead of a stranger. [`crate::succession`] sees to that.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// The identity of a `T`: its place in its arena, in 20 bits, so that whoever packs ids has room for more.
pub struct Id<T> {
    bits: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// How many things of one kind there can be.
    pub const MAX_COUNT: usize = 1 << 20;

    /// The id of the thing at `index`.
    pub const fn new(index: usize) -> Self {
        Self::from_bits(index as u32)
    }

    /// The id that [`Id::to_bits`] packed.
    pub const fn from_bits(bits: u32) -> Self {
        Self { bits: bits & (Self::MAX_COUNT as u32 - 1), kind: PhantomData }
    }

    /// The id in 20 bits.
    pub const fn to_bits(self) -> u32 {
        self.bits
    }

    /// Its place in its arena.
    pub const fn index(self) -> usize {
        self.bits as usize
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}
impl<T> Eq for Id<T> {}
impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bits.cmp(&other.bits)
    }
}
impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits.hash(state);
    }
}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bits)
    }
}

/// Things of one kind, by [`Id`]. The ids of things that are gone leave holes.
#[derive(Clone, Debug)]
pub struct Arena<T> {
    /// In the order of the file.
    items: Vec<(Id<T>, T)>,
    /// Where in `items` a thing stands, by the index of its id; [`HOLE`] for what is gone.
    places: Vec<usize>,
}

/// A place that no item has.
const HOLE: usize = usize::MAX;

impl<T> Arena<T> {
    /// Adds the thing that `make` makes of its own id.
    pub fn add(&mut self, make: impl FnOnce(Id<T>) -> T) -> Id<T> {
        let id = Id::new(self.places.len());
        self.places.push(self.items.len());
        self.items.push((id, make(id)));
        id
    }

    /// The things that have these ids, which are all below `bound`, in the order of the file.
    pub(crate) fn with_holes(items: Vec<(Id<T>, T)>, bound: usize) -> Self {
        let mut places = vec![HOLE; bound];
        for (place, (id, _)) in items.iter().enumerate() {
            places[id.index()] = place;
        }
        Self { items, places }
    }

    /// The thing with this id, unless it is gone.
    #[inline]
    pub fn get(&self, id: Id<T>) -> Option<&T> {
        let place = *self.places.get(id.index())?;
        self.items.get(place).filter(|(own, _)| *own == id).map(|(_, item)| item)
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Id<T>, &T)> {
        self.items.iter().map(|(id, item)| (*id, item))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// One more than the highest index that an id has ever had here: the length of an array by index.
    pub fn bound(&self) -> usize {
        self.places.len()
    }
}

impl<T> IntoIterator for Arena<T> {
    type Item = (Id<T>, T);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    /// All of them, in the order of the file.
    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { items: Vec::new(), places: Vec::new() }
    }
}

impl<T> std::ops::Index<Id<T>> for Arena<T> {
    type Output = T;

    /// The thing with this id, which must be one of this arena's own.
    fn index(&self, id: Id<T>) -> &T {
        &self.items[self.places[id.index()]].1
    }
}

/// One TUN device: one per namespace, by its place in [`crate::Topology::namespaces`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DeviceId(pub u16);

impl DeviceId {
    /// How many devices there can be.
    pub const MAX_COUNT: usize = 1 << u16::BITS;

    /// Its place in [`crate::Topology::namespaces`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
