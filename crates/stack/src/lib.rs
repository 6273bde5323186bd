//! TCP of our own: the only crate that knows smoltcp. Accept, dial, byte streams. Pure.
