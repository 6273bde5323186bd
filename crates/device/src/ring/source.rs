//! The files that the kernel looks after: what it is asked of each, and what it says.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};

use super::Told;
use super::lending::{GROUP, Lending};

/// What an entry is about: a packet's place, this and a source's place, or that a source is not wanted.
pub(super) const SOURCE: u64 = 1 << 32;
pub(super) const CANCEL: u64 = 1 << 33;

/// A file that the kernel looks after.
pub(super) struct Source {
    file: OwnedFd,
    pub(super) state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The kernel is to be asked to.
    Due,
    /// It does.
    Asked,
    /// It is to be asked to leave off.
    Unwanted,
    /// It has been asked to leave off.
    Stopping,
}

/// The place among the sources of the queue with this name.
pub(super) fn place_of(name: u16) -> usize {
    usize::from(name) + 1
}

impl Source {
    pub(super) fn new(file: OwnedFd) -> Self {
        Self { file, state: State::Due }
    }

    /// What the kernel is to be asked, and what follows from it.
    pub(super) fn request(&self, place: usize) -> Option<(squeue::Entry, State)> {
        let (fd, about) = (Fd(self.file.as_raw_fd()), SOURCE + place as u64);
        match self.state {
            State::Due if place == 0 => {
                let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true).build();
                Some((entry.user_data(about), State::Asked))
            }
            State::Due => {
                let entry = opcode::ReadMulti::new(fd, 0, GROUP).build();
                Some((entry.user_data(about), State::Asked))
            }
            State::Unwanted => {
                let entry = opcode::AsyncCancel::new(about).build();
                Some((entry.user_data(CANCEL), State::Stopping))
            }
            State::Asked | State::Stopping => None,
        }
    }
}

/// Has the kernel leave off, where it was ever asked.
pub(super) fn leave(slot: &mut Option<Source>) {
    match slot {
        Some(Source { state: State::Due, .. }) => *slot = None,
        Some(Source { state: state @ State::Asked, .. }) => *state = State::Unwanted,
        _ => {}
    }
}

/// Tells what the kernel says of a source. Returns whether it is to be asked for it again.
pub(super) fn hear(
    place: usize,
    sources: &mut [Option<Source>],
    lending: &mut Lending,
    entry: &cqueue::Entry,
    tell: &mut impl FnMut(Told),
) -> bool {
    let name = place.checked_sub(1).map(|name| name as u16);
    let packet = cqueue::buffer_select(entry.flags()).and_then(|id| lending.take_back(id));
    match (name, packet) {
        (None, _) => tell(Told::Ready),
        (Some(name), Some(mut packet)) => {
            if packet.accept(entry.result().max(0) as usize) {
                if let Some(headers) = packet.headers() {
                    lending.expect(headers);
                }
                tell(Told::Arrived(name, packet));
            } else {
                lending.lend(packet);
                tell(Told::Broken(name));
            }
        }
        (Some(_), None) => {}
    }
    let Some(slot) = sources.get_mut(place).filter(|_| !cqueue::more(entry.flags())) else { return false };
    let Some(source) = slot else { return false };
    let failure = match entry.result() {
        // Nothing is wrong with the file: there was no room, or the kernel was short of memory for itself.
        errno if name.is_none() || matches!(-errno, libc::ENOBUFS | libc::ECANCELED) => None,
        0 => Some(ErrorKind::UnexpectedEof.into()),
        errno if errno < 0 => Some(io::Error::from_raw_os_error(-errno)),
        _ => None,
    };
    let is_wanted = matches!(source.state, State::Due | State::Asked);
    if is_wanted && failure.is_none() {
        source.state = State::Due;
        return true;
    }
    *slot = None;
    if let Some(name) = name {
        tell(Told::Ended(name, failure.filter(|_| is_wanted)));
    }
    false
}
