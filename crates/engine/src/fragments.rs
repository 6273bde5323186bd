//! Fragments beside the road: UDP in pieces, as the real service forwards it.
//!
//! ```text
//!   parse ─▶ whose address is it? ─▶ whose datagram is it? (HandOver if it is another worker's)
//!                                      ├─ the first ─────────────▶ finds or opens its flow, as a whole packet does
//!                                      │                            ─▶ rewrite ─▶ Forward; what has waited: Emit
//!                                      ├─ later, the first known ─▶ rewrite ─▶ Forward
//!                                      └─ later, and early ──────▶ waits for the first
//! ```
//!
//! Nothing is put together here. A datagram's fragments go to one worker, because only the first of them has ports.

mod coverage;
mod datagrams;
mod waiting;

use flow::{Key, Place};
use wire::{Checksum, Fragment, Frame, Offload, Packet, Protocol, TcpFlags};

use crate::contract::{Egress, Event, Output, WorkerId};
use crate::journey::{Journey, Trail};
use crate::shared::Shared;
use crate::verdict::Reason;

pub(crate) use datagrams::Datagrams;
use datagrams::{Name, Passage, Slot};

impl<O: Output> Journey<'_, O> {
    /// Carries a fragment to its end. `Ok(None)` is one that was handed over.
    #[cold] // beside the road, also in the code
    pub(crate) fn fragment(
        &mut self,
        frame: &mut Frame<'_>,
        trail: &mut Trail,
    ) -> Result<Option<Reason>, Reason> {
        let fragment = wire::parse_fragment(frame.bytes)?;
        // A fragment's checksum is its sender's to finish, and it is cut as small as it gets.
        if frame.checksum() == Checksum::Partial || frame.offload.segmentation.is_some() {
            return Err(Reason::Malformed);
        }
        let place =
            self.shared.view.place(self.device, fragment.destination).ok_or(Reason::UnknownAddress)?;
        if let Place::Interface(interface) = place {
            trail.interface = Some(interface);
        }
        self.judge(frame, &fragment)?;
        let name = Name { place, remote: fragment.source, identification: fragment.identification };
        match owner(self.shared, &name) {
            worker if worker == self.own.id => self.own_fragment(frame, &fragment, &name, trail).map(Some),
            WorkerId(other) => self.hand_over(other, frame),
        }
    }

    /// Ends a fragment's journey by its own length or age, as a whole packet's. Its sender is told about the first one only
    /// (RFC 1122), if at all.
    fn judge(&mut self, frame: &Frame<'_>, fragment: &Fragment) -> Result<(), Reason> {
        if frame.bytes.len() > self.shared.view.mtu {
            return Err(match &fragment.head {
                Some(head) => self.over_mtu(frame, head.source, head.destination),
                None => Reason::OverMtu,
            });
        }
        if fragment.ttl <= 1 {
            return Err(match &fragment.head {
                Some(head) => self.ttl_expired(frame, head),
                None => Reason::TtlExpired,
            });
        }
        Ok(())
    }

    /// A fragment of a datagram that is this worker's.
    fn own_fragment(
        &mut self,
        frame: &mut Frame<'_>,
        fragment: &Fragment,
        name: &Name,
        trail: &mut Trail,
    ) -> Result<Reason, Reason> {
        let (slot, passage) = self.own.datagrams.meet(name, fragment, self.now, self.out)?;
        match (passage, &fragment.head) {
            (Some(passage), _) => self.send_on(frame, fragment, &passage, trail)?,
            (None, Some(head)) => {
                let passage = self.settle(slot, head, name.place)?;
                self.send_on(frame, fragment, &passage, trail)?;
                self.send_kept(slot, &passage);
            }
            (None, None) => {
                self.own.datagrams.keep(slot, fragment, frame.bytes)?;
                return Ok(Reason::FragmentKept);
            }
        }
        self.own.datagrams.forget_if_complete(slot);
        Ok(Reason::FragmentForwarded)
    }

    /// Settles with its first fragment what becomes of a datagram.
    fn settle(&mut self, slot: Slot, head: &Packet, place: Place) -> Result<Passage, Reason> {
        match self.admit_datagram(head, place) {
            Ok(passage) => {
                self.own.datagrams.carry(slot, passage, self.now);
                Ok(passage)
            }
            Err(reason) => {
                self.own.datagrams.drop_rest(slot, Reason::FragmentRefused, self.now, self.out);
                Err(reason)
            }
        }
    }

    /// Finds or opens the flow, as for a whole packet (but a damaged one cannot be told: the checksum covers all of it).
    fn admit_datagram(&mut self, head: &Packet, place: Place) -> Result<Passage, Reason> {
        let key = Key {
            place,
            protocol: Protocol::Udp,
            local_port: head.destination_port,
            remote: head.source,
            remote_port: head.source_port,
        };
        let found = match self.turn.find(&key) {
            Some(found) => found,
            None => self.newcomer(head, &key)?,
        };
        let (Egress::Device(device), rewrite) = self.onward(&found)?;
        let identification = self.shared.idents.next(device, rewrite.source, rewrite.destination);
        Ok(Passage { key, flow: found.flow, identification })
    }

    fn send_on(
        &mut self,
        frame: &mut Frame<'_>,
        fragment: &Fragment,
        passage: &Passage,
        trail: &mut Trail,
    ) -> Result<(), Reason> {
        let egress = self.rewrite_fragment(frame, fragment, passage, trail)?;
        self.out.forward(frame, egress);
        Ok(())
    }

    /// Sends on what has waited for the first fragment.
    fn send_kept(&mut self, slot: Slot, passage: &Passage) {
        while let Some(mut kept) = self.own.datagrams.take_kept(slot) {
            let mut frame = Frame::plain(&mut kept.bytes);
            match self.rewrite_fragment(&mut frame, &kept.fragment, passage, &mut Trail::default()) {
                Ok(egress) => self.out.emit(&mut frame, egress),
                Err(reason) => self.out.event(Event::FragmentsDropped { reason, count: 1 }),
            }
            self.own.datagrams.give_back(kept);
        }
    }

    /// Makes a fragment what its flow and its datagram want it to be, and says where it leaves.
    fn rewrite_fragment(
        &mut self,
        frame: &mut Frame<'_>,
        fragment: &Fragment,
        passage: &Passage,
        trail: &mut Trail,
    ) -> Result<Egress, Reason> {
        let flow = self.turn.find(&passage.key).filter(|found| found.flow == passage.flow);
        let found = flow.ok_or(Reason::NoFlow)?;
        trail.follow(&found);
        let (egress, rewrite) = self.onward(&found)?;
        self.turn.observe(&found, TcpFlags::default(), frame.bytes.len(), self.now);
        fragment.rewrite(frame.bytes, &rewrite, passage.identification);
        // What the kernel vouches for in one fragment says nothing about the datagram.
        frame.offload = Offload::NONE;
        Ok(egress)
    }
}

/// The worker that a datagram is followed by, whichever queues its fragments come from.
fn owner(shared: &Shared, name: &Name) -> WorkerId {
    // The low bits choose among the owner's own places for it.
    let hash = shared.datagram_keys.hash_one(name) >> 32;
    WorkerId((hash % shared.workers() as u64) as u16)
}
