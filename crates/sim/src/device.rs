//! A virtual device: what a TUN does to frames on a bad day. It fails writes, its queue stops, or it is gone for a while.

use std::collections::VecDeque;
use std::time::Duration;

use crate::packet::OwnedFrame;
use crate::rng::Rng;

/// Frames that a queue that has stopped still takes; what comes after them is lost.
const QUEUE: usize = 64;
/// Of a thousand writes, those that fail.
const FAILING: u32 = 300;

/// What is wrong with a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Some writes end in EAGAIN, EINVAL or EIO. To the forwarder it is all one: the frame is lost.
    WritesFail,
    /// Nothing is read from it, and nothing can be written.
    Stops,
    /// It is detached, and later attached again.
    Gone,
}

/// A fault of one device.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// The device: an index into the forwarder's.
    pub device: usize,
    /// What is wrong.
    pub fault: Fault,
    /// From when on.
    pub begins: Duration,
    /// Until when.
    pub ends: Duration,
}

/// A device.
#[derive(Default)]
pub struct Device {
    faults: Vec<Fault>,
    waiting: VecDeque<OwnedFrame>,
    lost: u64,
}

impl Device {
    /// A fault begins.
    pub fn break_down(&mut self, fault: Fault) {
        self.faults.push(fault);
        if fault == Fault::Gone {
            self.lost += self.waiting.drain(..).len() as u64;
        }
    }

    /// A fault ends. Returns the frames that have waited for that.
    pub fn recover(&mut self, fault: Fault) -> VecDeque<OwnedFrame> {
        if let Some(at) = self.faults.iter().position(|own| *own == fault) {
            self.faults.swap_remove(at);
        }
        if self.has(Fault::Stops) { VecDeque::new() } else { std::mem::take(&mut self.waiting) }
    }

    /// Whether this is wrong with it.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// A frame comes from the network. Returns it if the forwarder can read it now.
    pub fn receive(&mut self, frame: OwnedFrame) -> Option<OwnedFrame> {
        if self.has(Fault::Gone) || self.has(Fault::Stops) && self.waiting.len() == QUEUE {
            self.lost += 1;
            None
        } else if self.has(Fault::Stops) {
            self.waiting.push_back(frame);
            None
        } else {
            Some(frame)
        }
    }

    /// Whether a frame that the forwarder writes gets into the network.
    pub fn takes(&mut self, rng: &mut Rng) -> bool {
        let fails = self.has(Fault::WritesFail) && rng.per_mille(FAILING);
        let takes = !fails && !self.has(Fault::Stops) && !self.has(Fault::Gone);
        self.lost += u64::from(!takes);
        takes
    }

    /// Frames that were lost here.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> OwnedFrame {
        OwnedFrame::plain(vec![0; 20])
    }

    #[test]
    fn a_queue_that_stops_keeps_what_it_can() {
        let mut device = Device::default();
        assert!(device.receive(frame()).is_some());
        device.break_down(Fault::Stops);
        for _ in 0..QUEUE + 3 {
            assert!(device.receive(frame()).is_none());
        }
        assert!(!device.takes(&mut Rng::new(1)));
        assert_eq!((device.recover(Fault::Stops).len(), device.lost()), (QUEUE, 4));
        assert!(device.receive(frame()).is_some() && device.takes(&mut Rng::new(1)));
    }

    #[test]
    fn a_device_that_is_gone_keeps_nothing() {
        let mut device = Device::default();
        device.break_down(Fault::Stops);
        assert!(device.receive(frame()).is_none());
        device.break_down(Fault::Gone);
        assert!(device.receive(frame()).is_none());
        assert!(device.recover(Fault::Stops).is_empty());
        assert!(device.receive(frame()).is_none() && !device.takes(&mut Rng::new(1)));
        assert!(device.recover(Fault::Gone).is_empty());
        assert_eq!(device.lost(), 4);
    }
}
