//! Attending to probes: behind the fence, until they are over.

use std::time::Duration;

use balance::{Health, Outcome};
use flow::{Cause, Ended};
use stack::Stack;

use super::patient::Patient;
use super::single::{Attended, Outlook, Probe};
use super::{Ground, Prober};
use crate::contract::Output;
use crate::terminate::fence::{Gate, fenced};
use crate::worker::close;

impl Prober {
    /// Lets a probe do `work` and moves it on, behind the fence.
    pub(super) fn attend<O: Output>(
        &mut self,
        ground: &mut Ground<'_>,
        place: u32,
        now: Duration,
        out: &mut O,
        work: impl FnOnce(&mut Probe, &mut Stack, &mut Gate<'_, O>),
    ) {
        let stack = &mut self.stack;
        let Some(probe) = self.probes.get_mut(place as usize).and_then(Option::as_mut) else { return };
        let attended = fenced(out, |gate| {
            work(probe, stack, gate);
            probe.attend(stack, now, gate)
        });
        let Some(Attended { found, outlook }) = attended else {
            return self.give_up(ground, place, now, out);
        };
        if let Some(outcome) = found {
            self.conclude(place, outcome, &ground.shared.health, now, out);
        }
        match outlook {
            Outlook::Until(deadline) => self.timers.set(place, deadline, now),
            Outlook::Over(cause) => drop(self.remove(ground, place, cause, now)),
        }
    }

    /// A probe has panicked, which is no fault of its target's: its check comes to nothing. What is left of it may still be able
    /// to tell the target.
    fn give_up<O: Output>(&mut self, ground: &mut Ground<'_>, place: u32, now: Duration, out: &mut O) {
        let stack = &mut self.stack;
        if let Some(probe) = self.probes.get_mut(place as usize).and_then(Option::as_mut) {
            fenced(out, |gate| {
                probe.cut_off();
                probe.attend(stack, now, gate)
            });
        }
        close(self.remove(ground, place, Cause::Panicked, now), out);
    }

    /// The probe at `place` has found this out about whom it asks, if that is still wanted.
    fn conclude<O: Output>(
        &mut self,
        place: u32,
        outcome: Outcome,
        health: &Health,
        now: Duration,
        out: &mut O,
    ) {
        if let Some((at, patient)) = self.asked_by(place) {
            patient.conclude(outcome, health, out);
            self.file(at, now);
        }
    }

    /// Takes away a probe that is over, with its flow. If it has found nothing out, its check came to nothing.
    fn remove(&mut self, ground: &mut Ground<'_>, place: u32, cause: Cause, now: Duration) -> Option<Ended> {
        if let Some((_, patient)) = self.asked_by(place) {
            patient.asked = None;
        }
        let probe = self.probes.get_mut(place as usize)?.take()?;
        self.timers.remove(place);
        self.vacant.push(place);
        if let Some((key, parting)) = probe.parting() {
            ground.partings.keep(key, parting, now);
        }
        ground.turn.retire(probe.flow, cause, now)
    }

    /// Ends a probe at once; the rest follows with the next [`Prober::expire`].
    pub(super) fn cut_off(&mut self, place: u32, now: Duration) {
        if let Some(probe) = self.probes.get_mut(place as usize).and_then(Option::as_mut) {
            probe.cut_off();
            self.timers.set(place, now, now);
        }
    }

    /// Whom the probe at `place` asks, if the answer is wanted.
    fn asked_by(&mut self, place: u32) -> Option<(u32, &mut Patient)> {
        let at = (self.probe(place)?.target().index() / self.workers) as u32;
        let patient = self.patient(at)?;
        (patient.asked == Some(place)).then_some((at, patient))
    }

    pub(super) fn probe(&self, place: u32) -> Option<&Probe> {
        self.probes.get(place as usize)?.as_deref()
    }

    pub(super) fn has_room(&self) -> bool {
        !self.vacant.is_empty()
    }
}
