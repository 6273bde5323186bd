//! Flows whose numbers are not settled yet: one worker escorts each, and all its packets go there.
//!
//! ```text
//!   SYN ─▶ a place here ─┬─ spliced ─▶ greeting.rs: until its ends have met ─┐  no header
//!                        │                                  │ header         ├─────────▶ Shifted: any worker carries it
//!                        └─ nat ──────────────────▶ header.rs: until the target has acknowledged it
//! ```
//!
//! The road is that of nat (journey.rs), with the flow's numbers as they stand at each packet. What this worker says in the
//! consumer's name, or in the target's, goes out before the packet that made it say so.

mod greeting;
mod header;
mod places;
mod splice;

use std::time::Duration;

use flow::{Cause, Direction, FlowId, FlowPath, Found, Key, Numbering, Phase, Sign, Turn};
use topology::EndpointId;
use wire::{Frame, Packet, Quote, Segment, Shift, TcpFlags};

use crate::attached::Attached;
use crate::contract::Output;
use crate::expiry::{tell_both_ends, tell_target};
use crate::journey::{Journey, is_damaged};
use crate::plan::Plan;
use crate::say::say;
use crate::shared::Shared;
use crate::verdict::Reason;
use crate::worker::{Own, close};

pub(crate) use header::{Answered, Header, Said, Shown};
pub(crate) use places::Escorts;

use header::{Due, Heard, Toward};
use splice::Greeted;

/// How often an escort that waits for its ends is looked at: its flow may have ended.
const LOOK: Duration = Duration::from_secs(10);
/// For how long what a target says twice, because it was told twice, is recognised.
const LINGER: Duration = Duration::from_secs(2);
/// Escorts looked after before frames have their turn again.
const AT_ONCE: usize = 256;
/// Of how many, at most, it is asked whether they make room for one more.
const ASKED: usize = 8;

/// A flow that is escorted.
pub(crate) struct Escort {
    pub(crate) flow: FlowId,
    /// Whose it is: no endpoint has all the places.
    endpoint: EndpointId,
    /// How its sides' numbers differ, as far as that is known.
    pub(crate) numbering: Numbering,
    pub(crate) stage: Stage,
}

/// What has to happen before its numbers are settled.
pub(crate) enum Stage {
    /// Its ends have to meet.
    Greeting(Greeted),
    /// Its target has to get its header.
    Header(Header),
}

/// What it takes to say something to either end of a flow, and to end it.
pub(crate) struct Site<'a, O> {
    pub(crate) shared: &'a Shared,
    pub(crate) plan: &'a Plan,
    pub(crate) turn: &'a Turn<'a>,
    pub(crate) attached: &'a Attached,
    pub(crate) now: Duration,
    pub(crate) out: &'a mut O,
}

impl<O: Output> Journey<'_, O> {
    /// What this worker escorts, and what that needs.
    pub(crate) fn escorts(&mut self) -> (&mut Escorts, Site<'_, O>) {
        let Own { escorts, attached, .. } = &mut *self.own;
        let (shared, plan, turn, now) = (self.shared, self.plan, &self.turn, self.now);
        (escorts, Site { shared, plan, turn, attached, now, out: self.out })
    }

    /// A place for one more escort of this endpoint's. Where there is none, one whose flow has ended gives up its own, or the oldest
    /// that is half-open.
    pub(crate) fn escort_vacancy(&mut self, endpoint: EndpointId) -> Result<u16, Reason> {
        let (escorts, mut site) = self.escorts();
        if escorts.vacancy(endpoint).is_none() {
            site.make_room(escorts, endpoint);
        }
        escorts.vacancy(endpoint).ok_or(Reason::EscortsFull)
    }

    /// Begins to escort a flow that has been opened for that, at `place`.
    pub(crate) fn begin_escort(&mut self, place: u16, endpoint: EndpointId, flow: FlowId, stage: Stage) {
        let escort = Escort { flow, endpoint, numbering: Numbering::default(), stage };
        self.own.escorts.put(place, escort, self.now + LOOK, self.now);
    }

    /// The nat path of a flow that this worker escorts.
    pub(crate) fn escorted(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        found: &Found,
        place: u16,
    ) -> Result<Reason, Reason> {
        // What is learned from it is said in segments of our own, whose checksum is right.
        if is_damaged(frame, packet) {
            return Err(Reason::BadChecksum);
        }
        if self.own.escorts.greeted(place, found.flow).is_some() {
            return self.greet(frame, packet, found, place);
        }
        let way = self.way(frame, packet, found)?;
        let mut packet = *packet;
        let sign = match found.direction {
            Direction::Forward => self.shift_to_target(frame, &mut packet, found, place)?,
            Direction::Reply => self.shift_to_consumer(frame, &mut packet, found, place)?,
        };
        Ok(self.leave(frame, &packet, &way, sign))
    }

    /// How the packet was shifted that is quoted by an error about this flow, which this worker escorts.
    pub(crate) fn escorted_shift(&mut self, quote: &Quote, found: &Found, place: u16) -> Option<Shift> {
        let (header, numbering) = self.own.escorts.headed(place, found.flow)?;
        let shift = numbering.shift(found.direction.other());
        Some(match found.direction {
            // It went to the target; it may have been a part of the header.
            Direction::Reply => Shift { sequence: header.counted(quote.sequence), ..shift },
            Direction::Forward => shift,
        })
    }

    /// A packet of the consumer's gets the numbers that the target goes by, and the header goes ahead of it if this is its time.
    fn shift_to_target(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &mut Packet,
        found: &Found,
        place: u16,
    ) -> Result<Sign, Reason> {
        if packet.flags.syn() {
            wire::make_ordinary(frame, packet);
        }
        let (escorts, mut site) = self.escorts();
        let (header, numbering) = escorts.headed(place, found.flow).ok_or(Reason::NoFlow)?;
        let sequence = packet.sequence;
        let shift = numbering.shift(Direction::Forward);
        let brought = match header.toward(packet, packet.acknowledgement.wrapping_add(shift.acknowledgement))
        {
            Toward::Ahead => return Err(Reason::AheadOfHeader),
            Toward::Passes => None,
            Toward::Brings(answered) => {
                numbering.header = header.len();
                Some(answered)
            }
        };
        let shift = site.shared.shift_or_ask(packet, found, numbering.shift(Direction::Forward));
        shift.apply(frame, packet);
        let shown = Shown::of(frame, packet);
        match brought {
            Some(answered) => {
                let timeout = site.bring_out(header, numbering, found, answered, shown);
                escorts.set_deadline(place, site.now + timeout, site.now);
            }
            None => header.pass(packet, shown, site.now),
        }
        let sign = self.observe(found, packet);
        let stands = || self.turn.at(found.flow).is_some_and(|now| now.phase() != Phase::Opening);
        if found.phase() == Phase::Opening && stands() {
            self.own.escorts.settle(place);
        }
        if packet.flags.rst() {
            self.reset_too(found, place, sequence);
        }
        Ok(sign)
    }

    /// The consumer's RST with this number goes to where the target may be, too.
    fn reset_too(&mut self, found: &Found, place: u16, sequence: u32) {
        let is_exact = self.turn.at(found.flow).is_some_and(|now| now.phase() == Phase::Closing);
        let (escorts, mut site) = self.escorts();
        let header = escorts.headed(place, found.flow).map(|(header, _)| header);
        if let Some(sequence) = header.and_then(|header| header.also_resets(sequence, is_exact)) {
            let flags = TcpFlags::new(TcpFlags::RST);
            site.say(&found.onward, &Segment { flags, sequence, ..Segment::default() });
        }
    }

    /// A packet of the target's gets the numbers that the consumer goes by, who is told nothing of the header.
    fn shift_to_consumer(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &mut Packet,
        found: &Found,
        place: u16,
    ) -> Result<Sign, Reason> {
        let headed = self.own.escorts.headed(place, found.flow);
        if !headed.is_some_and(|(header, _)| header.expects(packet, found.phase())) {
            self.refuse_unexpected(packet, found)?;
        }
        let sign = self.observe(found, packet);
        let ceiling = self.plan.view.mss_ceiling(packet.source);
        let (escorts, site) = self.escorts();
        let (header, numbering) = escorts.headed(place, found.flow).ok_or(Reason::NoFlow)?;
        let heard = match sign {
            Sign::Plausible => header.hear(packet, || Said::of(frame, packet, ceiling), site.now),
            Sign::Stray => Heard::Nothing,
        };
        header.hide(frame, packet, numbering).apply(frame, packet);
        // What has closed stays as it is: it may begin anew, elsewhere.
        let goes_on = || site.turn.at(found.flow).is_some_and(|now| now.phase() != Phase::Closing);
        match heard {
            Heard::Nothing => {}
            Heard::Once if goes_on() => {
                site.turn.steer(found, FlowPath::Shifted, numbering);
                escorts.remove(place);
            }
            Heard::Once | Heard::Twice => escorts.set_deadline(place, site.now + LINGER, site.now),
        }
        Ok(sign)
    }
}

impl<O: Output> Site<'_, O> {
    /// Sends a header for the first time, and says when to look after it again.
    pub(crate) fn bring_out(
        &mut self,
        header: &mut Header,
        numbering: &Numbering,
        found: &Found,
        answered: Answered,
        shown: Shown,
    ) -> Duration {
        let timeout = header.go(answered, shown);
        self.send(header, &found.onward);
        self.turn.steer(found, found.path, numbering);
        self.turn.advance(found, answered.start.wrapping_add(numbering.header.into()));
        timeout
    }

    /// Says something to the end of a flow that is behind `key`.
    pub(crate) fn say(&mut self, key: &Key, segment: &Segment<'_>) {
        say(self.plan, self.attached, key, segment, self.out);
    }

    /// Sends a header that is on its way, perhaps again.
    fn send(&mut self, header: &Header, target: &Key) {
        header.segments().for_each(|segment| self.say(target, &segment));
    }

    /// Looks after the escort at `place`, whose deadline has come.
    fn look_after(&mut self, escorts: &mut Escorts, place: u16, found: &Found) {
        let Some((header, numbering)) = escorts.headed(place, found.flow) else {
            return self.greet_on(escorts, place, found);
        };
        let next = match header.due(found.phase() == Phase::Closing) {
            Due::Nothing => LOOK,
            Due::Again(timeout) => {
                self.send(header, &found.onward);
                timeout
            }
            Due::Settled => {
                self.turn.steer(found, FlowPath::Shifted, numbering);
                return escorts.remove(place);
            }
            Due::GivenUp => {
                self.end(found.flow, Cause::HeaderUnheard);
                return escorts.remove(place);
            }
        };
        escorts.set_deadline(place, self.now + next, self.now);
    }

    /// Ends a flow in the midst of it: both ends are told.
    fn end(&mut self, flow: FlowId, cause: Cause) {
        let ended = self.turn.retire(flow, cause, self.now);
        if let Some(ended) = &ended {
            tell_both_ends(self.plan, self.attached, ended, self.out);
        }
        close(ended, self.out);
    }

    /// Makes room for one more of this endpoint's, if anybody can be asked to: who has ended or closed, or else the oldest that is
    /// half-open.
    fn make_room(&mut self, escorts: &mut Escorts, endpoint: EndpointId) {
        escorts.reclaim(endpoint, |flow| self.is_over(flow));
        for _ in 0..ASKED {
            if escorts.vacancy(endpoint).is_some() {
                return;
            }
            let Some((place, flow)) = escorts.oldest_against(endpoint) else { return };
            match self.turn.at(flow) {
                Some(found) if found.phase() != Phase::Opening => escorts.settle(place),
                Some(_) => {
                    let crowded_out = self.turn.release(flow, Cause::CrowdedOut);
                    if let Some(ended) = &crowded_out {
                        tell_target(self.plan, self.attached, ended, self.out);
                    }
                    close(crowded_out, self.out);
                    escorts.remove(place);
                }
                None => escorts.remove(place),
            }
        }
    }

    /// Whether a flow has ended. One that has closed does so now: its port stays quiet, and nobody has anything left to say.
    fn is_over(&mut self, flow: FlowId) -> bool {
        let found = self.turn.at(flow);
        if let Some(closed) = found.filter(|found| found.phase() == Phase::Closing) {
            close(self.turn.part(&closed), self.out);
            return true;
        }
        found.is_none()
    }
}

/// Looks after escorts whose deadline has come, so many at once.
pub(crate) fn expire<O: Output>(escorts: &mut Escorts, site: &mut Site<'_, O>) {
    escorts.advance(site.now);
    for _ in 0..AT_ONCE {
        let Some((place, flow)) = escorts.take_due() else { return };
        match site.turn.at(flow) {
            Some(found) => site.look_after(escorts, place, &found),
            None => {
                site.leave_off(escorts, place, flow);
                escorts.remove(place);
            }
        }
    }
}
