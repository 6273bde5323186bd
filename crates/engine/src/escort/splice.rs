//! A spliced flow's greeting (greeting.rs) where packets and the table are: what it wants said is said, the table hears of the
//! target's numbers only, and when both ends have met the flow goes the way of every other that passes through.

use flow::{Cause, Direction, Fate, FlowId, FlowPath, Found, Key, Lane, LaneUser};
use topology::{HeaderPlacement, Path, TargetId};
use wire::{Frame, Packet, ProxyBytes, Segment};

use super::greeting::{Greeting, Meeting, Step, Words};
use super::header::{Answered, Header, Said, Shown, Spoken, Toward};
use super::{Escorts, LOOK, Site, Stage};
use crate::contract::Output;
use crate::journey::Journey;
use crate::proxy::header_of;
use crate::verdict::Reason;
use crate::worker::close;

/// A greeting, and who is greeted: to be told even when the flow is gone.
pub(crate) struct Greeted {
    greeting: Greeting,
    consumer: Key,
    /// What the target is told of it first, if anything: as the plan says that has let it in.
    header: Option<(ProxyBytes, HeaderPlacement)>,
}

impl<O: Output> Journey<'_, O> {
    /// How the flow of a consumer's SYN begins, if it is spliced.
    pub(crate) fn begin_greeting(
        &self,
        frame: &Frame<'_>,
        syn: &Packet,
        consumer: &Key,
        lane: &Lane,
    ) -> Greeted {
        let said = Words::by(frame.bytes, syn);
        let header = header_of(self.plan, lane, consumer);
        Greeted { greeting: self.greeting(syn, &said, lane.target), consumer: *consumer, header }
    }

    fn greeting(&self, syn: &Packet, said: &Words, target: TargetId) -> Greeting {
        let speech = self.shared.speech(target).unwrap_or_default();
        let [ours, theirs] = [(syn.destination, syn.destination_port), (syn.source, syn.source_port)]
            .map(|(address, port)| (address.ip(), port).into());
        let begins = self.own.numbers.begin(ours, theirs, self.now);
        Greeting::open(syn, said, &speech, self.plan.view.mss_ceiling(syn.source), begins, self.now)
    }

    /// A packet of a flow whose ends have not met.
    pub(crate) fn greet(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet,
        found: &Found,
        place: u16,
    ) -> Result<Reason, Reason> {
        let said = Words::by(frame.bytes, packet);
        let flow = self.turn.at(found.flow).ok_or(Reason::NoFlow)?;
        match found.direction {
            Direction::Forward => self.hear_consumer(packet, &said, &flow, place),
            Direction::Reply if packet.flags.opens() => Err(Reason::OneWay),
            Direction::Reply => self.hear_target(packet, &said, found, &flow, place),
        }
    }

    /// What became of a packet that has gone to our own TCP, if that is not the listener's path but its way out.
    #[inline]
    pub(crate) fn as_seen_from_its_listener(&self, packet: &Packet, found: &Found, reason: Reason) -> Reason {
        let is_spliced = || match self.shared.flows.lanes().lane(found.lane).user {
            LaneUser::Endpoint { listener, .. } => self
                .plan
                .topology
                .listeners
                .get(listener)
                .is_some_and(|listener| listener.path == Path::Splice),
            LaneUser::HealthCheck => false,
        };
        if packet.flags.opens() && reason == Reason::Terminated && is_spliced() {
            Reason::SpliceTerminated
        } else {
            reason
        }
    }

    fn hear_consumer(
        &mut self,
        packet: &Packet,
        said: &Words,
        flow: &Found,
        place: u16,
    ) -> Result<Reason, Reason> {
        let greeted = self.own.escorts.greeted(place, flow.flow).ok_or(Reason::NoFlow)?;
        let consumer = greeted.consumer;
        let mut step = greeted.greeting.hear_consumer(packet, said, self.now);
        if step == Step::Anew {
            let fresh = self.greeting(packet, said, self.target(flow));
            let greeted = self.own.escorts.greeted(place, flow.flow).ok_or(Reason::NoFlow)?;
            greeted.greeting = greeted.greeting.anew(fresh);
            step = Step::Answer;
        }
        match step {
            Step::Refuse => return Ok(self.reset(packet, &consumer, Reason::SpliceHandshake)),
            Step::Challenge if !self.own.resets.allow(self.now) => return Err(Reason::ResetLimited),
            Step::Answer => {
                // Our SYN to the target has no payload.
                self.observe(flow, &Packet { len: packet.payload, ..*packet });
            }
            _ => {}
        }
        let (escorts, mut site) = self.escorts();
        site.proceed(escorts, place, flow, step);
        Ok(Reason::SpliceHandshake)
    }

    fn hear_target(
        &mut self,
        packet: &Packet,
        said: &Words,
        found: &Found,
        flow: &Found,
        place: u16,
    ) -> Result<Reason, Reason> {
        let Greeted { greeting, .. } = self.own.escorts.greeted(place, flow.flow).ok_or(Reason::NoFlow)?;
        let step = greeting.hear_target(packet, said, self.now);
        match step {
            Step::Refuse => return Ok(self.reset(packet, &flow.onward, Reason::SpliceHandshake)),
            Step::Wait => return Ok(Reason::SpliceHandshake),
            _ => {}
        }
        self.observe(found, packet);
        if step == Step::Mismatch {
            self.shared.acquaintances.forget(self.target(found));
        }
        let (escorts, mut site) = self.escorts();
        match step {
            Step::Met(met) => site.introduce(escorts, place, flow.flow, packet, &met),
            step => site.proceed(escorts, place, flow, step),
        }
        if step == Step::Mismatch { Err(Reason::SpliceMismatch) } else { Ok(Reason::SpliceHandshake) }
    }

    fn target(&self, found: &Found) -> TargetId {
        self.shared.flows.lanes().lane(found.lane).target
    }
}

impl<O: Output> Site<'_, O> {
    /// Time has passed for a greeting.
    pub(crate) fn greet_on(&mut self, escorts: &mut Escorts, place: u16, flow: &Found) {
        if let Some(Greeted { greeting, .. }) = escorts.greeted(place, flow.flow) {
            let is_wanted = self.shared.flows.lanes().fate(flow.lane) == Fate::Carried;
            let step = match greeting.pass(self.now) {
                // The sweep ends it.
                Step::Answer | Step::Dial if !is_wanted => Step::Wait,
                step => step,
            };
            self.proceed(escorts, place, flow, step);
        }
    }

    /// A greeting's flow is gone: who takes the connection to stand is told.
    pub(crate) fn leave_off(&mut self, escorts: &mut Escorts, place: u16, flow: FlowId) {
        if let Some(Greeted { greeting, consumer, .. }) = escorts.greeted(place, flow)
            && greeting.has_dialled()
        {
            self.say(consumer, &greeting.consumer_reset());
        }
    }

    /// Does what a step wants. `flow` is as the consumer's packets find it.
    fn proceed(&mut self, escorts: &mut Escorts, place: u16, flow: &Found, step: Step) {
        let Some(Greeted { greeting, consumer, .. }) = escorts.greeted(place, flow.flow) else { return };
        let cause = match step {
            Step::Answer => {
                self.say(consumer, &greeting.syn_ack(self.now));
                None
            }
            Step::Challenge => {
                self.say(consumer, &greeting.challenge(self.now));
                None
            }
            Step::Dial => {
                self.say(&flow.onward, &greeting.syn());
                None
            }
            Step::Hung | Step::Refused => Some(Cause::Reset),
            Step::Mismatch => Some(Cause::Mismatched),
            Step::GiveUp => Some(Cause::Unanswered),
            Step::Wait | Step::Refuse | Step::Anew | Step::Met(_) => None,
        };
        if let Some(cause) = cause {
            return self.part(escorts, place, flow, step, cause);
        }
        let (deadline, is_believed) = (greeting.deadline(), greeting.has_dialled());
        escorts.set_deadline(place, deadline, self.now);
        if is_believed {
            escorts.settle(place);
        }
    }

    /// Ends a flow whose ends will not meet. Whoever knows of it, and has not said so himself, is told.
    fn part(&mut self, escorts: &mut Escorts, place: u16, flow: &Found, step: Step, cause: Cause) {
        let Some(Greeted { greeting, consumer, .. }) = escorts.greeted(place, flow.flow) else { return };
        let has_dialled = greeting.has_dialled();
        if has_dialled && step != Step::Hung {
            self.say(consumer, &greeting.consumer_reset());
        }
        if has_dialled && step != Step::Refused {
            self.say(&flow.onward, &greeting.target_reset());
        }
        // A port that its target has heard of stays quiet for a while.
        let ended = if has_dialled {
            self.turn.retire(flow.flow, cause, self.now)
        } else {
            self.turn.release(flow.flow, cause)
        };
        close(ended, self.out);
        escorts.remove(place);
    }

    /// Both ends have met: each is told what the other has said, and from here on the numbers are known.
    fn introduce(
        &mut self,
        escorts: &mut Escorts,
        place: u16,
        flow: FlowId,
        syn_ack: &Packet,
        met: &Meeting,
    ) {
        // As it is now that the target has answered.
        let Some(flow) = self.turn.at(flow) else { return };
        let Some(Greeted { greeting, consumer, header }) = escorts.greeted(place, flow.flow) else { return };
        let (greeting, consumer, header) = (*greeting, *consumer, header.take());
        let ack = greeting.ack(met);
        let acked = as_heard(&ack, syn_ack);
        self.say(&flow.onward, &ack);
        self.turn.observe(&flow, &acked, self.now);
        let len = header.as_ref().map_or(0, |(bytes, _)| bytes.len() as u16);
        self.say(&consumer, &greeting.window_update(met, len));
        let Some((bytes, placement)) = header else {
            self.turn.steer(&flow, FlowPath::Shifted, &met.numbering);
            return escorts.remove(place);
        };
        self.turn.steer(&flow, flow.path, &met.numbering);
        let said = Said { mss: met.mss, scale: met.numbering.window.from };
        let answered =
            Answered { start: greeting.first(), rtt: met.round_trip, said, spoken: Spoken::by(syn_ack) };
        let mut header = Header::answered(bytes, placement, answered);
        let (mut numbering, mut wait) = (met.numbering, LOOK);
        // This acknowledgement is the consumer's first.
        if header.toward(&acked, acked.acknowledgement) == Toward::Brings(answered) {
            numbering.header = header.len();
            wait = self.bring_out(&mut header, &numbering, &flow, answered, Shown::by(&ack));
        }
        if let Some(escort) = escorts.at(place, flow.flow) {
            (escort.numbering, escort.stage) = (numbering, Stage::Header(header));
        }
        escorts.set_deadline(place, self.now + wait, self.now);
    }
}

/// A segment that we say, as if it had come: for the table, which follows what we say in the consumer's name, too.
fn as_heard(segment: &Segment<'_>, like: &Packet) -> Packet {
    let Segment { flags, sequence, acknowledgement, .. } = *segment;
    Packet { flags, sequence, acknowledgement, len: like.payload, ..*like }
}
