//! A virtual device: what a TUN does to frames on a bad day. It fails writes, refuses what it has agreed to take, its queue
//! stops, or it is gone for a while.

use std::collections::VecDeque;
use std::time::Duration;

use wire::Offload;

use crate::packet::OwnedFrame;
use crate::rng::Rng;

/// Frames that a queue that has stopped still takes; what comes after them is lost.
const QUEUE: usize = 64;
/// Of a thousand writes, those that fail.
const FAILING: u32 = 300;

/// What is wrong with a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Some writes fail (EAGAIN, EIO): those frames are lost, and nothing is done about it.
    WritesFail,
    /// Whatever leaves work undone, a checksum or segmentation, is refused (EINVAL): the forwarder does it from then on.
    Refuses,
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

/// Why a frame that is written does not get into the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotTaken {
    /// It is lost.
    Lost,
    /// It is lost, and so is everything like it: the device takes no frame that leaves work undone.
    Refused,
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

    /// The forwarder writes a frame: does it get into the network?
    pub fn take(&mut self, frame: &OwnedFrame, rng: &mut Rng) -> Result<(), NotTaken> {
        let fails = self.has(Fault::WritesFail) && rng.per_mille(FAILING);
        let not_taken = if fails || self.has(Fault::Stops) || self.has(Fault::Gone) {
            NotTaken::Lost
        } else if self.has(Fault::Refuses) && frame.offload != Offload::NONE {
            NotTaken::Refused
        } else {
            return Ok(());
        };
        self.lost += 1;
        Err(not_taken)
    }

    /// Frames that were lost here.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Route, Shape, udp};

    fn frame(shape: Shape) -> OwnedFrame {
        let route = Route { source: ([10, 0, 0, 1], 1).into(), destination: ([10, 0, 0, 2], 2).into() };
        udp(route, &[7; 20], shape)
    }

    fn receive(device: &mut Device) -> bool {
        device.receive(frame(Shape::Plain)).is_some()
    }

    fn take(device: &mut Device, shape: Shape) -> Result<(), NotTaken> {
        device.take(&frame(shape), &mut Rng::new(1))
    }

    #[test]
    fn a_queue_that_stops_keeps_what_it_can() {
        let mut device = Device::default();
        assert!(receive(&mut device));
        device.break_down(Fault::Stops);
        for _ in 0..QUEUE + 3 {
            assert!(!receive(&mut device));
        }
        assert_eq!(take(&mut device, Shape::Plain), Err(NotTaken::Lost));
        assert_eq!((device.recover(Fault::Stops).len(), device.lost()), (QUEUE, 4));
        assert!(receive(&mut device));
        assert_eq!(take(&mut device, Shape::Plain), Ok(()));
    }

    #[test]
    fn a_device_that_is_gone_keeps_nothing() {
        let mut device = Device::default();
        device.break_down(Fault::Stops);
        assert!(!receive(&mut device));
        device.break_down(Fault::Gone);
        assert!(!receive(&mut device));
        assert!(device.recover(Fault::Stops).is_empty());
        assert!(!receive(&mut device));
        assert_eq!(take(&mut device, Shape::Plain), Err(NotTaken::Lost));
        assert!(device.recover(Fault::Gone).is_empty());
        assert_eq!(device.lost(), 4);
    }

    #[test]
    fn a_device_that_refuses_takes_whole_frames_only() {
        let mut device = Device::default();
        assert_eq!(take(&mut device, Shape::Partial), Ok(()));
        device.break_down(Fault::Refuses);
        assert_eq!(take(&mut device, Shape::Partial), Err(NotTaken::Refused));
        assert_eq!((take(&mut device, Shape::Plain), device.lost()), (Ok(()), 1));
    }
}
