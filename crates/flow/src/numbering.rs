//! How the numbers of a flow's two sides differ, where they do: by the header that only the target gets, and where the consumer's
//! handshake was ours, by what the target began with.

use wire::{Scaling, Shift};

use crate::key::Direction;

/// What the two sides of a TCP flow number differently. All of it is 0 where the packets pass as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numbering {
    /// How many bytes the target has got ahead of the consumer's: 127 at most.
    pub header: u8,
    /// What is added to the target's sequence numbers for the consumer.
    pub sequence: u32,
    /// What is added to the target's timestamps for the consumer.
    pub timestamp: u32,
    /// From the target's window scale to the one that the consumer was told.
    pub window: Scaling,
}

impl Numbering {
    /// What is done to packets of this direction.
    #[inline]
    pub fn shift(&self, direction: Direction) -> Shift {
        let header = u32::from(self.header);
        match direction {
            Direction::Forward => Shift {
                sequence: header,
                acknowledgement: self.sequence.wrapping_neg(),
                echo: self.timestamp.wrapping_neg(),
                ..Shift::default()
            },
            Direction::Reply => Shift {
                sequence: self.sequence,
                acknowledgement: header.wrapping_neg(),
                timestamp: self.timestamp,
                echo: 0,
                window: self.window,
            },
        }
    }
}
