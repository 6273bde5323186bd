//! Planted bugs beside the straight road: in errors, in fragments, where a device is gone.

use std::collections::{HashMap, HashSet};

use engine::{Event, Reason};
use flow::{Cause, FlowId};

use super::Sabotage;
use crate::fragment::{self, fragment};
use crate::header::{Header, complete_v4_header};
use crate::icmp::{self, Message, Trouble};
use crate::ledger::Ledger;
use crate::packet::OwnedFrame;
use crate::recorder::{Batch, Departure};

/// More than any flow is allowed at once.
const FLOOD: usize = 30;
/// More than an error may quote.
const TOO_MUCH: usize = 1400;

/// Whoever forgets a flow when it hears an error about it.
#[derive(Default)]
pub(super) struct Coward {
    given_up: HashSet<FlowId>,
}

impl Coward {
    pub(super) fn tamper(&mut self, batch: &mut Batch) {
        let flow_at = |slot: usize| {
            batch.said.verdicts.iter().find(|(of, _)| *of == slot).and_then(|(_, verdict)| verdict.flow)
        };
        let is_lost = |departure: &Departure| {
            departure.slot.and_then(flow_at).is_some_and(|flow| self.given_up.contains(&flow))
        };
        let kept = batch.said.departures.iter().filter(|departure| !is_lost(departure)).cloned().collect();
        batch.said.departures = kept;
        let errors =
            batch.said.verdicts.iter().filter(|(_, verdict)| verdict.reason == Reason::IcmpForwarded);
        self.given_up.extend(errors.filter_map(|(_, verdict)| verdict.flow));
    }
}

/// Whoever sends fragments on with the identifiers that they came with.
#[derive(Default)]
pub(super) struct Copyist {
    /// The original of each new identifier.
    originals: HashMap<u32, u32>,
}

impl Copyist {
    pub(super) fn tamper(&mut self, batch: &mut Batch) {
        for departure in &mut batch.said.departures {
            let Some((header, piece)) = fragment::read(&departure.frame.bytes) else { continue };
            let came_in = departure.slot.and_then(|slot| fragment::read(&batch.frames.get(slot)?.bytes));
            if let Some((original, _)) = came_in {
                self.originals.insert(header.identifier, original.identifier);
            }
            if let Some(identifier) = self.originals.get(&header.identifier) {
                departure.frame =
                    OwnedFrame::plain(fragment(&Header { identifier: *identifier, ..header }, piece));
            }
        }
    }
}

/// Tampers with what a worker has said.
pub(super) fn tamper(sabotage: Sabotage, batch: &mut Batch, ledger: &Ledger) {
    match sabotage {
        Sabotage::LoseAKeptFragment => {
            batch.said.departures.retain(|departure| !departure.is_built_fragment());
        }
        Sabotage::PassOnTheUnknown => {
            for (_, verdict) in &mut batch.said.verdicts {
                if verdict.reason == Reason::IcmpNoFlow {
                    verdict.reason = Reason::IcmpForwarded;
                }
            }
        }
        Sabotage::Panic => {
            for event in &mut batch.said.events {
                if let Event::FlowClosed { cause, .. } = event {
                    *cause = Cause::Panicked;
                }
            }
        }
        Sabotage::ForwardToNowhere => forward_to_nowhere(batch, ledger),
        Sabotage::HealTheDamaged => heal(batch),
        _ => {
            let departures = std::mem::take(&mut batch.said.departures);
            batch.said.departures =
                departures.into_iter().flat_map(|departure| replace(sabotage, departure, ledger)).collect();
        }
    }
}

/// What leaves instead of a frame.
fn replace(sabotage: Sabotage, departure: Departure, ledger: &Ledger) -> Vec<Departure> {
    let with = |frame: OwnedFrame| vec![Departure { frame, ..departure.clone() }];
    if let Some(message) = icmp::read(&departure.frame.bytes).filter(Message::is_error) {
        return match sabotage {
            Sabotage::LeaveTheRouter => {
                let source = ledger.stranger_near(message.source);
                with(Message { source, ..message }.build())
            }
            Sabotage::LeaveTheQuote => with(unmapped(&message, ledger)),
            Sabotage::QuoteTooMuch => {
                let body: Vec<u8> = message.body.iter().copied().cycle().take(TOO_MUCH).collect();
                with(Message { body: &body, ..message }.build())
            }
            Sabotage::FloodErrors => vec![departure; FLOOD],
            _ => vec![departure],
        };
    }
    let Some((header, piece)) = fragment::read(&departure.frame.bytes) else { return vec![departure] };
    let again = |header: &Header| OwnedFrame::plain(fragment(header, piece));
    match sabotage {
        Sabotage::LetOverlap => {
            let overlap = again(&Header { offset: header.offset + 8, ..header });
            vec![departure.clone(), Departure { frame: overlap, ..departure }]
        }
        Sabotage::MisdeliverAFragment => {
            let mut others = ledger.devices().filter(|device| *device != departure.device);
            let known = |other| ledger.side_between(other, header.source, header.destination).is_some();
            let device = others.find(|other| known(*other)).unwrap_or(departure.device);
            vec![Departure { device, ..departure }]
        }
        _ => vec![departure],
    }
}

/// The error, with the quoted destination as the network that it comes from knows it.
fn unmapped(message: &Message<'_>, ledger: &Ledger) -> OwnedFrame {
    let mut body = message.body.to_vec();
    let stranger = ledger.stranger_near(message.source);
    match stranger {
        std::net::IpAddr::V4(v4) => {
            body[16..20].copy_from_slice(&v4.octets());
            complete_v4_header(&mut body);
        }
        std::net::IpAddr::V6(v6) => body[24..40].copy_from_slice(&v6.octets()),
    }
    Message { body: &body, ..*message }.build()
}

/// What found its way out closed goes there nevertheless.
fn forward_to_nowhere(batch: &mut Batch, ledger: &Ledger) {
    for (slot, verdict) in &batch.said.verdicts {
        if verdict.reason == Reason::EgressDown {
            let frame = &batch.frames[*slot];
            let others = ledger.devices().filter(|device| Some(*device) != batch.device);
            batch.said.departures.extend(others.map(|device| Departure {
                device,
                frame: frame.clone(),
                slot: Some(*slot),
            }));
        }
    }
}

/// A damaged message goes on as a sound one.
fn heal(batch: &mut Batch) {
    let Some(damaged) = batch.frames.first().filter(|frame| frame.damaged) else { return };
    let Some(header) = Header::read(&damaged.bytes) else { return };
    let healed = icmp::error(header.destination, header.source, Trouble::PortUnreachable, &[]);
    if let Some(device) = batch.device {
        batch.said.departures.push(Departure { device, frame: healed, slot: None });
    }
}
