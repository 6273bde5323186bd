//! Many packets in one system call: what a worker has to write goes to its queues together, by io_uring, where that is to
//! be had.
//!
//! It is used as `writev` is: when a call returns, everything is written or refused, and nothing is ever under way between
//! two calls. So what is written may be borrowed. No write may wait, so the kernel does each at once, and in order.

#![expect(unsafe_code, reason = "the entries of a submission point to what is written")]

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread;

use arrayvec::ArrayVec;
use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use wire::Offload;

/// A packet on its way to a queue, as [`crate::Queue::file`] names it.
#[derive(Clone, Copy, Debug)]
pub struct Leaving<'a> {
    /// The queue's file.
    pub to: BorrowedFd<'a>,
    /// What is left undone.
    pub offload: Offload,
    /// The packet.
    pub bytes: &'a [u8],
}

/// The worker's own way into the kernel.
pub struct Ring {
    ring: IoUring,
    /// The kernel must not look at it again: entries that it did not take point to what is gone.
    is_spoilt: bool,
}

impl Ring {
    /// Packets that are written together at most.
    pub const CAPACITY: usize = 32;

    /// A ring, if this kernel lends one: it may be too old, and whoever runs it may forbid them.
    pub fn new() -> io::Result<Self> {
        let ring = IoUring::new(Self::CAPACITY as u32)?;
        // An older one would hand what it cannot do at once to a thread of its own.
        if !ring.params().is_feature_native_workers() {
            return Err(ErrorKind::Unsupported.into());
        }
        Ok(Self { ring, is_spoilt: false })
    }

    /// Writes [`Ring::CAPACITY`] packets at most, in their order, and tells of each by its place how that ended. An error says
    /// that the kernel does not go along: the ring is of no use hereafter, and packets that were told of as
    /// [`ErrorKind::Unsupported`] have not been written, and may be in another way.
    pub fn write(
        &mut self,
        leaving: &[Leaving<'_>],
        mut tell: impl FnMut(usize, io::Result<()>),
    ) -> io::Result<()> {
        let headers: ArrayVec<_, { Self::CAPACITY }> =
            leaving.iter().map(|packet| packet.offload.encode(packet.bytes)).collect();
        let slices: ArrayVec<_, { Self::CAPACITY }> = leaving
            .iter()
            .zip(&headers)
            .map(|(packet, header)| [IoSlice::new(header), IoSlice::new(packet.bytes)])
            .collect();
        let mut ends = [End::Left; Self::CAPACITY];
        let ends = &mut ends[..leaving.len()];
        let done = if self.is_spoilt {
            Err(ErrorKind::BrokenPipe.into())
        } else {
            self.push(leaving, &slices);
            self.complete(ends)
        };
        for (place, end) in ends.iter().enumerate() {
            tell(place, end.result());
        }
        done
    }

    /// Puts an entry for each packet where the kernel will see it. Whoever calls this keeps what it points to until
    /// [`Ring::complete`] has returned.
    fn push(&mut self, leaving: &[Leaving<'_>], slices: &[[IoSlice<'_>; 2]]) {
        let mut queue = self.ring.submission();
        for (place, (packet, slices)) in leaving.iter().zip(slices).enumerate() {
            let entry = opcode::Writev::new(Fd(packet.to.as_raw_fd()), slices.as_ptr().cast(), 2)
                .rw_flags(libc::RWF_NOWAIT)
                .build();
            // SAFETY: the slices (each has the layout of an `iovec`), the file, and what they borrow outlive the kernel's use of
            // them: `complete` returns only when every entry has ended, or is never seen by the kernel. There is room, as the
            // caller's arrays are no longer than the queue, which is empty.
            let pushed = unsafe { queue.push(&entry.user_data(place as u64)) };
            assert!(pushed.is_ok(), "there is room");
        }
    }

    /// Has the kernel do all that was pushed, waits until it is done, and takes down how each packet's writing has ended.
    fn complete(&mut self, ends: &mut [End]) -> io::Result<()> {
        let mut done = 0;
        let mut entered = self.ring.submit();
        loop {
            for entry in self.ring.completion() {
                let end = End::of(entry.result());
                self.is_spoilt |= end == End::Left;
                ends[entry.user_data() as usize] = end;
                done += 1;
            }
            if done == ends.len() {
                return if self.is_spoilt { Err(ErrorKind::Unsupported.into()) } else { Ok(()) };
            }
            let under_way = ends.len() - done - self.ring.submission().len();
            match entered {
                Err(error) if error.kind() != ErrorKind::Interrupted && under_way == 0 => {
                    self.is_spoilt = true;
                    return Err(error);
                }
                // What the kernel has taken, it brings to an end.
                Err(_) => thread::yield_now(),
                Ok(_) => {}
            }
            entered = self.ring.submit_and_wait(1);
        }
    }
}

/// How the writing of a packet has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The kernel has not looked at it, or knows of no writes to such a file that may not wait: a TUN's, before Linux 6.4 or so.
    Left,
    Written,
    /// For this reason, an `errno`.
    Refused(i32),
}

impl End {
    /// As the kernel says it.
    fn of(result: i32) -> Self {
        match -result {
            libc::EOPNOTSUPP => Self::Left,
            errno if errno > 0 => Self::Refused(errno),
            _ => Self::Written,
        }
    }

    fn result(self) -> io::Result<()> {
        match self {
            Self::Left => Err(ErrorKind::Unsupported.into()),
            Self::Written => Ok(()),
            Self::Refused(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}
