//! What a peer says: segments, cut as the other side's window and MSS allow, with the options that were agreed upon.

use wire::TcpFlags;

use super::options::{Options, selective_acknowledgement};
use super::{Extensions, LARGEST_SUPER, Manner, State, Tcp};
use crate::packet::{Shape, TcpHeader, tcp};

/// As much as a SYN carries at most.
const FIRST_BYTES: usize = 100;

impl Tcp {
    /// Sends the next segment, if there is one and the other side has room for it.
    pub(super) fn send_next(&mut self) -> bool {
        let (next, finish) = (self.sender.next, self.sender.finish());
        match self.state {
            State::Dialling if next == 0 => {
                let first = self.first_bytes();
                self.send(TcpFlags::SYN, 0, &first);
            }
            State::Answering if next == 0 => self.send(TcpFlags::SYN | TcpFlags::ACK, 0, &[]),
            State::Open if next < finish => {
                let room = self.sender.room(self.tries > 0);
                let wanted = if self.manner.offloads && self.rng.per_mille(500) {
                    LARGEST_SUPER
                } else {
                    self.segment()
                };
                let len = room.min(wanted).min((finish - next) as usize);
                if len == 0 {
                    return false;
                }
                let at = next as usize - 1;
                let data = self.sender.data[at..at + len].to_vec();
                let last = self.sender.closing && next + len as u32 == finish;
                let fin = if last { TcpFlags::FIN } else { 0 };
                self.send(TcpFlags::ACK | fin, next, &data);
            }
            State::Open if self.sender.closing && next == finish => {
                self.send(TcpFlags::ACK | TcpFlags::FIN, next, &[]);
            }
            _ => return false,
        }
        true
    }

    /// What a SYN carries, once: whoever has not taken it is told in the usual way.
    fn first_bytes(&self) -> Vec<u8> {
        let len = if self.manner.extensions.fast_open && self.tries == 0 { FIRST_BYTES } else { 0 };
        self.sender.data[..len.min(self.sender.data.len())].to_vec()
    }

    /// Sends one segment that begins at `at`.
    pub(super) fn send(&mut self, flags: u8, at: u32, data: &[u8]) {
        let flags_of = TcpFlags::new(flags);
        let shift = if flags_of.syn() { 0 } else { self.agreed.scales.map_or(0, |(ours, _)| ours) };
        let header = TcpHeader {
            sequence: self.sender.initial.wrapping_add(at),
            acknowledgement: if flags_of.ack() { self.receiver.expected() } else { 0 },
            flags,
            window: self.receiver.grant(&self.manner, shift, &mut self.rng),
            options: self.options(flags_of),
        };
        let segment = self.segment();
        let shape = if data.len() > segment {
            Shape::Super(segment as u16)
        } else if self.manner.offloads && self.rng.per_mille(500) {
            Shape::Partial
        } else {
            Shape::Plain
        };
        self.out.push(tcp(self.route, &header, data, shape));
        let len = data.len() as u32 + u32::from(flags_of.syn()) + u32::from(flags_of.fin());
        if len > 0 {
            self.sender.next = self.sender.next.max(at + len);
            self.sender.highest = self.sender.highest.max(at + len);
        }
        if flags_of.ack() {
            self.receiver.owes_ack = false;
            self.receiver.repeated = None;
        }
    }

    /// How much data a segment may carry beside its options.
    fn segment(&self) -> usize {
        let stamps = if self.agreed.timestamps { 12 } else { 0 };
        let islands = match self.islands().len() {
            0 => 0,
            count => 4 + 8 * count,
        };
        self.sender.mss.saturating_sub(stamps + islands).max(1)
    }

    fn islands(&self) -> Vec<(u32, u32)> {
        match (self.agreed.sack, self.agreed.timestamps) {
            (false, _) => Vec::new(),
            (true, stamped) => self.receiver.islands(if stamped { 3 } else { 4 }),
        }
    }

    fn options(&mut self, flags: TcpFlags) -> Vec<u8> {
        if flags.rst() {
            return Vec::new();
        }
        if flags.syn() {
            return self.syn_options().write(&mut self.rng);
        }
        let timestamps = self.agreed.timestamps.then(|| self.stamps());
        let mut bytes = Options { timestamps, ..Options::default() }.write(&mut self.rng);
        bytes.extend(selective_acknowledgement(&self.islands()));
        bytes
    }

    /// What is offered; in an answer, only what was offered before.
    fn syn_options(&self) -> Options {
        let Manner { mss, extensions: Extensions { scale, timestamps, sack, fast_open, .. }, .. } =
            self.manner;
        let offers = self.state == State::Dialling;
        Options {
            mss,
            scale: scale.filter(|_| offers || self.agreed.scales.is_some()),
            sack: sack && (offers || self.agreed.sack),
            fast_open: fast_open && offers,
            timestamps: (timestamps && (offers || self.agreed.timestamps)).then(|| self.stamps()),
            blocks: Vec::new(),
        }
    }

    fn stamps(&self) -> (u32, u32) {
        (self.clock(), self.recent)
    }

    /// The clock behind its timestamps.
    pub(super) fn clock(&self) -> u32 {
        self.epoch.wrapping_add(self.now.as_millis() as u32)
    }
}
