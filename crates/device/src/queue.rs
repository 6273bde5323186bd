//! A queue with the offload header in front of every packet.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, readv, writev};
use wire::{Frame, Offload};

use crate::{Offloads, Queue, tun};

/// One queue of a TUN.
pub(crate) struct TunQueue {
    fd: OwnedFd,
}

impl TunQueue {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Queue for TunQueue {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, Offload)>> {
        let mut header = [0; Offload::LEN];
        let read = readv(&self.fd, &mut [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)]);
        let length = match read {
            Ok(length) => length,
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let length = length.checked_sub(Offload::LEN).ok_or(ErrorKind::InvalidData)?;
        let offload = Offload::decode(&header).map_err(|_| ErrorKind::InvalidData)?;
        Ok(Some((length, offload)))
    }

    #[inline]
    fn write(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let header = frame.offload.encode(frame.bytes);
        writev(&self.fd, &[IoSlice::new(&header), IoSlice::new(frame.bytes)])?;
        Ok(())
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn set_offloads(&mut self, offloads: Offloads) -> io::Result<()> {
        tun::set_offloads(self.fd.as_fd(), offloads.flags())
    }
}
