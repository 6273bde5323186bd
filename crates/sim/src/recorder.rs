//! What a worker says during one call, written down.

use std::collections::VecDeque;

use engine::{Egress, Event, HandOverFull, Output, Reason, Verdict, WorkerId};
use flow::FlowId;
use topology::DeviceId;
use wire::Frame;

use crate::fragment;
use crate::packet::OwnedFrame;

/// A frame that leaves.
#[derive(Clone, Debug)]
pub struct Departure {
    /// By which device.
    pub device: DeviceId,
    /// The frame.
    pub frame: OwnedFrame,
    /// The place in its batch of the frame that was forwarded; `None` for one that the worker has built.
    pub slot: Option<usize>,
}

impl Departure {
    /// Whether it is a fragment that was kept before.
    pub fn is_built_fragment(&self) -> bool {
        self.slot.is_none() && fragment::read(&self.frame.bytes).is_some()
    }
}

/// Everything that was said.
#[derive(Default, Debug)]
pub struct Said {
    /// What leaves, in order.
    pub departures: Vec<Departure>,
    /// By slot.
    pub verdicts: Vec<(usize, Verdict)>,
    /// In order.
    pub events: Vec<Event>,
    /// Copies of what went to other workers.
    pub handed_over: Vec<OwnedFrame>,
}

/// Frames as they were handed to a worker, and what it said about them.
#[derive(Default, Debug)]
pub struct Batch {
    /// Where they came from; nowhere, for a turn without frames.
    pub device: Option<DeviceId>,
    /// The frames, as they came in.
    pub frames: Vec<OwnedFrame>,
    /// What was said.
    pub said: Said,
}

impl Batch {
    /// Whether anything in it may be rubbish; such a frame is always alone in its batch.
    pub fn is_damaged(&self) -> bool {
        self.frames.iter().any(|frame| frame.damaged)
    }

    /// Whether an intruder's frame is in it; such a frame is always alone in its batch.
    pub fn is_honest(&self) -> bool {
        self.frames.iter().all(OwnedFrame::is_honest)
    }

    /// The flow of a frame that was forwarded.
    pub fn flow_of(&self, departure: &Departure) -> Option<FlowId> {
        let (_, verdict) = self.said.verdicts.iter().find(|(of, _)| Some(*of) == departure.slot)?;
        verdict.flow
    }

    /// How many of its frames ended for this reason.
    pub fn verdicts(&self, reason: Reason) -> usize {
        self.said.verdicts.iter().filter(|(_, verdict)| verdict.reason == reason).count()
    }
}

/// Frames on their way from one worker to another. Bounded: what finds it full is dropped.
#[derive(Default, Debug)]
pub struct Ring {
    frames: VecDeque<(DeviceId, OwnedFrame)>,
    capacity: usize,
}

impl Ring {
    /// A ring with room for this many frames.
    pub fn new(capacity: usize) -> Self {
        Self { frames: VecDeque::new(), capacity }
    }

    /// The oldest frame.
    pub fn pop(&mut self) -> Option<(DeviceId, OwnedFrame)> {
        self.frames.pop_front()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

/// Listens to one call of a worker.
pub struct Recorder<'a> {
    rings: &'a mut [Ring],
    damaged: bool,
    /// Where the frames are that were forwarded: they have to stay as they are.
    forwarded: Vec<(usize, *const [u8])>,
    /// Of an intruder's frame, which is alone in its batch: how it may end.
    ends: Option<&'static [Reason]>,
    said: Said,
}

impl<'a> Recorder<'a> {
    /// Ready to listen while frames are worked on, of which the `first` is this; `rings` lead to the workers.
    pub fn new(rings: &'a mut [Ring], first: Option<&OwnedFrame>) -> Self {
        let damaged = first.is_some_and(|frame| frame.damaged);
        let ends = first.and_then(|frame| frame.ends);
        Self { rings, damaged, forwarded: Vec::new(), ends, said: Said::default() }
    }

    /// What was said, now that the worker is done with `frames`. Those that it forwarded leave only now, as they do from a batch
    /// that is written as a whole: whatever it did to them after it said so shows.
    pub fn finish(mut self, frames: &[Frame<'_>]) -> Said {
        for (slot, bytes) in self.forwarded {
            assert!(std::ptr::eq(bytes, &*frames[slot].bytes), "what is forwarded is the frame at its slot");
        }
        for departure in &mut self.said.departures {
            if let Some(slot) = departure.slot {
                departure.frame = OwnedFrame::copy(&frames[slot], self.damaged);
            }
        }
        self.said
    }
}

impl Output for Recorder<'_> {
    fn forward(&mut self, slot: usize, frame: &mut Frame<'_>, Egress::Device(device): Egress) {
        self.forwarded.push((slot, &raw const *frame.bytes));
        let yet_to_come = OwnedFrame::plain(Vec::new());
        self.said.departures.push(Departure { device, frame: yet_to_come, slot: Some(slot) });
    }

    fn emit(&mut self, frame: &mut Frame<'_>, Egress::Device(device): Egress) {
        self.said.departures.push(Departure {
            device,
            frame: OwnedFrame::copy(frame, self.damaged),
            slot: None,
        });
    }

    fn hand_over(&mut self, to: WorkerId, device: DeviceId, frame: &Frame<'_>) -> Result<(), HandOverFull> {
        let ring = self.rings.get_mut(to.index()).filter(|ring| ring.frames.len() < ring.capacity);
        let ring = ring.ok_or(HandOverFull)?;
        let copy = OwnedFrame { ends: self.ends, ..OwnedFrame::copy(frame, self.damaged) };
        ring.frames.push_back((device, copy.clone()));
        self.said.handed_over.push(copy);
        Ok(())
    }

    fn verdict(&mut self, slot: usize, verdict: Verdict) {
        self.said.verdicts.push((slot, verdict));
    }

    fn event(&mut self, event: Event) {
        self.said.events.push(event);
    }
}
