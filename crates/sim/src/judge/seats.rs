//! Which flows there are, which of them are to end, and whose connections have been ended.

use std::collections::HashMap;
use std::time::Duration;

use flow::{Cause, FlowId, FlowPath};

use super::roll::{Roll, Seat};
use crate::invariants::{Violation, flow_ends_in_time, flow_may_end};
use crate::ledger::Tuple;

/// A sentence is executed within this time: every flow is looked at once a second.
const WITHIN: Duration = Duration::from_secs(3);
/// A flow that was about to end when it was pardoned may end nevertheless.
const LATELY: Duration = Duration::from_secs(1);

/// Every flow that is open.
#[derive(Default)]
pub(super) struct Seats {
    /// Asked for single flows, or for all at once: the order of a hash table never shows.
    flows: HashMap<FlowId, Taken>,
}

/// Whose a flow is, how it is carried, and since when: somebody else may have its tuple later.
#[derive(Clone, Copy)]
pub(super) struct Whose {
    pub(super) client: Tuple,
    pub(super) path: FlowPath,
    pub(super) since: Duration,
}

/// A flow.
struct Taken {
    seat: Seat,
    whose: Whose,
    /// Why it is to end, and since when.
    sentence: Option<(Cause, Duration)>,
    /// When it was pardoned last, and what for.
    pardoned: Option<(Cause, Duration)>,
}

impl Seats {
    pub(super) fn open(&mut self, flow: FlowId, seat: Seat, whose: Whose) {
        self.flows.insert(flow, Taken { seat, whose, sentence: None, pardoned: None });
    }

    /// Whose an open flow is.
    pub(super) fn client(&self, flow: FlowId) -> Option<Tuple> {
        self.flows.get(&flow).map(|taken| taken.whose.client)
    }

    /// A flow has closed. Returns whose it was, if he could not help it.
    pub(super) fn close(
        &mut self,
        flow: FlowId,
        cause: Cause,
        may_mismatch: bool,
        now: Duration,
    ) -> Result<Option<Whose>, Violation> {
        let Some(taken) = self.flows.remove(&flow) else { return Ok(None) };
        if cause == Cause::Mismatched {
            flow_may_end(flow, cause, [may_mismatch.then_some(cause), None])?;
            return Ok(Some(taken.whose));
        }
        if !matches!(cause, Cause::Unhealthy | Cause::Deregistered | Cause::Removed) {
            return Ok(None);
        }
        let sentence = taken.sentence.map(|(cause, _)| cause);
        let pardoned = taken.pardoned.filter(|(_, at)| now <= *at + LATELY).map(|(cause, _)| cause);
        flow_may_end(flow, cause, [sentence, pardoned])?;
        Ok(Some(taken.whose))
    }

    /// Something has changed: who is to end, and who is not any more.
    pub(super) fn review(&mut self, roll: &Roll, now: Duration) {
        for taken in self.flows.values_mut() {
            let before = taken.sentence;
            taken.sentence = roll.sentence(&taken.seat).map(|cause| match before {
                Some((same, since)) if same == cause => (cause, since),
                _ => (cause, now),
            });
            if let Some((cause, _)) =
                before.filter(|before| taken.sentence.map(|(cause, _)| cause) != Some(before.0))
            {
                taken.pardoned = Some((cause, now));
            }
        }
    }

    /// Whoever is to end has ended in time, unless its own ends are just ending it.
    pub(super) fn audit(&self, is_closing: impl Fn(FlowId) -> bool, now: Duration) -> Result<(), Violation> {
        let mut late: Vec<_> = self
            .flows
            .iter()
            .filter_map(|(flow, taken)| Some((*flow, taken.sentence?)))
            .filter(|(flow, (_, since))| now > *since + WITHIN && !is_closing(*flow))
            .collect();
        late.sort_by_key(|(_, (_, since))| *since);
        late.first().map_or(Ok(()), |(flow, (cause, since))| flow_ends_in_time(*flow, *cause, now - *since))
    }
}
