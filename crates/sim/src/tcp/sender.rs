//! What one end has to send, and how far it has come.

use wire::{Packet, mss_of};

#[derive(Debug)]
pub(super) struct Sender {
    pub(super) initial: u32,
    pub(super) data: Vec<u8>,
    pub(super) closing: bool,
    /// Everything below is acknowledged.
    pub(super) acknowledged: u32,
    pub(super) next: u32,
    /// The highest `next` ever: going back lowers `next`.
    pub(super) highest: u32,
    pub(super) window: u32,
    pub(super) mss: usize,
}

impl Sender {
    /// Nothing is sent yet, and nothing is known of the other side.
    pub(super) fn new(initial: u32) -> Self {
        Self {
            initial,
            data: Vec::new(),
            closing: false,
            acknowledged: 0,
            next: 0,
            highest: 0,
            window: 1,
            mss: 536,
        }
    }

    /// Reads the other side's SYN.
    pub(super) fn hear(&mut self, syn: &Packet, bytes: &[u8]) {
        self.mss = usize::from(mss_of(bytes, syn).unwrap_or(536));
        self.window = u32::from(u16::from_be_bytes([bytes[syn.transport + 14], bytes[syn.transport + 15]]));
        if syn.flags.ack() {
            self.acknowledged = 1;
        }
    }

    /// The relative number that follows the data.
    pub(super) fn finish(&self) -> u32 {
        self.data.len() as u32 + 1
    }

    /// How much may be sent now. A window without room is probed with one byte.
    pub(super) fn room(&self, probing: bool) -> usize {
        let room = (self.acknowledged + self.window).saturating_sub(self.next);
        room.max(u32::from(probing && self.next == self.acknowledged)) as usize
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.next < self.finish() || (self.closing && self.next == self.finish())
    }

    /// Whether our FIN is acknowledged.
    pub(super) fn is_done(&self) -> bool {
        self.closing && self.acknowledged > self.finish()
    }
}
