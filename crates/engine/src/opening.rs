//! How a newcomer that was admitted becomes a flow: a source port, a place in the table, and where it is terminated two
//! connections of our own.

use flow::{Cause, FlowPath, Found, Key, NewFlow};
use topology::{EndpointId, InterfaceId, Path};
use wire::{Frame, Packet, Protocol};

use crate::admit::Admission;
use crate::contract::{Event, Output};
use crate::doors::Candidate;
use crate::escort::{Header, Stage};
use crate::expiry::tell_target;
use crate::journey::Journey;
use crate::proxy::header_of;
use crate::terminate::{Opening, Over};
use crate::verdict::Reason;
use crate::worker::{close, retire};

/// How a flow that passes through begins.
pub(crate) struct Start {
    pub(crate) path: FlowPath,
    /// Whose it is and what has to happen first, if it is escorted.
    stage: Option<(EndpointId, Stage)>,
}

impl<O: Output> Journey<'_, O> {
    /// Makes the flow that a newcomer opens.
    pub(crate) fn open(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet,
        key: &Key,
        admission: &Admission<'_>,
    ) -> Result<Found, Reason> {
        if !self.passes_through(admission) {
            return self.open_terminated(key, admission);
        }
        let start = self.prepare(frame, packet, key, admission)?;
        let found = self.insert(key, admission, start.path)?;
        self.begin(&found, start);
        Ok(found)
    }

    /// Whether a newcomer's flow passes through, or ends in our own TCP: so does a spliced one, as long as nobody knows what its
    /// target speaks.
    pub(crate) fn passes_through(&self, admission: &Admission<'_>) -> bool {
        match admission.door.path {
            Path::Nat => true,
            Path::Terminate => false,
            Path::Splice => self.shared.speech(admission.candidate.target).is_some(),
        }
    }

    /// How a flow that passes through begins: escorted, if it is spliced or its target gets a header.
    pub(crate) fn prepare(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet,
        key: &Key,
        admission: &Admission<'_>,
    ) -> Result<Start, Reason> {
        let lane = self.shared.flows.lanes().lane(admission.candidate.lane);
        let header = || header_of(self.plan, lane, key).filter(|_| key.protocol == Protocol::Tcp);
        let stage = if admission.door.path == Path::Splice {
            Stage::Greeting(self.begin_greeting(frame, packet, key, lane))
        } else if let Some((bytes, placement)) = header() {
            Stage::Header(Header::new(bytes, placement, self.now))
        } else {
            return Ok(Start { path: FlowPath::Nat, stage: None });
        };
        let endpoint = self.plan.topology.interfaces[admission.interface].endpoint;
        let path = FlowPath::Escorted { worker: self.own.id.0, escort: self.escort_vacancy(endpoint)? };
        Ok(Start { path, stage: Some((endpoint, stage)) })
    }

    /// A flow has begun as was prepared.
    pub(crate) fn begin(&mut self, found: &Found, start: Start) {
        if let (FlowPath::Escorted { escort, .. }, Some((endpoint, stage))) = (start.path, start.stage) {
            self.begin_escort(escort, endpoint, found.flow, stage);
        }
    }

    /// Makes room in the table, which itself crowds out half-open flows of nat only. Whether there was anything to crowd out.
    pub(crate) fn crowd_out_terminated(&mut self) -> bool {
        // One whose handshake this batch completes is none that opens.
        self.move_on();
        let crowded_out = self.own.terminator.make_room(self.now, self.out);
        let retire = |over| retire(self.shared, self.plan, &self.turn, &over, self.now, self.out);
        crowded_out.map(retire).is_some()
    }

    /// Takes a source port and puts the flow into the table.
    fn insert(&mut self, key: &Key, admission: &Admission<'_>, path: FlowPath) -> Result<Found, Reason> {
        let Candidate { target, lane, .. } = admission.candidate;
        let client = (key.remote.to_bits(), key.remote_port, admission.interface, target);
        let preference = self.shared.preference.hash_one(client);
        let new = NewFlow { original: *key, lane, path, preference };
        let (attached, out) = (&self.own.attached, &mut *self.out);
        let opened = self.turn.open(&new, self.now, |crowded_out| {
            tell_target(self.plan, attached, &crowded_out, out);
            close(Some(crowded_out), out);
        });
        let found = opened.map_err(Reason::from)?;
        for key in [key, &found.onward] {
            self.own.terminator.forget_parting(key);
        }
        Ok(found)
    }

    /// As [`Journey::insert`], and gives the flow a pair of connections in this worker's own TCP.
    fn open_terminated(&mut self, key: &Key, admission: &Admission<'_>) -> Result<Found, Reason> {
        let endpoint = self.plan.topology.interfaces[admission.interface].endpoint;
        let (shared, plan, turn, now) = (self.shared, self.plan, &self.turn, self.now);
        let mut over = |over: Over, out: &mut O| retire(shared, plan, turn, &over, now, out);
        let relay = self.own.terminator.vacancy(endpoint, self.now, self.out, &mut over)?;
        let path = FlowPath::Terminated { worker: self.own.id.0, relay };
        let found = self.insert(key, admission, path)?;
        let opening = Opening {
            flow: found.flow,
            lane: found.lane,
            original: key,
            reply: &found.onward,
            view: &self.plan.view,
            header: header_of(self.plan, self.shared.flows.lanes().lane(found.lane), key),
            idle_timeout: admission.door.idle_timeout,
            expiry: self.plan.topology.flows.expiry,
        };
        let opened = self.own.terminator.open(relay, endpoint, opening, self.now);
        opened.map(|()| found).inspect_err(|_| {
            self.turn.release(found.flow, Cause::Released);
        })
    }

    pub(crate) fn say_opened(&mut self, found: &Found, interface: InterfaceId) {
        let Found { flow, lane, path, .. } = *found;
        let target = self.shared.flows.lanes().lane(lane).target;
        self.out.event(Event::FlowOpened { flow, interface, target, path });
    }
}
