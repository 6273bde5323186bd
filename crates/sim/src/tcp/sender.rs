//! What one end has to send, and how far it has come.

use wire::Packet;

use super::options::Options;

/// What a segment carries at most where no MSS is announced.
pub const DEFAULT_MSS: u16 = 536;
/// No announcement brings it below this.
pub const LEAST_MSS: u16 = 48;

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
            mss: DEFAULT_MSS.into(),
        }
    }

    /// Reads the other side's SYN, whose window is never shifted.
    pub(super) fn hear(&mut self, syn: &Packet, bytes: &[u8], options: &Options) {
        let mss = options.mss.filter(|mss| *mss > 0).unwrap_or(DEFAULT_MSS);
        self.mss = mss.max(LEAST_MSS).into();
        self.window = window_field(syn, bytes).into();
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

/// The window that a packet announces, not shifted.
pub fn window_field(packet: &Packet, bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[packet.transport + 14], bytes[packet.transport + 15]])
}
