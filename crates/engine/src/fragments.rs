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
//! Nothing is put together here. A datagram's fragments go to one worker, because only the first of them has ports. Of a
//! datagram of which one fragment was dropped, all that is left is dropped: nobody could put it together.

mod coverage;
mod datagrams;
mod shares;
mod waiting;

use flow::{Found, Key, Place};
use wire::{Checksum, Fragment, Frame, Offload, Packet, Protocol, Rewrite};

use crate::contract::{Egress, Event, Output, WorkerId};
use crate::journey::{Journey, Trail, is_damaged};
use crate::shared::Shared;
use crate::verdict::Reason;

pub(crate) use datagrams::Datagrams;
use datagrams::{Name, Passage, Slot};

/// How fragments of a datagram go on: by which flow, to where and as what.
struct Way {
    passage: Passage,
    found: Found,
    egress: Egress,
    rewrite: Rewrite,
}

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
        let view = &self.plan.view;
        let place = view.place(self.device, fragment.destination).ok_or(Reason::UnknownAddress)?;
        if let Place::Interface(interface) = place {
            trail.interface = Some(interface);
            if fragment.head.is_none() && !view.takes_datagrams(interface) {
                return Err(Reason::NoListener);
            }
        }
        if let Some(packet) = fragment.whole() {
            return self.whole(frame, &fragment, packet, place, trail).map(Some);
        }
        let name = Name { place, remote: fragment.source, identification: fragment.identification };
        match owner(self.shared, &name) {
            worker if worker == self.own.id => self.own_fragment(frame, &fragment, &name, trail).map(Some),
            WorkerId(other) => self.hand_over(other, frame),
        }
    }

    /// A datagram in one fragment: on its own, whatever else has its identification (RFC 6946).
    fn whole(
        &mut self,
        frame: &mut Frame<'_>,
        fragment: &Fragment,
        packet: &Packet,
        place: Place,
        trail: &mut Trail,
    ) -> Result<Reason, Reason> {
        self.check_length(frame, fragment)?;
        if is_damaged(frame, packet) {
            return Err(Reason::BadChecksum);
        }
        let way = self.admit_datagram(frame, packet, place, trail)?;
        self.send_on(frame, fragment, &way);
        Ok(Reason::FragmentForwarded)
    }

    /// A fragment of a datagram that is this worker's.
    fn own_fragment(
        &mut self,
        frame: &mut Frame<'_>,
        fragment: &Fragment,
        name: &Name,
        trail: &mut Trail,
    ) -> Result<Reason, Reason> {
        let (slot, met) = self.own.datagrams.meet(name, fragment, self.now, self.out);
        let fits = self.check_length(frame, fragment);
        let went = fits.and(met).and_then(|passage| match (passage, &fragment.head) {
            (None, Some(head)) => self.settle(frame, fragment, head, slot, name.place, trail),
            _ if fragment.ttl <= 1 => Err(Reason::TtlExpired),
            (Some(passage), _) => self.follow(frame, fragment, passage, trail),
            (None, None) => self.keep(frame, fragment, slot, name.place),
        });
        match went {
            Ok(Reason::FragmentForwarded) => self.own.datagrams.forget_if_complete(slot),
            Ok(_) | Err(Reason::FragmentDuplicate) => {}
            Err(reason) => self.own.datagrams.condemn(slot, rest(reason), self.now, self.out),
        }
        went
    }

    /// Ends a fragment's journey by its own length, as a whole packet's. Its sender is told about the first one only
    /// (RFC 1122), if at all.
    fn check_length(&mut self, frame: &Frame<'_>, fragment: &Fragment) -> Result<(), Reason> {
        if frame.bytes.len() <= self.plan.view.mtu {
            return Ok(());
        }
        Err(match &fragment.head {
            Some(head) => self.over_mtu(frame, head.source, head.destination),
            None => Reason::OverMtu,
        })
    }

    /// The first fragment: it settles how its datagram goes on.
    fn settle(
        &mut self,
        frame: &mut Frame<'_>,
        fragment: &Fragment,
        head: &Packet,
        slot: Slot,
        place: Place,
        trail: &mut Trail,
    ) -> Result<Reason, Reason> {
        let way = self.admit_datagram(frame, head, place, trail)?;
        self.own.datagrams.carry(slot, way.passage, self.now);
        self.send_on(frame, fragment, &way);
        self.send_kept(slot, &way);
        Ok(Reason::FragmentForwarded)
    }

    /// A later fragment, which follows the first.
    fn follow(
        &mut self,
        frame: &mut Frame<'_>,
        fragment: &Fragment,
        passage: Passage,
        trail: &mut Trail,
    ) -> Result<Reason, Reason> {
        let flow = self.turn.find(&passage.key).filter(|found| found.flow == passage.flow);
        let found = flow.ok_or(Reason::NoFlow)?;
        trail.follow(&found);
        let (egress, rewrite) = self.onward(&found)?;
        self.send_on(frame, fragment, &Way { passage, found, egress, rewrite });
        Ok(Reason::FragmentForwarded)
    }

    /// A later fragment, which waits for the first.
    fn keep(
        &mut self,
        frame: &Frame<'_>,
        fragment: &Fragment,
        slot: Slot,
        place: Place,
    ) -> Result<Reason, Reason> {
        self.own.datagrams.keep(slot, place, fragment, frame.bytes, self.now, self.out)?;
        Ok(Reason::FragmentKept)
    }

    /// Finds or opens the flow, as for a whole packet (but a damaged one cannot be told: the checksum covers all of it).
    fn admit_datagram(
        &mut self,
        frame: &Frame<'_>,
        head: &Packet,
        place: Place,
        trail: &mut Trail,
    ) -> Result<Way, Reason> {
        let key = Key {
            place,
            protocol: Protocol::Udp,
            local_port: head.destination_port,
            remote: head.source,
            remote_port: head.source_port,
        };
        let met = self.meet(head, &key);
        let found = self.carrier(frame, head, &key, met)?;
        trail.follow(&found);
        if head.ttl <= 1 {
            return Err(self.ttl_expired(frame, head));
        }
        let (egress @ Egress::Device(device), rewrite) = self.onward(&found)?;
        let identification = self.shared.idents.next(device, rewrite.source, rewrite.destination);
        Ok(Way { passage: Passage { key, flow: found.flow, identification }, found, egress, rewrite })
    }

    fn send_on(&mut self, frame: &mut Frame<'_>, fragment: &Fragment, way: &Way) {
        self.rewrite_fragment(frame, fragment, way);
        self.out.forward(self.slot, frame, way.egress);
    }

    /// Sends on what has waited for the first fragment.
    fn send_kept(&mut self, slot: Slot, way: &Way) {
        let mut count = 0;
        while let Some(mut kept) = self.own.datagrams.take_kept(slot) {
            let mut frame = Frame::plain(&mut kept.bytes);
            self.rewrite_fragment(&mut frame, &kept.fragment, way);
            self.out.emit(&mut frame, way.egress);
            self.own.datagrams.give_back(kept);
            count += 1;
        }
        if count > 0 {
            self.out.event(Event::FragmentsEnded { reason: Reason::FragmentForwarded, count });
        }
    }

    /// Makes a fragment what its flow and its datagram want it to be.
    fn rewrite_fragment(&mut self, frame: &mut Frame<'_>, fragment: &Fragment, way: &Way) {
        self.turn.count(&way.found, frame.bytes.len(), self.now);
        fragment.rewrite(frame.bytes, &way.rewrite, way.passage.identification);
        // What the kernel vouches for in one fragment says nothing about the datagram.
        frame.offload = Offload::NONE;
    }
}

/// Why the rest of a datagram is dropped of which a fragment was dropped like this.
fn rest(reason: Reason) -> Reason {
    match reason {
        Reason::FragmentOverlap | Reason::FragmentNoRoom => reason,
        _ => Reason::FragmentRefused,
    }
}

/// The worker that a datagram is followed by, whichever queues its fragments come from.
fn owner(shared: &Shared, name: &Name) -> WorkerId {
    // The low bits choose among the owner's own places for it.
    let hash = shared.datagram_keys.hash_one(name) >> 32;
    WorkerId((hash % shared.workers() as u64) as u8)
}
