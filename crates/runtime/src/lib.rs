//! Threads: one worker per queue on mio, attach and detach, hand-over rings.
