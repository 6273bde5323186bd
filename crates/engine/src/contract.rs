//! The engine's contract: what a worker is handed, and what it may say. Everything around the engine (threads, devices,
//! counters, taps, the simulator) knows only these types.

use std::time::Duration;

use flow::{Cause, FlowId, FlowPath, Key, Totals};
use topology::{DeviceId, InterfaceId, TargetId};
use wire::Frame;

use crate::verdict::{Reason, Verdict};

/// One of the engine's per-thread parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WorkerId(pub u8);

impl WorkerId {
    /// Its place among the workers.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a frame leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Egress {
    /// Through this device, by the queue of the worker that says so.
    Device(DeviceId),
}

/// The receiver's ring is full: the frame is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandOverFull;

/// What a worker says while it works. Called within [`crate::Worker`]'s methods.
pub trait Output {
    /// The frame at `slot` of the batch, rewritten in place, goes out. It stays as it is now: whoever has the batch may send it as
    /// late as when [`crate::Worker::input`] has returned.
    fn forward(&mut self, slot: usize, frame: &mut Frame<'_>, egress: Egress);

    /// A frame that the worker has built goes out. Its bytes are gone when this returns: one buffer serves for all.
    fn emit(&mut self, frame: &mut Frame<'_>, egress: Egress);

    /// The frame, untouched, belongs to another worker, which gets it as input from the same device. The receiver gives
    /// the verdict.
    fn hand_over(&mut self, to: WorkerId, device: DeviceId, frame: &Frame<'_>) -> Result<(), HandOverFull>;

    /// What became of the frame at `slot` of the batch. Every frame of a batch gets exactly one verdict, here or from the
    /// worker that it was handed to. It stands; of a fragment that was kept, an [`Event::FragmentsEnded`] tells the rest.
    fn verdict(&mut self, slot: usize, verdict: Verdict);

    /// Something that is not about one packet.
    fn event(&mut self, event: Event);
}

/// What is told to a worker from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// The worker has a queue of this device now: frames may leave there.
    Attach(DeviceId),
    /// The device is gone: frames for it are dropped, its terminated flows end.
    Detach(DeviceId),
    /// There is a new plan, or flows are to end: whoever sleeps takes notice now.
    Planned,
    /// Whether the frames of its own TCP may leave checksums and segmentation to the devices from now on. At first they may.
    Offload(bool),
}

/// Something that is not about one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A flow was admitted.
    FlowOpened {
        /// Which.
        flow: FlowId,
        /// At which interface.
        interface: InterfaceId,
        /// To which target.
        target: TargetId,
        /// How it is carried.
        path: FlowPath,
    },
    /// A flow is forgotten.
    FlowClosed {
        /// Which.
        flow: FlowId,
        /// Why.
        cause: Cause,
        /// What went from the consumer to the target.
        forward: Totals,
        /// What came back.
        returned: Totals,
    },
    /// A packet came for a flow that had expired in silence; it was answered with a RST.
    ExpiredFlowHit {
        /// The flow's consumer side.
        original: Key,
        /// The flow's target side.
        reply: Key,
        /// For how long nothing had been heard of it.
        silent: Duration,
    },
    /// A health check has changed what is known of a target: [`crate::Shared::review`] is called for.
    HealthChanged {
        /// Which.
        target: TargetId,
    },
    /// A health check that is due cannot begin, for no fault of its target's, which stays what it was found to be. Whoever counts
    /// verdicts counts the SYN that did not leave beside them.
    CheckPutOff {
        /// Whose.
        target: TargetId,
        /// What stands in the way.
        reason: Reason,
    },
    /// Fragments that were kept, with the verdict [`Reason::FragmentKept`], have come to their end: sent on when their
    /// datagram's first one came, or dropped. Whoever counts verdicts counts this beside them, so that every fragment that
    /// ends is counted by how it ended.
    FragmentsEnded {
        /// How: [`Reason::FragmentForwarded`], or why they were dropped.
        reason: Reason,
        /// How many.
        count: usize,
    },
}
