//! Deadlines: a wheel of wheels, one deadline a place.
//!
//! ```text
//!   level 0   64 slots of  1 ms each     the slot is the deadline
//!   level 1   64 slots of 64 ms each     when its time comes, its places are filed anew, on level 0 ...
//!   level 2   64 slots of  4 s  each     ... or 1
//!   ...                                  up to 139 years
//! ```
//!
//! A place is on the level of the highest bits in which its deadline differs from now. So all of one level come before all of the
//! next, and the first bit that is set in the levels' bitmaps is where something has to be done next.
//!
//! A deadline that moves later, as an idle time-out does with every packet, is only written down: its place is filed anew when
//! the old moment comes. A deadline is met up to a tick late, and never early.

use std::time::Duration;

use crate::lists::Lists;

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 7;
/// The list of places whose time has come; before it, the lists of all slots.
const DUE: usize = LEVELS * SLOTS;
/// What lies beyond is as good as never.
const LAST: u64 = (1 << (BITS * LEVELS as u32)) - 1;

/// The deadlines of some places.
pub(crate) struct Wheel {
    lists: Lists,
    /// By level: which slots hold places.
    occupied: [u64; LEVELS],
    /// By place.
    times: Vec<Times>,
    /// The tick that the wheel has turned to.
    now: u64,
}

#[derive(Clone, Copy)]
struct Times {
    /// The tick of the deadline.
    wanted: u64,
    /// The tick that the place is filed under: the same, or an earlier one.
    filed: u64,
}

impl Times {
    const UNFILED: Self = Self { wanted: 0, filed: u64::MAX };
}

/// A slot, and the tick at which something has to be done about it.
struct Slot {
    list: usize,
    start: u64,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { lists: Lists::new(DUE + 1), occupied: [0; LEVELS], times: Vec::new(), now: 0 }
    }

    /// Sets a place's deadline, whether it had one or not. One that `now` has reached is due at once.
    pub(crate) fn set(&mut self, place: u32, deadline: Duration, now: Duration) {
        let wanted = if deadline <= now { self.now } else { tick_after(deadline).min(LAST).max(self.now) };
        let at = place as usize;
        if at >= self.times.len() {
            self.times.resize(at + 1, Times::UNFILED);
        }
        self.times[at].wanted = wanted;
        // One look, if it is filed early enough.
        if wanted < self.times[at].filed {
            self.remove(place);
            self.file(place, wanted);
        }
    }

    /// Takes away a place's deadline.
    pub(crate) fn remove(&mut self, place: u32) {
        let Some(list) = self.lists.remove(place) else { return };
        self.times[place as usize].filed = Times::UNFILED.filed;
        if list != DUE && self.lists.first(list).is_none() {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }

    /// When there is something to do next: no later than the first deadline. It may be earlier, by as much as a place is filed too
    /// early.
    pub(crate) fn next(&self) -> Option<Duration> {
        let start = match self.lists.first(DUE) {
            Some(_) => Some(self.now),
            None => self.first_slot().map(|slot| slot.start),
        };
        start.map(Duration::from_millis)
    }

    /// Turns the wheel to `now`. [`Wheel::take_due`] tells whose time has come.
    pub(crate) fn advance(&mut self, now: Duration) {
        let now = tick_before(now);
        while let Some(Slot { list, start }) = self.first_slot().filter(|slot| slot.start <= now) {
            self.now = start;
            while let Some(place) = self.lists.first(list) {
                self.remove(place);
                let wanted = self.times[place as usize].wanted;
                if wanted > start {
                    self.file(place, wanted);
                } else {
                    self.lists.push(DUE, place);
                }
            }
        }
        self.now = self.now.max(now);
    }

    /// One of the places whose time has come, which has no deadline any more.
    pub(crate) fn take_due(&mut self) -> Option<u32> {
        let place = self.lists.first(DUE)?;
        self.remove(place);
        Some(place)
    }

    fn file(&mut self, place: u32, tick: u64) {
        let level = ((tick ^ self.now) | 1).ilog2() / BITS;
        let slot = (tick >> (level * BITS)) as usize % SLOTS;
        let level = level as usize;
        self.lists.push(level * SLOTS + slot, place);
        self.occupied[level] |= 1 << slot;
        self.times[place as usize].filed = tick;
    }

    fn first_slot(&self) -> Option<Slot> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let slot = self.occupied[level].trailing_zeros();
        let (shift, turn) = (level as u32 * BITS, (level as u32 + 1) * BITS);
        let start = self.now >> turn << turn | u64::from(slot) << shift;
        Some(Slot { list: level * SLOTS + slot as usize, start })
    }
}

/// The tick that `time` is in.
fn tick_before(time: Duration) -> u64 {
    // In 64 bits: a Duration's own milliseconds have 128, which are slow to divide.
    time.as_secs().saturating_mul(1000).saturating_add(time.subsec_millis().into())
}

/// The first tick by which `time` has come.
fn tick_after(time: Duration) -> u64 {
    let is_between = !time.subsec_nanos().is_multiple_of(1_000_000);
    tick_before(time).saturating_add(is_between.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn due(wheel: &mut Wheel, now: Duration) -> Vec<u32> {
        wheel.advance(now);
        std::iter::from_fn(|| wheel.take_due()).collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u32, Duration),
        Remove(u32),
        Pass(Duration),
        /// To the next moment that the wheel itself asks for.
        Next,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // From microseconds to hours, each size as likely as the others.
        let span = || (0u32..36, 0u64..1 << 36).prop_map(|(shift, span)| micros(span >> shift));
        let step = prop_oneof![
            6 => (0u32..30, span()).prop_map(|(place, span)| Step::Set(place, span)),
            1 => (0u32..30).prop_map(Step::Remove),
            2 => span().prop_map(Step::Pass),
            4 => Just(Step::Next),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        #[test]
        fn each_place_is_due_within_a_tick_of_its_deadline(steps in steps()) {
            let mut wheel = Wheel::new();
            let mut model = BTreeMap::new();
            let mut now = micros(123);
            for step in steps {
                match step {
                    Step::Set(place, span) => {
                        wheel.set(place, now + span, now);
                        model.insert(place, now + span);
                    }
                    Step::Remove(place) => {
                        wheel.remove(place);
                        model.remove(&place);
                    }
                    Step::Pass(span) => now += span,
                    Step::Next => now = now.max(wheel.next().unwrap_or(now)),
                }
                prop_assert_eq!(wheel.next().is_some(), !model.is_empty());
                if let (Some(next), Some(first)) = (wheel.next(), model.values().min()) {
                    prop_assert!(next <= *first + micros(999), "{:?} comes after {:?}", next, first);
                }
                for place in due(&mut wheel, now) {
                    let deadline = model.remove(&place);
                    prop_assert!(deadline.is_some_and(|deadline| deadline <= now), "{} at {:?}", place, now);
                }
                let late = model.iter().find(|(_, deadline)| **deadline + micros(1000) <= now);
                prop_assert_eq!(late, None, "at {:?}", now);
            }
            // The wheel itself leads to the last deadline, in few steps.
            for _ in 0..model.len() * 2 * LEVELS {
                let Some(next) = wheel.next() else { break };
                let done = due(&mut wheel, next);
                model.retain(|place, _| !done.contains(place));
            }
            prop_assert!(model.is_empty(), "{:?} are left", model);
        }
    }

    #[test]
    fn what_is_due_now_is_due_at_once_and_once() {
        let mut wheel = Wheel::new();
        let now = micros(5_500);
        assert!(due(&mut wheel, now).is_empty());
        for deadline in [Duration::ZERO, now] {
            wheel.set(1, deadline, now);
            assert!(wheel.next().unwrap() <= now);
            assert_eq!(due(&mut wheel, now), [1]);
            assert_eq!(wheel.next(), None);
        }
    }

    #[test]
    fn what_is_set_while_others_are_due_waits_for_the_next_time() {
        let mut wheel = Wheel::new();
        let now = micros(5_500);
        wheel.set(1, now, now);
        wheel.advance(now);
        assert_eq!(wheel.take_due(), Some(1));
        wheel.set(1, now, now);
        assert_eq!(wheel.take_due(), None, "one that always has something to do lets others do theirs");
        assert_eq!(due(&mut wheel, now), [1]);
    }

    #[test]
    fn a_deadline_that_moves_later_is_filed_anew_only_when_the_old_one_comes() {
        let mut wheel = Wheel::new();
        wheel.set(1, micros(10_000), Duration::ZERO);
        for later in 1..100 {
            wheel.set(1, Duration::from_secs(later), Duration::ZERO);
            assert_eq!(wheel.next(), Some(micros(10_000)));
        }
        assert!(due(&mut wheel, micros(10_000)).is_empty());
        assert!(wheel.next().unwrap() > micros(60_000_000));
        assert_eq!(due(&mut wheel, Duration::from_secs(99)), [1]);
    }

    #[test]
    fn never_is_far_away() {
        let mut wheel = Wheel::new();
        wheel.set(1, Duration::MAX, Duration::ZERO);
        assert!(due(&mut wheel, Duration::from_secs(4_000_000_000)).is_empty());
        assert!(wheel.next().is_some());
    }
}
