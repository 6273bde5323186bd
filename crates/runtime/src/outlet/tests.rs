//! What waits, and in which order it leaves: with a ring, and without one. (Where the kernel lends none, the namespace tests of
//! `device` are skipped that ask for one, and say so.)

use std::fs::File;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrayvec::ArrayVec;
use device::{Offloads, Packet, Ring};
use mio::{Poll, Waker};
use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use wire::Offload;

use super::*;
use crate::desk::{BATCH, WAKE};
use crate::report::mailbox;

const EGRESS: Egress = Egress::Device(DeviceId(0));
/// A frame is this and its name.
const HEADER: [u8; 20] = [0x45, 0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A queue whose far end the test has.
struct Wire {
    near: OwnedFd,
    file: Option<OwnedFd>,
    /// How often it was asked to write by itself.
    alone: Arc<AtomicUsize>,
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.near.as_fd()
    }
}

impl Queue for Wire {
    fn read(&mut self, _: &mut [u8]) -> io::Result<Option<(usize, Offload)>> {
        Ok(None)
    }

    fn write(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        self.alone.fetch_add(1, Ordering::Relaxed);
        write(&self.near, &[&[0; Offload::LEN], &*frame.bytes].concat())?;
        Ok(())
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    fn set_offloads(&mut self, _: Offloads) -> io::Result<()> {
        Ok(())
    }
}

/// A worker's way out through one device.
struct Desk {
    devices: [Access; 1],
    ring: Option<Ring>,
    outbox: Outbox,
    ties: Ties,
    far: OwnedFd,
    alone: Arc<AtomicUsize>,
}

impl Desk {
    fn new(ring: Option<Ring>, file: impl FnOnce(&OwnedFd) -> Option<OwnedFd>) -> Self {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (far, near) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let (file, alone) = (file(&near), Arc::default());
        let queue = Wire { near, file, alone: Arc::clone(&alone) };
        let waker = Waker::new(Poll::new().unwrap().registry(), WAKE).unwrap();
        let rings = Arc::new(Rings::new([Arc::new(waker)].into_iter()));
        Self {
            devices: [Access { queue: Some(Box::new(queue)), counters: Arc::default() }],
            ring,
            outbox: Outbox::new(),
            ties: Ties { counters: Arc::default(), rings, reporter: mailbox().0 },
            far,
            alone,
        }
    }

    /// One without a ring, and one with a ring that writes to the queue's own file.
    fn each() -> impl Iterator<Item = Self> {
        let rings = [None].into_iter().chain(Ring::new().ok().map(Some));
        rings.map(|ring| Self::new(ring, |near| Some(near.try_clone().unwrap())))
    }

    /// Says what `say` says about frames of these names, and has it leave.
    fn turn(&mut self, names: &[&str], say: impl FnOnce(&mut Outlet<'_>, &mut [Frame<'_>])) {
        self.say(names, say);
        self.send();
    }

    /// Says what `say` says about frames of these names.
    fn say(&mut self, names: &[&str], say: impl FnOnce(&mut Outlet<'_>, &mut [Frame<'_>])) {
        let mut packets: ArrayVec<_, BATCH> = names.iter().map(|name| self.packet(name)).collect();
        let mut frames: Vec<_> = packets.iter_mut().map(Packet::frame).collect();
        say(&mut self.ties.outlet(&mut self.devices, &mut self.outbox), &mut frames);
        self.outbox.take_in(packets);
    }

    fn packet(&mut self, name: &str) -> Packet {
        let mut packet = self.outbox.room();
        packet.copy(Offload::NONE, &bytes(name));
        packet
    }

    /// What waits leaves.
    fn send(&mut self) {
        let Self { devices, ring, outbox, ties, .. } = self;
        let account = |access: &Access, written: Written<'_>| ties.account(access, &written);
        let turned = ring
            .as_mut()
            .map(|ring| outbox.turn(ring, devices, Duration::ZERO, account, |_, told| panic!("{told:?}")));
        if !matches!(turned, Some(Ok(()))) {
            *ring = None;
            outbox.write(devices, account);
        }
    }

    /// The names of what has come out.
    fn left(&self) -> Vec<String> {
        let mut buffer = vec![0; 100_000];
        let next = || match read(&self.far, &mut buffer) {
            Ok(length) => {
                Some(String::from_utf8_lossy(&buffer[Offload::LEN + HEADER.len()..length]).into_owned())
            }
            Err(errno) => {
                assert_eq!(errno, Errno::AGAIN);
                None
            }
        };
        std::iter::from_fn(next).collect()
    }

    /// How many were written by themselves since it was asked last.
    fn alone(&self) -> usize {
        self.alone.swap(0, Ordering::Relaxed)
    }

    fn counted(&self) -> [u64; 2] {
        let counters = &self.devices[0].counters;
        [counters.sent.get(), counters.send_errors.get()]
    }
}

fn bytes(name: &str) -> Vec<u8> {
    [&HEADER, name.as_bytes()].concat()
}

fn emit(outlet: &mut Outlet<'_>, name: &str) {
    let mut buffer = bytes(name);
    outlet.emit(&mut Frame::plain(&mut buffer), EGRESS);
    // It serves for the next one too.
    buffer.fill(0);
}

#[test]
fn what_is_said_in_a_turn_leaves_in_order() {
    for mut desk in Desk::each() {
        desk.turn(&["a", "b", "dropped", "c"], |outlet, frames| {
            outlet.forward(0, &mut frames[0], EGRESS);
            emit(outlet, "built");
            outlet.forward(1, &mut frames[1], EGRESS);
            outlet.forward(3, &mut frames[3], EGRESS);
            emit(outlet, "built too");
        });
        assert_eq!(desk.left(), ["a", "built", "b", "c", "built too"]);
        assert_eq!((desk.counted(), desk.alone()), ([5, 0], if desk.ring.is_some() { 0 } else { 5 }));
    }
}

#[test]
fn what_is_said_of_several_batches_leaves_in_order() {
    for mut desk in Desk::each() {
        desk.say(&["a", "dropped"], |outlet, frames| outlet.forward(0, &mut frames[0], EGRESS));
        desk.say(&[], |outlet, _| emit(outlet, "built"));
        desk.say(&["dropped", "b"], |outlet, frames| outlet.forward(1, &mut frames[1], EGRESS));
        assert!(desk.left().is_empty());
        desk.send();
        assert_eq!(desk.left(), ["a", "built", "b"]);
        desk.send();
        assert!(desk.left().is_empty());
    }
}

/// However many packets pass, the room of those that have left is used again.
#[test]
fn packets_take_no_more_room_than_wait_at_once() {
    for mut desk in Desk::each() {
        for _ in 0..100 {
            let forward_first =
                |outlet: &mut Outlet<'_>, frames: &mut [Frame<'_>]| outlet.forward(0, &mut frames[0], EGRESS);
            desk.say(&["a", "dropped", "dropped"], forward_first);
            desk.turn(&["b", "dropped"], forward_first);
            assert_eq!(desk.left(), ["a", "b"]);
        }
        assert_eq!(desk.outbox.spare(), 3);
    }
}

/// It is too long to be copied.
#[test]
fn what_cannot_wait_overtakes_none_that_was_built() {
    for mut desk in Desk::each() {
        let long = ".".repeat(5000);
        desk.turn(&["a"], |outlet, frames| {
            outlet.forward(0, &mut frames[0], EGRESS);
            ["1", "2", &long, "3"].into_iter().for_each(|name| emit(outlet, name));
        });
        assert_eq!(desk.left(), ["1", "2", &long, "a", "3"]);
    }
}

/// However much is built, in order, and there is always room for the batch's own.
#[test]
fn more_than_there_is_room_for_leaves_in_time() {
    for (size, count) in [(1, 80), (2000, 40)] {
        for mut desk in Desk::each() {
            let built: Vec<_> = (0..count).map(|nth| format!("{nth:0size$}")).collect();
            let own = ["a"; BATCH];
            desk.turn(&own, |outlet, frames| {
                built.iter().for_each(|name| emit(outlet, name));
                frames.iter_mut().enumerate().for_each(|(slot, frame)| outlet.forward(slot, frame, EGRESS));
            });
            let left = desk.left();
            assert!(
                left.iter().eq(built.iter().chain(&own.map(str::to_owned))),
                "{size} bytes: {}",
                left.len()
            );
        }
    }
}

#[test]
fn a_queue_that_does_not_go_along_writes_by_itself() {
    let mut desk = Desk::new(Ring::new().ok(), |_| None);
    desk.turn(&["a", "b"], |outlet, frames| {
        outlet.forward(1, &mut frames[1], EGRESS);
        emit(outlet, "built");
        outlet.forward(0, &mut frames[0], EGRESS);
    });
    assert_eq!((desk.left().concat(), desk.alone()), ("bbuilta".to_owned(), 3));
}

#[test]
fn what_leaves_by_a_device_that_is_down_is_counted() {
    for mut desk in Desk::each() {
        let queue = mem::take(&mut desk.devices[0].queue);
        desk.turn(&["a", "b"], |outlet, frames| {
            outlet.forward(0, &mut frames[0], EGRESS);
            outlet.forward(1, &mut frames[1], EGRESS);
            emit(outlet, "built");
        });
        assert_eq!((desk.left().len(), desk.counted()), (0, [0, 3]));
        desk.devices[0].queue = queue;
        desk.turn(&["a"], |outlet, frames| outlet.forward(0, &mut frames[0], EGRESS));
        assert_eq!((desk.left().len(), desk.counted()), (1, [1, 3]));
    }
}

/// A file that knows no writes without waiting, as no TUN of such a kernel is: nothing is lost.
#[test]
fn a_ring_that_fails_is_done_without() {
    let no_haste = |_: &OwnedFd| Some(File::options().write(true).open("/proc/self/comm").unwrap().into());
    let mut desk = Desk::new(Ring::new().ok(), no_haste);
    for _ in 0..2 {
        desk.turn(&["a", "b"], |outlet, frames| {
            outlet.forward(0, &mut frames[0], EGRESS);
            emit(outlet, "built");
            outlet.forward(1, &mut frames[1], EGRESS);
        });
        assert_eq!(desk.left(), ["a", "built", "b"]);
    }
    assert_eq!((desk.counted(), desk.alone()), ([6, 0], 6));
}
