//! Kernels that agree to offloads and then refuse the packets, or that grant one device fewer than another: real traffic
//! arrives all the same, with fewer offloads.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use device::{DeviceError, DeviceSpec, OffloadOpener, Offloads, Opened, Opener, Queue, Undone};
use runtime::Snapshot;
use rustix::io::Errno;
use wire::{Checksum, Frame, Offload};

use crate::Named;
use crate::lab::{INTERFACES, Lab, NAT, TERMINATE, echoes, transfer};

pub(crate) const TRIALS: &[Named] = &[
    ("a_kernel_that_refuses_super_packets_gets_none", a_kernel_that_refuses_super_packets_gets_none),
    (
        "a_kernel_that_refuses_partial_checksums_gets_whole_packets",
        a_kernel_that_refuses_partial_checksums_gets_whole_packets,
    ),
    ("what_one_device_lacks_no_other_has", what_one_device_lacks_no_other_has),
];

/// A kernel that refuses what it has agreed to finish.
struct Refusing {
    undone: Undone,
    /// Frames refused.
    refused: Arc<AtomicU64>,
}

struct RefusingQueue {
    real: Box<dyn Queue>,
    undone: Undone,
    refused: Arc<AtomicU64>,
}

impl Opener for Refusing {
    fn open(&self, spec: &DeviceSpec) -> Result<Opened, DeviceError> {
        let mut opened = OffloadOpener.open(spec)?;
        let refusing = |real| -> Box<dyn Queue> {
            Box::new(RefusingQueue { real, undone: self.undone, refused: Arc::clone(&self.refused) })
        };
        opened.queues = opened.queues.into_iter().map(refusing).collect();
        Ok(opened)
    }
}

impl AsFd for RefusingQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.real.as_fd()
    }
}

impl Queue for RefusingQueue {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, Offload)>> {
        self.real.read(buffer)
    }

    fn write(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let refuses = match self.undone {
            Undone::Checksum => frame.checksum() == Checksum::Partial,
            undone => Undone::by(frame.offload, frame.bytes) == Some(undone),
        };
        if refuses {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Errno::INVAL.into());
        }
        self.real.write(frame)
    }

    fn set_offloads(&mut self, offloads: Offloads) -> io::Result<()> {
        self.real.set_offloads(offloads)
    }
}

/// A lab in such a kernel, and how many frames it has refused.
fn refusing(undone: Undone) -> (Lab, Arc<AtomicU64>) {
    let refused = Arc::new(AtomicU64::new(0));
    let opener = Refusing { undone, refused: Arc::clone(&refused) };
    (Lab::with("workers = 2", Arc::new(opener)), refused)
}

fn all_have(snapshot: &Snapshot, offloads: &str) -> bool {
    snapshot.devices.iter().all(|device| device.offloads == offloads)
}

fn send_errors(snapshot: &Snapshot) -> u64 {
    snapshot.devices.iter().map(|device| device.send_errors).sum()
}

/// Each of the paths meets the kernel first once.
fn a_kernel_that_refuses_super_packets_gets_none() {
    for (interface, port) in [(INTERFACES[0], NAT), (INTERFACES[0], TERMINATE), (INTERFACES[1], NAT)] {
        let (lab, refused) = refusing(Undone::Tcp);
        assert!(all_have(&lab.forwarder.snapshot(), "csum tso4 tso6 ecn uso4 uso6"));
        transfer(&lab, interface, port, 4 << 20);
        let lowered = "csum uso4 uso6 (lowered: the kernel refused a TCP super-packet)";
        lab.await_state("lowering", |snapshot| all_have(snapshot, lowered));
        let snapshot = lab.forwarder.snapshot();
        let lost = refused.load(Ordering::Relaxed);
        assert_eq!((lost > 0, send_errors(&snapshot)), (true, lost), "what was refused is counted");
        for (interface, port) in [(INTERFACES[0], NAT), (INTERFACES[0], TERMINATE), (INTERFACES[1], NAT)] {
            transfer(&lab, interface, port, 1 << 20);
        }
        assert_eq!(refused.load(Ordering::Relaxed), lost, "nothing more is refused");
    }
}

/// Not even a SYN gets through at first: it is sent again a second later, complete.
fn a_kernel_that_refuses_partial_checksums_gets_whole_packets() {
    let (lab, refused) = refusing(Undone::Checksum);
    assert!(echoes(&mut lab.connect(INTERFACES[0], NAT).unwrap(), b"hello"));
    let snapshot = lab.forwarder.snapshot();
    assert!(all_have(&snapshot, "none (lowered: the kernel refused a partial checksum)"), "{snapshot:#?}");
    let lost = refused.load(Ordering::Relaxed);
    assert_eq!((lost > 0, send_errors(&snapshot)), (true, lost), "what was refused is counted");
    for interface in INTERFACES {
        for port in [NAT, TERMINATE] {
            transfer(&lab, interface, port, 1 << 20);
        }
    }
    assert_eq!(refused.load(Ordering::Relaxed), lost, "nothing more is refused");
}

/// A kernel that grants the consumer's device less than the provider's, which is opened first.
struct Partial;

impl Opener for Partial {
    fn open(&self, spec: &DeviceSpec) -> Result<Opened, DeviceError> {
        let consumer = spec.namespace.to_string_lossy().contains("sg-rc");
        let most = if consumer { Offloads::CHECKSUM } else { Offloads::ALL };
        OffloadOpener.open(&DeviceSpec { offloads: most & spec.offloads, ..spec.clone() })
    }
}

fn what_one_device_lacks_no_other_has() {
    let lab = Lab::with("workers = 2", Arc::new(Partial));
    let lowered = format!("csum (lowered: the device in namespace {:?} has no more)", lab.consumer.name());
    assert!(all_have(&lab.forwarder.snapshot(), &lowered), "{:#?}", lab.forwarder.snapshot());
    for interface in INTERFACES {
        for port in [NAT, TERMINATE] {
            transfer(&lab, interface, port, 1 << 20);
        }
    }
    assert_eq!(send_errors(&lab.forwarder.snapshot()), 0);
}
