//! The journey of a packet, from top to bottom.
//!
//! ```text
//!   parse ─▶ (ICMP: icmp.rs; a fragment: fragments.rs)
//!         ─▶ whose address is it? ─▶ known flow?
//!                                      ├─ ended by its fate ─▶ RST to both sides (expiry.rs), or as new
//!                                      ├─ nat ──────────▶ rewrite as the flow's other side says, and shifted ─▶ Forward
//!                                      ├─ escorted ─────▶ the same, once its numbers are known (escort.rs; HandOver)
//!                                      ├─ terminated ───▶ our own TCP, on its owning worker (HandOver if that is another)
//!                                      ├─ new, to an interface ─▶ admit ─▶ source port ─▶ insert both keys ─▶ as above
//!                                      └─ new, to a node ──────▶ never forwarded: the path is one way
//! ```
//!
//! Nothing on this road locks, waits or logs, and on nat nothing allocates.

use std::time::Duration;

use flow::{Direction, FlowId, FlowPath, Found, Key, Phase, Place, Sign, Turn};
use topology::{DeviceId, Family, InterfaceId};
use wire::{
    Checksum, Frame, Packet, Protocol, Rewrite, SEGMENT_CAPACITY, Shift, Unparsed, checksum_is_valid,
};

use crate::admit::{Admission, Tuple, check_source};
use crate::contract::{Egress, Output, WorkerId};
use crate::meeting::{Met, would_expire};
use crate::overhear::overhear_packet;
use crate::plan::Plan;
use crate::probe::Ground;
use crate::shared::Shared;
use crate::verdict::{Reason, Verdict};
use crate::worker::{Own, conclude};

/// Frames that are brought near together.
pub(crate) const BATCH: usize = 8;

/// One batch's journey: what the worker has at hand while it carries frames.
pub(crate) struct Journey<'a, O> {
    pub(crate) shared: &'a Shared,
    pub(crate) plan: &'a Plan,
    pub(crate) turn: Turn<'a>,
    pub(crate) own: &'a mut Own,
    pub(crate) device: DeviceId,
    /// The place in the batch of the frame that is carried.
    pub(crate) slot: usize,
    pub(crate) now: Duration,
    pub(crate) out: &'a mut O,
}

/// Where packets leave, and as what.
pub(crate) type Way = (Egress, Rewrite);

/// How far a packet came before its reason was known.
#[derive(Clone, Copy, Default)]
pub(crate) struct Trail {
    pub(crate) interface: Option<InterfaceId>,
    pub(crate) flow: Option<FlowId>,
}

impl Trail {
    /// The packet belongs to this flow.
    #[inline]
    pub(crate) fn follow(&mut self, found: &Found) {
        self.flow = Some(found.flow);
        if let Place::Interface(interface) = found.onward.place {
            self.interface = Some(interface);
        }
    }
}

impl<O: Output> Journey<'_, O> {
    /// Brings near what the frames of a batch will ask for: while the memory of one's flow comes, the others' comes too. What they
    /// say is read again when they are carried: that is less work than to remember it.
    pub(crate) fn prefetch(&self, batch: &[Frame<'_>]) {
        let packets = batch.iter().filter_map(|frame| wire::parse(frame.bytes).ok());
        let place_of = |packet: &Packet| self.plan.view.place(self.device, packet.destination);
        let keys = packets.filter_map(|packet| Some(key_of(&packet, place_of(&packet)?)));
        self.turn.prefetch::<BATCH>(keys);
    }

    /// Carries one frame to its end. `None` if it was handed to another worker, which will say how it ended.
    #[inline]
    pub(crate) fn carry(&mut self, frame: &mut Frame<'_>) -> Option<Verdict> {
        let mut trail = Trail::default();
        let reason = match self.travel(frame, &mut trail) {
            Ok(Some(reason)) | Err(reason) => reason,
            Ok(None) => return None,
        };
        Some(Verdict { reason, interface: trail.interface, flow: trail.flow })
    }

    /// `Ok(None)` is a frame that was handed over; an `Err` is one that ends here.
    #[inline]
    fn travel(&mut self, frame: &mut Frame<'_>, trail: &mut Trail) -> Result<Option<Reason>, Reason> {
        let packet = match wire::parse(frame.bytes) {
            Ok(packet) => packet,
            Err(Unparsed::Icmp) => return self.icmp(frame, trail),
            Err(Unparsed::Fragment) => return self.fragment(frame, trail),
            Err(Unparsed::Malformed) => return Err(Reason::Malformed),
            Err(Unparsed::Housekeeping) => return Err(Reason::Housekeeping),
            Err(Unparsed::OtherProtocol) => return Err(Reason::OtherProtocol),
        };
        let place = self.plan.view.place(self.device, packet.destination).ok_or(Reason::UnknownAddress)?;
        if let Place::Interface(interface) = place {
            trail.interface = Some(interface);
        }
        if frame.wire_len(packet.payload) > self.plan.view.mtu {
            return Err(self.over_mtu(frame, packet.source, packet.destination));
        }
        let key = key_of(&packet, place);
        // Who ends a connection and opens it anew finds it ended; and a RST takes nothing along that came before it.
        if packet.flags.syn() || packet.flags.rst() {
            self.move_on();
        }
        let found = match self.meet(&packet, &key) {
            Met::Flow(found) => found,
            // A damaged packet opens nothing and is not answered. (One of a known flow is the receiver's to notice.)
            _ if is_damaged(frame, &packet) => return Err(Reason::BadChecksum),
            met => self.carrier(frame, &packet, &key, met)?,
        };
        self.known(frame, &packet, &found, trail)
    }

    /// A packet of a known flow.
    #[inline]
    fn known(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        found: &Found,
        trail: &mut Trail,
    ) -> Result<Option<Reason>, Reason> {
        trail.follow(found);
        // A target answers; it opens nothing, not even on a tuple that a flow has. (While the flow is half-open, both ends may be
        // opening it at once.)
        if found.direction == Direction::Reply && packet.flags.opens() && found.phase() != Phase::Opening {
            return Err(Reason::OneWay);
        }
        match found.path {
            FlowPath::Nat => self.rewrite(frame, packet, found, None).map(Some),
            FlowPath::Shifted => {
                let numbering = self.turn.numbering(found);
                let mut shift = numbering.shift(found.direction);
                if numbering.header > 0 && (packet.flags.syn() || packet.flags.rst()) {
                    // Who has acknowledged a header does not say again what comes before it.
                    if found.direction == Direction::Reply {
                        self.refuse_unexpected(packet, found)?;
                    }
                    shift = self.shared.shift_or_ask(packet, found, shift);
                }
                self.rewrite(frame, packet, found, Some(&shift)).map(Some)
            }
            FlowPath::Escorted { worker, escort } if worker == self.own.id.0 => {
                self.escorted(frame, packet, found, escort).map(Some)
            }
            FlowPath::Terminated { worker, relay } if worker == self.own.id.0 => {
                self.turn.count(found, packet.len, self.now);
                let taken = self.own.terminator.input(relay, found, frame, packet, self.now, self.out);
                if let Some(options) = &taken.syn_options {
                    let target = self.shared.flows.lanes().lane(found.lane).target;
                    self.shared.acquaintances.learn(target, options);
                }
                Ok(Some(self.as_seen_from_its_listener(packet, found, taken.reason)))
            }
            FlowPath::Probe { worker, probe } if worker == self.own.id.0 => {
                self.turn.count(found, packet.len, self.now);
                Ok(Some(self.probe(probe, found, frame)))
            }
            FlowPath::Terminated { worker, .. }
            | FlowPath::Probe { worker, .. }
            | FlowPath::Escorted { worker, .. } => self.hand_over(worker, frame),
        }
    }

    /// Moves on the terminated flows that packets have come for.
    #[inline]
    pub(crate) fn move_on(&mut self) {
        if self.own.terminator.is_stirred() {
            self.settle_terminated();
        }
    }

    #[inline(never)] // nat's packets have none
    fn settle_terminated(&mut self) {
        let Self { shared, plan, turn, own, now, out, .. } = self;
        own.terminator.settle(*now, *out, &mut |news, out| conclude(shared, plan, turn, news, *now, out));
    }

    /// A packet that answers a health check's.
    fn probe(&mut self, probe: u32, found: &Found, frame: &Frame<'_>) -> Reason {
        let Own { prober, attached, terminator, .. } = &mut *self.own;
        let partings = &mut terminator.partings;
        let mut ground =
            Ground { shared: self.shared, plan: self.plan, turn: &self.turn, attached, partings };
        prober.input(&mut ground, probe, found, frame, self.now, self.out)
    }

    /// A frame that is another worker's to carry, as it came.
    pub(crate) fn hand_over(&mut self, worker: u8, frame: &Frame<'_>) -> Result<Option<Reason>, Reason> {
        let handed = self.out.hand_over(WorkerId(worker), self.device, frame);
        handed.map(|()| None).map_err(|_| Reason::HandOverFull)
    }

    /// The nat path: the packet leaves as the flow's other side says, and with the numbers that it goes by.
    #[inline]
    fn rewrite(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        found: &Found,
        shift: Option<&Shift>,
    ) -> Result<Reason, Reason> {
        let way = self.way(frame, packet, found)?;
        let Some(shift) = shift else {
            let sign = self.observe(found, packet);
            return Ok(self.leave(frame, packet, &way, sign));
        };
        let mut shifted = *packet;
        let sign = self.shift(frame, &mut shifted, found, shift);
        Ok(self.leave(frame, &shifted, &way, sign))
    }

    /// Where a packet leaves and as what, if it may.
    #[inline]
    pub(crate) fn way(&mut self, frame: &Frame<'_>, packet: &Packet, found: &Found) -> Result<Way, Reason> {
        if packet.ttl <= 1 {
            return Err(self.ttl_expired(frame, packet));
        }
        self.onward(found)
    }

    /// Follows a packet's flow, which goes by the target's numbers, and gives the packet those of its receiver's side.
    fn shift(&mut self, frame: &mut Frame<'_>, packet: &mut Packet, found: &Found, shift: &Shift) -> Sign {
        let as_it_came = *packet;
        let is_forward = found.direction == Direction::Forward;
        // A target that has forgotten the flow might open fast, and take its payload for all that it is told.
        if packet.flags.syn() && is_forward {
            wire::make_ordinary(frame, packet);
        }
        shift.apply(frame, packet);
        let as_the_target_has_it = if is_forward { &*packet } else { &as_it_came };
        self.observe(found, as_the_target_has_it)
    }

    /// Follows a packet's flow.
    #[inline]
    pub(crate) fn observe(&mut self, found: &Found, packet: &Packet) -> Sign {
        let sign = self.turn.observe(found, packet, self.now);
        if sign == Sign::Plausible {
            overhear_packet(self.shared, self.plan, found, packet);
        }
        sign
    }

    /// A packet whose numbers are right leaves.
    #[inline]
    pub(crate) fn leave(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        (egress, rewrite): &Way,
        sign: Sign,
    ) -> Reason {
        if packet.flags.syn() {
            wire::clamp_mss(frame, packet, self.plan.view.mss_ceiling(packet.source));
        }
        rewrite.apply(frame, packet);
        self.out.forward(self.slot, frame, *egress);
        match sign {
            Sign::Plausible => Reason::Forwarded,
            Sign::Stray => Reason::StrayForwarded,
        }
    }

    /// Where a flow's packets leave, and as what.
    #[inline]
    pub(crate) fn onward(&self, found: &Found) -> Result<Way, Reason> {
        let from = self.plan.view.locate(found.onward.place).ok_or(Reason::EgressDown)?;
        if !self.own.attached.has(from.device) {
            return Err(Reason::EgressDown);
        }
        let rewrite = Rewrite {
            source: from.address,
            source_port: found.onward.local_port,
            destination: found.onward.remote,
            destination_port: found.onward.remote_port,
        };
        Ok((Egress::Device(from.device), rewrite))
    }

    /// A packet that belongs to no flow: the one that it opens, if it comes to an interface and may.
    pub(crate) fn newcomer(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet,
        key: &Key,
    ) -> Result<Found, Reason> {
        if let Place::Node(_) = key.place {
            return Err(self.one_way(packet, key));
        }
        let admission = self.shared.admit(self.plan, &Tuple::of(self.device, packet))?;
        if packet.protocol == Protocol::Tcp && !packet.flags.opens() {
            return Err(self.reset(packet, key, Reason::NoFlowReset));
        }
        if would_expire(&admission, packet) {
            return Err(self.ttl_expired(frame, packet));
        }
        let node = self.plan.view.locate(Place::Node(admission.candidate.node)).ok_or(Reason::EgressDown)?;
        if !self.own.attached.has(node.device) {
            return Err(Reason::EgressDown);
        }
        let mut opened = self.open(frame, packet, key, &admission);
        if opened == Err(Reason::TableFull) && self.crowd_out_terminated() {
            opened = self.open(frame, packet, key, &admission);
        }
        match opened {
            Ok(found) => {
                let family = Family::of(node.address.ip());
                let (homes, Admission { interface, candidate, .. }) = (&self.shared.homes, admission);
                homes.settle(&self.plan.topology, interface, family, candidate.node);
                self.say_opened(&found, interface);
                Ok(found)
            }
            // Another worker meets the same flow at this moment: its one is used, if it is there already.
            Err(Reason::Raced) => self.turn.find(key).ok_or(Reason::Raced),
            Err(reason) => Err(reason),
        }
    }

    /// A packet to a node's address that belongs to no flow: somebody on the provider's side wants in.
    fn one_way(&mut self, packet: &Packet, key: &Key) -> Reason {
        if packet.protocol != Protocol::Tcp || packet.flags.opens() {
            return Reason::OneWay;
        }
        match check_source(&self.plan.view, self.device, packet.source) {
            Ok(()) => self.reset(packet, key, Reason::OneWayReset),
            Err(reason) => reason,
        }
    }

    /// Answers with a RST, within the rate; a RST itself is never answered. What belonged to a terminated connection that both
    /// sides have closed is acknowledged instead.
    pub(crate) fn reset(&mut self, packet: &Packet, key: &Key, otherwise: Reason) -> Reason {
        let mut buffer = [0; SEGMENT_CAPACITY];
        if let Some(parting) = self.own.terminator.parting(key, self.now) {
            return match parting.answer(packet, self.now, &mut buffer) {
                None => Reason::TimeWait,
                Some(_) if !self.own.resets.allow(self.now) => Reason::ResetLimited,
                Some(len) => {
                    self.out.emit(&mut Frame::plain(&mut buffer[..len]), Egress::Device(self.device));
                    Reason::TimeWait
                }
            };
        }
        match wire::write_reset(packet, &mut buffer) {
            None => Reason::NoFlow,
            Some(_) if !self.own.resets.allow(self.now) => Reason::ResetLimited,
            Some(len) => {
                self.out.emit(&mut Frame::plain(&mut buffer[..len]), Egress::Device(self.device));
                self.reset_reason(key, otherwise)
            }
        }
    }
}

/// The side of a flow that a packet to this place belongs to.
#[inline]
fn key_of(packet: &Packet, place: Place) -> Key {
    Key {
        place,
        protocol: packet.protocol,
        local_port: packet.destination_port,
        remote: packet.source,
        remote_port: packet.source_port,
    }
}

/// Whether a checksum that nobody has verified is wrong.
pub(crate) fn is_damaged(frame: &Frame<'_>, packet: &Packet) -> bool {
    frame.checksum() == Checksum::Complete && !checksum_is_valid(frame.bytes, packet)
}
