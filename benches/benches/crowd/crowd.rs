//! The crowd: any number of TCP connections with no kernel's memory behind them. What a target says follows from what it
//! hears, so it keeps nothing at all; a member of the crowd keeps where it stands.

use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use benches::namespace::Namespace;
use benches::process::{Interrupt, readable};
use benches::threads::join;
use wire::{Packet, Segment, TcpFlags};

use crate::gate::{CROWD_PORT, Family, Gate};
use crate::raw::{Ear, Mouth, as_if_from};

/// Questions under way at most: far less than any queue holds, and than the half-open flows that a target is allowed.
const WINDOW: usize = 2048;
/// What has not been answered for so long is lost.
const LOST: Duration = Duration::from_millis(300);
/// How often each member asks before it gives up.
const TRIES: usize = 6;
/// Each address of the crowd has so many members.
const PORTS: u32 = 1000;
const FIRST_PORT: u16 = 20_000;

const WINDOW_FIELD: u16 = 65_535;

/// What the crowd asks its targets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// May I connect? Answered by a SYN-ACK, and that by an ACK: the connection is established.
    Connect,
    /// On the connection: a byte. Answered by a byte.
    Speak,
}

/// What came of it.
#[derive(Clone, Copy)]
pub(crate) struct Heard {
    /// Members that were answered.
    pub(crate) answered: usize,
    /// Questions that had to be asked again.
    pub(crate) again: usize,
    /// Resets that came instead of answers.
    pub(crate) resets: usize,
}

/// The members, between their questions.
pub(crate) struct Crowd {
    family: Family,
    members: Vec<Member>,
}

/// Where a member stands.
#[derive(Clone, Copy)]
struct Member {
    /// The number of the next byte that it says.
    says: u32,
    /// The number of the next byte that it hears.
    hears: u32,
    answered: bool,
}

impl Crowd {
    /// So many members, of whom none is connected.
    pub(crate) fn new(family: Family, size: usize) -> Self {
        let member = |number| Member { says: first_number(number), hears: 0, answered: false };
        Self { family, members: (0..size).map(member).collect() }
    }

    /// How many members there are.
    pub(crate) const fn size(&self) -> usize {
        self.members.len()
    }

    /// Lets every member ask; the targets answer as long as this goes on.
    pub(crate) fn ask(&mut self, gate: &Gate, question: Question, interrupt: &Interrupt) -> Result<Heard> {
        self.ask_some(gate, 0..self.size(), question, interrupt)
    }

    /// Lets some of them ask.
    pub(crate) fn ask_some(
        &mut self,
        gate: &Gate,
        asking: Range<usize>,
        question: Question,
        interrupt: &Interrupt,
    ) -> Result<Heard> {
        let (stop, stopped) = UnixStream::pair()?;
        let (ready, is_ready) = channel();
        let family = self.family;
        thread::scope(|scope| {
            let provider = &gate.provider;
            let targets = scope.spawn(move || answer_everyone(provider, family, &stopped, ready));
            let asked = gate.consumers[0].inside(move || {
                is_ready.recv().context("no targets")?;
                Round::new(self, asking, question)?.ask(interrupt)
            });
            drop(stop);
            join(targets)?;
            asked
        })
    }
}

/// One question of everybody's.
struct Round<'a> {
    family: Family,
    question: Question,
    /// Who asks.
    asking: Range<usize>,
    ear: Ear,
    mouth: Mouth,
    members: &'a mut [Member],
    heard: Heard,
}

impl<'a> Round<'a> {
    fn new(crowd: &'a mut Crowd, asking: Range<usize>, question: Question) -> Result<Self> {
        let Crowd { family, ref mut members } = *crowd;
        let (ear, mouth) = (Ear::open(family)?, Mouth::open(family)?);
        members[asking.clone()].iter_mut().for_each(|member| member.answered = false);
        let heard = Heard { answered: 0, again: 0, resets: 0 };
        Ok(Self { family, question, asking, ear, mouth, members, heard })
    }

    /// Everyone asks until answered, as fast as answers come back.
    fn ask(mut self, interrupt: &Interrupt) -> Result<Heard> {
        for round in 0..TRIES {
            let mut under_way: usize = 0;
            for number in self.asking.clone() {
                if self.members[number].answered {
                    continue;
                }
                self.say(number)?;
                self.heard.again += usize::from(round > 0);
                under_way += 1;
                while under_way >= WINDOW {
                    let Some(answers) = self.listen(interrupt)? else {
                        under_way = 0;
                        break;
                    };
                    under_way = under_way.saturating_sub(answers);
                }
            }
            while self.heard.answered < self.asking.len() && self.listen(interrupt)?.is_some() {}
            if self.heard.answered == self.asking.len() {
                break;
            }
        }
        Ok(self.heard)
    }

    fn say(&self, number: usize) -> Result<()> {
        let Member { says, hears, .. } = self.members[number];
        let number = number as u32;
        let member = (self.family.nobody(number / PORTS), FIRST_PORT + (number % PORTS) as u16);
        let door = as_if_from((self.family.door(), CROWD_PORT), member);
        match self.question {
            Question::Connect => self.mouth.answer(&door, segment(TcpFlags::SYN, says, 0)),
            Question::Speak => self.mouth.answer(&door, with_byte(segment(TcpFlags::ACK, says, hears))),
        }
    }

    /// Waits for answers and takes them all: how many came, or `None` when what is under way is lost.
    fn listen(&mut self, interrupt: &Interrupt) -> Result<Option<usize>> {
        if !interrupt.wait(self.ear.as_fd(), LOST)? {
            return Ok(None);
        }
        let before = self.heard.answered;
        while let Some(packet) = self.ear.hear()? {
            self.take(&packet)?;
        }
        Ok(Some(self.heard.answered - before))
    }

    fn take(&mut self, packet: &Packet) -> Result<()> {
        let Some(number) = self.member(packet) else { return Ok(()) };
        if packet.flags.rst() {
            self.heard.resets += 1;
            return Ok(());
        }
        let is_answer = match self.question {
            Question::Connect => packet.flags.syn(),
            Question::Speak => packet.payload < packet.len,
        };
        if !is_answer {
            return Ok(());
        }
        let member = &mut self.members[number];
        if !member.answered {
            member.answered = true;
            // Either question takes one number.
            member.says = member.says.wrapping_add(1);
            member.hears = packet.sequence.wrapping_add(packet.sequence_len());
            self.heard.answered += 1;
        }
        self.mouth.answer(packet, segment(TcpFlags::ACK, member.says, member.hears))
    }

    /// Whom of the crowd a packet is for.
    fn member(&self, packet: &Packet) -> Option<usize> {
        let port = u32::from(packet.destination_port.checked_sub(FIRST_PORT)?);
        let host = packet.destination.to_bits() as u32 & 0x7f_ffff;
        let number = (host * PORTS + port) as usize;
        let is_one = packet.source_port == CROWD_PORT && port < PORTS && number < self.members.len();
        is_one.then_some(number)
    }
}

/// The targets: a SYN gets a SYN-ACK, a byte gets a byte. Ends when the other end of `stopped` is closed.
fn answer_everyone(
    provider: &Namespace,
    family: Family,
    stopped: &UnixStream,
    ready: Sender<()>,
) -> Result<()> {
    const FOREVER: Duration = Duration::from_secs(3600);
    provider.enter()?;
    let (ear, mouth) = (Ear::open(family)?, Mouth::open(family)?);
    ready.send(())?;
    loop {
        let [stopped, _] = readable([stopped.as_fd(), ear.as_fd()], FOREVER)?;
        if stopped {
            return Ok(());
        }
        while let Some(packet) = ear.hear()? {
            if packet.destination_port != CROWD_PORT {
                continue;
            }
            let heard = packet.sequence.wrapping_add(packet.sequence_len());
            if packet.flags.syn() {
                let flags = TcpFlags::SYN | TcpFlags::ACK;
                mouth.answer(&packet, segment(flags, !packet.sequence, heard))?;
            } else if packet.payload < packet.len {
                let answer = segment(TcpFlags::ACK, packet.acknowledgement, heard);
                mouth.answer(&packet, with_byte(answer))?;
            }
        }
    }
}

fn segment(flags: u8, sequence: u32, acknowledgement: u32) -> Segment<'static> {
    let flags = TcpFlags::new(flags);
    Segment { flags, sequence, acknowledgement, window: WINDOW_FIELD, ..Segment::default() }
}

/// The same with a byte of payload.
fn with_byte(segment: Segment<'static>) -> Segment<'static> {
    Segment { payload: &[0], ..segment }
}

/// A member's first sequence number; to its target's, where nothing in between changes it, it is the complement.
const fn first_number(number: usize) -> u32 {
    (number as u32).wrapping_mul(0x9e37_79b1)
}
