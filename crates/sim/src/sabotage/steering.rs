//! Planted bugs in what decides about targets and their flows.

use balance::{Standing, State};
use engine::{Event, Shared};
use flow::{Cause, Fate, LaneUser};
use topology::TargetId;
use wire::parse;

use super::Sabotage;
use crate::recorder::{Batch, Departure};

/// Tampers with the fates of flows.
pub(super) fn meddle(sabotage: Sabotage, shared: &Shared) {
    let lanes = shared.flows().lanes();
    let ours = lanes.iter().filter(|(_, lane)| lane.user != LaneUser::HealthCheck);
    let fate = match sabotage {
        Sabotage::PardonAll => Fate::Carried,
        Sabotage::EndTheInnocent => Fate::Ended(Cause::Unhealthy),
        _ => return,
    };
    ours.for_each(|(lane, _)| lanes.set_fate(lane, fate));
}

/// Tampers with what a worker has found out, or has said.
pub(super) fn tamper(sabotage: Sabotage, batch: &mut Batch, shared: &Shared) {
    let said = &mut batch.said;
    match sabotage {
        Sabotage::AskNobody => said.departures.retain(|departure| !asks(departure, shared)),
        Sabotage::EndInSilence if said.events.iter().any(ends_a_flow) => {
            said.departures.retain(|own| !resets(own));
        }
        Sabotage::CallTheSickWell => said.events.iter().for_each(|event| call_well(event, shared)),
        Sabotage::SendToTheSick => said.events.iter_mut().for_each(|event| send_to_the_sick(event, shared)),
        _ => {}
    }
}

fn call_well(event: &Event, shared: &Shared) {
    if let Event::HealthChanged { target } = event
        && shared.health().standing(*target).state == State::Unhealthy
    {
        shared.health().set(*target, Standing::HEALTHY);
    }
}

fn send_to_the_sick(event: &mut Event, shared: &Shared) {
    if let Event::FlowOpened { target, .. } = event {
        *target = sick_neighbour(*target, shared).unwrap_or(*target);
    }
}

/// A target of the same group and family that takes no newcomers.
fn sick_neighbour(target: TargetId, shared: &Shared) -> Option<TargetId> {
    let topology = shared.topology();
    let own = topology.targets.get(target)?;
    let is_near = |id: &TargetId| topology.targets[*id].address.is_ipv4() == own.address.is_ipv4();
    shared.register(|register| {
        let mut others = topology.groups[own.group].targets.iter().copied().filter(is_near);
        let is_one_well = register.takes_newcomers(target);
        others.find(|other| is_one_well && !register.takes_newcomers(*other))
    })
}

fn asks(departure: &Departure, shared: &Shared) -> bool {
    let topology = shared.topology();
    let checks = || topology.groups.iter().filter_map(|(_, group)| group.health_check.as_ref()?.port);
    let to = parse(&departure.frame.bytes).map(|packet| packet.destination_port);
    departure.slot.is_none() && to.is_ok_and(|port| checks().any(|check| check == port))
}

fn ends_a_flow(event: &Event) -> bool {
    let Event::FlowClosed { cause, .. } = event else { return false };
    matches!(cause, Cause::Unhealthy | Cause::Deregistered | Cause::Removed)
}

fn resets(departure: &Departure) -> bool {
    departure.slot.is_none() && parse(&departure.frame.bytes).is_ok_and(|packet| packet.flags.rst())
}
