//! Whoever takes of the memory that is there for terminated connections, and keeps it.

use std::time::Duration;

use stack::{Connection, Memory, Settings, Stack, State};
use wire::{Frame, Offload};

/// Two connections back to back that nobody has asked for, with bytes in their buffers.
pub(super) struct Squatter {
    stack: Stack,
    ends: [Connection; 2],
}

impl Squatter {
    /// Settles down; `None` if there is no room.
    pub(super) fn settle(memory: &Memory) -> Option<Self> {
        let mut stack = Stack::new(Settings { connections: 2, ..Settings::new([1, 2]) }, memory);
        let [here, there] = [([10, 9, 0, 1], 1).into(), ([10, 9, 0, 2], 2).into()];
        let near = Connection::dial(&mut stack, here, there, Duration::ZERO)?;
        let mut far = Connection::accept(&mut stack, there, here, Duration::ZERO)?;
        far.ready();
        let mut squatter = Self { stack, ends: [near, far] };
        while squatter.ends.iter().any(|end| end.state() == State::Opening) {
            squatter.speak(0);
            squatter.speak(1);
        }
        squatter.ends[0].send(&[7; 64]);
        squatter.speak(0);
        Some(squatter)
    }

    /// Lets one end speak, and the other hear it.
    fn speak(&mut self, from: usize) {
        let mut wire: Vec<(Vec<u8>, Offload)> = Vec::new();
        let Self { stack, ends } = self;
        ends[from].poll(stack, Duration::ZERO, &mut |frame| wire.push((frame.bytes.to_vec(), frame.offload)));
        for (mut bytes, offload) in wire {
            let frame = Frame { offload, bytes: &mut bytes };
            let heard = ends[1 - from].input(stack, &frame, Duration::ZERO, &mut |_| {});
            debug_assert!(heard.is_ok(), "the two understand each other");
        }
    }
}
