//! Where it goes: health of targets and the choice among them. Pure.
