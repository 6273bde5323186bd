//! Devices without a kernel behind them: each queue is a pair of sockets, whose far end is the test's. They fail as told.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use device::{DeviceError, DeviceSpec, NamespaceIdentity, Offloads, Opened, Opener, Queue, Steered, Undone};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use wire::{FRAME_CAPACITY, Frame, Offload};

/// What a device is told to do wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The next read fails.
    Read(Errno),
    /// Every write fails.
    Write(Errno),
    /// Frames that leave this undone are refused.
    Refuse(Undone),
    /// There is never anything to read.
    Silence,
}

/// The machine: its devices, by namespace.
#[derive(Default)]
pub(crate) struct Machine {
    devices: Mutex<HashMap<PathBuf, Device>>,
}

#[derive(Default)]
struct Device {
    fault: Arc<Mutex<Option<Fault>>>,
    /// The far ends of the queues of the last opening; none while it is not open.
    far: Vec<Arc<OwnedFd>>,
    /// Which offloads it was asked for, each time that it was opened or told.
    asked: Arc<Mutex<Vec<Offloads>>>,
    /// What opening it ends in, the next times.
    refusals: usize,
    openings: usize,
    /// The offloads that it is granted at most, if not all.
    granted: Option<Offloads>,
}

impl Machine {
    /// From now on, the device in `namespace` is at fault, or not any more.
    pub(crate) fn set_fault(&self, namespace: &str, fault: Option<Fault>) {
        self.with(namespace, |device| *device.fault.lock().unwrap() = fault);
    }

    /// What the device is told to do wrong: a read fails once.
    pub(crate) fn fault(&self, namespace: &str) -> Option<Fault> {
        self.with(namespace, |device| *device.fault.lock().unwrap())
    }

    /// The next `times` that the device is to be opened, that fails.
    pub(crate) fn refuse(&self, namespace: &str, times: usize) {
        self.with(namespace, |device| device.refusals = times);
    }

    /// How often it still is to fail.
    pub(crate) fn refusals(&self, namespace: &str) -> usize {
        self.with(namespace, |device| device.refusals)
    }

    /// When the device is opened, it has no more offloads than these.
    pub(crate) fn grant(&self, namespace: &str, offloads: Offloads) {
        self.with(namespace, |device| device.granted = Some(offloads));
    }

    /// The other end of every queue is closed.
    pub(crate) fn hang_up(&self, namespace: &str) {
        self.with(namespace, |device| device.far.clear());
    }

    /// Whether somebody has the device open.
    pub(crate) fn is_open(&self, namespace: &str) -> bool {
        let Some(far) = self.with(namespace, |device| device.far.first().cloned()) else { return false };
        let mut asked = [PollFd::new(&far, PollFlags::OUT)];
        poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
        !asked[0].revents().contains(PollFlags::HUP)
    }

    /// How often the device has been opened.
    pub(crate) fn openings(&self, namespace: &str) -> usize {
        self.with(namespace, |device| device.openings)
    }

    /// Which offloads it was asked for, each time that it was opened or told.
    pub(crate) fn asked(&self, namespace: &str) -> Vec<Offloads> {
        self.with(namespace, |device| device.asked.lock().unwrap().clone())
    }

    /// The namespace sends a packet.
    pub(crate) fn send(&self, namespace: &str, offload: Offload, bytes: &[u8]) {
        let frame = [&offload.encode(bytes)[..], bytes].concat();
        self.send_raw(namespace, &frame);
    }

    /// As [`Machine::send`], with an offload header of any kind in front.
    pub(crate) fn send_raw(&self, namespace: &str, frame: &[u8]) {
        let far = self.far(namespace);
        wait_for(&far, PollFlags::OUT);
        assert_eq!(write(&*far, frame), Ok(frame.len()));
    }

    /// What comes out in the namespace next, within a while.
    pub(crate) fn receive(&self, namespace: &str) -> Vec<u8> {
        let far = self.far(namespace);
        wait_for(&far, PollFlags::IN);
        let mut buffer = vec![0; FRAME_CAPACITY];
        let length = read(&*far, &mut buffer).unwrap();
        buffer[Offload::LEN..length].to_vec()
    }

    /// Whether something waits to be received.
    pub(crate) fn has_more(&self, namespace: &str) -> bool {
        let far = self.far(namespace);
        poll(&mut [PollFd::new(&far, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    }

    fn far(&self, namespace: &str) -> Arc<OwnedFd> {
        self.with(namespace, |device| Arc::clone(&device.far[0]))
    }

    fn with<T>(&self, namespace: &str, work: impl FnOnce(&mut Device) -> T) -> T {
        work(self.devices.lock().unwrap().entry(Path::new(namespace).into()).or_default())
    }
}

fn wait_for(fd: &OwnedFd, flags: PollFlags) {
    let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
    assert!(poll(&mut [PollFd::new(fd, flags)], Some(&patience)).unwrap() > 0, "nothing within {patience:?}");
}

impl Opener for Machine {
    fn open(&self, spec: &DeviceSpec) -> Result<Opened, DeviceError> {
        self.with(&spec.namespace.to_string_lossy(), |device| {
            if device.refusals > 0 {
                device.refusals -= 1;
                return Err(DeviceError::NamespaceMissing { path: spec.namespace.clone() });
            }
            device.openings += 1;
            device.asked.lock().unwrap().push(spec.offloads);
            let pairs = (0..spec.queues).map(|_| pair());
            let (far, queues) = pairs.map(|(far, near)| (Arc::new(far), device.queue(near))).unzip();
            device.far = far;
            Ok(Opened {
                queues,
                name: spec.name.clone(),
                offloads: device.granted.map_or(spec.offloads, |granted| spec.offloads & granted),
                steering: Steered::Kernel,
                namespace: NamespaceIdentity::of(&spec.namespace).unwrap(),
                hold: None,
            })
        })
    }
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

impl Device {
    fn queue(&self, near: OwnedFd) -> Box<dyn Queue> {
        Box::new(FakeQueue { near, fault: Arc::clone(&self.fault), asked: Arc::clone(&self.asked) })
    }
}

struct FakeQueue {
    near: OwnedFd,
    fault: Arc<Mutex<Option<Fault>>>,
    asked: Arc<Mutex<Vec<Offloads>>>,
}

impl AsFd for FakeQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.near.as_fd()
    }
}

impl Queue for FakeQueue {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, Offload)>> {
        let mut fault = self.fault.lock().unwrap();
        match *fault {
            Some(Fault::Read(errno)) => {
                *fault = None;
                return if errno == Errno::AGAIN { Ok(None) } else { Err(errno.into()) };
            }
            Some(Fault::Silence) => return Ok(None),
            _ => {}
        }
        let mut raw = vec![0; Offload::LEN + FRAME_CAPACITY];
        match read(&self.near, &mut raw) {
            // As the driver says it when the device is gone.
            Ok(0) => Err(Errno::BADFD.into()),
            Ok(length) => {
                let (header, bytes) = raw[..length].split_at(Offload::LEN);
                buffer[..bytes.len()].copy_from_slice(bytes);
                let offload = Offload::decode(header.try_into().unwrap());
                Ok(Some((bytes.len(), offload.map_err(|_| io::ErrorKind::InvalidData)?)))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn write(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        match *self.fault.lock().unwrap() {
            Some(Fault::Write(errno)) => return Err(errno.into()),
            Some(Fault::Refuse(undone)) if Undone::by(frame.offload, frame.bytes) == Some(undone) => {
                return Err(Errno::INVAL.into());
            }
            _ => {}
        }
        let raw = [&frame.offload.encode(frame.bytes)[..], frame.bytes].concat();
        write(&self.near, &raw)?;
        Ok(())
    }

    fn set_offloads(&mut self, offloads: Offloads) -> io::Result<()> {
        self.asked.lock().unwrap().push(offloads);
        Ok(())
    }
}
