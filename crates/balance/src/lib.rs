//! Where it goes: health of targets, who takes new flows, and the choice among them. Pure.
//!
//! # Theory of operation
//!
//! Three questions are answered here, each by a part of its own, because each is asked at another time:
//!
//! ```text
//!   results of checks ─▶ Checkup ─▶ Health ─▶ Register ─▶ Wheel ─▶ a newcomer's target
//!                        a worker's  a word    one, beside   one for each
//!                        own         each      the road      group and node
//! ```
//!
//! **Is a target well?** A [`Checkup`] knows when its next check is due, and what results in a row come to. The
//! worker that checks a target owns it, and leaves what it finds in [`Health`]: a word for each target, that anybody
//! may read at any time. What real flows meet (a reset, silence) is counted in the same word, for groups in which
//! that matters.
//!
//! **What does that mean?** The [`Register`] knows who belongs: who is registered, who was removed and is draining,
//! who stands in the file with nothing that leads to it. From this, from health and from the group's attributes
//! follow a target's [`Standing`], as the real load balancer would show it; whether it takes newcomers; and its
//! flows' [`Tenure`]: whether they go on. It is reviewed when health or the topology has changed, and when a delay is
//! over.
//!
//! **Which target is it?** A [`Wheel`] is a table over a group's targets that take newcomers. A flow's hash leads to
//! a place in it, and the place to a target, in constant time. When one of N targets comes or goes, a new wheel is
//! made, and a little more than one place in N changes hands: the bench `choice` prints how many.
//!
//! How many healthy targets are too few, and who is used then, is for the engine to say, for each node: the register
//! only tells who could be used.

mod checkup;
mod health;
mod register;
mod standing;
mod wheel;

pub use checkup::{Checkup, Outcome};
pub use health::Health;
pub use register::{Member, Register, Tenure};
pub use standing::{Reason, Standing, State};
pub use wheel::{Wheel, identity};
