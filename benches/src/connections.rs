//! New connections, by clients and targets of our own: the same for everyone who is measured, and strict. A connection counts when
//! the target's greeting came through it and it came to a proper end; one that does not, spoils the run.

pub mod clients;
pub mod greeter;
pub mod way;

/// Who closes a connection first, after the greeting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closer {
    /// Who has greeted.
    Target,
    /// Who has been greeted.
    Client,
}

/// What the target says.
const GREETING: &[u8] = b"!";
