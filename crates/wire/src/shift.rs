//! Shifting: a TCP packet's numbers become those that its receiver's side of the flow goes by. Patches the checksum, as every
//! change in place does, and never looks at payload: a super-packet stays whole.

use crate::options::{MOST_SCALE, Options, WINDOW};
use crate::patch::Patch;
use crate::{Frame, Packet, TcpOption};

/// What is added to a packet's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shift {
    /// To its sequence number.
    pub sequence: u32,
    /// To its acknowledgement number, and to the edges of its SACK blocks.
    pub acknowledgement: u32,
    /// To its TSval.
    pub timestamp: u32,
    /// To its TSecr.
    pub echo: u32,
    /// What becomes of its window field.
    pub window: Scaling,
}

/// From one window scale to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scaling {
    /// By how many bits the sender shifts its windows.
    pub from: u8,
    /// By how many the receiver takes them to be shifted.
    pub to: u8,
}

impl Scaling {
    /// A window field as the receiver has to see it: never more than the sender meant.
    pub fn apply(self, field: u16) -> u16 {
        let window = u32::from(field) << self.from.min(MOST_SCALE) >> self.to.min(MOST_SCALE);
        window.min(u32::from(u16::MAX)) as u16
    }

    /// The scale that the receiver has to take, of a sender who says this one, for fields that reach it like that.
    fn told(self, scale: u8) -> u8 {
        let [from, to, scale] = [self.from, self.to, scale].map(|bits| bits.min(MOST_SCALE));
        (scale + to).saturating_sub(from).min(MOST_SCALE)
    }
}

impl Shift {
    /// Shifts the numbers of the TCP packet in `frame`, and notes in `packet`, which must have been parsed from it, what they are
    /// now. (What means nothing stays: the acknowledgement number and TSecr without an ACK. So does a SYN's window, which is
    /// never scaled; where windows are, the scale that it says is told in the same units.)
    #[inline]
    pub fn apply(&self, frame: &mut Frame<'_>, packet: &mut Packet) {
        let is_ack = packet.flags.ack();
        let mut patch = Patch::begin(frame, packet);
        let at = packet.transport;
        packet.sequence = patch.add(at + 4, self.sequence);
        if is_ack {
            packet.acknowledgement = patch.add(at + 8, self.acknowledgement);
        }
        if self.window.from != self.window.to && !packet.flags.syn() {
            patch.map_u16(at + WINDOW, |field| self.window.apply(field));
        }
        let mut options = Options::of(packet);
        while let Some((option, value)) = options.next(patch.bytes()) {
            match option {
                TcpOption::Sack => value.step_by(4).for_each(|edge| {
                    patch.add(edge, self.acknowledgement);
                }),
                TcpOption::Timestamps => {
                    patch.add(value.start, self.timestamp);
                    if is_ack {
                        patch.add(value.start + 4, self.echo);
                    }
                }
                TcpOption::WindowScale if self.window.from != self.window.to && packet.flags.syn() => {
                    let told = self.window.told(patch.bytes()[value.start]);
                    patch.write(value.start, [told]);
                }
                _ => {}
            }
        }
        patch.finish();
    }
}
