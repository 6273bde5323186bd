//! A desk whose devices are pairs of sockets: with a ring, and without one. (Where the kernel lends none, the namespace tests of
//! `device` are skipped that ask for one, and say so.)

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use engine::{Egress, Output};
use mio::Waker;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use wire::{Frame, Offload};

use super::*;
use crate::report::mailbox;
use crate::rings::Rings;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(5);
const NONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A queue whose far end the test has, and that a ring may read, or not.
struct Wire {
    near: OwnedFd,
    is_for_rings: bool,
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.near.as_fd()
    }
}

impl Queue for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, Offload)>> {
        match read(&self.near, &mut *buffer) {
            Ok(0) => Err(Errno::BADFD.into()),
            Ok(length) => {
                buffer.copy_within(Offload::LEN..length, 0);
                Ok(Some((length - Offload::LEN, Offload::NONE)))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn write(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        write(&self.near, &[&[0; Offload::LEN], &*frame.bytes].concat())?;
        Ok(())
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        self.is_for_rings.then(|| self.near.as_fd())
    }

    fn set_offloads(&mut self, _: Offloads) -> io::Result<()> {
        Err(Errno::BADFD.into())
    }
}

struct Bench {
    desk: Desk,
    ties: Ties,
    waker: Arc<Waker>,
}

impl Bench {
    fn new(has_ring: bool) -> Self {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKE).unwrap());
        let rings = Arc::new(Rings::new([Arc::clone(&waker)].into_iter()));
        let ties = Ties { counters: Arc::default(), rings, reporter: mailbox().0 };
        let mut desk = Desk::new(poll);
        if has_ring && let Err(error) = desk.take_ring() {
            eprintln!("without io_uring: {error}");
        }
        Self { desk, ties, waker }
    }

    /// A desk of each kind: it and its queues have to do with a ring, or it alone, or neither.
    fn each() -> impl Iterator<Item = (Self, bool)> {
        [(true, true), (true, false), (false, true)]
            .map(|(ring, queues)| (Self::new(ring), queues))
            .into_iter()
    }

    /// The far end of a new device.
    fn attach(&mut self, device: u16, is_for_rings: bool) -> OwnedFd {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (far, near) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        self.desk.attach(DeviceId(device), Box::new(Wire { near, is_for_rings }), Arc::default());
        far
    }

    /// Something happens soon, or has happened.
    fn wait(&mut self) -> News {
        let begin = Instant::now();
        let news = self.desk.wait(PATIENCE, &self.ties).unwrap();
        assert!(begin.elapsed() < PATIENCE, "nothing has happened");
        news
    }

    /// Forwards everything that comes from one device to another, and says it once more, until so many have passed.
    fn pass(&mut self, from: u16, to: u16, count: usize) {
        let mut passed = 0;
        while passed < count {
            self.wait();
            while self.desk.has_work(DeviceId(from)) {
                let mut packets = self.desk.next(DeviceId(from)).packets;
                passed += packets.len();
                let mut outlet = self.desk.outlet(&self.ties);
                for (slot, packet) in packets.iter_mut().enumerate() {
                    outlet.forward(slot, &mut packet.frame(), Egress::Device(DeviceId(to)));
                    outlet.emit(&mut packet.frame(), Egress::Device(DeviceId(to)));
                }
                self.desk.settle(packets, &self.ties).unwrap();
            }
        }
        self.desk.flush(&self.ties).unwrap();
    }
}

fn send(far: &OwnedFd, nth: u32) -> rustix::io::Result<usize> {
    write(far, &[&[0; Offload::LEN][..], &nth.to_ne_bytes()].concat())
}

fn receive(far: &OwnedFd) -> Option<u32> {
    let mut buffer = [0; Offload::LEN + 4];
    (read(far, &mut buffer) == Ok(buffer.len())).then(|| u32::from_ne_bytes(*buffer.last_chunk().unwrap()))
}

/// Whether the near end is closed.
fn is_closed(far: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(far, PollFlags::IN)];
    poll(&mut asked, Some(&NONE)).unwrap();
    asked[0].revents().contains(PollFlags::HUP)
}

/// However much waits at once, it passes in order, through no more room than the ring and the outbox have.
#[test]
fn a_flood_passes_in_order_through_little_room() {
    for (mut bench, is_for_rings) in Bench::each() {
        let [from, to] = [0, 1].map(|device| bench.attach(device, is_for_rings));
        for _ in 0..20 {
            (0..100).for_each(|nth| assert!(send(&from, nth).is_ok()));
            bench.pass(0, 1, 100);
            let received: Vec<_> = std::iter::from_fn(|| receive(&to)).collect();
            // What is built may overtake what is forwarded of the same batch, but no more.
            for (place, nth) in received.iter().enumerate() {
                assert!((place / 2).abs_diff(*nth as usize) < BATCH, "{received:?}");
            }
        }
        let rooms = bench.desk.outbox.spare();
        assert!(rooms <= Ring::CAPACITY + BATCH, "{rooms}");
        let [from, to] = [0, 1].map(|device: usize| Arc::clone(&bench.desk.devices[device].counters));
        assert_eq!((from.received.get(), to.sent.get(), to.send_errors.get()), (2000, 4000, 0));
    }
}

#[test]
fn a_queue_is_handed_back_to_be_closed() {
    for (mut bench, is_for_rings) in Bench::each() {
        let [far, other] = [0, 1].map(|device| bench.attach(device, is_for_rings));
        bench.desk.flush(&bench.ties).unwrap();
        send(&far, 1).unwrap();
        let queue = bench.desk.detach(DeviceId(0), &bench.ties).unwrap();
        assert!(queue.is_some() && !is_closed(&far) && !bench.desk.has_work(DeviceId(0)));
        drop(queue);
        assert!(is_closed(&far), "somebody else has it open");
        // There is none any more, and its place may be taken anew.
        assert!(bench.desk.detach(DeviceId(0), &bench.ties).unwrap().is_none());
        let far = bench.attach(0, is_for_rings);
        send(&far, 2).unwrap();
        bench.pass(0, 1, 1);
        assert_eq!([receive(&other), receive(&other), receive(&other)], [Some(2), Some(2), None]);
    }
}

#[test]
fn what_waits_for_a_queue_leaves_before_it_is_handed_back() {
    for (mut bench, is_for_rings) in Bench::each() {
        let far = bench.attach(0, is_for_rings);
        bench
            .desk
            .outlet(&bench.ties)
            .emit(&mut Frame::plain(&mut 5u32.to_ne_bytes()), Egress::Device(DeviceId(0)));
        bench.desk.settle(ArrayVec::new(), &bench.ties).unwrap();
        drop(bench.desk.detach(DeviceId(0), &bench.ties).unwrap());
        assert_eq!(receive(&far), Some(5));
    }
}

#[test]
fn a_queue_that_cannot_be_listened_to_is_lost() {
    for (mut bench, is_for_rings) in Bench::each() {
        // A file of a disk, which neither epoll nor a ring waits for.
        let near = File::open("/proc/self/exe").unwrap().into();
        bench.desk.attach(DeviceId(0), Box::new(Wire { near, is_for_rings }), Arc::default());
        assert!(bench.wait().lost.iter().map(|(device, _)| device.0).eq([0]));
    }
}

#[test]
fn a_device_that_fails_is_told_once() {
    for (mut bench, is_for_rings) in Bench::each() {
        let (far, _other) = (bench.attach(0, is_for_rings), bench.attach(1, is_for_rings));
        drop(far);
        let lost = loop {
            let lost = bench.wait().lost;
            if !lost.is_empty() {
                break lost;
            }
            bench.desk.next(DeviceId(0));
        };
        assert_eq!(lost.iter().map(|(device, _)| *device).collect::<Vec<_>>(), [DeviceId(0)]);
        drop(bench.desk.detach(DeviceId(0), &bench.ties).unwrap());
        let news = bench.desk.wait(Duration::from_millis(1), &bench.ties).unwrap();
        assert!(news.lost.is_empty() && !bench.desk.has_work(DeviceId(0)));

        bench.desk.lower(Offloads::NONE);
        assert!(bench.wait().lost.iter().map(|(device, _)| device.0).eq([1]));
    }
}

#[test]
fn it_is_woken_each_time_and_not_without_reason() {
    for (mut bench, is_for_rings) in Bench::each() {
        let far = bench.attach(0, is_for_rings);
        bench.desk.next(DeviceId(0));
        for _ in 0..3 {
            bench.waker.wake().unwrap();
            assert!(bench.wait().is_woken);
            assert!(!bench.desk.wait(Duration::from_millis(1), &bench.ties).unwrap().is_woken);
        }
        // What is heard while packets leave is not slept over.
        bench.waker.wake().unwrap();
        bench.desk.flush(&bench.ties).unwrap();
        assert!(bench.wait().is_woken);
        send(&far, 1).unwrap();
        assert!(!bench.wait().is_woken);
        assert!(bench.desk.has_work(DeviceId(0)));
    }
}

/// Nothing is lost, and from then on each packet is read and written by itself.
#[test]
fn a_ring_that_fails_is_done_without() {
    for (mut bench, is_for_rings) in Bench::each() {
        let [from, to] = [0, 1].map(|device| bench.attach(device, is_for_rings));
        send(&from, 1).unwrap();
        bench.pass(0, 1, 1);
        let mut built = 2u32.to_ne_bytes();
        bench.desk.outlet(&bench.ties).emit(&mut Frame::plain(&mut built), Egress::Device(DeviceId(1)));
        if bench.desk.ring.is_some() {
            bench.desk.do_without_ring(&ErrorKind::Unsupported.into(), &bench.ties);
        }
        bench.desk.settle(ArrayVec::new(), &bench.ties).unwrap();
        send(&from, 3).unwrap();
        bench.pass(0, 1, 1);
        let received: Vec<_> = std::iter::from_fn(|| receive(&to)).collect();
        assert_eq!(received, [1, 1, 2, 3, 3]);
    }
}
