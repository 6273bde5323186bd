//! A packet in a buffer of its own, which goes back and forth between the worker and the kernel.

use std::io;

use wire::{Frame, Offload, Room};

use crate::Queue;

/// A packet, or room for one. In front of it is room for its offload header: there the kernel puts that.
#[derive(Debug)]
pub struct Packet {
    room: Room,
    /// Where it begins there.
    start: usize,
    len: usize,
    offload: Offload,
}

/// The usual headers: IPv4's, and TCP's with timestamps.
pub(super) const USUAL_HEADERS: usize = 20 + 32;

impl Packet {
    /// Room for a packet.
    pub fn room() -> Self {
        let room = Room::empty();
        let start = room.start(USUAL_HEADERS);
        Self::within(room, start)
    }

    /// Reads the next packet of a queue into this room, as [`Queue::read`] does. Returns whether there was one.
    #[inline]
    pub fn read_from(&mut self, queue: &mut dyn Queue) -> io::Result<bool> {
        let read = queue.read(&mut self.room.bytes_mut()[self.start..])?;
        if let Some((len, offload)) = read {
            (self.len, self.offload) = (len, offload);
        }
        Ok(read.is_some())
    }

    /// Makes this room a copy of a packet.
    pub fn copy(&mut self, offload: Offload, bytes: &[u8]) {
        self.room.bytes_mut()[self.start..][..bytes.len()].copy_from_slice(bytes);
        (self.len, self.offload) = (bytes.len(), offload);
    }

    /// The packet, to be worked on.
    #[inline]
    pub fn frame(&mut self) -> Frame<'_> {
        Frame { offload: self.offload, bytes: &mut self.room.bytes_mut()[self.start..][..self.len] }
    }

    /// Takes down what has become of its frame, of which there may be less now.
    #[inline]
    pub fn reshape(&mut self, offload: Offload, len: usize) {
        (self.offload, self.len) = (offload, len.min(self.len));
    }

    /// What is left undone.
    #[inline]
    pub fn offload(&self) -> Offload {
        self.offload
    }

    /// The packet's bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.room.bytes()[self.start..][..self.len]
    }

    /// Its room, for another.
    pub(super) fn into_room(self) -> Room {
        self.room
    }

    /// A room for a packet that begins there.
    pub(super) fn within(room: Room, start: usize) -> Self {
        Self { room, start, len: 0, offload: Offload::NONE }
    }

    /// So many bytes have been read, an offload header first. Returns whether they are that and a packet.
    pub(super) fn accept(&mut self, read: usize) -> bool {
        let Some(len) = read.checked_sub(Offload::LEN) else { return false };
        let Some(Ok(offload)) = self.header().map(Offload::decode) else { return false };
        (self.len, self.offload) = (len, offload);
        true
    }

    /// Of a long packet that has been accepted: how long its headers are, as the kernel believes.
    pub(super) fn headers(&self) -> Option<usize> {
        self.offload.segmentation?;
        self.header().map(Offload::headers)
    }

    fn header(&self) -> Option<&[u8; Offload::LEN]> {
        self.room.bytes()[..self.start].last_chunk()
    }
}
