//! What a peer hears: handshake, acknowledgements, data, FIN and RST; and what it complains about.

use std::time::Duration;

use wire::Packet;

use super::options::Options;
use super::sender::window_field;
use super::{Agreed, End, State, Tcp, refusal};

/// More than a header, and less than lies between two connections, almost always.
const NEARLY: u32 = 1000;
/// Of a thousand segments, those at which whoever may renege does.
const RENEGING: u32 = 20;

impl Tcp {
    /// Takes in a packet from the other side; its checksums have been verified.
    pub fn input(&mut self, packet: &Packet, bytes: &[u8], now: Duration) {
        (self.now, self.heard, self.probes) = (now, now, 0);
        match self.state {
            State::Dialling => self.hear_answer(packet, bytes, now),
            State::Answering | State::Open => self.hear(packet, bytes, now),
            State::Over(End::Finished) if packet.flags.rst() => self.forgotten = Some(now),
            // Bare acknowledgements are never answered: two ends that disagree would go on for ever.
            State::Over(End::Finished) => self.receiver.owes_ack = packet.sequence_len() > 0,
            // A connection that is gone answers like a port where there never was one.
            State::Over(_) => self.out.extend(refusal(self.route, packet)),
        }
    }

    /// Hears that one of its segments, which began at `sequence`, is too long for a link on the way. Believed only about
    /// something that is on its way (RFC 5927); the segments get shorter then, and never longer again.
    pub fn hear_too_big(&mut self, sequence: u32, mtu: usize) {
        let at = sequence.wrapping_sub(self.sender.initial);
        let is_on_its_way = (self.sender.acknowledged..self.sender.highest).contains(&at);
        let headers = if self.route.source.is_ipv4() { 40 } else { 60 };
        let mss = mtu.saturating_sub(headers);
        if is_on_its_way && (1..self.sender.mss).contains(&mss) {
            self.sender.mss = mss;
            self.sender.next = self.sender.acknowledged;
        }
    }

    /// Reads the other side's SYN, alone or in answer to ours.
    pub(super) fn hear_syn(&mut self, syn: &Packet, bytes: &[u8]) {
        let offered = Options::of(syn, bytes);
        let ours = self.manner.extensions;
        self.agreed = Agreed {
            scales: ours.scale.zip(offered.scale).map(|(ours, theirs)| (ours, theirs.min(14))),
            timestamps: ours.timestamps && offered.timestamps.is_some(),
            sack: ours.sack && offered.sack,
        };
        self.recent = offered.timestamps.map_or(0, |(sent, _)| sent);
        self.receiver.begin(syn);
        if ours.fast_open && offered.fast_open && !syn.flags.ack() {
            self.receiver.take_early(&bytes[syn.payload..], &self.manner, self.now);
        }
        self.sender.hear(syn, bytes, &offered);
    }

    fn hear_answer(&mut self, packet: &Packet, bytes: &[u8], now: Duration) {
        let acknowledged = packet.acknowledgement.wrapping_sub(self.sender.initial);
        let acknowledges = packet.flags.ack() && (1..=self.sender.highest.max(1)).contains(&acknowledged);
        match (packet.flags.rst(), packet.flags.syn(), acknowledges) {
            (true, _, true) => self.end(End::Refused, now),
            (true, _, false) => {}
            (false, true, true) => {
                self.hear_syn(packet, bytes);
                (self.sender.acknowledged, self.sender.next) = (acknowledged, acknowledged);
                self.receiver.owes_ack = true;
                self.open();
            }
            // It answers our SYN, and something else has come of it before: the SYN-ACK is on its way.
            (false, false, true) => {}
            // An older connection's packet: its sender must hear that there is a new one.
            _ => self.out.extend(refusal(self.route, packet)),
        }
    }

    fn hear(&mut self, packet: &Packet, bytes: &[u8], now: Duration) {
        let flags = packet.flags;
        let ahead = packet.sequence.wrapping_sub(self.receiver.expected()) as i32;
        if flags.rst() {
            match ahead {
                0 => self.end(End::Reset, now),
                1.. if (ahead as u32) < self.manner.window => self.receiver.owes_ack = true,
                _ => {}
            }
            return;
        }
        if flags.syn() {
            self.hear_syn_again(packet);
            return;
        }
        self.hear_selectively(packet, bytes, ahead);
        if !self.is_timely(packet, bytes, ahead) {
            self.receiver.owes_ack = packet.sequence_len() > 0;
            return;
        }
        let acknowledged = packet.acknowledgement.wrapping_sub(self.sender.initial);
        if !flags.ack() || acknowledged > self.sender.highest {
            // An older connection's numbers are nowhere near.
            if flags.ack() && acknowledged - self.sender.highest < NEARLY && self.state == State::Open {
                self.complaint = Some("it acknowledges what was never sent".into());
            }
            if flags.ack() && self.state == State::Answering {
                self.out.extend(refusal(self.route, packet));
            } else {
                self.receiver.owes_ack = packet.sequence_len() > 0;
            }
            return;
        }
        if acknowledged > self.sender.acknowledged {
            self.sender.acknowledged = acknowledged;
            self.sender.next = self.sender.next.max(acknowledged);
            self.open();
        }
        // An older segment's window reached less far than it would seem now.
        if acknowledged == self.sender.acknowledged {
            let shift = self.agreed.scales.map_or(0, |(_, theirs)| theirs);
            self.sender.window = u32::from(window_field(packet, bytes)) << shift;
        }
        self.take(packet, &bytes[packet.payload..], ahead, now);
    }

    fn take(&mut self, packet: &Packet, payload: &[u8], ahead: i32, now: Duration) {
        self.receiver.take(packet, payload, &self.manner, now);
        // A keep-alive that carries nothing.
        self.receiver.owes_ack |= ahead == -1 && payload.is_empty();
        if self.receiver.overrun > 0 {
            let beyond = self.receiver.overrun;
            self.complaint = Some(format!("{beyond} bytes came that no window has ever had room for"));
        }
        if self.manner.extensions.reneges && self.rng.per_mille(RENEGING) {
            self.receiver.renege();
        }
        if self.receiver.closed && self.sender.is_done() {
            self.end(End::Finished, now);
        }
    }

    /// The SYN that began it, once more, or a stranger's: either way the answer says where we are.
    fn hear_syn_again(&mut self, packet: &Packet) {
        if self.state == State::Answering && packet.sequence == self.receiver.initial {
            self.sender.next = 0;
        } else {
            self.receiver.owes_ack = true;
        }
    }

    /// Looks at what it says of what has come out of order, and whether it may say that.
    fn hear_selectively(&mut self, packet: &Packet, bytes: &[u8], ahead: i32) {
        let Options { blocks, timestamps, .. } = Options::of(packet, bytes);
        let is_near = ahead.unsigned_abs() < self.manner.window && self.state == State::Open;
        let beyond = |(_, end): &(u32, u32)| {
            end.wrapping_sub(self.sender.initial.wrapping_add(self.sender.highest)) as i32 > 0
        };
        let complaint = if is_near && !blocks.is_empty() && !self.agreed.sack {
            "a selective acknowledgement, which was not agreed upon"
        } else if is_near && timestamps.is_some() && !self.agreed.timestamps {
            "timestamps, which were not agreed upon"
        } else if is_near && blocks.iter().any(beyond) {
            "it acknowledges selectively what was never sent"
        } else {
            return;
        };
        self.complaint = Some(complaint.into());
    }

    /// Whether a segment is not older than what came before it, as its timestamp says (RFC 7323); and whether it has one, if
    /// it must.
    fn is_timely(&mut self, packet: &Packet, bytes: &[u8], ahead: i32) -> bool {
        if !self.agreed.timestamps {
            return true;
        }
        let is_near = ahead.unsigned_abs() < self.manner.window;
        let Some((sent, echoed)) = Options::of(packet, bytes).timestamps else {
            if is_near {
                self.complaint = Some("a segment without the timestamps that were agreed upon".into());
            }
            return false;
        };
        // Whoever acknowledges something else speaks of another connection.
        let is_ours = packet.acknowledgement.wrapping_sub(self.sender.initial) <= self.sender.highest;
        if is_near && is_ours && packet.flags.ack() && echoed.wrapping_sub(self.clock()) as i32 > 0 {
            self.complaint = Some("it echoes a timestamp that has not been sent".into());
        }
        let age = sent.wrapping_sub(self.recent) as i32;
        if age >= 0 && ahead <= 0 {
            self.recent = sent;
        }
        age >= 0
    }
}
