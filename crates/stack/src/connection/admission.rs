//! What is let in, what is said to what is not, and what a SYN and a RST have done once they are in.

use std::time::Duration;

use smoltcp::socket::tcp::State as Tcp;
use wire::{Frame, Packet, SEGMENT_CAPACITY, SynOptions};

use super::{Connection, Failure, InputError};
use crate::guard::{Judgement, has_ended, judge};
use crate::standing::is_after;
use crate::{Stack, clock};

/// How long the acknowledgement of a FIN may wait for what follows.
const FIN_DELAY: Duration = Duration::from_millis(40);

impl Connection {
    /// Turns away a packet that the guard does not let pass, and answers it as it should be. `None`: it passes.
    pub(super) fn turn_away(
        &mut self,
        packet: &Packet,
        now: Duration,
        emit: &mut impl FnMut(&mut Frame<'_>),
    ) -> Option<Result<(), InputError>> {
        let tcp = self.socket().state();
        // Both sides have closed, and the owner still keeps it: smoltcp would answer with a RST.
        if tcp == Tcp::Closed && self.failure.is_none() {
            return Some(Err(if packet.flags.syn() {
                InputError::LateSyn
            } else {
                InputError::Unacceptable
            }));
        }
        match judge(packet, tcp, self.expected(), &self.standing, self.bytes.window.offered()) {
            Judgement::Pass => None,
            Judgement::Ignore(why) => Some(Err(why)),
            Judgement::Challenge(why) => {
                self.acknowledge(now, emit);
                Some(Err(why))
            }
            Judgement::Acknowledge => {
                self.acknowledge(now, emit);
                Some(Ok(()))
            }
        }
    }

    /// Takes note of a SYN that a socket in the state `before` has made its peer's.
    pub(super) fn note_syn(&mut self, before: Tcp, packet: &Packet, bytes: &[u8]) {
        let after = self.socket().state();
        if matches!(before, Tcp::Listen | Tcp::SynSent)
            && matches!(after, Tcp::SynReceived | Tcp::Established)
        {
            self.bytes.window.begin(packet.sequence.wrapping_add(1));
            let options = SynOptions::read(bytes, packet);
            self.standing.note_syn(&options);
            self.sending.note_syn(&options);
            self.syn_options = Some(options);
        }
    }

    /// Takes note of how far a packet has brought the end of a connection whose socket was in the state `before`.
    ///
    /// As in Linux, the peer's FIN is acknowledged with what follows, if something follows soon; not if more than a full segment
    /// waits for its acknowledgement with it.
    pub(super) fn notice_end(&mut self, stack: &Stack, before: Tcp, now: Duration) {
        match self.socket().state() {
            after if after == before => {}
            Tcp::TimeWait => self.time_wait = Some(now),
            Tcp::CloseWait => {
                let told = self.standing.acknowledged();
                let waits = |told| self.expected().wrapping_sub(told) <= self.segment(stack) + 1;
                self.fin_held = told.is_some_and(waits).then(|| now + FIN_DELAY);
            }
            _ => {}
        }
    }

    /// The number that smoltcp is to see on `packet`. A peer that has filled its window acknowledges from the end of what it was
    /// told, and counts; smoltcp takes nothing from the end of what it has offered.
    pub(super) fn place_of(&self, packet: &Packet) -> u32 {
        let is_bare = packet.flags.ack() && !packet.flags.rst() && packet.sequence_len() == 0;
        let is_told = self.standing.edge().is_some_and(|edge| !is_after(packet.sequence, edge));
        let next = self.expected();
        if is_bare && is_told && is_after(packet.sequence, next) { next } else { packet.sequence }
    }

    /// The number that is expected next from the peer; any, before its SYN.
    pub(super) fn expected(&self) -> u32 {
        let socket = self.socket();
        let waiting = socket.recv_queue() as u32 + u32::from(has_ended(socket.state()));
        self.bytes.window.next().unwrap_or(0).wrapping_add(waiting)
    }

    /// Tells the peer where the connection stands, if it was not told just now.
    fn acknowledge(&mut self, now: Duration, emit: &mut impl FnMut(&mut Frame<'_>)) {
        if self.standing.sent().is_some() && self.pace.step(now) {
            self.tell(0, emit);
        }
    }

    /// Acknowledges, beside smoltcp, everything that has come; with a window of so many bytes, or what was told before if that
    /// is more.
    pub(super) fn tell(&mut self, window: u32, emit: &mut impl FnMut(&mut Frame<'_>)) {
        let next = self.expected();
        if let Some(answer) = self.standing.acknowledge(next, window, clock::timestamp()) {
            let [from, to] = self.ends;
            let mut buffer = [0; SEGMENT_CAPACITY];
            let len = answer.write_between(from, to, &mut buffer);
            emit(&mut Frame::plain(&mut buffer[..len]));
        }
    }

    /// Judges what a RST has done to a socket that was in the state `before`.
    pub(super) fn notice_reset(&mut self, before: Tcp) {
        match (before, self.socket().state()) {
            // It was over before.
            (Tcp::Closed, _) => {}
            (Tcp::SynSent, Tcp::Closed) => self.failure = Some(Failure::Refused),
            (_, Tcp::Closed) => self.failure = Some(Failure::Reset),
            // smoltcp would listen for another SYN; this connection is for one only.
            (Tcp::SynReceived, Tcp::Listen) => {
                self.failure = Some(Failure::Reset);
                self.socket_mut().abort();
            }
            _ => {}
        }
    }
}
