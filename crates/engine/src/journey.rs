//! The journey of a packet, from top to bottom.
//!
//! ```text
//!   parse ─▶ whose address is it? ─▶ known flow?
//!                                      ├─ nat ──────────▶ rewrite as the flow's other side says ─▶ Forward
//!                                      ├─ terminated ───▶ our own TCP, on its owning worker (HandOver if that is another)
//!                                      ├─ new, to an interface ─▶ admit ─▶ source port ─▶ insert both keys ─▶ as above
//!                                      └─ new, to a node ──────▶ never forwarded: the path is one way
//! ```
//!
//! Nothing on this road locks, waits or logs, and on nat nothing allocates.

use std::time::Duration;

use flow::{Direction, FlowId, FlowPath, Found, Key, NewFlow, Phase, Place, Refused, Turn};
use topology::{DeviceId, InterfaceId, Path};
use wire::{Checksum, Frame, Packet, Protocol, Rewrite, checksum_is_valid};

use crate::admit::{Admission, Tuple, admit};
use crate::contract::{Egress, Event, Output};
use crate::shared::Shared;
use crate::terminate::Opening;
use crate::verdict::{Reason, Verdict};
use crate::worker::{Own, close};

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
struct Trail {
    interface: Option<InterfaceId>,
    flow: Option<FlowId>,
}

impl<O: Output> Journey<'_, O> {
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
        let packet = wire::parse(frame.bytes)?;
        let place = self.shared.view.place(self.device, packet.destination).ok_or(Reason::UnknownAddress)?;
        if let Place::Interface(interface) = place {
            trail.interface = Some(interface);
        }
        if frame.wire_len(packet.payload) > self.shared.view.mtu {
            return Err(Reason::OverMtu);
        }
        let key = Key {
            place,
            protocol: packet.protocol,
            local_port: packet.destination_port,
            remote: packet.source,
            remote_port: packet.source_port,
        };
        match self.turn.find(&key) {
            Some(found) if !self.needs_new_flow(&found, &packet) => self.known(frame, &packet, &found, trail),
            // A damaged packet opens nothing and is not answered. (One of a known flow is the receiver's to notice.)
            _ if frame.checksum() == Checksum::Complete && !checksum_is_valid(frame.bytes, &packet) => {
                Err(Reason::BadChecksum)
            }
            _ => match place {
                Place::Interface(interface) => self.newcomer(frame, &packet, &key, interface, trail),
                Place::Node(_) => Err(self.one_way(&packet)),
            },
        }
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
        trail.flow = Some(found.flow);
        if let Place::Interface(interface) = found.onward.place {
            trail.interface = Some(interface);
        }
        match found.path {
            FlowPath::Nat => self.rewrite(frame, packet, found).map(Some),
            FlowPath::Terminated { worker, relay } if worker == self.own.id.0 => {
                self.turn.observe(found, packet.flags, packet.len, self.now);
                let taken = self.own.terminator.input(relay, found, frame, self.now, self.out);
                if let Some(flow) = taken.over {
                    close(&self.turn, flow, self.out);
                }
                Ok(Some(taken.reason))
            }
            FlowPath::Terminated { worker, .. } => {
                let owner = crate::WorkerId(worker);
                self.out.hand_over(owner, self.device, frame).map_err(|_| Reason::HandOverFull)?;
                Ok(None)
            }
        }
    }

    /// The nat path: the packet leaves as the flow's other side says.
    #[inline]
    fn rewrite(&mut self, frame: &mut Frame<'_>, packet: &Packet, found: &Found) -> Result<Reason, Reason> {
        let view = &self.shared.view;
        let from = view.locate(found.onward.place);
        if packet.ttl <= 1 {
            return Err(Reason::TtlExpired);
        }
        if !self.own.is_attached(from.device) {
            return Err(Reason::EgressDown);
        }
        self.turn.observe(found, packet.flags, packet.len, self.now);
        if packet.flags.syn() {
            wire::clamp_mss(frame, packet, view.mss_ceiling(packet.source));
        }
        let rewrite = Rewrite {
            source: from.address,
            source_port: found.onward.local_port,
            destination: found.onward.remote,
            destination_port: found.onward.remote_port,
        };
        rewrite.apply(frame, packet);
        self.out.forward(frame, Egress::Device(from.device));
        Ok(Reason::Forwarded)
    }

    /// A packet to an interface that belongs to no flow.
    fn newcomer(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        key: &Key,
        interface: InterfaceId,
        trail: &mut Trail,
    ) -> Result<Option<Reason>, Reason> {
        let shared = self.shared;
        let tuple = Tuple::of(self.device, packet);
        let admission = admit(&shared.view, &shared.health, &shared.choice, &tuple)?;
        if packet.protocol == Protocol::Tcp && !packet.flags.opens() {
            return Err(self.reset(packet, Reason::NoFlowReset));
        }
        let opened = match admission.door.path {
            Path::Nat => self.open(key, &admission, FlowPath::Nat),
            Path::Terminate => self.open_terminated(key, &admission),
        };
        // Of two workers that meet the same new flow at once, the later one uses the earlier one's.
        let flow = match opened {
            Err(Reason::Raced) => None,
            opened => Some(opened?),
        };
        let found = self.turn.find(key).ok_or(Reason::Raced)?;
        if let Some(flow) = flow {
            let target = admission.candidate.target;
            self.out.event(Event::FlowOpened { flow, interface, target, path: found.path });
        }
        self.known(frame, packet, &found, trail)
    }

    /// Takes a source port and makes the flow.
    fn open(&mut self, key: &Key, admission: &Admission<'_>, path: FlowPath) -> Result<FlowId, Reason> {
        let candidate = admission.candidate;
        let client = (key.remote.to_bits(), key.remote_port, admission.interface, candidate.target);
        let preference = self.shared.preference.hash_one(client);
        let port =
            self.shared.flows.ports().take(candidate.pool, preference).ok_or(Reason::PortsExhausted)?;
        let reply = Key {
            place: Place::Node(candidate.node),
            protocol: key.protocol,
            local_port: port,
            remote: candidate.address,
            remote_port: candidate.port,
        };
        let new = NewFlow {
            original: *key,
            reply,
            listener: admission.door.listener,
            target: candidate.target,
            pool: candidate.pool,
            path,
            idle: admission.door.idle_timeout,
        };
        self.turn.insert(&new, self.now).map_err(|refused| match refused {
            Refused::Full => Reason::TableFull,
            Refused::Raced => Reason::Raced,
        })
    }

    /// As [`Journey::open`], and gives the flow a pair of connections in this worker's own TCP.
    fn open_terminated(&mut self, key: &Key, admission: &Admission<'_>) -> Result<FlowId, Reason> {
        let relay = self.own.terminator.vacancy().ok_or(Reason::TerminateFull)?;
        let path = FlowPath::Terminated { worker: self.own.id.0, relay };
        let flow = self.open(key, admission, path)?;
        let reply = self.turn.find(key).ok_or(Reason::Raced)?.onward;
        let view = &self.shared.view;
        let idle_timeout = admission.door.idle_timeout;
        let opening = Opening { flow, original: key, reply: &reply, view, idle_timeout };
        self.own.terminator.open(relay, &opening, self.now);
        Ok(flow)
    }

    /// A packet to a node's address that belongs to no flow: somebody on the provider's side wants in.
    fn one_way(&mut self, packet: &Packet) -> Reason {
        if packet.protocol == Protocol::Tcp && !packet.flags.opens() {
            self.reset(packet, Reason::OneWayReset)
        } else {
            Reason::OneWay
        }
    }

    /// Whether a SYN needs a new flow although its tuple has one: that one has closed. If the SYN would go to the same
    /// target, the old flow simply opens again, with the port that the target knows; otherwise it makes room.
    fn needs_new_flow(&mut self, found: &Found, packet: &Packet) -> bool {
        if found.phase != Phase::Closing || !packet.flags.opens() || found.direction != Direction::Forward {
            return false;
        }
        let shared = self.shared;
        let tuple = Tuple::of(self.device, packet);
        let target = admit(&shared.view, &shared.health, &shared.choice, &tuple)
            .map(|admission| admission.candidate.target);
        // A terminated flow's owner clears it away itself; until then its own TCP answers.
        if found.path != FlowPath::Nat {
            return false;
        }
        if target == Ok(found.target) && self.turn.reopen(found.flow, self.now) {
            return false;
        }
        close(&self.turn, found.flow, self.out);
        true
    }

    /// Answers with a RST, within the rate; a RST itself is never answered.
    fn reset(&mut self, packet: &Packet, reason: Reason) -> Reason {
        if packet.flags.rst() {
            return Reason::NoFlow;
        }
        match self.own.resets.answer(packet, self.now) {
            Some(mut answer) => {
                self.out.emit(&mut answer, Egress::Device(self.device));
                reason
            }
            None => Reason::ResetLimited,
        }
    }
}
