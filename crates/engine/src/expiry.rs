//! Who is told of a flow's end. Of one that was silent for too long nobody is: the real load balancer forgets it without a word,
//! and resets whoever speaks next; an operator who would rather have both ends told at once says so (`flows.expiry`).

use flow::{Cause, Ended, Key};
use topology::Expiry;
use wire::{ANSWER_CAPACITY, Answer, Frame, Packet, Protocol, TcpFlags};

use crate::contract::{Egress, Event, Output};
use crate::journey::Journey;
use crate::shared::Shared;
use crate::verdict::Reason;
use crate::worker::Own;

/// Resets both ends of a TCP flow that has expired, if that is wanted.
pub(crate) fn tell_both_ends<O: Output>(shared: &Shared, own: &Own, ended: &Ended, out: &mut O) {
    let is_told = shared.topology.flows.expiry == Expiry::Reset
        && ended.cause == Cause::Idle
        && ended.original.protocol == Protocol::Tcp;
    if !is_told {
        return;
    }
    let [consumer, target] = ended.expected;
    reset(shared, own, &ended.original, consumer, out);
    reset(shared, own, &ended.reply, target, out);
}

/// Resets the target of a half-open flow that has made room, if it has answered: its port may soon be another flow's, and a target
/// that still waits on it would take the new SYN for an old one.
pub(crate) fn tell_target<O: Output>(shared: &Shared, own: &Own, crowded_out: &Ended, out: &mut O) {
    if crowded_out.returned.packets > 0 {
        reset(shared, own, &crowded_out.reply, crowded_out.expected[1], out);
    }
}

/// Resets the end of a flow that is behind `key` and expects this sequence number.
fn reset<O: Output>(shared: &Shared, own: &Own, key: &Key, sequence: u32, out: &mut O) {
    let at = shared.view.locate(key.place);
    if own.is_attached(at.device) {
        let mut buffer = [0; ANSWER_CAPACITY];
        let flags = TcpFlags::new(TcpFlags::RST);
        let reset = Answer { flags, sequence, acknowledgement: 0, window: 0, timestamps: None };
        let len = reset.write(&from_end(key, at.address), &mut buffer);
        out.emit(&mut Frame::plain(&mut buffer[..len]), Egress::Device(at.device));
    }
}

/// A packet such as the flow's end behind `key` sends.
fn from_end(key: &Key, ours: wire::Addr) -> Packet {
    Packet {
        source: key.remote,
        destination: ours,
        protocol: key.protocol,
        source_port: key.remote_port,
        destination_port: key.local_port,
        ttl: 0,
        flags: TcpFlags::default(),
        sequence: 0,
        acknowledgement: 0,
        transport: 0,
        payload: 0,
        len: 0,
    }
}

impl<O: Output> Journey<'_, O> {
    /// Why a TCP packet that belongs to no flow gets a RST: its flow has expired, or else `otherwise`.
    pub(crate) fn reset_reason(&mut self, key: &Key, otherwise: Reason) -> Reason {
        let Some(tomb) = self.shared.flows.tomb(key) else { return otherwise };
        let silent = tomb.heard.age(self.now);
        self.out.event(Event::ExpiredFlowHit { original: tomb.original, reply: tomb.reply, silent });
        Reason::ExpiredFlowHit
    }
}
