//! The crowd: any number of TCP connections with no kernel's memory behind them. What a member says next follows from
//! what it hears, so neither end keeps anything but who has been answered.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use benches::namespace::Namespace;
use benches::process::{Interrupt, readable};
use wire::{Answer, Packet, TcpFlags};

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

const PUSH: u8 = 0x08;
const WINDOW_FIELD: u16 = 65_535;

/// What the crowd asks its targets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// May I connect? Answered by a SYN-ACK, and that by an ACK: the connection is established.
    Connect,
    /// On the connection: are you there? Answered by an ACK.
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

/// Lets every one of `size` members ask; the targets answer as long as this goes on.
pub(crate) fn ask(
    gate: &Gate,
    family: Family,
    size: usize,
    question: Question,
    interrupt: &Interrupt,
) -> Result<Heard> {
    let (stop, stopped) = UnixStream::pair()?;
    let (ready, is_ready) = channel();
    thread::scope(|scope| {
        let provider = &gate.provider;
        let targets = scope.spawn(move || answer_everyone(provider, family, &stopped, ready));
        let asked = gate.consumers[0].inside(move || {
            is_ready.recv().context("no targets")?;
            Crowd::new(family, size, question)?.ask(interrupt)
        });
        drop(stop);
        targets.join().unwrap_or_else(|_| Err(anyhow!("the responder panicked")))?;
        asked
    })
}

struct Crowd {
    family: Family,
    question: Question,
    ear: Ear,
    mouth: Mouth,
    answered: Vec<bool>,
    heard: Heard,
}

impl Crowd {
    fn new(family: Family, size: usize, question: Question) -> Result<Self> {
        let (ear, mouth) = (Ear::open(family)?, Mouth::open(family)?);
        let heard = Heard { answered: 0, again: 0, resets: 0 };
        Ok(Self { family, question, ear, mouth, answered: vec![false; size], heard })
    }

    /// Everyone asks until answered, as fast as answers come back.
    fn ask(mut self, interrupt: &Interrupt) -> Result<Heard> {
        for round in 0..TRIES {
            let mut under_way: usize = 0;
            for number in 0..self.answered.len() {
                if self.answered[number] {
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
            while self.heard.answered < self.answered.len() && self.listen(interrupt)?.is_some() {}
            if self.heard.answered == self.answered.len() {
                break;
            }
        }
        Ok(self.heard)
    }

    fn say(&self, number: usize) -> Result<()> {
        let first = first_number(number);
        let (flags, sequence, acknowledgement) = match self.question {
            Question::Connect => (TcpFlags::SYN, first, 0),
            Question::Speak => (TcpFlags::ACK | PUSH, first.wrapping_add(1), (!first).wrapping_add(1)),
        };
        let flags = TcpFlags::new(flags);
        let said = Answer { flags, sequence, acknowledgement, window: WINDOW_FIELD };
        let number = number as u32;
        let member = (self.family.nobody(number / PORTS), FIRST_PORT + (number % PORTS) as u16);
        self.mouth.answer(&as_if_from((self.family.door(), CROWD_PORT), member), said)
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
        if packet.flags.syn() {
            self.mouth.answer(packet, acknowledge(packet))?;
        }
        let is_answer = packet.flags.syn() == (self.question == Question::Connect);
        if is_answer && !self.answered[number] {
            self.answered[number] = true;
            self.heard.answered += 1;
        }
        Ok(())
    }

    /// Whom of the crowd a packet is for.
    fn member(&self, packet: &Packet) -> Option<usize> {
        let port = u32::from(packet.destination_port.checked_sub(FIRST_PORT)?);
        let host = packet.destination.to_bits() as u32 & 0x7f_ffff;
        let number = (host * PORTS + port) as usize;
        let is_one = packet.source_port == CROWD_PORT && port < PORTS && number < self.answered.len();
        is_one.then_some(number)
    }
}

/// The targets: a SYN gets a SYN-ACK, a question gets an ACK. Ends when the other end of `stopped` is closed.
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
            if packet.flags.syn() {
                let acknowledged = acknowledge(&packet);
                let flags = TcpFlags::new(TcpFlags::SYN | TcpFlags::ACK);
                mouth.answer(&packet, Answer { flags, sequence: !packet.sequence, ..acknowledged })?;
            } else if packet.flags.bits() & PUSH != 0 {
                mouth.answer(&packet, acknowledge(&packet))?;
            }
        }
    }
}

/// "I have heard all of this."
fn acknowledge(packet: &Packet) -> Answer {
    Answer {
        flags: TcpFlags::new(TcpFlags::ACK),
        sequence: packet.acknowledgement,
        acknowledgement: packet.sequence.wrapping_add(packet.sequence_len()),
        window: WINDOW_FIELD,
    }
}

/// A member's first sequence number; its target's is the complement.
const fn first_number(number: usize) -> u32 {
    (number as u32).wrapping_mul(0x9e37_79b1)
}
