//! The bytes of a connection, in and out, and the memory that they take.

use std::time::Duration;

use smoltcp::socket::tcp::State as Tcp;
use wire::{Frame, Packet};

use super::{Connection, InputError};
use crate::Stack;
use crate::buffers::Side;
use crate::window::{Allowance, Window};

/// What smoltcp's two rings hold, as far as it does not tell.
pub(super) struct Bytes {
    capacity: usize,
    /// What the peer may send.
    pub(super) window: Window,
    /// Where in its ring the next byte to be read lies: smoltcp goes around, and never begins anew.
    read_at: usize,
    /// How far beyond that the peer's bytes reach, those after a hole included.
    reach: usize,
    /// What the owner may have under way.
    allowance: Allowance,
    /// Bytes that the owner has given us to send, modulo 2^32.
    sent: u32,
    /// Where in its ring the next such byte will lie: smoltcp begins anew whenever the ring is empty.
    send_at: usize,
}

impl Bytes {
    pub(super) fn new(stack: &Stack, now: Duration) -> Self {
        let capacity = stack.arena.capacity();
        let allowance = || Allowance::new(capacity, stack.arena.memory(), now);
        let window = Window::new(allowance());
        Self { capacity, window, read_at: 0, reach: 0, allowance: allowance(), sent: 0, send_at: 0 }
    }

    /// How many bytes the owner has given us to send, modulo 2^32.
    pub(super) fn sent(&self) -> u32 {
        self.sent
    }

    /// The owner has read so many bytes.
    fn read(&mut self, bytes: usize) {
        self.read_at = (self.read_at + bytes) % self.capacity;
        self.reach = self.reach.saturating_sub(bytes);
        self.window.read(bytes);
    }

    /// So many bytes have followed those that the ring holds already.
    fn send(&mut self, bytes: usize) {
        self.send_at = (self.send_at + bytes) % self.capacity;
        self.sent = self.sent.wrapping_add(bytes as u32);
    }

    /// Where the first of the `queued` bytes lies that are not acknowledged.
    fn unacknowledged_at(&self, queued: usize) -> usize {
        (self.send_at + self.capacity - queued) % self.capacity
    }
}

impl Connection {
    /// How many bytes have arrived and wait to be read.
    pub fn readable(&self) -> usize {
        self.socket().recv_queue()
    }

    /// How many bytes [`Connection::send`] would take, as long as there is memory.
    pub fn writable(&self) -> usize {
        let socket = self.socket();
        if socket.may_send() { self.bytes.allowance.bytes().saturating_sub(socket.send_queue()) } else { 0 }
    }

    /// How many bytes were sent but are not acknowledged by the peer.
    pub fn unacknowledged(&self) -> usize {
        self.socket().send_queue()
    }

    /// Reads into `buffer`; returns how many bytes. 0 if there are none: [`Connection::state`] knows why.
    pub fn receive(&mut self, buffer: &mut [u8]) -> usize {
        let taken = self.socket_mut().recv_slice(buffer).unwrap_or(0);
        self.note_read(taken);
        taken
    }

    /// Hands `take` bytes that have arrived, as many as lie in one piece, and forgets as many as it says it took.
    pub fn receive_with(&mut self, take: impl FnOnce(&[u8]) -> usize) -> usize {
        let taken = self.socket_mut().recv(|bytes| {
            let taken = take(bytes).min(bytes.len());
            (taken, taken)
        });
        let taken = taken.unwrap_or(0);
        self.note_read(taken);
        taken
    }

    /// Takes as many of `bytes` as there is room for, to be sent; returns how many. 0 while opening and after closing.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.writable());
        let queued = self.unacknowledged();
        if queued == 0 {
            self.bytes.send_at = 0;
        }
        let (at, most) = (self.bytes.unacknowledged_at(queued), 2 * self.bytes.allowance.bytes());
        let held = self.berth.slot.hold(Side::Outgoing, at, queued + len, most);
        if held < queued + len {
            self.bytes.allowance.curtail();
        }
        let paid = &bytes[..held.saturating_sub(queued)];
        let taken = self.socket_mut().send_slice(paid).unwrap_or(0);
        if taken > 0 {
            self.bytes.send(taken);
            self.stir();
        }
        taken
    }

    /// Gives back the memory that it does not need while it is silent; what it needs again comes by itself. Call it when nothing
    /// has happened for a while.
    pub fn rest(&mut self) {
        let queued = self.unacknowledged();
        let Self { bytes, berth, .. } = self;
        berth.slot.keep(Side::Incoming, bytes.read_at, bytes.reach);
        berth.slot.keep(Side::Outgoing, bytes.unacknowledged_at(queued), queued);
        bytes.allowance.restart(berth.slot.memory());
        bytes.window.allowance().restart(berth.slot.memory());
    }

    /// The owner has read so many bytes.
    fn note_read(&mut self, taken: usize) {
        if taken > 0 {
            self.bytes.read(taken);
            self.stir();
        }
    }

    /// Pays for what the peer's `packet` will fill. A packet that passes is one that the window had room for.
    pub(super) fn make_room(&mut self, packet: &Packet) -> Result<(), InputError> {
        let Self { bytes, berth, .. } = self;
        if packet.payload_len() == 0 || packet.flags.rst() {
            return Ok(());
        }
        let end = packet.sequence.wrapping_add(packet.payload_len() as u32);
        let reach = bytes.window.next().map_or(0, |next| end.wrapping_sub(next).cast_signed().max(0));
        let reach = bytes.capacity.min(reach as usize);
        if reach > bytes.reach {
            let most = 2 * bytes.window.allowance().bytes();
            if berth.slot.hold(Side::Incoming, bytes.read_at, reach, most) < reach {
                bytes.window.allowance().curtail();
                return Err(InputError::NoMemory);
            }
            bytes.reach = reach;
        }
        Ok(())
    }

    /// Lets allowances grow, and tells the peer if it may send much more than it knows.
    pub(super) fn widen(&mut self, now: Duration, emit: &mut impl FnMut(&mut Frame<'_>)) {
        let acknowledged = self.bytes.sent.wrapping_sub(self.unacknowledged() as u32);
        let Self { bytes, berth, .. } = self;
        bytes.allowance.review(acknowledged, berth.slot.memory(), now);
        bytes.window.review(berth.slot.memory(), now);
        let expected = self.expected();
        if matches!(self.socket().state(), Tcp::Established | Tcp::FinWait1 | Tcp::FinWait2)
            && let Some(window) =
                self.bytes.window.update(expected, self.standing.edge(), self.standing.scale())
        {
            self.tell(window, emit);
        }
    }
}

#[cfg(test)]
mod tests;
