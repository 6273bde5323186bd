//! Whether a target has forgotten a flow that it got a header for. A consumer's SYN asks that: it begins anew on a tuple that is
//! taken, because it has lost its connection, or we have missed the end of it.
//!
//! ```text
//!   consumer           we                   target
//!      │ SYN x ──────▶ │ SYN q ──────────▶ │
//!      │ ◀─────────────┼───────────── ACK  │  it knows the flow (RFC 5961): the consumer resets it, for it knows of none
//!      │               │ ◀─── SYN-ACK q+1  │  or it has forgotten it: then the flow is over
//!      │               │ RST q+1 ────────▶ │     (or says that by a RST, where nobody listens any more)
//!      │ SYN x ──────▶ │ as a newcomer's   │
//! ```
//!
//! What the target would begin by the consumer's own SYN, it would begin without a header. So its number is ours, a keyed hash of
//! the flow: nobody answers that but who was asked, and a SYN-ACK or a RST that anybody makes up ends nothing.

use std::hash::{Hash, Hasher};

use flow::{Cause, FlowId, Found, Phase};
use wire::{Packet, Shift};

use crate::contract::Output;
use crate::expiry::reset;
use crate::journey::Journey;
use crate::shared::Shared;
use crate::verdict::Reason;
use crate::worker::close;

impl Shared {
    /// How a packet of the consumer's is shifted on a headed flow: a SYN becomes the question, unless it may still open the flow.
    pub(crate) fn shift_or_ask(&self, packet: &Packet, found: &Found, shift: Shift) -> Shift {
        if packet.flags.opens() && found.phase() != Phase::Opening {
            return Shift { sequence: self.question(found.flow).wrapping_sub(packet.sequence), ..shift };
        }
        shift
    }

    /// Whether this is the number of the question: the consumer knows nothing of that.
    pub(crate) fn is_question(&self, flow: FlowId, sequence: u32) -> bool {
        sequence == self.question(flow)
    }

    /// It goes out, so it must not tell anything about its key (RFC 6528 asks the same of initial sequence numbers).
    fn question(&self, flow: FlowId) -> u32 {
        let mut hasher = self.questions;
        flow.hash(&mut hasher);
        hasher.finish() as u32
    }
}

impl<O: Output> Journey<'_, O> {
    /// A target's packet that its headed flow may not expect. If it answers the question, the flow is over; any other SYN is
    /// refused.
    pub(crate) fn refuse_unexpected(&mut self, packet: &Packet, found: &Found) -> Result<(), Reason> {
        let says_anew = packet.flags.syn() || packet.flags.rst();
        let answered = packet.acknowledgement.wrapping_sub(1);
        let is_answer = says_anew
            && packet.flags.ack()
            && found.phase() != Phase::Opening
            && self.shared.is_question(found.flow, answered);
        match (is_answer, packet.flags.syn()) {
            (true, is_open) => Err(self.forget(packet, found, is_open)),
            (false, true) => Err(Reason::OneWay),
            (false, false) => Ok(()),
        }
    }

    /// The target has forgotten the flow. If its port is open, it waits for what we will not say.
    fn forget(&mut self, packet: &Packet, found: &Found, is_open: bool) -> Reason {
        let ended = self.turn.retire(found.flow, Cause::Reset, self.now);
        let reason = match &ended {
            Some(ended) if is_open => {
                reset(self.plan, &self.own.attached, &ended.reply, packet.acknowledgement, self.out);
                Reason::OneWayReset
            }
            _ if is_open => Reason::OneWay,
            _ => Reason::NoFlow,
        };
        close(ended, self.out);
        reason
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use topology::Path;
    use wire::{Segment, TcpFlags};

    use super::*;
    use crate::fixture::{CLIENT, CONSUMER, INTERFACE, say, worker};

    /// Whoever has been asked about one flow, or by another forwarder, knows nothing of this question.
    #[test]
    fn each_flow_and_each_key_has_a_question_of_its_own() {
        let (shared, mut worker) = worker(Path::Nat);
        let syn = Segment { flags: TcpFlags::new(TcpFlags::SYN), sequence: 1, ..Segment::default() };
        for port in [CLIENT.1, CLIENT.1 + 1] {
            say(&mut worker, CONSUMER, [(CLIENT.0, port), INTERFACE], &syn, Duration::ZERO);
        }
        let mut flows = Vec::new();
        shared.flows.each(Duration::ZERO, |view| flows.push(view.flow));
        let other = Shared::new(shared.topology(), 1, [5, 6, 7, 8]);
        let [own, second, foreign] = [(&*shared, flows[0]), (&*shared, flows[1]), (&other, flows[0])]
            .map(|(at, flow)| at.question(flow));
        assert!(shared.is_question(flows[0], own));
        assert!(![second, foreign].contains(&own));
    }
}
