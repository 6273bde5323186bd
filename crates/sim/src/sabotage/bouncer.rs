//! Whoever turns away somebody else than the one who was to make room.

use engine::Event;
use flow::Cause;
use wire::{Packet, TcpFlags, parse};

use crate::intruder::FLOOD;
use crate::packet::{Shape, TcpHeader, route_of, tcp};
use crate::recorder::{Batch, Departure};
use crate::tcp::window_field;

/// For each who has made room, one who is just let in is turned away.
#[derive(Default)]
pub(super) struct Bouncer {
    owed: usize,
}

impl Bouncer {
    pub(super) fn tamper(&mut self, batch: &mut Batch) {
        let makes_room = |event: &&Event| matches!(event, Event::FlowClosed { cause: Cause::CrowdedOut, .. });
        self.owed += batch.said.events.iter().filter(makes_room).count();
        let welcomed = batch.said.departures.iter().filter(|own| own.slot.is_none()).filter_map(welcome);
        let turned_away: Vec<Departure> = welcomed.take(self.owed).collect();
        self.owed -= turned_away.len();
        batch.said.departures.extend(turned_away);
    }
}

/// A RST behind a SYN-ACK that opens no window: its receiver believes that, and cannot have said anything yet.
fn welcome(answer: &Departure) -> Option<Departure> {
    let bytes = &answer.frame.bytes;
    let is_meant = |packet: &Packet| {
        let Packet { flags, destination_port, .. } = packet;
        flags.syn() && flags.ack() && window_field(packet, bytes) == 0 && !FLOOD.contains(destination_port)
    };
    let packet = parse(bytes).ok().filter(is_meant)?;
    let sequence = packet.sequence.wrapping_add(1);
    let header = TcpHeader { sequence, flags: TcpFlags::RST, ..TcpHeader::default() };
    Some(Departure {
        frame: tcp(route_of(&packet), &header, &[], Shape::Plain),
        slot: None,
        device: answer.device,
    })
}
