//! A packet in a buffer of its own, which goes back and forth between the worker and the kernel.

use std::io;

use wire::{FRAME_CAPACITY, Frame, Offload};

use crate::Queue;

/// A packet, or room for one. In front of it is room for its offload header: there the kernel puts that.
#[derive(Debug)]
pub struct Packet {
    buffer: Box<[u8]>,
    len: usize,
    offload: Offload,
}

impl Packet {
    /// Room for a packet.
    pub fn room() -> Self {
        Self::within(vec![0; Offload::LEN + FRAME_CAPACITY].into_boxed_slice())
    }

    /// Reads the next packet of a queue into this room, as [`Queue::read`] does. Returns whether there was one.
    #[inline]
    pub fn read_from(&mut self, queue: &mut dyn Queue) -> io::Result<bool> {
        let read = queue.read(&mut self.buffer[Offload::LEN..])?;
        if let Some((len, offload)) = read {
            (self.len, self.offload) = (len, offload);
        }
        Ok(read.is_some())
    }

    /// Makes this room a copy of a packet.
    pub fn copy(&mut self, offload: Offload, bytes: &[u8]) {
        self.buffer[Offload::LEN..][..bytes.len()].copy_from_slice(bytes);
        (self.len, self.offload) = (bytes.len(), offload);
    }

    /// The packet, to be worked on.
    #[inline]
    pub fn frame(&mut self) -> Frame<'_> {
        Frame { offload: self.offload, bytes: &mut self.buffer[Offload::LEN..][..self.len] }
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
        &self.buffer[Offload::LEN..][..self.len]
    }

    /// The buffer, of any packet.
    pub(super) fn into_buffer(self) -> Box<[u8]> {
        self.buffer
    }

    /// Room in such a buffer.
    pub(super) fn within(buffer: Box<[u8]>) -> Self {
        Self { buffer, len: 0, offload: Offload::NONE }
    }

    /// So many bytes have been read into the buffer. Returns whether they are a packet with its offload header.
    pub(super) fn accept(&mut self, read: usize) -> bool {
        let header = self.buffer.first_chunk().filter(|_| read >= Offload::LEN);
        let Some(Ok(offload)) = header.map(Offload::decode) else { return false };
        (self.len, self.offload) = (read - Offload::LEN, offload);
        true
    }
}
