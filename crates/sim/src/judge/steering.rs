//! What the judge knows of targets and files: who is on the roll, what their charts say, and which flow has which seat.

use std::sync::Arc;
use std::time::Duration;

use engine::{Event, Shared};
use flow::{Cause, FlowId, Phase};
use topology::{DeviceId, InterfaceId, TargetId};
use wire::{Protocol, parse};

use super::charts::{Charts, Network};
use super::roll::{Roll, Seat};
use super::seats::{Seats, Whose};
use super::tally::Tally;
use crate::device::Fault;
use crate::header::Header;
use crate::hosts::leads;
use crate::icmp;
use crate::invariants::{Violation, end_is_told, health_follows_table, newcomer_is_welcome};
use crate::ledger::{Ledger, Tuple};
use crate::packet::{OwnedFrame, Route, Talk, route_of};
use crate::recorder::Batch;
use crate::scenario::Scenario;

/// Rings that hold no more are full now and then.
const SHORT_RING: usize = 16;

/// All of it.
pub(super) struct Steering {
    shared: Arc<Shared>,
    roll: Roll,
    charts: Charts,
    seats: Seats,
    cut_off: Vec<(Tuple, Duration)>,
    crowded_out: Vec<Tuple>,
    /// Whether frames may find no way out.
    is_cut: bool,
    /// From when on some targets speak otherwise than before.
    turns: Option<Duration>,
    pub(super) tally: Tally,
}

impl Steering {
    /// Begins with the topology in force.
    pub(super) fn new(shared: &Arc<Shared>, scenario: &Scenario) -> Self {
        let has = |fault| scenario.outages.iter().any(|outage| outage.fault == fault);
        let impairment = scenario.impairment;
        let network = Network {
            is_lossy: impairment.loss + impairment.corruption > 0
                || scenario.ring <= SHORT_RING
                || !scenario.outages.is_empty(),
            is_cut: has(Fault::Gone),
        };
        Self {
            shared: Arc::clone(shared),
            roll: Roll::new(shared.topology()),
            charts: Charts::new(scenario.unrest.courses.clone(), network),
            seats: Seats::default(),
            cut_off: Vec::new(),
            crowded_out: Vec::new(),
            is_cut: network.is_cut,
            turns: scenario.turns,
            tally: Tally::default(),
        }
    }

    /// The forwarder has taken up a topology.
    pub(super) fn adopt(&mut self, now: Duration) -> Result<(), Violation> {
        self.tally.reloads += 1;
        self.roll.adopt(&self.shared.topology(), now);
        self.charts.adopt(&self.roll.checked(), now)?;
        self.review(now)
    }

    /// The forwarder has reviewed its targets.
    pub(super) fn review(&mut self, now: Duration) -> Result<(), Violation> {
        let health = self.shared.health();
        self.charts.compare(|target| health.standing(target))?;
        self.roll.review(|target| health.standing(target), now);
        self.seats.review(&self.roll, now);
        self.shared.register(|register| {
            let mut standings = self.roll.standings();
            standings.try_for_each(|(target, standing)| {
                health_follows_table(target, register.standing(target), [standing].into_iter())
            })
        })
    }

    /// Whether a packet is for nobody, because the operator has taken away where it should go.
    pub(super) fn has_removed(&self, device: DeviceId, frame: &OwnedFrame) -> bool {
        let topology = self.shared.topology();
        let has = |address| {
            topology.interfaces.iter().any(|(_, own)| (own.device, own.address) == (device, address))
        };
        let is_led = |talk: Talk| leads(&topology, device, talk.protocol, talk.route.destination);
        Header::read(&frame.bytes).is_some_and(|header| !has(header.destination))
            || icmp::quote(&frame.bytes).is_some_and(|quote| !is_led(quote.talk))
    }

    /// Whose connections have been ended since this was asked last, and when they had begun.
    pub(super) fn take_cut_off(&mut self) -> Vec<(Tuple, Duration)> {
        std::mem::take(&mut self.cut_off)
    }

    /// Whose half-open flows have made room for others since this was asked last.
    pub(super) fn take_crowded_out(&mut self) -> Vec<Tuple> {
        std::mem::take(&mut self.crowded_out)
    }

    /// Takes in what a worker has said: first who is asked, then what that has changed.
    pub(super) fn hear(&mut self, batch: &Batch, ledger: &Ledger, now: Duration) -> Result<(), Violation> {
        for departure in batch.said.departures.iter().filter(|departure| departure.slot.is_none()) {
            if let Ok(packet) = parse(&departure.frame.bytes)
                && packet.flags.opens()
            {
                let route = route_of(&packet);
                self.charts.asked(route.destination, route.source.port(), now)?;
            }
        }
        batch.said.events.iter().try_for_each(|event| self.event(event, batch, ledger, now))
    }

    /// Whoever is to end has ended in time. To be asked when all that has been said is heard.
    pub(super) fn audit(&self, now: Duration) -> Result<(), Violation> {
        self.seats.audit(|flow| self.is_closing(flow, now), now)
    }

    fn event(
        &mut self,
        event: &Event,
        batch: &Batch,
        ledger: &Ledger,
        now: Duration,
    ) -> Result<(), Violation> {
        match *event {
            Event::HealthChanged { target } => {
                self.tally.news += 1;
                self.charts.changed(target, self.shared.health().standing(target), now)?;
            }
            Event::CheckPutOff { target, .. } => self.charts.put_off(target, now),
            Event::FlowOpened { flow, interface, target, path } => {
                if let Some(client) = opener(flow, batch, ledger) {
                    self.open(flow, interface, target, Whose { client, path, since: now })?;
                }
            }
            Event::FlowClosed { flow, cause, returned, .. } => {
                self.tally.count(cause);
                let crowded_out = self.seats.client(flow).filter(|_| cause == Cause::CrowdedOut);
                self.crowded_out.extend(crowded_out);
                let cut_off = self.seats.close(flow, cause, self.may_mismatch(now), now)?;
                let of_tcp = cut_off.filter(|whose| whose.client.protocol == Protocol::Tcp);
                if let Some(Whose { client, path, since }) = of_tcp {
                    let is_owed = path.passes_through() && returned.packets > 0 && !self.is_cut;
                    let is_told = is_reset(&client, batch) || batch.frames.iter().any(ends_or_begins);
                    end_is_told(flow, cause, is_told || !is_owed)?;
                    self.cut_off.push((client, since));
                }
            }
            Event::ExpiredFlowHit { .. } | Event::FragmentsEnded { .. } => {}
        }
        Ok(())
    }

    fn open(
        &mut self,
        flow: FlowId,
        interface: InterfaceId,
        target: TargetId,
        whose: Whose,
    ) -> Result<(), Violation> {
        let Tuple { protocol, interface: to, .. } = whose.client;
        let seat = Seat { interface, protocol, port: to.port(), target };
        self.seats.open(flow, seat, whose);
        self.tally.failed_open += usize::from(!self.roll.takes_newcomers(target));
        newcomer_is_welcome(flow, target, self.roll.is_welcome(&seat))
    }

    /// Whether a target may not speak any more what its consumers have been told.
    fn may_mismatch(&self, now: Duration) -> bool {
        self.turns.is_some_and(|turns| now >= turns)
    }

    /// Whether a flow's own ends are about to end it.
    fn is_closing(&self, flow: FlowId, now: Duration) -> bool {
        let mut is_closing = false;
        self.shared.flows().each(now, |view| is_closing |= view.flow == flow && view.phase == Phase::Closing);
        is_closing
    }
}

/// Who has opened a flow within this batch.
fn opener(flow: FlowId, batch: &Batch, ledger: &Ledger) -> Option<Tuple> {
    let mut verdicts = batch.said.verdicts.iter();
    let (slot, _) = verdicts.find(|(_, verdict)| verdict.flow == Some(flow))?;
    ledger.client_of(batch.device?, &icmp::quote(&batch.frames.get(*slot)?.bytes)?.talk)
}

/// Whether a client is told in this batch that its connection is no more.
fn is_reset(client: &Tuple, batch: &Batch) -> bool {
    batch.said.departures.iter().filter(|departure| departure.device == client.device).any(|departure| {
        parse(&departure.frame.bytes).is_ok_and(|packet| {
            let Route { source, destination } = route_of(&packet);
            packet.flags.rst() && (source, destination) == (client.interface, client.client)
        })
    })
}

/// Whether somebody ends or begins a connection by this frame: then he need not be told of the end of the one before.
fn ends_or_begins(frame: &OwnedFrame) -> bool {
    parse(&frame.bytes).is_ok_and(|packet| packet.flags.rst() || packet.flags.syn())
}
