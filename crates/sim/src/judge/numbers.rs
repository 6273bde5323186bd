//! What the two sides of each flow have begun with, and so how their numbers differ: gathered from the packets themselves, on
//! either side of the forwarder.

mod befalls;
mod said;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use engine::{Event, Reason};
use flow::{FlowId, FlowPath};
use topology::{DeviceId, Path};
use wire::{Packet, Protocol, checksum_is_valid, parse};

use super::occasions::Occasion;
use super::tally::Tally;
use crate::icmp;
use crate::invariants::{
    Carried, Numbering, Violation, handshake_is_first, numbers_are_translated, syn_is_bare,
};
use crate::ledger::{Ledger, Sight, Tuple};
use crate::packet::{OwnedFrame, Talk};
use crate::recorder::{Batch, Departure};
use crate::shop::{self, SHOPS, Shop};
use crate::tcp::{Options, window_field};

/// All flows whose two sides may differ.
pub(super) struct Numbers {
    shops: [Shop; SHOPS],
    /// Asked for single flows only: the order of a hash table never shows.
    flows: HashMap<FlowId, Sides>,
    clients: BTreeMap<Tuple, FlowId>,
    sights: BTreeMap<Sight, FlowId>,
    /// What each target has answered to a SYN that offers everything.
    spoken: BTreeMap<SocketAddr, Options>,
    /// How much has happened to headers.
    pub(super) tally: Tally,
}

/// One flow.
#[derive(Clone, Default)]
struct Sides {
    is_spliced: bool,
    /// How long its target's header is; 0, if it gets none.
    header: u32,
    /// The consumer's first number, the target's, and what the consumer was told that it is.
    begun: Option<u32>,
    answered: Option<u32>,
    told: Option<u32>,
    /// The scale of the target's windows, and the one that the consumer was told.
    scales: (u8, u8),
    /// What the consumer was told last of the target's clock, before that was asked; and what is added to it.
    clock: Option<u32>,
    ahead: Option<u32>,
    /// What the consumer has offered; and how far it has come.
    offered: Options,
    reached: Option<u32>,
    /// The window of the target's answer.
    granted: Option<u16>,
    /// Whether the consumer has answered us; whether the header is out; whether the target has acknowledged it.
    is_met: bool,
    /// How much of the header the target has acknowledged.
    acknowledged: u32,
    is_announced: bool,
    is_heard: bool,
    /// How much of the header has arrived in order, what has overtaken the rest, and whether it was sent again.
    arrived: u32,
    overtaken: Option<Occasion>,
    is_repeated: bool,
}

impl Numbers {
    /// Nobody yet.
    pub(super) fn new(shops: [Shop; SHOPS]) -> Self {
        Self {
            shops,
            flows: HashMap::new(),
            clients: BTreeMap::new(),
            sights: BTreeMap::new(),
            spoken: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Takes in what has come in, as far as it belongs to a flow.
    pub(super) fn learn(&mut self, batch: &Batch, ledger: &Ledger) {
        for event in &batch.said.events {
            if let Event::FlowOpened { flow, path, .. } = event
                && !matches!(path, FlowPath::Terminated { .. } | FlowPath::Probe { .. })
            {
                self.flows.insert(*flow, Sides::default());
            }
        }
        for (slot, verdict) in &batch.said.verdicts {
            let frame = batch.frames.get(*slot);
            let Some((frame, (flow, device))) = frame.zip(verdict.flow.zip(batch.device)) else { continue };
            if verdict.reason == Reason::IcmpForwarded {
                let sides = self.flows.get(&flow);
                let is_quoted = sides.is_some_and(|sides| sides.is_quoted(device, frame, ledger));
                self.tally.quoted += usize::from(is_quoted);
                let occasion = sides.filter(|sides| sides.is_out()).map(|_| Occasion::ErrorDuring);
                occasion.into_iter().for_each(|occasion| self.tally.occasions.note(occasion));
            }
            let packet = parse(&frame.bytes).ok().filter(|packet| is_sound(frame, packet));
            let packet = packet.filter(|packet| packet.protocol == Protocol::Tcp);
            let Some(packet) = packet else { continue };
            let answer = Options::of(&packet, &frame.bytes);
            let source = SocketAddr::new(packet.source.ip(), packet.source_port);
            let Some(sides) = self.flows.get_mut(&flow) else {
                if packet.flags.syn() && packet.flags.ack() {
                    self.spoken.insert(source, answer);
                }
                continue;
            };
            let client = ledger.client_of(device, &Talk::from(&packet));
            let occasion = sides.befalls(&packet, client.is_some());
            occasion.into_iter().for_each(|occasion| self.tally.occasions.note(occasion));
            match client {
                Some(client) => {
                    self.clients.insert(client, flow);
                    sides.hear_consumer(&packet, &frame.bytes, client, &self.shops);
                }
                None => {
                    let is_first = sides.answered.is_none();
                    sides.hear_target(&packet, &frame.bytes, verdict.reason == Reason::SpliceHandshake);
                    let is_met = is_first && sides.answered.is_some() && sides.is_spliced;
                    if is_met
                        && verdict.reason == Reason::SpliceHandshake
                        && let Some(speech) = self.spoken.get(&source)
                    {
                        self.tally.occasions.splice(&sides.offered, speech, answer.scale);
                        if sides.scales.0 != sides.scales.1 {
                            self.tally.occasions.note(Occasion::ScaleTranslated);
                        }
                    }
                }
            }
        }
    }

    /// Takes in what leaves, whoever has caused it.
    pub(super) fn note(&mut self, departure: &Departure, batch: &Batch, ledger: &Ledger) {
        let Ok(packet) = parse(&departure.frame.bytes) else { return };
        if packet.protocol != Protocol::Tcp {
            return;
        }
        match ledger.sight_of(departure.device, &Talk::from(&packet)) {
            seen if departure.slot.is_some() => {
                let flow = batch.flow_of(departure);
                self.sights.extend(seen.zip(flow));
                let sides = flow.filter(|_| seen.is_some()).and_then(|flow| self.flows.get_mut(&flow));
                if let Some(sides) =
                    sides.filter(|_| packet.flags.fin() && is_sound(&departure.frame, &packet))
                {
                    sides.part();
                }
            }
            Some(seen) if packet.flags.opens() => {
                let mut flows = self.flows.iter();
                let dialled = flows.find(|(_, sides)| sides.is_dialled_with(packet.sequence));
                self.sights.extend(dialled.map(|(flow, _)| (seen, *flow)));
            }
            Some(seen) if packet.payload_len() > 0 => {
                if let Some(sides) = self.sights.get(&seen).and_then(|flow| self.flows.get_mut(flow)) {
                    let is_again = sides.is_announced && sides.offset_of(packet.sequence) == Some(0);
                    self.tally.repeated += usize::from(is_again);
                    sides.is_repeated |= is_again;
                    let begins = (!sides.is_announced).then(|| sides.begins(&packet));
                    begins.into_iter().flatten().for_each(|occasion| self.tally.occasions.note(occasion));
                    sides.is_announced = true;
                }
            }
            None => {
                let client = ledger.client_of(departure.device, &Talk::from(&packet).back());
                let flow = client.and_then(|client| self.clients.get(&client));
                if let Some(sides) = flow.and_then(|flow| self.flows.get_mut(flow)) {
                    sides.tell(&packet, &departure.frame.bytes);
                }
            }
            _ => {}
        }
    }

    /// Looks at what leaves. Returns whether the two sides of its flow may differ.
    pub(super) fn check(
        &mut self,
        departure: &Departure,
        packet: &Packet,
        batch: &Batch,
        ledger: &Ledger,
    ) -> Result<bool, Violation> {
        let seen = ledger.sight_of(departure.device, &Talk::from(packet));
        let Some(slot) = departure.slot else {
            self.check_built(departure, packet, seen, ledger)?;
            return Ok(false);
        };
        let flow = batch.flow_of(departure);
        let Some(sides) = flow.and_then(|flow| self.flows.get_mut(&flow)) else { return Ok(false) };
        let Some(before) = batch.frames.get(slot).filter(|_| sides.differ()) else { return Ok(false) };
        let Ok(original) = parse(&before.bytes) else { return Ok(true) };
        let was = Carried { packet: &original, bytes: &before.bytes };
        let is = Carried { packet, bytes: &departure.frame.bytes };
        if seen.is_some() {
            handshake_is_first(&departure.frame, packet, !sides.is_spliced || sides.is_met)?;
        }
        if packet.flags.opens() {
            return syn_is_bare(&is).map(|()| true);
        }
        let occasions = if seen.is_some() { sides.goes(&was, &is) } else { sides.comes(&was, &is) };
        occasions.into_iter().flatten().for_each(|occasion| self.tally.occasions.note(occasion));
        let how = if seen.is_some() { sides.forward(&was) } else { sides.reply(&was) };
        numbers_are_translated(&was, &is, &how)?;
        if seen.is_some() {
            sides.segments_are_short_enough(departure, packet, ledger)?;
            sides.passes(&original, packet, batch)?;
        }
        Ok(true)
    }

    /// A flow that has closed is remembered until everything is heard that was said with it.
    pub(super) fn forget(&mut self, batch: &Batch) {
        for event in &batch.said.events {
            if let Event::FlowClosed { flow, .. } = event {
                self.flows.remove(flow);
            }
        }
    }
}

impl Sides {
    /// How far beyond its consumer's first byte a number is, as its target sees it.
    fn offset_of(&self, sequence: u32) -> Option<u32> {
        self.begun.map(|begun| sequence.wrapping_sub(begun.wrapping_add(1)))
    }

    /// Whether an error is about a part of its header.
    fn is_quoted(&self, device: DeviceId, error: &OwnedFrame, ledger: &Ledger) -> bool {
        let quoted = icmp::read(&error.bytes).and_then(|error| icmp::quote(error.body));
        let seen = quoted.filter(|quoted| ledger.sight_of(device, &quoted.talk).is_some());
        let offset = seen.and_then(|quoted| self.offset_of(quoted.sequence));
        self.is_announced && offset.is_some_and(|offset| offset < self.header)
    }

    /// Whether its target is asked with this number. (Two may begin with the same one: the other has its answer by then.)
    fn is_dialled_with(&self, sequence: u32) -> bool {
        self.is_spliced && self.answered.is_none() && self.begun == Some(sequence)
    }

    /// Its consumer closes. Whoever says nothing but goodbye is never announced.
    fn part(&mut self) {
        if !self.is_announced {
            self.header = 0;
        }
    }

    fn differ(&self) -> bool {
        self.is_spliced || self.header > 0
    }

    fn hear_consumer(&mut self, packet: &Packet, bytes: &[u8], client: Tuple, shops: &[Shop; SHOPS]) {
        if packet.flags.opens() && self.answered.is_none() {
            let port = client.interface.port();
            let odd =
                [Path::Nat, Path::Splice].map(|path| [shop::deaf_listener(path), shop::rude_listener(path)]);
            let kind = shop::at_listener(port).map(|kind| shops[kind]);
            let kind = kind.or_else(|| odd.as_flattened().contains(&port).then(Shop::told));
            self.is_spliced = shop::path_at(port) == Some(Path::Splice);
            self.header = kind.map_or(0, |kind| kind.header_len(client.client.is_ipv4()));
            self.begun = Some(packet.sequence);
            self.offered = Options::of(packet, bytes);
        }
        self.is_met |= self.told.is_some_and(|told| {
            packet.flags.ack() && !packet.flags.syn() && packet.acknowledgement == told.wrapping_add(1)
        });
    }

    /// Takes in what the target has sent; what greets it may have taken that in, too.
    fn hear_target(&mut self, packet: &Packet, bytes: &[u8], is_greeted: bool) {
        if !(packet.flags.syn() && packet.flags.ack()) {
            return;
        }
        let Options { scale, timestamps, .. } = Options::of(packet, bytes);
        let is_answer = self.begun.is_some_and(|begun| packet.acknowledgement == begun.wrapping_add(1));
        if is_greeted && is_answer && self.ahead.is_none() {
            // From what the consumer was told last, the target's clock goes on.
            self.ahead = self.clock.zip(timestamps).map(|(told, (value, _))| told.wrapping_sub(value));
        }
        if self.answered.is_none() {
            (self.answered, self.granted) = (Some(packet.sequence), Some(window_field(packet, bytes)));
            self.scales.0 = scale.unwrap_or(0).min(14);
            if !self.is_spliced {
                self.scales.1 = self.scales.0;
            }
        }
    }

    /// What the consumer is told before the target has said anything.
    fn tell(&mut self, packet: &Packet, bytes: &[u8]) {
        let Options { scale, timestamps, .. } = Options::of(packet, bytes);
        if packet.flags.syn() {
            self.told = Some(packet.sequence);
            self.scales.1 = scale.unwrap_or(0);
        }
        self.clock = timestamps.map(|(value, _)| value).or(self.clock.filter(|_| !packet.flags.syn()));
    }

    /// What is added to the target's numbers.
    fn difference(&self) -> u32 {
        match (self.told, self.answered) {
            (Some(told), Some(answered)) => told.wrapping_sub(answered),
            _ => 0,
        }
    }

    fn forward(&self, was: &Carried<'_>) -> Numbering {
        let back = self.difference().wrapping_neg();
        let header = if self.is_announced { self.header } else { 0 };
        // Whoever answers what was told him of a part of the header means that part.
        let is_answer = was.packet.flags.rst() && !self.is_heard;
        Numbering {
            sequence: [header, if is_answer { self.acknowledged } else { header }],
            acknowledgement: [was.packet.acknowledgement.wrapping_add(back); 2],
            selective: back,
            stamps: Some((0, self.ahead.unwrap_or(0).wrapping_neg())),
            ..Numbering::default()
        }
    }

    fn reply(&mut self, was: &Carried<'_>) -> Numbering {
        let first = self.begun.unwrap_or(0).wrapping_add(1);
        let acknowledged = was.packet.acknowledgement.wrapping_sub(first) as i32;
        if self.is_announced {
            let counted = acknowledged.clamp(0, self.header as i32) as u32;
            self.acknowledged = self.acknowledged.max(counted);
        }
        self.is_heard |= self.is_announced && acknowledged >= self.header as i32;
        let header = if self.is_announced { self.header } else { 0 };
        let shifted = was.packet.acknowledgement.wrapping_sub(header);
        let clamped = match acknowledged {
            ..0 => was.packet.acknowledgement,
            within if within < header as i32 => first,
            _ => shifted,
        };
        // What was on its way when the header was acknowledged may come as it is.
        let late = if self.is_heard { shifted } else { clamped };
        Numbering {
            sequence: [self.difference(); 2],
            acknowledgement: [clamped, late],
            selective: header.wrapping_neg(),
            pending: self.header - acknowledged.clamp(0, header as i32) as u32,
            is_late: self.is_heard,
            least: Some(first.wrapping_add(header)),
            scales: if was.packet.flags.syn() { (0, 0) } else { self.scales },
            stamps: Some((self.ahead.unwrap_or(0), 0)),
        }
    }
}

/// Damage that no checksum of TCP's notices makes a packet no worse than others.
fn is_sound(frame: &OwnedFrame, packet: &Packet) -> bool {
    !frame.damaged || checksum_is_valid(&frame.bytes, packet)
}
