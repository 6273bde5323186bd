//! The judge: knows what is true ([`Ledger`]), hears everything that the workers say, and asks every invariant about it.

mod charts;
mod numbers;
mod occasions;
mod roll;
mod seats;
mod steering;
mod tally;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::{Event, Reason, Shared};
use topology::DeviceId;
use wire::parse;

use crate::fragment;
use crate::icmp::{self, Message};
use crate::invariants::{self, Allowances, Fragments, Invariant, Violation};
use crate::ledger::{Ledger, Tuple};
use crate::packet::{OwnedFrame, Talk, checksums_are_right};
use crate::recorder::{Batch, Departure};
use crate::scenario::Scenario;
use crate::stream::ConnectionId;

pub use occasions::{Occasion, Occasions};
pub use tally::Tally;

use numbers::Numbers;
use steering::Steering;

/// All that the invariants rest on.
pub struct Judge {
    /// What is known.
    pub ledger: Ledger,
    shared: Arc<Shared>,
    steering: Steering,
    numbers: Numbers,
    allowances: Allowances,
    fragments: Fragments,
    reasons: [u64; Reason::COUNT],
}

impl Judge {
    /// Knows whose connections there will be.
    pub fn new(shared: &Arc<Shared>, scenario: &Scenario, owners: BTreeMap<ConnectionId, Tuple>) -> Self {
        Self {
            ledger: Ledger::new(&shared.topology(), owners),
            steering: Steering::new(shared, scenario),
            numbers: Numbers::new(scenario.shops),
            shared: Arc::clone(shared),
            allowances: Allowances::default(),
            fragments: Fragments::default(),
            reasons: [0; Reason::COUNT],
        }
    }

    /// How many frames ended for each reason, and fragments that had been kept.
    pub fn reasons(&self) -> &[u64; Reason::COUNT] {
        &self.reasons
    }

    /// How much has happened.
    pub fn tally(&self) -> Tally {
        self.steering.tally + self.numbers.tally
    }

    /// A topology is in force.
    pub fn adopt(&mut self, now: Duration) -> Result<(), Violation> {
        self.steering.adopt(now)
    }

    /// The targets have been reviewed.
    pub fn review(&mut self, now: Duration) -> Result<(), Violation> {
        self.steering.review(now)
    }

    /// Whose connections the forwarder has ended, as it was to, since this was asked last; and when they had begun.
    pub fn take_cut_off(&mut self) -> Vec<(Tuple, Duration)> {
        self.steering.take_cut_off()
    }

    /// Whose half-open flows have made room for others since this was asked last.
    pub fn take_crowded_out(&mut self) -> Vec<Tuple> {
        self.steering.take_crowded_out()
    }

    /// A frame was lost between a device and the hosts behind it, or was damaged.
    pub fn lost(&mut self, device: DeviceId, frame: &OwnedFrame) {
        self.numbers.lost(device, frame, &self.ledger);
    }

    /// A frame reaches the hosts behind a device.
    pub fn reaches(&mut self, device: DeviceId, frame: &OwnedFrame) {
        if !frame.damaged {
            self.numbers.reaches(device, frame, &self.ledger);
        }
    }

    /// Takes in what a worker has said, and judges it.
    pub fn hear(&mut self, batch: &Batch, now: Duration) -> Result<(), Violation> {
        self.learn(batch);
        batch.said.events.iter().try_for_each(invariants::nobody_panics)?;
        self.steering.hear(batch, &self.ledger, now)?;
        invariants::one_verdict_each(batch)?;
        for (slot, verdict) in &batch.said.verdicts {
            let frame = batch.frames.get(*slot).filter(|frame| !frame.damaged);
            let frame = frame.filter(|frame| !self.is_for_nobody(batch, frame, verdict.reason));
            frame.map_or(Ok(()), |frame| invariants::intruder_is_known(frame, verdict.reason))?;
        }
        batch.said.departures.iter().try_for_each(|departure| self.check(departure, batch, now))?;
        self.numbers.forget(batch);
        Ok(())
    }

    /// Whether flows that are to end do so in time. To be asked when everything is heard.
    pub fn flows_end_in_time(&self, now: Duration) -> Result<(), Violation> {
        self.steering.audit(now)
    }

    /// What so many terminated connections take.
    pub fn memory_is_bounded(&self, connections: usize) -> Result<(), Violation> {
        let memory = self.shared.terminate_memory();
        invariants::memory_is_bounded(memory.used(), memory.limit(), connections)
    }

    /// When all is over, and so many connections are still terminated, and so many checks under way.
    pub fn nothing_is_left(&self, connections: usize, probes: usize) -> Result<(), Violation> {
        invariants::no_connection_is_left(connections, self.shared.terminate_memory().used())?;
        let flows = self.shared.flows();
        let on_lanes = flows.lanes().iter().map(|(id, _)| flows.lanes().flows(id)).sum();
        invariants::nobody_is_asked(probes, on_lanes)?;
        let ports = flows.lanes().ports_in_use();
        invariants::nothing_is_left(flows.len(), ports, self.ledger.live_flows())?;
        self.fragments.none_is_left()
    }

    /// Notes which flows there are, and whose they are.
    fn learn(&mut self, batch: &Batch) {
        for event in &batch.said.events {
            self.ledger.event(event);
            self.allowances.event(event);
            if let Event::FragmentsEnded { reason, count } = event {
                self.reasons[reason.index()] += *count as u64;
            }
        }
        self.fragments.count(batch);
        self.numbers.learn(batch, &self.ledger);
        for (slot, verdict) in &batch.said.verdicts {
            self.reasons[verdict.reason.index()] += 1;
            if let (Some(client), Some(flow)) = (self.client_at(batch, Some(*slot)), verdict.flow) {
                self.ledger.went_by(client, flow);
            }
        }
    }

    /// Whether a frame is refused for want of something that the operator has taken away.
    fn is_for_nobody(&self, batch: &Batch, frame: &OwnedFrame, reason: Reason) -> bool {
        matches!(reason, Reason::UnknownAddress | Reason::NoListener | Reason::FragmentRefused)
            && batch.device.is_some_and(|device| self.steering.has_removed(device, frame))
    }

    fn check(&mut self, departure: &Departure, batch: &Batch, now: Duration) -> Result<(), Violation> {
        let bytes = &departure.frame.bytes;
        if let Some(message) = icmp::read(bytes) {
            return self.check_message(departure, &message, batch, now);
        }
        self.numbers.note(departure, batch, &self.ledger);
        // What comes of a damaged frame is damaged too, and is nobody's.
        if batch.is_damaged() {
            return Ok(());
        }
        if let Some((header, piece)) = fragment::read(bytes) {
            let fragment = (&header, piece);
            invariants::fragment_is_on_its_own_side(departure, fragment, &self.ledger)?;
            self.fragments.none_overlap(departure.device, fragment, now)?;
            return self.check_port(departure, batch);
        }
        let Ok(packet) = parse(bytes) else {
            return Err(Violation::new(Invariant::FaithfulFrames, "what leaves is no packet"));
        };
        let came_in = departure.slot.and_then(|slot| batch.frames.get(slot));
        let mss_ceiling = self.shared.topology().run.mss_ceiling;
        invariants::frame_is_on_its_own_side(departure, &packet, came_in, &self.ledger)?;
        let is_shifted = self.numbers.check(departure, &packet, batch, &self.ledger)?;
        invariants::frame_is_faithful(departure, &packet, came_in, is_shifted, mss_ceiling)?;
        if departure.slot.is_none() {
            invariants::segments_are_short_enough(departure, &packet, &self.ledger)?;
        }
        self.check_port(departure, batch)
    }

    /// ICMP that leaves, and has the right checksum.
    fn check_message(
        &mut self,
        departure: &Departure,
        message: &Message<'_>,
        batch: &Batch,
        now: Duration,
    ) -> Result<(), Violation> {
        if batch.is_damaged() {
            // The hop limit of IPv6, for one, has no checksum that would notice.
            let is_noticed = batch.frames.iter().all(|frame| !is_intact(frame));
            let why = "a damaged packet was answered, or a damaged message made right";
            return if is_noticed { Err(Violation::new(Invariant::ErrorsTranslated, why)) } else { Ok(()) };
        }
        if !message.is_error() {
            let answers = batch.verdicts(Reason::PingAnswered) > 0 && matches!(message.kind, 0 | 129);
            let why = format!("ICMP {}/{} leaves and answers nothing", message.kind, message.code);
            return if answers { Ok(()) } else { Err(Violation::new(Invariant::ErrorsTranslated, why)) };
        }
        invariants::error_is_translated(departure, message, batch.is_honest(), &self.ledger)?;
        let flow = icmp::quote(message.body)
            .filter(|_| batch.verdicts(Reason::IcmpForwarded) > 0)
            .and_then(|quoted| self.ledger.flow_of(departure.device, &quoted.talk));
        flow.map_or(Ok(()), |flow| self.allowances.error_is_allowed(flow, now))
    }

    /// Whose port a target sees.
    fn check_port(&mut self, departure: &Departure, batch: &Batch) -> Result<(), Violation> {
        let bytes = &departure.frame.bytes;
        let Some(talk) = icmp::quote(bytes).map(|quote| quote.talk) else { return Ok(()) };
        let owner = self.client_at(batch, departure.slot).or_else(|| self.ledger.owner_of(payload(bytes)));
        match (self.ledger.sight_of(departure.device, &talk), owner) {
            (Some(seen), Some(owner)) => {
                invariants::port_has_one_owner(seen, owner, batch.flow_of(departure), &mut self.ledger)
            }
            // The forwarder's own SYN: in whose name is not known yet, but the port must be free.
            (Some(seen), None) if opens(bytes) => invariants::port_is_free(seen, &self.ledger),
            _ => Ok(()),
        }
    }

    /// The client that has sent the frame at a slot of a batch, if it was one.
    fn client_at(&self, batch: &Batch, slot: Option<usize>) -> Option<Tuple> {
        let frame = batch.frames.get(slot?).filter(|frame| !frame.damaged)?;
        let talk: Talk = icmp::quote(&frame.bytes)?.talk;
        self.ledger.client_of(batch.device?, &talk)
    }
}

fn payload(bytes: &[u8]) -> &[u8] {
    match (parse(bytes), fragment::read(bytes)) {
        (Ok(packet), _) => &bytes[packet.payload..],
        (_, Some((header, piece))) => invariants::payload(&header, piece),
        _ => &[],
    }
}

fn opens(bytes: &[u8]) -> bool {
    parse(bytes).is_ok_and(|packet| packet.flags.opens())
}

/// Whether every checksum in a frame is right.
fn is_intact(frame: &OwnedFrame) -> bool {
    match parse(&frame.bytes) {
        Ok(packet) => checksums_are_right(frame, &packet),
        Err(_) => icmp::read(&frame.bytes).is_some(),
    }
}
