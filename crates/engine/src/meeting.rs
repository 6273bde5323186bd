//! What a packet is to the flow table, and which flow carries it on.

use flow::{Cause, Direction, Fate, Found, Key, Phase};
use topology::Path;
use wire::{Frame, Packet};

use crate::admit::{Admission, Tuple};
use crate::contract::Output;
use crate::journey::Journey;
use crate::verdict::Reason;
use crate::worker::{close, closed_event};

/// What a packet's key leads to.
pub(crate) enum Met {
    /// A flow that goes on.
    Flow(Found),
    /// A flow that has to end, because its lane has.
    Sentenced(Found, Cause),
    /// A flow that has closed, and on whose tuple a SYN opens another one.
    Closed(Found),
    /// Nothing.
    Nobody,
}

impl<O: Output> Journey<'_, O> {
    /// Finds out what a packet is. It is asked once for each, so that a fate which changes meanwhile does not make two of one.
    #[inline]
    pub(crate) fn meet(&self, packet: &Packet, key: &Key) -> Met {
        let Some(found) = self.turn.find(key) else { return Met::Nobody };
        if reuses_closed(&found, packet) {
            return Met::Closed(found);
        }
        match self.sentence(&found) {
            Some(cause) => Met::Sentenced(found, cause),
            None => Met::Flow(found),
        }
    }

    /// The flow that carries a packet on, if any does: a new one, where the packet opens one.
    pub(crate) fn carrier(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet,
        key: &Key,
        met: Met,
    ) -> Result<Found, Reason> {
        match met {
            Met::Flow(found) => Ok(found),
            Met::Sentenced(found, cause) => self.cut_off(frame, packet, key, &found, cause),
            Met::Closed(found) => self.reuse(frame, packet, key, &found),
            Met::Nobody => self.newcomer(frame, packet, key),
        }
    }

    /// Why a flow has to end, if its lane has ended. What has closed already comes to its end by itself, and what is terminated
    /// is ended by its owner.
    #[inline]
    fn sentence(&self, found: &Found) -> Option<Cause> {
        match self.shared.flows.lanes().fate(found.lane) {
            Fate::Carried => None,
            Fate::Ended(cause) => {
                (found.path.passes_through() && found.phase() != Phase::Closing).then_some(cause)
            }
        }
    }

    /// A SYN from the tuple of a flow that has closed. If it is to go to the same target, and as that did, the flow simply opens
    /// again, with the port that the target knows; otherwise it is a new one, and the closed one only keeps its port quiet.
    fn reuse(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet,
        key: &Key,
        closed: &Found,
    ) -> Result<Found, Reason> {
        let admission = self.shared.admit(self.plan, &Tuple::of(self.device, packet))?;
        if would_expire(&admission, packet) {
            return Err(self.ttl_expired(frame, packet));
        }
        if admission.candidate.lane == closed.lane && self.passes_through(&admission) {
            let start = self.prepare(frame, packet, key, &admission)?;
            if let Some((found, ended)) = self.turn.reopen(closed, start.path, self.now) {
                self.begin(&found, start);
                self.out.event(closed_event(&ended));
                self.say_opened(&found, admission.interface);
                return Ok(found);
            }
        }
        close(self.turn.part(closed), self.out);
        self.newcomer(frame, packet, key)
    }
}

/// Whether a SYN comes from the tuple of a flow that has closed. (A terminated flow's owner clears it away itself; until then
/// its own TCP answers.)
fn reuses_closed(found: &Found, packet: &Packet) -> bool {
    // What is rare is asked first.
    packet.flags.opens()
        && found.direction == Direction::Forward
        && found.path.passes_through()
        && found.phase() == Phase::Closing
}

/// Whether a packet that would open a flow goes no further than this: it opens none. (What is terminated ends here anyway.)
pub(crate) fn would_expire(admission: &Admission<'_>, packet: &Packet) -> bool {
    admission.door.path == Path::Nat && packet.ttl <= 1
}
