//! What one end has received: puts it in order.

use std::collections::BTreeMap;

use wire::Packet;

#[derive(Debug, Default)]
pub(super) struct Receiver {
    pub(super) initial: u32,
    /// The relative number that is expected next.
    pub(super) next: u32,
    early: BTreeMap<u32, Vec<u8>>,
    fin_at: Option<u32>,
    pub(super) closed: bool,
    /// In order, and not yet read.
    pub(super) unread: Vec<u8>,
    pub(super) owes_ack: bool,
}

impl Receiver {
    pub(super) fn begin(&mut self, syn: &Packet) {
        self.initial = syn.sequence;
        self.next = 1;
    }

    /// The sequence number that is expected next.
    pub(super) fn expected(&self) -> u32 {
        self.initial.wrapping_add(self.next)
    }

    /// Takes a segment's bytes and FIN, where they fall into the window.
    pub(super) fn take(&mut self, packet: &Packet, payload: &[u8], window: u16) {
        if packet.sequence_len() == 0 {
            return;
        }
        self.owes_ack = true;
        let ahead = packet.sequence.wrapping_sub(self.expected()) as i32;
        let begin = i64::from(self.next) + i64::from(ahead);
        if begin < 1 || ahead > i32::from(window) {
            return; // an older connection's, or beyond the window
        }
        let begin = begin as u32;
        if !payload.is_empty() {
            let known = self.early.get(&begin).map_or(0, Vec::len);
            if payload.len() > known {
                self.early.insert(begin, payload.to_vec());
            }
        }
        if packet.flags.fin() {
            self.fin_at = Some(begin + payload.len() as u32);
        }
        self.put_in_order();
    }

    fn put_in_order(&mut self) {
        while let Some(piece) = self.early.first_entry().filter(|piece| *piece.key() <= self.next) {
            let (begin, bytes) = piece.remove_entry();
            let known = (self.next - begin) as usize;
            if let Some(news) = bytes.get(known..) {
                self.unread.extend(news);
                self.next += news.len() as u32;
            }
        }
        if self.fin_at == Some(self.next) && !self.closed {
            self.next += 1;
            self.closed = true;
        }
    }
}
