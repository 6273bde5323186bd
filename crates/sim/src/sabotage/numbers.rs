//! Planted bugs where a flow's two sides differ in numbers: in headers, in what is shifted, in handshakes.

use std::borrow::Cow;

use engine::Reason;
use topology::DeviceId;
use wire::{Packet, Protocol, TcpFlags, parse};

use super::Sabotage;
use crate::header::complete_v4_header;
use crate::icmp::{self, Message};
use crate::ledger::{Ledger, Sight};
use crate::packet::{OwnedFrame, Route, Shape, Talk, TcpHeader, mend_checksum, tcp};
use crate::proxy::{Header, read};
use crate::recorder::{Batch, Departure};
use crate::tcp::Options;

/// By how much a consumer's packets and a target's may differ without anybody's harm.
const A_HEADER: u32 = 36;

/// What the forwarder reads of the operator's file.
pub(super) fn misread(sabotage: Sabotage, file: &str) -> Cow<'_, str> {
    match sabotage {
        Sabotage::TellTooEarly => file.replace("\"on_first_ack_with_payload\"", "\"on_first_ack\"").into(),
        _ => file.into(),
    }
}

/// Tampers with what a worker has said.
pub(super) fn tamper(sabotage: Sabotage, batch: &mut Batch, ledger: &Ledger) {
    match sabotage {
        Sabotage::DialAtOnce => dial_at_once(batch, ledger),
        _ => {
            let came_in = &batch.frames;
            for departure in batch.said.departures.iter_mut().filter(|own| !own.frame.damaged) {
                let before = departure.slot.and_then(|slot| came_in.get(slot)).cloned();
                replace(sabotage, departure, before.as_ref(), ledger);
            }
        }
    }
}

fn replace(sabotage: Sabotage, departure: &mut Departure, before: Option<&OwnedFrame>, ledger: &Ledger) {
    if sabotage == Sabotage::QuoteTheOtherSide {
        quote_the_other_side(departure);
    }
    let Some(packet) = tcp_packet(&departure.frame.bytes) else { return };
    let is_for_target = ledger.sight_of(departure.device, &Talk::from(&packet)).is_some();
    let original = before.and_then(|before| Some((tcp_packet(&before.bytes)?, &before.bytes)));
    match (sabotage, original) {
        (Sabotage::TellOfAnother, None) => tell(departure, &packet, |header| header[19] ^= 1),
        (Sabotage::AnnounceAChecker, None) => announce(departure, &packet),
        (Sabotage::AcknowledgeTheHeader, Some((was, _))) if was.acknowledgement != packet.acknowledgement => {
            put(departure, &packet, packet.transport + 8, packet.acknowledgement.wrapping_add(A_HEADER));
        }
        (Sabotage::AcknowledgeTheUnsent, None) if !is_for_target && packet.payload_len() > 0 => {
            put(departure, &packet, packet.transport + 8, packet.acknowledgement.wrapping_add(A_HEADER));
        }
        (Sabotage::LeaveTheNumber, Some((was, _))) => {
            put(departure, &packet, packet.transport + 4, was.sequence);
        }
        (Sabotage::LeaveTheBlocks | Sabotage::LeaveTheClock, Some((was, bytes))) if !is_for_target => {
            leave_an_option(sabotage, departure, (&was, bytes), &packet);
        }
        (Sabotage::GrantTheWholeWindow, Some((was, bytes))) if !is_for_target => {
            let window = was.transport + 14;
            departure.frame.bytes[packet.transport + 14..packet.transport + 16]
                .copy_from_slice(&bytes[window..window + 2]);
            mend_checksum(&mut departure.frame, &packet);
        }
        _ => {}
    }
}

/// Changes a header, where one begins.
fn tell(departure: &mut Departure, packet: &Packet, change: impl FnOnce(&mut [u8])) {
    if matches!(read(&departure.frame.bytes[packet.payload..]), Ok(Some((Header::Client(_), _)))) {
        change(&mut departure.frame.bytes[packet.payload..]);
        mend_checksum(&mut departure.frame, packet);
    }
}

/// Whoever asks for himself says that somebody stands behind him.
fn announce(departure: &mut Departure, packet: &Packet) {
    if matches!(read(&departure.frame.bytes[packet.payload..]), Ok(Some((Header::Local, _)))) {
        departure.frame.bytes[packet.payload + 12] ^= 1;
        mend_checksum(&mut departure.frame, packet);
    }
}

fn tcp_packet(bytes: &[u8]) -> Option<Packet> {
    parse(bytes).ok().filter(|packet| packet.protocol == Protocol::Tcp)
}

/// Writes a number.
fn put(departure: &mut Departure, packet: &Packet, at: usize, number: u32) {
    departure.frame.bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
    mend_checksum(&mut departure.frame, packet);
}

/// Gives back the options that a target has sent, where they are of one kind.
fn leave_an_option(
    sabotage: Sabotage,
    departure: &mut Departure,
    (was, bytes): (&Packet, &[u8]),
    packet: &Packet,
) {
    let said = Options::of(was, bytes);
    let is_meant = match sabotage {
        Sabotage::LeaveTheBlocks => said.blocks != Options::of(packet, &departure.frame.bytes).blocks,
        _ => !was.flags.syn() && said.blocks.is_empty() && said.timestamps.is_some(),
    };
    if is_meant {
        let options = &bytes[was.transport + 20..was.payload];
        departure.frame.bytes[packet.transport + 20..packet.payload].copy_from_slice(options);
        mend_checksum(&mut departure.frame, packet);
    }
}

/// Where a SYN was answered, a target gets one too.
fn dial_at_once(batch: &mut Batch, ledger: &Ledger) {
    let Some((device, route)) = some_way(ledger) else { return };
    for (slot, verdict) in &batch.said.verdicts {
        let syn = batch.frames.get(*slot).and_then(|frame| parse(&frame.bytes).ok());
        let syn = syn.filter(|packet| packet.flags.opens() && verdict.reason == Reason::SpliceHandshake);
        let dialled = syn.map(|syn| {
            let header = TcpHeader { sequence: syn.sequence, flags: TcpFlags::SYN, ..TcpHeader::default() };
            tcp(route, &header, &[], Shape::Plain)
        });
        batch.said.departures.extend(dialled.map(|frame| Departure { device, frame, slot: None }));
    }
}

/// From a node to a target that it has spoken to.
fn some_way(ledger: &Ledger) -> Option<(DeviceId, Route)> {
    let Sight { protocol, node, target } = *ledger.ports().next()?;
    let talk = Talk { protocol, route: Route { source: node, destination: target } };
    let device = ledger.devices().find(|device| ledger.sight_of(*device, &talk).is_some())?;
    Some((device, talk.route))
}

/// Moves the number that an error quotes.
fn quote_the_other_side(departure: &mut Departure) {
    let Some(message) = icmp::read(&departure.frame.bytes).filter(Message::is_error) else { return };
    let Some(quoted) = icmp::quote(message.body) else { return };
    let mut body = message.body.to_vec();
    let at = quoted.header.payload + 4;
    let moved = quoted.sequence.wrapping_add(A_HEADER);
    body[at..at + 4].copy_from_slice(&moved.to_be_bytes());
    if message.source.is_ipv4() {
        complete_v4_header(&mut body);
    }
    departure.frame = Message { body: &body, ..message }.build();
}
