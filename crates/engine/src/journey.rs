//! The journey of a packet, from top to bottom.
//!
//! ```text
//!   parse ─▶ (ICMP: icmp.rs; a fragment: fragments.rs)
//!         ─▶ whose address is it? ─▶ known flow?
//!                                      ├─ nat ──────────▶ rewrite as the flow's other side says ─▶ Forward
//!                                      ├─ terminated ───▶ our own TCP, on its owning worker (HandOver if that is another)
//!                                      ├─ new, to an interface ─▶ admit ─▶ source port ─▶ insert both keys ─▶ as above
//!                                      └─ new, to a node ──────▶ never forwarded: the path is one way
//! ```
//!
//! Nothing on this road locks, waits or logs, and on nat nothing allocates.

use std::time::Duration;

use flow::{Cause, Direction, FlowId, FlowPath, Found, Key, NewFlow, Phase, Place, Refused, Sign, Turn};
use topology::{DeviceId, InterfaceId, Path};
use wire::{Checksum, Frame, Packet, Protocol, RESET_CAPACITY, Rewrite, Unparsed, checksum_is_valid};

use crate::admit::{Admission, Tuple, check_source};
use crate::contract::{Egress, Event, Output, WorkerId};
use crate::expiry::tell_target;
use crate::shared::Shared;
use crate::terminate::{Opening, Over, Taken};
use crate::verdict::{Reason, Verdict};
use crate::view::Candidate;
use crate::worker::{Own, close, closed_event};

/// Frames that are brought near together.
pub(crate) const BATCH: usize = 8;

/// One batch's journey: what the worker has at hand while it carries frames.
pub(crate) struct Journey<'a, O> {
    pub(crate) shared: &'a Shared,
    pub(crate) turn: Turn<'a>,
    pub(crate) own: &'a mut Own,
    pub(crate) device: DeviceId,
    pub(crate) now: Duration,
    pub(crate) out: &'a mut O,
}

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
        let place_of = |packet: &Packet| self.shared.view.place(self.device, packet.destination);
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
        let place = self.shared.view.place(self.device, packet.destination).ok_or(Reason::UnknownAddress)?;
        if let Place::Interface(interface) = place {
            trail.interface = Some(interface);
        }
        if frame.wire_len(packet.payload) > self.shared.view.mtu {
            return Err(self.over_mtu(frame, packet.source, packet.destination));
        }
        let key = key_of(&packet, place);
        let found = match self.turn.find(&key) {
            Some(found) if !reuses_closed(&found, &packet) => found,
            // A damaged packet opens nothing and is not answered. (One of a known flow is the receiver's to notice.)
            _ if is_damaged(frame, &packet) => return Err(Reason::BadChecksum),
            Some(closed) => self.reuse(frame, &packet, &key, &closed)?,
            None => self.newcomer(frame, &packet, &key)?,
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
            FlowPath::Nat => self.rewrite(frame, packet, found).map(Some),
            FlowPath::Terminated { worker, relay } if worker == self.own.id.0 => {
                self.turn.count(found, packet.len, self.now);
                let taken = self.own.terminator.input(relay, found, frame, self.now, self.out);
                Ok(Some(self.conclude(taken)))
            }
            FlowPath::Terminated { worker, .. } => self.hand_over(worker, frame),
        }
    }

    /// What became of a packet that a terminated flow's own TCP has taken. If that was the flow's end, its keys go.
    #[inline]
    pub(crate) fn conclude(&mut self, taken: Taken) -> Reason {
        if let Some(over) = taken.over {
            close(self.turn.retire(over.flow, over.cause), self.out);
        }
        taken.reason
    }

    /// A frame that is another worker's to carry, as it came.
    pub(crate) fn hand_over(&mut self, worker: u8, frame: &Frame<'_>) -> Result<Option<Reason>, Reason> {
        let handed = self.out.hand_over(WorkerId(worker), self.device, frame);
        handed.map(|()| None).map_err(|_| Reason::HandOverFull)
    }

    /// The nat path: the packet leaves as the flow's other side says.
    #[inline]
    fn rewrite(&mut self, frame: &mut Frame<'_>, packet: &Packet, found: &Found) -> Result<Reason, Reason> {
        if packet.ttl <= 1 {
            return Err(self.ttl_expired(frame, packet));
        }
        let (egress, rewrite) = self.onward(found)?;
        let sign = self.turn.observe(found, packet, self.now);
        if packet.flags.syn() {
            wire::clamp_mss(frame, packet, self.shared.view.mss_ceiling(packet.source));
        }
        rewrite.apply(frame, packet);
        self.out.forward(frame, egress);
        Ok(match sign {
            Sign::Plausible => Reason::Forwarded,
            Sign::Stray => Reason::StrayForwarded,
        })
    }

    /// Where a flow's packets leave, and as what.
    #[inline]
    pub(crate) fn onward(&self, found: &Found) -> Result<(Egress, Rewrite), Reason> {
        let from = self.shared.view.locate(found.onward.place);
        if !self.own.is_attached(from.device) {
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
        let admission = self.shared.admit(&Tuple::of(self.device, packet))?;
        if packet.protocol == Protocol::Tcp && !packet.flags.opens() {
            return Err(self.reset(packet, key, Reason::NoFlowReset));
        }
        if would_expire(&admission, packet) {
            return Err(self.ttl_expired(frame, packet));
        }
        let egress = self.shared.view.locate(Place::Node(admission.candidate.node)).device;
        if !self.own.is_attached(egress) {
            return Err(Reason::EgressDown);
        }
        let mut opened = self.open(key, &admission);
        if opened == Err(Reason::TableFull) && self.crowd_out_terminated() {
            opened = self.open(key, &admission);
        }
        match opened {
            Ok(found) => {
                self.say_opened(&found, admission.interface);
                Ok(found)
            }
            // Another worker meets the same flow at this moment: its one is used, if it is there already.
            Err(Reason::Raced) => self.turn.find(key).ok_or(Reason::Raced),
            Err(reason) => Err(reason),
        }
    }

    /// A SYN from the tuple of a flow that has closed. If it is to go to the same target, the flow simply opens again, with
    /// the port that the target knows; otherwise it is a new one, and the closed one only keeps its port quiet.
    fn reuse(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet,
        key: &Key,
        closed: &Found,
    ) -> Result<Found, Reason> {
        let admission = self.shared.admit(&Tuple::of(self.device, packet))?;
        if would_expire(&admission, packet) {
            return Err(self.ttl_expired(frame, packet));
        }
        if admission.candidate.lane == closed.lane
            && let Some((found, ended)) = self.turn.reopen(closed, self.now)
        {
            self.out.event(closed_event(&ended));
            self.say_opened(&found, admission.interface);
            return Ok(found);
        }
        close(self.turn.part(closed), self.out);
        self.newcomer(frame, packet, key)
    }

    /// Makes the flow that a newcomer opens.
    fn open(&mut self, key: &Key, admission: &Admission<'_>) -> Result<Found, Reason> {
        match admission.door.path {
            Path::Nat => self.insert(key, admission, FlowPath::Nat),
            Path::Terminate => self.open_terminated(key, admission),
        }
    }

    /// Makes room in the table, which itself crowds out half-open flows of nat only. Whether there was anything to crowd out.
    fn crowd_out_terminated(&mut self) -> bool {
        let crowded_out = self.own.terminator.make_room(self.now, self.out);
        crowded_out.map(|over| close(self.turn.retire(over.flow, over.cause), self.out)).is_some()
    }

    /// Takes a source port and puts the flow into the table.
    fn insert(&mut self, key: &Key, admission: &Admission<'_>, path: FlowPath) -> Result<Found, Reason> {
        let Candidate { target, lane, .. } = *admission.candidate;
        let client = (key.remote.to_bits(), key.remote_port, admission.interface, target);
        let preference = self.shared.preference.hash_one(client);
        let new = NewFlow { original: *key, lane, path, preference };
        let (own, out) = (&*self.own, &mut *self.out);
        let opened = self.turn.open(&new, self.now, |crowded_out| {
            tell_target(self.shared, own, &crowded_out, out);
            close(Some(crowded_out), out);
        });
        let found = opened.map_err(|refused| match refused {
            Refused::Full => Reason::TableFull,
            Refused::Ports => Reason::PortsExhausted,
            Refused::Raced => Reason::Raced,
        })?;
        for key in [key, &found.onward] {
            self.own.terminator.forget_parting(key);
        }
        Ok(found)
    }

    /// As [`Journey::insert`], and gives the flow a pair of connections in this worker's own TCP.
    fn open_terminated(&mut self, key: &Key, admission: &Admission<'_>) -> Result<Found, Reason> {
        let endpoint = self.shared.flows.lanes().lane(admission.candidate.lane).endpoint;
        let turn = &self.turn;
        let mut over = |over: Over, out: &mut O| close(turn.retire(over.flow, over.cause), out);
        let relay = self.own.terminator.vacancy(endpoint, self.now, self.out, &mut over)?;
        let path = FlowPath::Terminated { worker: self.own.id.0, relay };
        let found = self.insert(key, admission, path)?;
        let opening = Opening {
            flow: found.flow,
            original: key,
            reply: &found.onward,
            view: &self.shared.view,
            idle_timeout: admission.door.idle_timeout,
            expiry: self.shared.topology.flows.expiry,
        };
        let opened = self.own.terminator.open(relay, endpoint, &opening, self.now);
        opened.map(|()| found).inspect_err(|_| {
            self.turn.release(found.flow, Cause::Released);
        })
    }

    fn say_opened(&mut self, found: &Found, interface: InterfaceId) {
        let Found { flow, lane, path, .. } = *found;
        let target = self.shared.flows.lanes().lane(lane).target;
        self.out.event(Event::FlowOpened { flow, interface, target, path });
    }

    /// A packet to a node's address that belongs to no flow: somebody on the provider's side wants in.
    fn one_way(&mut self, packet: &Packet, key: &Key) -> Reason {
        if packet.protocol != Protocol::Tcp || packet.flags.opens() {
            return Reason::OneWay;
        }
        match check_source(&self.shared.view, self.device, packet.source) {
            Ok(()) => self.reset(packet, key, Reason::OneWayReset),
            Err(reason) => reason,
        }
    }

    /// Answers with a RST, within the rate; a RST itself is never answered. What belonged to a terminated connection that both
    /// sides have closed is acknowledged instead.
    fn reset(&mut self, packet: &Packet, key: &Key, otherwise: Reason) -> Reason {
        let mut buffer = [0; RESET_CAPACITY];
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

/// Whether a SYN comes from the tuple of a flow that has closed. (A terminated flow's owner clears it away itself; until then
/// its own TCP answers.)
fn reuses_closed(found: &Found, packet: &Packet) -> bool {
    found.phase() == Phase::Closing
        && found.direction == Direction::Forward
        && found.path == FlowPath::Nat
        && packet.flags.opens()
}

/// Whether a packet that would open a flow goes no further than this: it opens none. (What is terminated ends here anyway.)
fn would_expire(admission: &Admission<'_>, packet: &Packet) -> bool {
    admission.door.path == Path::Nat && packet.ttl <= 1
}

/// Whether a checksum that nobody has verified is wrong.
pub(crate) fn is_damaged(frame: &Frame<'_>, packet: &Packet) -> bool {
    frame.checksum() == Checksum::Complete && !checksum_is_valid(frame.bytes, packet)
}
