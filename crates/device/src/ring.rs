//! A worker's packets by io_uring: what its queues bring comes by itself, and what it has to write goes along in the system call
//! that waits for more.
//!
//! Writes are used as `writev` is: when a call returns, each is done or refused, so what is written may be borrowed. None may
//! wait, so the kernel does them at once, and in order. A read repeats itself, into buffers that are lent to the kernel, and makes
//! its way only while the worker is in a call.

#![expect(unsafe_code, reason = "the kernel is shown memory by its address")]

mod lending;
mod packet;
mod source;

use std::io::{self, ErrorKind, IoSlice};
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, opcode};
use wire::Offload;

use lending::Lending;
use source::{CANCEL, SOURCE, Source, State, hear, leave, place_of};

pub use packet::Packet;

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

/// What a turn has to tell. Queues are told of by the names that they were given.
#[derive(Debug)]
pub enum Told {
    /// How the writing of the packet at this place has ended.
    Written(usize, io::Result<()>),
    /// A packet has come from a queue.
    Arrived(u16, Packet),
    /// Something that makes no sense has come from a queue, and is gone.
    Broken(u16),
    /// A queue is not read any more: for this reason, or because that was asked for.
    Ended(u16, Option<io::Error>),
    /// The watched file can be read.
    Ready,
}

/// A thread's own way into the kernel: only the one that has made it may use it.
pub struct Ring {
    ring: ManuallyDrop<IoUring>,
    /// What the kernel may write into as long as anything is read.
    lending: ManuallyDrop<Lending>,
    /// First the file that is watched, then the queues that are read, by their names.
    sources: Vec<Option<Source>>,
    /// Whether the kernel may have to be asked for one of them.
    is_due: bool,
    /// Whom it is asked for first: each in turn, as the first finds the most room.
    first: usize,
    /// The kernel must not look at it again: entries that it did not take point to what is gone.
    is_spoilt: bool,
}

impl Ring {
    /// Packets that are written together at most.
    pub const CAPACITY: usize = 64;

    /// A ring, if this kernel lends one: it may be too old, and whoever runs it may forbid them.
    pub fn new() -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
        let ring = builder.build(2 * Self::CAPACITY as u32)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        // Linux 6.7 reads repeatedly, but only 6.8 (which is told by this) goes on to what lies behind the first packet.
        if !probe.is_supported(opcode::FixedFdInstall::CODE) {
            return Err(ErrorKind::Unsupported.into());
        }
        let lending = Lending::new();
        lending.register(&ring.submitter())?;
        Ok(Self {
            ring: ManuallyDrop::new(ring),
            lending: ManuallyDrop::new(lending),
            sources: Vec::new(),
            is_due: false,
            first: 0,
            is_spoilt: false,
        })
    }

    /// From now on it is told whenever this file becomes readable.
    pub fn watch(&mut self, file: &impl AsRawFd) -> io::Result<()> {
        // SAFETY: whoever has the file keeps it open during this call.
        let file = unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) };
        self.look_after(0, file)
    }

    /// From now on what comes from this queue is told, under this name.
    pub fn read(&mut self, name: u16, queue: BorrowedFd<'_>) -> io::Result<()> {
        self.look_after(place_of(name), queue)
    }

    /// Has the reading of a queue end, which a later turn tells. Until then the kernel holds the queue open.
    pub fn stop(&mut self, name: u16) {
        if let Some(slot) = self.sources.get_mut(place_of(name)) {
            leave(slot);
            self.is_due = true;
        }
    }

    /// Whether the kernel has to do with a queue of this name.
    pub fn reads(&self, name: u16) -> bool {
        matches!(self.sources.get(place_of(name)), Some(Some(_)))
    }

    /// Whether there should be more room for packets that come.
    #[inline]
    pub fn wants_room(&self) -> bool {
        self.lending.has_room()
    }

    /// Room for a packet that comes.
    #[inline]
    pub fn lend(&mut self, room: Packet) {
        self.lending.lend(room);
    }

    /// Writes [`Ring::CAPACITY`] packets at most, in their order, and tells of each by its place how that ended; waits, if there is
    /// patience, for something else to tell. An error says that the kernel does not go along: the ring is of no use hereafter, and packets
    /// that were told of as [`ErrorKind::Unsupported`] have not been written, and may be in another way.
    pub fn turn(
        &mut self,
        leaving: &[Leaving<'_>],
        patience: Duration,
        mut tell: impl FnMut(Told),
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
            let is_all_asked = self.ask();
            // Until all has ended: whoever is told may panic.
            self.is_spoilt = true;
            self.push_writes(leaving, &slices);
            let done = self.complete(ends, if is_all_asked { patience } else { Duration::ZERO }, &mut tell);
            self.is_spoilt = done.is_err();
            done
        };
        for (place, end) in ends.iter().enumerate() {
            tell(Told::Written(place, end.result()));
        }
        done
    }

    fn look_after(&mut self, place: usize, file: BorrowedFd<'_>) -> io::Result<()> {
        let source = Source::new(file.try_clone_to_owned()?);
        let places = self.sources.len().max(place + 1);
        self.sources.resize_with(places, || None);
        assert!(self.sources[place].is_none(), "a name is given once");
        self.sources[place] = Some(source);
        self.is_due = true;
        Ok(())
    }

    /// Asks the kernel to look after what it does not yet, as far as there is room for what it brings, and to leave off where it is
    /// not wanted any more. Returns whether there was room for all these entries.
    fn ask(&mut self) -> bool {
        if !mem::take(&mut self.is_due) {
            return true;
        }
        let (places, begin) = (self.sources.len(), self.first);
        let mut reads = 0;
        for place in (0..places).map(|step| (begin + step) % places) {
            let Some(source) = &mut self.sources[place] else { continue };
            let Some((entry, next)) = source.request(place) else { continue };
            let is_read = place > 0 && next == State::Asked;
            if is_read && self.lending.is_empty() {
                self.is_due = true;
                continue;
            }
            // What is written has to find room too.
            if self.ring.submission().len() >= Self::CAPACITY && self.ring.submit().is_err() {
                self.is_due = true;
                return false;
            }
            // SAFETY: the entry points to no memory, and there is room. The file is the source's own.
            let pushed = unsafe { self.ring.submission().push(&entry) };
            assert!(pushed.is_ok(), "there is room");
            source.state = next;
            if is_read && reads == 0 {
                self.first = (place + 1) % places;
            }
            reads += usize::from(is_read);
        }
        true
    }

    /// Puts an entry for each packet where the kernel will see it. Whoever calls this keeps what it points to until
    /// [`Ring::complete`] has returned.
    fn push_writes(&mut self, leaving: &[Leaving<'_>], slices: &[[IoSlice<'_>; 2]]) {
        let mut queue = self.ring.submission();
        for (place, (packet, slices)) in leaving.iter().zip(slices).enumerate() {
            let entry = opcode::Writev::new(Fd(packet.to.as_raw_fd()), slices.as_ptr().cast(), 2)
                .rw_flags(libc::RWF_NOWAIT)
                .build();
            // SAFETY: the slices (each has the layout of an `iovec`), the file, and what they borrow outlive the kernel's use of
            // them: `complete` returns only when every entry has ended, or is never seen by the kernel. There is room, as the
            // caller's arrays are no longer than what `ask` has left.
            let pushed = unsafe { queue.push(&entry.user_data(place as u64)) };
            assert!(pushed.is_ok(), "there is room");
        }
    }

    /// Has the kernel do all that was pushed, waits until every writing is done, and takes down how; tells of everything else.
    fn complete(
        &mut self,
        ends: &mut [End],
        patience: Duration,
        tell: &mut impl FnMut(Told),
    ) -> io::Result<()> {
        let (mut done, mut was_left) = (0, false);
        let mut entered = self.enter(ends.len(), patience);
        loop {
            let Self { ring, lending, sources, is_due, .. } = self;
            for entry in ring.completion() {
                let about = entry.user_data();
                if about < SOURCE {
                    let end = End::of(entry.result());
                    was_left |= end == End::Left;
                    ends[about as usize] = end;
                    done += 1;
                } else if about < CANCEL {
                    *is_due |= hear((about - SOURCE) as usize, sources, lending, &entry, tell);
                }
            }
            let left = ends.len() - done;
            // Writes are what was pushed last.
            let under_way = left - left.min(ring.submission().len());
            if let Err(error) = entered
                && !is_passing(&error)
            {
                if under_way == 0 {
                    return Err(error);
                }
                // What the kernel has taken, it brings to an end.
                thread::yield_now();
            }
            if left == 0 {
                return if was_left { Err(ErrorKind::Unsupported.into()) } else { Ok(()) };
            }
            entered = self.ring.submit_and_wait(1);
        }
    }

    /// Goes into the kernel until `writes` have ended and, within the patience, something else has happened; not at all if there is nothing
    /// to do there.
    fn enter(&mut self, writes: usize, patience: Duration) -> io::Result<usize> {
        let queue = self.ring.submission();
        let pushed = queue.len() as u32;
        let has_work = pushed > 0 || queue.taskrun() || queue.cq_overflow();
        drop(queue);
        if !has_work && patience.is_zero() {
            return Ok(0);
        }
        let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if self.ring.params().is_feature_no_iowait() {
            // Whoever waits for packets does not wait for a disk, and the machine's load should not look like that.
            flags |= EnterFlags::NO_IOWAIT;
        }
        let time = Timespec::from(patience.min(LONGEST));
        let (awaited, arguments) = if patience.is_zero() {
            (writes, SubmitArgs::new())
        } else {
            (writes + 1, SubmitArgs::new().timespec(&time))
        };
        // SAFETY: the arguments are those that these flags promise, and live as long as the call.
        unsafe { self.ring.submitter().enter(pushed, awaited as u32, flags.bits(), Some(&arguments)) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.sources.iter_mut().for_each(leave);
        self.is_due = true;
        let end = Instant::now() + AT_ONCE;
        while self.sources.iter().any(Option::is_some) && Instant::now() < end {
            if self.turn(&[], AT_ONCE, drop).is_err() {
                break;
            }
        }
        // SAFETY: it is not used again.
        unsafe { ManuallyDrop::drop(&mut self.ring) };
        // What the kernel may still write into stays where it is.
        if self.sources.iter().all(Option::is_none) {
            // SAFETY: it is not used again.
            unsafe { ManuallyDrop::drop(&mut self.lending) };
        }
    }
}

/// How long the kernel may take to leave off; it does so at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The longest time to wait in one go.
const LONGEST: Duration = Duration::from_secs(3600);

/// Whether an error of going into the kernel says nothing of what was to be done there: a signal came, or the time is over.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::ETIME))
}

/// How the writing of a packet has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The kernel has not looked at it, or knows of no writes to such a file that may not wait. (A TUN's it knows since Linux 6.4.)
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
