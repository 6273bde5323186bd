//! What becomes of real flows, where that counts for a target's health: whether it answers newcomers.

use flow::{Cause, Direction, Ended, Found};
use topology::TargetId;
use wire::{Packet, Protocol};

use crate::plan::Plan;
use crate::shared::Shared;
use crate::terminate::Over;

/// Takes note of whether a target has answered a newcomer.
pub(crate) fn overhear(shared: &Shared, plan: &Plan, target: TargetId, failed: bool) {
    if plan.is_overheard(target) {
        shared.health.overheard(target, failed);
    }
}

/// Takes note of a packet of a flow that its target has not answered yet: it may be the answer, or a refusal.
#[inline]
pub(crate) fn overhear_packet(shared: &Shared, plan: &Plan, found: &Found, packet: &Packet) {
    let is_first_word = found.direction == Direction::Reply
        && packet.protocol == Protocol::Tcp
        && (packet.flags.rst() || packet.flags.syn())
        && found.awaits_answer();
    if is_first_word {
        overhear(shared, plan, shared.flows.lanes().lane(found.lane).target, packet.flags.rst());
    }
}

/// Takes note of a terminated flow's end, if its target has refused it, or has kept silent until then. Silence says nothing on nat:
/// the SYN is the client's own there, and what a client may put into one need not be answered.
pub(crate) fn overhear_end(shared: &Shared, plan: &Plan, over: &Over, ended: &Ended) {
    let is_unanswered = over.cause == Cause::Unanswered && ended.returned.packets == 0;
    if over.is_refused || is_unanswered {
        overhear(shared, plan, ended.target, true);
    }
}
