//! The proxy protocol's header on the paths nat and splice: the first bytes that a target gets, ahead of all that its consumer sends.
//!
//! ```text
//!   unanswered ──▶ waiting ──▶ out ──────▶ heard, or settled at once
//!    SYN-ACK         │  what brings it out   acknowledged
//!                    └──▶ forgone: the consumer closes without a word
//! ```
//!
//! It is kept until the target has acknowledged it, and sent again by a clock of its own: the consumer knows nothing of it. No
//! byte of the consumer's may come to lie where it goes: whoever could write there could say that he is somebody else.

use std::time::Duration;

use flow::{Direction, Numbering, Phase};
use topology::HeaderPlacement;
use wire::{Frame, Packet, ProxyBytes, Segment, Shift, SynOptions, TcpFlags};

/// The least time after which it is sent again.
const LEAST_TIMEOUT: Duration = Duration::from_millis(200);
/// The most, before that is doubled. A target that takes its time for a SYN-ACK need not do so for the rest.
const MOST_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is sent again while nothing is heard of the target.
const TRIES: u32 = 5;
/// The smallest segments that it is cut into, options included, whatever the target says that it takes.
const LEAST_MSS: u16 = 48;
/// How far back what has been said is remembered, and how far from where it begins a consumer's packet is taken for one: 64 MiB,
/// as the table has it.
const NEAR: u32 = 1 << 26;
/// Bytes that timestamps take of a segment.
const TIMESTAMPS: usize = 12;

/// A header, and how far it has come.
pub(crate) struct Header {
    bytes: ProxyBytes,
    placement: HeaderPlacement,
    state: State,
}

/// What the target's SYN-ACK has told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answered {
    /// Where the header goes: the number after the consumer's SYN.
    pub(crate) start: u32,
    /// How long after the consumer's SYN it came.
    pub(crate) rtt: Duration,
    pub(crate) said: Said,
    pub(crate) spoken: Spoken,
}

/// What a target has sent, in its own numbers: what its consumer acknowledges lies there. Other numbers are a stray's, or forged,
/// and a header that carried them would not be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spoken {
    end: u32,
    len: u32,
}

/// What its options have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Said {
    /// The largest segment that the target takes.
    pub(crate) mss: u16,
    /// By how many bits it shifts its windows.
    pub(crate) scale: u8,
}

/// What the consumer has last told the target: a header's segment says the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shown {
    pub(crate) acknowledgement: u32,
    pub(crate) window: u16,
    pub(crate) timestamps: Option<[u32; 2]>,
}

enum State {
    /// The target has not answered the consumer's SYN, the latest copy of which was sent on then.
    Unanswered { asked: Duration },
    /// The consumer has not sent yet what brings it out.
    Waiting(Answered),
    /// The consumer has closed without a word: there will be none.
    Forgone,
    /// The target has acknowledged only so many of its bytes yet.
    Out { answered: Answered, shown: Shown, acknowledged: u32, sent: u32, tries: u32 },
    /// The target has acknowledged it, after it was sent more than once.
    Heard { start: u32 },
}

/// What a packet of the consumer's is to the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Toward {
    /// It passes.
    Passes,
    /// The header goes out, and then it passes.
    Brings(Answered),
    /// It would come to lie where the header goes, or comes before that place is known.
    Ahead,
}

/// What a packet of the target's has told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// Nothing that settles anything.
    Nothing,
    /// All of the header has arrived, which was sent once.
    Once,
    /// It has arrived, and may do so again: so may what the target says about that.
    Twice,
}

/// What is to be done when its time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// Nothing: only to see whether the flow is still there.
    Nothing,
    /// It is sent again, and looked after again when this much time has passed.
    Again(Duration),
    /// The target does not hear.
    GivenUp,
    /// What was sent twice has been heard twice by now.
    Settled,
}

impl Header {
    /// One that waits for the target to answer the consumer's SYN.
    pub(crate) fn new(bytes: ProxyBytes, placement: HeaderPlacement, now: Duration) -> Self {
        Self { bytes, placement, state: State::Unanswered { asked: now } }
    }

    /// One that waits for the consumer, whose target has answered.
    pub(crate) fn answered(bytes: ProxyBytes, placement: HeaderPlacement, answered: Answered) -> Self {
        Self { bytes, placement, state: State::Waiting(answered) }
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> u8 {
        self.bytes.len() as u8
    }

    /// What a packet of the consumer's is to it, which acknowledges this, as the target numbers. (A SYN has no payload
    /// here, and a RST's is nobody's data: both pass.)
    pub(crate) fn toward(&self, packet: &Packet, acknowledgement: u32) -> Toward {
        let payload = packet.payload_len() as i32;
        let passes_if = |passes| if passes { Toward::Passes } else { Toward::Ahead };
        if packet.flags.syn() || packet.flags.rst() {
            return Toward::Passes;
        }
        match self.state {
            State::Unanswered { .. } | State::Forgone => passes_if(payload == 0),
            State::Out { answered, .. } => {
                passes_if(packet.sequence_len() == 0 || past(packet.sequence, answered.start) >= 0)
            }
            State::Heard { .. } => Toward::Passes,
            State::Waiting(answered) => {
                let begin = past(packet.sequence, answered.start);
                let end = begin.saturating_add(payload);
                let is_meant = packet.flags.ack() && answered.could_be_met(packet.sequence, acknowledgement);
                let speaks = end > 0 || self.placement == HeaderPlacement::OnFirstAck;
                // A keep-alive may repeat the SYN's own number with a byte that means nothing.
                if is_meant && speaks && (payload == 0 || begin >= 0) {
                    Toward::Brings(answered)
                } else {
                    passes_if(end <= 0 && (is_meant || !packet.flags.fin()))
                }
            }
        }
    }

    /// The consumer has sent this packet, which passes.
    pub(crate) fn pass(&mut self, packet: &Packet, shown: Shown, now: Duration) {
        let flags = packet.flags;
        match &mut self.state {
            State::Unanswered { asked } if flags.syn() => *asked = now,
            // It closes without a word.
            State::Waiting(answered) if flags.fin() && packet.sequence == answered.start => {
                self.state = State::Forgone;
            }
            State::Out { answered, shown: last, .. } if flags.ack() && !flags.rst() && !flags.syn() => {
                let is_meant = answered.could_be_met(packet.sequence, shown.acknowledgement);
                if is_meant && past(shown.acknowledgement, last.acknowledgement) >= 0 {
                    *last = shown;
                }
            }
            _ => {}
        }
    }

    /// It goes out. Says when it is to be looked after again.
    pub(crate) fn go(&mut self, answered: Answered, shown: Shown) -> Duration {
        self.state = State::Out { answered, shown, acknowledged: 0, sent: 1, tries: 0 };
        timeout(&answered, 0)
    }

    /// Its segments; none if it is not on its way.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        let out = match &self.state {
            State::Out { answered, shown, .. } => Some((answered, shown)),
            _ => None,
        };
        out.into_iter().flat_map(|(answered, shown)| {
            let options = if shown.timestamps.is_some() { TIMESTAMPS } else { 0 };
            let len = usize::from(answered.said.mss.max(LEAST_MSS)) - options;
            self.bytes.chunks(len).enumerate().map(move |(nth, payload)| Segment {
                flags: TcpFlags::new(TcpFlags::PSH | TcpFlags::ACK),
                sequence: answered.start.wrapping_add((nth * len) as u32),
                acknowledgement: shown.acknowledgement,
                window: shown.window,
                options: SynOptions { timestamps: shown.timestamps, ..SynOptions::default() },
                payload,
            })
        })
    }

    /// Whether a SYN of the target's, in this phase of the flow, belongs to it. One that answers another SYN of the consumer's than
    /// the one whose header goes, or has gone, out would open a connection without a header.
    pub(crate) fn expects(&self, syn: &Packet, phase: Phase) -> bool {
        // Only the consumer's SYN tells where the header goes: here both ends cannot open at once.
        syn.flags.ack()
            && match self.state {
                State::Unanswered { .. } => true,
                State::Waiting(answered) => phase == Phase::Opening || syn.acknowledgement == answered.start,
                State::Out { .. } | State::Heard { .. } | State::Forgone => false,
            }
    }

    /// The target has sent this packet; what it `said` is asked for if it is a SYN-ACK.
    pub(crate) fn hear(&mut self, packet: &Packet, said: impl FnOnce() -> Said, now: Duration) -> Heard {
        let answers = packet.flags.syn();
        let end = packet.sequence.wrapping_add(packet.sequence_len());
        let counted = self.counted(packet.acknowledgement);
        match &mut self.state {
            State::Unanswered { asked } if answers => {
                let rtt = now.saturating_sub(*asked);
                self.state = State::Waiting(Answered::by(packet, rtt, said()));
            }
            // It has taken another SYN of the consumer's than the one that it answered first.
            State::Waiting(answered) if answers => *answered = Answered::by(packet, answered.rtt, said()),
            State::Waiting(answered) => answered.spoken.extend(end),
            State::Out { answered, acknowledged, sent, tries, .. } => {
                *tries = 0;
                answered.spoken.extend(end);
                if packet.flags.ack() {
                    *acknowledged = counted.max(*acknowledged);
                }
                if *acknowledged == self.bytes.len() as u32 {
                    let heard = if *sent == 1 { Heard::Once } else { Heard::Twice };
                    self.state = State::Heard { start: answered.start };
                    return heard;
                }
            }
            _ => {}
        }
        Heard::Nothing
    }

    /// Takes out of a packet of the target's what the consumer must not learn, and says how its numbers are shifted: no
    /// block of what has arrived while the header has not, and none that is in it; and no window for its bytes.
    pub(crate) fn hide(&self, frame: &mut Frame<'_>, packet: &Packet, numbering: &Numbering) -> Shift {
        let (len, counted) = (self.bytes.len() as u32, self.counted(packet.acknowledgement));
        let owed = match self.state {
            State::Forgone => 0,
            _ => len - counted,
        };
        if owed > 0 {
            let scale = if packet.flags.syn() { 0 } else { self.scale() };
            let own = owed.div_ceil(1 << scale) as u16;
            // Where it waits for the consumer to speak, the consumer must be able to.
            let may_close = matches!(self.state, State::Out { .. });
            let spared = if may_close { own } else { wire::window_of(frame.bytes, packet).saturating_sub(1) };
            wire::lower_window(frame, packet, own.min(spared));
        }
        if matches!(self.state, State::Out { .. } | State::Heard { .. }) {
            wire::retain_sack(frame, packet, |[left, _]| counted == len && self.counted(left) == len);
        }
        let shift = numbering.shift(Direction::Reply);
        Shift { acknowledgement: counted.wrapping_neg(), ..shift }
    }

    /// Where else a RST of the consumer's with this number has to be, if it is meant: as long as the target has not got all of the
    /// header, it expects something else than the consumer can know, who answers what it was told with its own first number.
    pub(crate) fn also_resets(&self, sequence: u32, is_exact: bool) -> Option<u32> {
        match self.state {
            State::Out { answered, acknowledged, .. } if is_exact || sequence == answered.start => {
                Some(answered.start.wrapping_add(acknowledged))
            }
            _ => None,
        }
    }

    /// How many of its bytes a number of the target's side counts.
    pub(crate) fn counted(&self, number: u32) -> u32 {
        let len = self.bytes.len() as u32;
        match self.state {
            State::Out { answered, .. } => past(number, answered.start).clamp(0, len as i32) as u32,
            // What comes before it is over; what comes after it may be far by now.
            State::Heard { start } => number.wrapping_sub(start).min(len),
            _ => 0,
        }
    }

    /// Its time has come. What is closed is left as it is: who it was may begin anew at any worker.
    pub(crate) fn due(&mut self, is_closed: bool) -> Due {
        match &mut self.state {
            _ if is_closed => Due::Nothing,
            State::Out { tries, .. } if *tries == TRIES => Due::GivenUp,
            State::Out { answered, sent, tries, .. } => {
                *tries += 1;
                *sent += 1;
                Due::Again(timeout(answered, *tries))
            }
            State::Heard { .. } => Due::Settled,
            _ => Due::Nothing,
        }
    }

    /// By how many bits the target shifts its windows.
    fn scale(&self) -> u8 {
        match self.state {
            State::Waiting(answered) | State::Out { answered, .. } => answered.said.scale,
            _ => 0,
        }
    }
}

impl Answered {
    /// By this SYN-ACK of the target's.
    fn by(syn_ack: &Packet, rtt: Duration, said: Said) -> Self {
        Self { start: syn_ack.acknowledgement, rtt, said, spoken: Spoken::by(syn_ack) }
    }

    /// Whether a packet with these numbers, as the target numbers, may be the consumer's.
    fn could_be_met(&self, sequence: u32, acknowledgement: u32) -> bool {
        past(sequence, self.start).unsigned_abs() <= NEAR && self.spoken.has(acknowledgement)
    }
}

impl Spoken {
    /// As a target's SYN-ACK begins.
    pub(crate) fn by(syn_ack: &Packet) -> Self {
        let len = syn_ack.payload_len() as u32;
        Self { end: syn_ack.sequence.wrapping_add(1).wrapping_add(len), len }
    }

    /// It has sent more, if this is the end of more.
    fn extend(&mut self, end: u32) {
        let more = past(end, self.end);
        if more > 0 {
            self.end = end;
            self.len = (self.len + more as u32).min(NEAR);
        }
    }

    fn has(&self, acknowledgement: u32) -> bool {
        self.end.wrapping_sub(acknowledgement) <= self.len
    }
}

impl Shown {
    /// What a packet of the consumer's shows.
    pub(crate) fn of(frame: &Frame<'_>, packet: &Packet) -> Self {
        Self {
            acknowledgement: packet.acknowledgement,
            window: wire::window_of(frame.bytes, packet),
            timestamps: wire::timestamps_of(frame.bytes, packet),
        }
    }

    /// What a segment shows that was sent in the consumer's name.
    pub(crate) fn by(segment: &Segment<'_>) -> Self {
        let Segment { acknowledgement, window, options, .. } = segment;
        Self { acknowledgement: *acknowledgement, window: *window, timestamps: options.timestamps }
    }
}

impl Said {
    /// What a SYN-ACK says, where no segment is longer than `ceiling`.
    pub(crate) fn of(frame: &Frame<'_>, packet: &Packet, ceiling: u16) -> Self {
        let options = SynOptions::read(frame.bytes, packet);
        let unsaid = SynOptions::default_mss(packet.source.is_v4());
        Self { mss: options.mss.unwrap_or(unsaid).min(ceiling), scale: options.window_scale.unwrap_or(0) }
    }
}

/// How far a number is past the start.
fn past(number: u32, start: u32) -> i32 {
    number.wrapping_sub(start) as i32
}

/// How long an answer is waited for: twice as long as the handshake took, and twice as long at each try.
fn timeout(answered: &Answered, tries: u32) -> Duration {
    (answered.rtt * 2).clamp(LEAST_TIMEOUT, MOST_TIMEOUT) * (1 << tries)
}
