//! Joining two connections: what one side does, the other side's peer sees.

use crate::{Connection, State};

/// How many bytes a [`relay`] has moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moved {
    /// From the first connection to the second.
    pub forward: usize,
    /// From the second to the first.
    pub backward: usize,
}

/// Carries everything that can be carried between `a` and `b`, in both directions. Call it after input to either; then poll both.
pub fn relay(a: &mut Connection, b: &mut Connection) -> Moved {
    Moved { forward: carry(a, b), backward: carry(b, a) }
}

/// Carries everything that can be carried in one direction: that it is open (as [`Connection::ready`]), bytes straight from one
/// socket to the other, FIN once all bytes before it are moved, and a failure as RST. Returns how many bytes it has moved.
pub fn carry(from: &mut Connection, to: &mut Connection) -> usize {
    let moved = carry_bytes(from, to);
    match from.state() {
        State::Opening => {}
        State::Open => to.ready(),
        State::HalfClosed => {
            to.ready();
            to.close();
        }
        State::Closed => to.close(),
        State::Failed(_) => to.abort(),
    }
    moved
}

fn carry_bytes(from: &mut Connection, to: &mut Connection) -> usize {
    let mut total = 0;
    // Both buffers are rings, so that a move may stop at the end of either.
    while from.readable() > 0 {
        match from.receive_with(|bytes| to.send(bytes)) {
            0 => break,
            moved => total += moved,
        }
    }
    total
}
