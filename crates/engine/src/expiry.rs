//! Who is told of a flow's end. Of one that was silent for too long nobody is: the real load balancer forgets it without a word,
//! and resets whoever speaks next; an operator who would rather have both ends told at once says so (`flows.expiry`). Where a
//! flow ends because its lane has, both ends are told.

use flow::{Cause, Direction, Ended, Found, Key};
use topology::Expiry;
use wire::{Frame, Packet, Protocol, SEGMENT_CAPACITY, Segment, TcpFlags};

use crate::attached::Attached;
use crate::contract::{Egress, Event, Output};
use crate::journey::Journey;
use crate::plan::Plan;
use crate::say::say;
use crate::verdict::Reason;
use crate::worker::close;

/// Resets both ends of a TCP flow that has ended by no doing of theirs, if they are to know.
pub(crate) fn tell_both_ends<O: Output>(plan: &Plan, attached: &Attached, ended: &Ended, out: &mut O) {
    let is_told = match ended.cause {
        Cause::Idle => plan.topology.flows.expiry == Expiry::Reset,
        Cause::Unhealthy | Cause::Deregistered | Cause::Removed | Cause::HeaderUnheard => {
            ended.returned.packets > 0
        }
        _ => false,
    };
    if is_told && ended.original.protocol == Protocol::Tcp {
        tell_end(plan, attached, ended, Direction::Reply, out);
        tell_end(plan, attached, ended, Direction::Forward, out);
    }
}

/// Resets the target of a half-open flow that has made room, if it has answered: its port may soon be another flow's, and a target
/// that still waits on it would take the new SYN for an old one.
pub(crate) fn tell_target<O: Output>(plan: &Plan, attached: &Attached, crowded_out: &Ended, out: &mut O) {
    if crowded_out.returned.packets > 0 {
        reset(plan, attached, &crowded_out.reply, crowded_out.expected[1], out);
    }
}

/// Resets the end that packets in this direction go to: where it was last seen to be, which is nowhere (0) until it has said so;
/// and where it is if it has got all that was sent to it.
fn tell_end<O: Output>(plan: &Plan, attached: &Attached, ended: &Ended, to: Direction, out: &mut O) {
    // What is known is in the target's numbers; the consumer's may be others.
    let (key, expected, sent, shift) = match to {
        Direction::Forward => (&ended.reply, ended.expected[1], ended.sent[0], 0),
        Direction::Reply => (&ended.original, ended.expected[0], ended.sent[1], ended.numbering.sequence),
    };
    if expected != 0 && expected != sent {
        reset(plan, attached, key, expected.wrapping_add(shift), out);
    }
    reset(plan, attached, key, sent.wrapping_add(shift), out);
}

/// Resets the end of a flow that is behind `key` and expects this sequence number.
pub(crate) fn reset<O: Output>(plan: &Plan, attached: &Attached, key: &Key, sequence: u32, out: &mut O) {
    let flags = TcpFlags::new(TcpFlags::RST);
    say(plan, attached, key, &Segment { flags, sequence, ..Segment::default() }, out);
}

impl<O: Output> Journey<'_, O> {
    /// Ends a flow whose lane has ended, at a packet of it. What can open a flow is a newcomer, and may be sent elsewhere; of
    /// what cannot, both ends are told.
    #[cold]
    pub(crate) fn cut_off(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet,
        key: &Key,
        found: &Found,
        cause: Cause,
    ) -> Result<Found, Reason> {
        let ended = self.turn.retire(found.flow, cause, self.now);
        close(ended, self.out);
        let is_tcp = packet.protocol == Protocol::Tcp;
        let Some(ended) = ended.filter(|_| is_tcp) else { return self.newcomer(frame, packet, key) };
        if packet.flags.opens() {
            tell_target(self.plan, &self.own.attached, &ended, self.out);
            return self.newcomer(frame, packet, key);
        }
        // Who has spoken says itself where it is.
        let mut buffer = [0; SEGMENT_CAPACITY];
        if let Some(len) = wire::write_reset(packet, &mut buffer) {
            self.out.emit(&mut Frame::plain(&mut buffer[..len]), Egress::Device(self.device));
        }
        if ended.returned.packets > 0 {
            tell_end(self.plan, &self.own.attached, &ended, found.direction, self.out);
        }
        Err(match cause {
            Cause::Deregistered => Reason::TargetDeregistered,
            Cause::Removed => Reason::WayRemoved,
            _ => Reason::TargetUnhealthy,
        })
    }

    /// Why a TCP packet that belongs to no flow gets a RST: its flow has expired, or else `otherwise`.
    pub(crate) fn reset_reason(&mut self, key: &Key, otherwise: Reason) -> Reason {
        let Some(tomb) = self.shared.flows.tomb(key) else { return otherwise };
        let silent = tomb.heard.age(self.now);
        self.out.event(Event::ExpiredFlowHit { original: tomb.original, reply: tomb.reply, silent });
        Reason::ExpiredFlowHit
    }
}

#[cfg(test)]
mod tests;
