//! What is under way: which bytes, since when, and what the peer has said about them.
//!
//! The bytes between the first that is not acknowledged and the last that was sent are kept as runs of one fate each. While
//! nothing is missing there is one run for each sixteenth of a round trip, and an acknowledgement only shortens the list.

use std::ops::Range;

use super::{Micros, before};

/// How many runs are told apart. Where they do not suffice, runs that fly are joined; then a SACK block counts as not heard.
const RUNS: usize = 48;

/// What has become of a run of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It was sent, and nothing is known of it.
    Flying,
    /// The peer says that it has it, but may still change its mind.
    Sacked,
    /// It is held for lost, and has to be sent again.
    Lost,
}

/// When something was sent, as far as it has a say in what is lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) at: Micros,
    /// The number after its last byte.
    pub(super) end: u32,
    /// Whether it was sent more than once.
    pub(super) again: bool,
}

impl Sent {
    /// Whether `self` left before `other`.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        before(self.at, other.at) || (self.at == other.at && before(self.end, other.end))
    }
}

/// What one packet from the peer says to have arrived.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Delivery {
    pub(super) bytes: u32,
    /// What was sent last of it.
    pub(super) latest: Option<Sent>,
    /// Some of it had been overtaken, not lost.
    pub(super) reordered: bool,
}

/// Bytes that were sent together, and their fate. There are many: it is [`Sent`] and a byte that costs no word more.
#[derive(Clone, Copy, Debug)]
struct Run {
    at: Micros,
    end: u32,
    again: bool,
    fate: Fate,
}

impl Run {
    const NONE: Self = Self { at: 0, end: 0, again: false, fate: Fate::Flying };

    fn sent(&self) -> Sent {
        Sent { at: self.at, end: self.end, again: self.again }
    }

    /// Whether the two need not be told apart.
    fn is_like(&self, other: &Self) -> bool {
        let same_flight = self.at == other.at && self.again == other.again;
        self.fate == other.fate && (self.fate != Fate::Flying || same_flight)
    }
}

/// The list of runs.
pub(super) struct Scoreboard {
    first: u32,
    runs: [Run; RUNS],
    len: usize,
    flying: u32,
    sacked: u32,
}

impl Scoreboard {
    pub(super) fn new(first: u32) -> Self {
        Self { first, runs: [Run::NONE; RUNS], len: 0, flying: 0, sacked: 0 }
    }

    /// The first byte that is not acknowledged.
    pub(super) fn first(&self) -> u32 {
        self.first
    }

    /// The number after the last byte that was sent.
    pub(super) fn end(&self) -> u32 {
        self.runs().last().map_or(self.first, |run| run.end)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes are between here and the peer.
    pub(super) fn flying(&self) -> u32 {
        self.flying
    }

    /// How many bytes the peer has beyond the first that it misses.
    pub(super) fn sacked(&self) -> u32 {
        self.sacked
    }

    /// How many bytes were sent and are not acknowledged.
    pub(super) fn outstanding(&self) -> u32 {
        self.end().wrapping_sub(self.first)
    }

    pub(super) fn lost(&self) -> u32 {
        self.outstanding() - self.flying - self.sacked
    }

    /// Where the first bytes begin that are held for lost.
    pub(super) fn first_lost(&self) -> Option<u32> {
        if self.lost() == 0 {
            return None;
        }
        self.runs().iter().position(|run| run.fate == Fate::Lost).map(|at| self.start(at))
    }

    /// What is at `sequence`, if it was sent: whether it is lost, and for how many bytes that is so.
    pub(super) fn look(&self, sequence: u32) -> Option<(bool, u32)> {
        let at = self.position(sequence)?;
        let is_lost = |run: &Run| run.fate == Fate::Lost;
        let lost = is_lost(&self.runs[at]);
        let alike = self.runs()[at..].iter().take_while(|run| is_lost(run) == lost).count();
        Some((lost, self.runs[at + alike - 1].end.wrapping_sub(sequence)))
    }

    /// Takes note that everything up to `end` has now been sent. What follows within a `grain` of time joins what is before it.
    pub(super) fn send(&mut self, end: u32, now: Micros, grain: Micros) {
        self.flying += end.wrapping_sub(self.end());
        if self.len == RUNS {
            self.join_flying();
        }
        let is_full = self.len == RUNS;
        match self.runs[..self.len].last_mut() {
            Some(run) if run.fate == Fate::Flying && now.wrapping_sub(run.at) <= grain => {
                run.end = end;
            }
            // It is always safe to take bytes for flying: at worst they are sent again when time is up.
            Some(run) if is_full => {
                *run = Run { at: now, end, again: true, fate: Fate::Flying };
                self.count();
            }
            _ => self.insert(self.len, Run { at: now, end, again: false, fate: Fate::Flying }),
        }
    }

    /// Takes note that what was lost of these bytes has been sent again. More than that, where runs do not suffice.
    pub(super) fn send_again(&mut self, from: u32, to: u32, now: Micros) {
        self.split(from);
        self.split(to);
        let first = self.position(from).unwrap_or(0);
        for run in &mut self.runs[first..self.len] {
            if run.fate == Fate::Lost {
                run.fate = Fate::Flying;
                (run.at, run.again) = (now, true);
            }
            if !before(run.end, to) {
                break;
            }
        }
        self.tidy();
    }

    /// Takes note that everything before `first` is acknowledged.
    pub(super) fn acknowledge(&mut self, first: u32, delivery: &mut Delivery) {
        let known = self.known();
        let mut gone = 0;
        while gone < self.len && before(self.first, first) {
            let run = self.runs[gone];
            let end = if before(first, run.end) { first } else { run.end };
            let bytes = end.wrapping_sub(self.first);
            match run.fate {
                Fate::Flying => self.flying -= bytes,
                Fate::Sacked => self.sacked -= bytes,
                Fate::Lost => {}
            }
            delivery.add(&run, bytes, known);
            gone += usize::from(end == run.end);
            self.first = end;
        }
        self.first = first;
        if gone > 0 {
            self.runs.copy_within(gone..self.len, 0);
            self.len -= gone;
        }
    }

    /// Takes note that the peer says to have these bytes. Nonsense changes nothing.
    pub(super) fn select(&mut self, block: Range<u32>, delivery: &mut Delivery) {
        let Range { start, end } = block;
        let is_sound = before(self.first, start) && before(start, end) && !before(self.end(), end);
        if !is_sound || self.has(&block) {
            return;
        }
        let known = self.known();
        self.split(start);
        self.split(end);
        let mut begin = self.first;
        for run in &mut self.runs[..self.len] {
            let bytes = run.end.wrapping_sub(begin);
            if !before(begin, start) && !before(end, run.end) && run.fate != Fate::Sacked {
                delivery.add(run, bytes, known);
                run.fate = Fate::Sacked;
            }
            begin = run.end;
        }
        self.tidy();
    }

    /// Holds for lost what left before `latest`, which has arrived, and has been under way for longer than `patience`. Returns
    /// how many bytes, and how long it is until there may be more.
    pub(super) fn condemn(&mut self, latest: &Sent, patience: Micros, now: Micros) -> (u32, Option<Micros>) {
        let (lost, mut wait) = (self.lost(), None);
        for run in &mut self.runs[..self.len] {
            if run.fate != Fate::Flying || !run.sent().is_before(latest) {
                continue;
            }
            match patience.checked_sub(now.wrapping_sub(run.at)).filter(|left| *left > 0) {
                None => run.fate = Fate::Lost,
                Some(left) => wait = Some(wait.unwrap_or(left).min(left)),
            }
        }
        self.tidy();
        (self.lost() - lost, wait)
    }

    /// Holds everything for lost, whatever the peer has said: it may have changed its mind (RFC 2018).
    pub(super) fn condemn_all(&mut self) {
        for run in &mut self.runs[..self.len] {
            run.fate = Fate::Lost;
        }
        self.tidy();
    }

    /// Holds the first `bytes` for lost, unless the peer has them.
    pub(super) fn condemn_head(&mut self, bytes: u32) {
        self.condemn_between(self.first, self.first.wrapping_add(bytes.min(self.outstanding())));
    }

    /// Holds the last `bytes` for lost, unless the peer has them.
    pub(super) fn condemn_tail(&mut self, bytes: u32) {
        self.condemn_between(self.end().wrapping_sub(bytes.min(self.outstanding())), self.end());
    }
}

impl Delivery {
    fn add(&mut self, run: &Run, bytes: u32, known: Option<u32>) {
        if run.fate == Fate::Sacked {
            return;
        }
        self.bytes += bytes;
        self.reordered |= !run.again && known.is_some_and(|known| before(run.end, known));
        if self.latest.is_none_or(|latest| latest.is_before(&run.sent())) {
            self.latest = Some(run.sent());
        }
    }
}

/// How the list is kept.
impl Scoreboard {
    fn runs(&self) -> &[Run] {
        &self.runs[..self.len]
    }

    /// Where the run at `at` begins.
    fn start(&self, at: usize) -> u32 {
        at.checked_sub(1).map_or(self.first, |before| self.runs[before].end)
    }

    /// The run that holds `sequence`.
    fn position(&self, sequence: u32) -> Option<usize> {
        if before(sequence, self.first) || !before(sequence, self.end()) {
            return None;
        }
        self.runs().iter().position(|run| before(sequence, run.end))
    }

    /// The end of what the peer is known to have.
    fn known(&self) -> Option<u32> {
        if self.sacked == 0 {
            return None;
        }
        self.runs().iter().rev().find(|run| run.fate == Fate::Sacked).map(|run| run.end)
    }

    /// Whether the peer has told of the whole block before.
    fn has(&self, block: &Range<u32>) -> bool {
        self.position(block.start).is_some_and(|at| {
            let run = &self.runs[at];
            run.fate == Fate::Sacked && !before(run.end, block.end)
        })
    }

    /// Makes a run begin at `sequence`. The last place of the list is left for what is sent next.
    fn split(&mut self, sequence: u32) {
        if self.len + 1 >= RUNS {
            self.join_flying();
        }
        if self.len + 1 < RUNS
            && let Some(at) = self.position(sequence)
            && self.start(at) != sequence
        {
            let mut head = self.runs[at];
            head.end = sequence;
            self.insert(at, head);
        }
    }

    fn condemn_between(&mut self, from: u32, to: u32) {
        self.split(from);
        self.split(to);
        let mut begin = self.first;
        for run in &mut self.runs[..self.len] {
            let is_within = !before(begin, from) && !before(to, run.end);
            begin = run.end;
            if is_within && run.fate == Fate::Flying {
                run.fate = Fate::Lost;
            }
        }
        self.tidy();
    }

    fn insert(&mut self, at: usize, run: Run) {
        self.runs.copy_within(at..self.len, at + 1);
        self.runs[at] = run;
        self.len += 1;
    }

    /// Joins neighbours that are alike, and counts anew.
    fn tidy(&mut self) {
        self.join(Run::is_like);
        self.count();
    }

    /// Joins neighbours that fly, whenever they left: as what left last, and too vague to measure by.
    fn join_flying(&mut self) {
        self.join(|one, other| one.fate == Fate::Flying && other.fate == Fate::Flying);
    }

    fn join(&mut self, can: impl Fn(&Run, &Run) -> bool) {
        let mut kept: usize = 0;
        for at in 0..self.len {
            let run = self.runs[at];
            match kept.checked_sub(1).map(|last| &mut self.runs[last]).filter(|last| can(last, &run)) {
                Some(last) => {
                    let again = last.again || run.again || last.at != run.at;
                    *last = Run { again, fate: last.fate, ..run };
                }
                None => {
                    self.runs[kept] = run;
                    kept += 1;
                }
            }
        }
        self.len = kept;
    }

    fn count(&mut self) {
        let mut begin = self.first;
        (self.flying, self.sacked) = (0, 0);
        for run in &self.runs[..self.len] {
            let bytes = run.end.wrapping_sub(begin);
            match run.fate {
                Fate::Flying => self.flying += bytes,
                Fate::Sacked => self.sacked += bytes,
                Fate::Lost => {}
            }
            begin = run.end;
        }
    }
}

#[cfg(test)]
mod tests;
