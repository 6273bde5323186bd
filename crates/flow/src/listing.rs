//! Listing flows: a look at all of them for people to read, from outside of any turn, while workers go on.

use std::time::Duration;

use crate::key::{Direction, Key};
use crate::lanes::LaneId;
use crate::numbering::Numbering;
use crate::path::FlowPath;
use crate::slab::{FlowId, Totals};
use crate::sync::{Ordering, fence};
use crate::table::Table;
use crate::track::Phase;

/// A flow as a listing shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowView {
    /// Which flow.
    pub flow: FlowId,
    /// The consumer's side.
    pub original: Key,
    /// The target's side.
    pub reply: Key,
    /// How it is carried.
    pub path: FlowPath,
    /// How its consumer's side numbers differently. Where a header was sent, its length is there.
    pub numbering: Numbering,
    /// Where it is in its life.
    pub phase: Phase,
    /// The lane that it is on.
    pub lane: LaneId,
    /// What has gone from the consumer to the target.
    pub forward: Totals,
    /// What has come back.
    pub returned: Totals,
    /// How long ago it began.
    pub age: Duration,
    /// For how long nothing has been heard of it.
    pub silent: Duration,
}

impl Table {
    /// Shows `visit` every flow that has not ended. Nobody waits for it: one that begins or ends meanwhile may be shown or not,
    /// but each one that is shown is one flow, whole.
    pub fn each(&self, now: Duration, mut visit: impl FnMut(&FlowView)) {
        for slot in 0..self.high_water() {
            if let Some(view) = self.view(slot, now) {
                visit(&view);
            }
        }
    }

    /// The flow in a slot. Its state is looked at before and after everything else: if there is the same flow both times, nothing
    /// of another one was read in between. (Whoever fills the slot anew does so in a turn that has begun after the flow's end, and
    /// a turn begins with a fence.)
    fn view(&self, slot: usize, now: Duration) -> Option<FlowView> {
        let seen = &self.slots[slot];
        let state = seen.state();
        let is_shown = state.is_live() && !state.is_parted();
        let (forward, reply) = (seen.side(Direction::Forward), seen.side(Direction::Reply));
        let (path, numbering) = seen.carriage();
        let view = is_shown.then(|| FlowView {
            flow: FlowId { slot: slot as u32, generation: state.generation() },
            original: forward.key(),
            reply: reply.key(),
            path,
            numbering,
            phase: state.track().phase(),
            lane: seen.lane(),
            forward: forward.totals(),
            returned: reply.totals(),
            age: seen.started().age(now),
            silent: seen.last_seen().age(now),
        })?;
        fence(Ordering::Acquire);
        let after = seen.state();
        (after.is_live() && after.generation() == state.generation()).then_some(view)
    }
}
