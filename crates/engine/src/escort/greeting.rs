//! A spliced flow's beginning: the consumer's handshake is ours, the target's is the consumer's by our hand, and when both
//! stand only the difference of two numbers is left of us.
//!
//! ```text
//!   consumer                        we                             target
//!      │ SYN x ──────────────────▶  │                                 │
//!      │ ◀── SYN-ACK y, window 0    │                                 │
//!      │ ACK y+1 ────────────────▶  │ ── SYN x ─────────────────────▶ │   from here on there is somebody behind x
//!      │                            │    ◀───────────── SYN-ACK z     │
//!      │ ◀── ACK, z's window as y+1 │ ── ACK z+1 ───────────────────▶ │
//!      │ ═══════════════════════════╪════════════════════════════════ │   x as it is; z + (y - z) = y
//! ```
//!
//! A window of 0 keeps the consumer from sending anything that we would have to keep. What we tell it in the target's stead (MSS,
//! window scale, SACK, timestamps) is what the target is known to speak. Its SYN-ACK is a mismatch if it does not speak so much:
//! if it lacks one of these, or has a smaller MSS or scale. (Of a larger scale, the fields of its windows are shifted.)
//! Pure: packets and times come in, what is to be done comes out.

use std::time::Duration;

use flow::Numbering;
use stack::Beginning;
use wire::{Packet, Scaling, Segment, SynOptions, TcpFlags, timestamps_of, window_of};

use crate::acquaintance::Speech;

/// How long both handshakes together may take: less than after which the table forgets a flow without an answer, and says
/// nothing.
const PATIENCE: Duration = Duration::from_secs(29);
/// How long an answer may take until we say the same once more; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What a segment says beside its numbers.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    /// Its window field.
    window: u16,
    options: SynOptions,
}

impl Words {
    /// What the TCP packet in `bytes` says.
    pub(crate) fn by(bytes: &[u8], packet: &Packet) -> Self {
        let options = if packet.flags.syn() {
            SynOptions::read(bytes, packet)
        } else {
            SynOptions { timestamps: timestamps_of(bytes, packet), ..SynOptions::default() }
        };
        Self { window: window_of(bytes, packet), options }
    }
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Nothing.
    Wait,
    /// The consumer gets [`Greeting::syn_ack`].
    Answer,
    /// The consumer gets [`Greeting::challenge`].
    Challenge,
    /// It is another SYN, to which nothing of this applies: the greeting begins anew. (A client that uses its port again.)
    Anew,
    /// The target gets [`Greeting::syn`].
    Dial,
    /// Its sender gets a RST: it speaks of another connection.
    Refuse,
    /// The consumer has reset the connection.
    Hung,
    /// The target has refused it.
    Refused,
    /// The target has answered.
    Met(Meeting),
    /// The target has answered, and does not speak what the consumer was told.
    Mismatch,
    /// It has taken too long.
    GiveUp,
}

/// Both ends have met: what both are told now, and what is left to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Meeting {
    /// How their numbers differ.
    pub(crate) numbering: Numbering,
    /// How long the target took.
    pub(crate) round_trip: Duration,
    /// The largest segment that the target takes.
    pub(crate) mss: u16,
    /// The target's initial sequence number, its window, and its timestamp, if it sends any.
    sequence: u32,
    window: u16,
    timestamp: u32,
}

/// A spliced flow until its ends have met.
#[derive(Clone, Copy)]
pub(crate) struct Greeting {
    /// The consumer's initial sequence number, which is the target's peer's too.
    start: u32,
    /// What the target is offered in the consumer's name: of what the consumer speaks, what the target does too.
    offered: Speech,
    /// What the consumer was told in the target's name.
    told: Speech,
    begins: Beginning,
    /// The timestamp that the consumer was told last.
    told_at: u32,
    /// The newest timestamp of the consumer's.
    timestamp: u32,
    /// The consumer's window: of its SYN, and of its last acknowledgement.
    windows: [u16; 2],
    opened: Duration,
    /// When the target was first asked.
    dialled: Option<Duration>,
    pause: Duration,
    due: Duration,
}

impl Greeting {
    /// For a consumer's SYN to a target that speaks this. `ceiling` is the largest MSS that either is told.
    pub(crate) fn open(
        syn: &Packet,
        said: &Words,
        target: &Speech,
        ceiling: u16,
        begins: Beginning,
        now: Duration,
    ) -> Self {
        let consumer = Speech::of(&said.options);
        let both = Speech {
            mss: None,
            window_scale: consumer.window_scale.and(target.window_scale),
            sack: consumer.sack && target.sack,
            timestamps: consumer.timestamps && target.timestamps,
        };
        let scaled = both.window_scale.is_some();
        Self {
            start: syn.sequence,
            offered: Speech {
                mss: consumer.mss.map(|mss| mss.min(ceiling)),
                window_scale: consumer.window_scale.filter(|_| scaled),
                ..both
            },
            // Some targets answer with the smaller one of theirs and the one that they are offered.
            told: Speech {
                mss: Some(taken(target.mss, syn).min(ceiling).min(consumer.mss.unwrap_or(u16::MAX))),
                ..both
            },
            begins,
            told_at: clock(begins, now),
            timestamp: said.options.timestamps.map_or(0, |[value, _]| value),
            windows: [said.window; 2],
            opened: now,
            dialled: None,
            pause: FIRST_PAUSE,
            due: now + FIRST_PAUSE,
        }
    }

    /// As it would be for another SYN, but what has taken time has taken it.
    pub(crate) fn anew(self, fresh: Self) -> Self {
        Self { opened: self.opened, ..fresh }
    }

    /// The first byte that the consumer has for the target.
    pub(crate) fn first(&self) -> u32 {
        self.start.wrapping_add(1)
    }

    /// Whether the target has been asked.
    pub(crate) fn has_dialled(&self) -> bool {
        self.dialled.is_some()
    }

    /// When [`Greeting::pass`] has something to do.
    pub(crate) fn deadline(&self) -> Duration {
        self.due.min(self.opened + PATIENCE)
    }

    /// Time has passed.
    pub(crate) fn pass(&mut self, now: Duration) -> Step {
        if now >= self.opened + PATIENCE {
            return Step::GiveUp;
        }
        if now < self.due {
            return Step::Wait;
        }
        self.pause *= 2;
        self.due = now + self.pause;
        if self.has_dialled() { Step::Dial } else { Step::Answer }
    }

    /// The consumer has sent a packet.
    pub(crate) fn hear_consumer(&mut self, packet: &Packet, said: &Words, now: Duration) -> Step {
        let flags = packet.flags;
        if flags.rst() {
            return if packet.sequence == self.first() { Step::Hung } else { Step::Wait };
        }
        if flags.opens() && packet.sequence == self.start {
            self.note_timestamp(said);
        }
        if flags.syn() {
            return match (self.has_dialled(), packet.sequence == self.start) {
                _ if !flags.opens() => Step::Wait,
                (true, _) => Step::Challenge,
                (false, true) => Step::Answer,
                (false, false) => Step::Anew,
            };
        }
        if !flags.ack() {
            return Step::Wait;
        }
        if packet.acknowledgement != self.begins.sequence.wrapping_add(1) {
            return if self.has_dialled() { Step::Wait } else { Step::Refuse };
        }
        // Where it stands, or one before: so it asks again for a window that was closed.
        if ![self.start, self.first()].contains(&packet.sequence) {
            return Step::Wait;
        }
        self.windows[1] = said.window;
        self.note_timestamp(said);
        if self.has_dialled() {
            // Whoever asks about a window of 0, or speaks into it, hears that we are there (RFC 9293, 3.8.6.1).
            let says_nothing = packet.sequence == self.first() && packet.sequence_len() == 0;
            return if says_nothing { Step::Wait } else { Step::Challenge };
        }
        (self.dialled, self.pause, self.due) = (Some(now), FIRST_PAUSE, now + FIRST_PAUSE);
        Step::Dial
    }

    /// Timestamps never run back, for neither side.
    fn note_timestamp(&mut self, said: &Words) {
        if let Some([value, _]) = said.options.timestamps
            && value.wrapping_sub(self.timestamp) as i32 > 0
        {
            self.timestamp = value;
        }
    }

    /// The target has sent a packet, which is no SYN of its own.
    pub(crate) fn hear_target(&self, packet: &Packet, said: &Words, now: Duration) -> Step {
        let flags = packet.flags;
        let is_answer = self.has_dialled() && flags.ack() && packet.acknowledgement == self.first();
        match (flags.rst(), is_answer) {
            (true, true) => Step::Refused,
            (false, true) if flags.syn() => self.meet(packet, said, now),
            (true, false) | (false, true) => Step::Wait,
            // It is in an old connection still: a RST ends that, and then our SYN is heard.
            (false, false) => Step::Refuse,
        }
    }

    fn meet(&self, syn_ack: &Packet, said: &Words, now: Duration) -> Step {
        let target = Speech::of(&said.options);
        let mss = taken(target.mss, syn_ack);
        let scaled = |speech: &Speech| speech.window_scale.unwrap_or(0);
        let falls_short = self.told.sack && !target.sack
            || self.told.timestamps && !target.timestamps
            // None is less than any. In coarser units than the target's own its small windows could not be told.
            || target.window_scale < self.told.window_scale
            || self.told.mss.is_some_and(|told| mss < told);
        if falls_short {
            return Step::Mismatch;
        }
        // Without a scale of the consumer's, the target's means nothing.
        let from = if self.told.window_scale.is_some() { scaled(&target) } else { 0 };
        let timestamp = said.options.timestamps.filter(|_| self.told.timestamps).map(|[value, _]| value);
        Step::Met(Meeting {
            numbering: Numbering {
                header: 0,
                sequence: self.begins.sequence.wrapping_sub(syn_ack.sequence),
                // From what the consumer was told last, the target's timestamps go on.
                timestamp: timestamp.map_or(0, |value| self.told_at.wrapping_sub(value)),
                window: Scaling { from, to: scaled(&self.told) },
            },
            round_trip: self.dialled.map_or(Duration::ZERO, |dialled| now.saturating_sub(dialled)),
            mss,
            sequence: syn_ack.sequence,
            window: said.window,
            timestamp: timestamp.unwrap_or(0),
        })
    }

    /// Our answer to the consumer's SYN.
    pub(crate) fn syn_ack(&mut self, now: Duration) -> Segment<'static> {
        self.told_at = clock(self.begins, now);
        Segment {
            flags: TcpFlags::new(TcpFlags::SYN | TcpFlags::ACK),
            sequence: self.begins.sequence,
            acknowledgement: self.first(),
            options: spoken(&self.told, [self.told_at, self.timestamp]),
            ..Segment::default()
        }
    }

    /// Where we are, and that our window is closed still. Of a SYN it asks more: whose sender is in this connection acknowledges that
    /// once more, and whose is not resets it.
    pub(crate) fn challenge(&mut self, now: Duration) -> Segment<'static> {
        self.told_at = clock(self.begins, now);
        Segment {
            flags: TcpFlags::new(TcpFlags::ACK),
            sequence: self.begins.sequence.wrapping_add(1),
            acknowledgement: self.first(),
            options: stamped(&self.told, [self.told_at, self.timestamp]),
            ..Segment::default()
        }
    }

    /// Our SYN to the target, in the consumer's name.
    pub(crate) fn syn(&self) -> Segment<'static> {
        Segment {
            flags: TcpFlags::new(TcpFlags::SYN),
            sequence: self.start,
            window: self.windows[0],
            options: spoken(&self.offered, [self.timestamp, 0]),
            ..Segment::default()
        }
    }

    /// Our acknowledgement of the target's answer.
    pub(crate) fn ack(&self, met: &Meeting) -> Segment<'static> {
        Segment {
            flags: TcpFlags::new(TcpFlags::ACK),
            sequence: self.first(),
            acknowledgement: met.sequence.wrapping_add(1),
            window: self.windows[1],
            options: stamped(&self.told, [self.timestamp, met.timestamp]),
            ..Segment::default()
        }
    }

    /// What lets the consumer speak: the target's window, less what a header of so many bytes will take of it.
    pub(crate) fn window_update(&self, met: &Meeting, header: u16) -> Segment<'static> {
        let opening = Scaling { from: 0, to: met.numbering.window.to };
        let timestamp = met.timestamp.wrapping_add(met.numbering.timestamp);
        Segment {
            flags: TcpFlags::new(TcpFlags::ACK),
            sequence: self.begins.sequence.wrapping_add(1),
            acknowledgement: self.first(),
            // Where there is one at all: who has none to speak into does not say what brings a header out.
            window: opening.apply(met.window.saturating_sub(header)).max(u16::from(met.window > 0)),
            options: stamped(&self.told, [timestamp, self.timestamp]),
            ..Segment::default()
        }
    }

    /// A RST that the consumer believes.
    pub(crate) fn consumer_reset(&self) -> Segment<'static> {
        Segment {
            flags: TcpFlags::new(TcpFlags::RST | TcpFlags::ACK),
            sequence: self.begins.sequence.wrapping_add(1),
            acknowledgement: self.first(),
            ..Segment::default()
        }
    }

    /// A RST that the target believes, whatever of ours it has seen.
    pub(crate) fn target_reset(&self) -> Segment<'static> {
        Segment { flags: TcpFlags::new(TcpFlags::RST), sequence: self.first(), ..Segment::default() }
    }
}

/// Our timestamps: milliseconds, as our stack counts them.
fn clock(begins: Beginning, now: Duration) -> u32 {
    begins.timestamp.wrapping_add(now.as_millis() as u32)
}

/// The largest segment that whoever says this in `syn` takes: without a word about it, what everybody does (RFC 9293).
fn taken(mss: Option<u16>, syn: &Packet) -> u16 {
    mss.unwrap_or(SynOptions::default_mss(syn.source.is_v4()))
}

/// The options of a SYN of one who speaks this.
fn spoken(speech: &Speech, timestamps: [u32; 2]) -> SynOptions {
    SynOptions {
        mss: speech.mss,
        window_scale: speech.window_scale,
        sack_permitted: speech.sack,
        ..stamped(speech, timestamps)
    }
}

/// The options of any later segment of theirs.
fn stamped(speech: &Speech, timestamps: [u32; 2]) -> SynOptions {
    SynOptions { timestamps: speech.timestamps.then_some(timestamps), ..SynOptions::default() }
}

#[cfg(test)]
mod tests;
