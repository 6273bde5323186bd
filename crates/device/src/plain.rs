//! The `plain` backend: a TUN with one queue and no offload header, made and read by the tun-tap crate. Every packet is
//! one packet, with its checksum complete. For kernels that refuse offloads, and to see what offloads are worth.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;
use tun_tap::{Iface, Mode};
use wire::{Checksum, Frame, Offload};

use crate::link::Link;
use crate::{DeviceError, DeviceSpec, Offloads, Opened, Opener, Place, Queue, opener, tun};

/// Opens TUNs of one queue, which carry one packet a read and a write.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainOpener;

impl Opener for PlainOpener {
    fn open(&self, spec: &DeviceSpec) -> Result<Opened, DeviceError> {
        opener::open(spec, |place| Ok(vec![create(place, spec.queues)?]), |_| Offloads::NONE)
    }
}

/// Makes the device, in the namespace of the calling thread.
fn create(place: &Place, queues: usize) -> Result<PlainQueue, DeviceError> {
    let refusal = |cause| tun::refusal(place, "create it", cause);
    if queues > 1 {
        return Err(refusal(io::Error::new(ErrorKind::Unsupported, "a plain device has one queue")));
    }
    // The driver lets us join a device that somebody has made persistent, which tun-tap cannot forbid. (Between this
    // look and the next step, nobody but root could make one.)
    if Link::find(&place.device).is_ok() {
        return Err(DeviceError::Busy { place: place.clone() });
    }
    let interface = Iface::without_packet_info(&place.device, Mode::Tun).map_err(refusal)?;
    // The driver invents a name where it is given none, and tun-tap cuts one that is too long.
    if interface.name() != place.device {
        return Err(refusal(Errno::INVAL.into()));
    }
    interface.set_non_blocking().map_err(refusal)?;
    Ok(PlainQueue { interface })
}

/// The queue of a plain TUN.
struct PlainQueue {
    interface: Iface,
}

impl AsFd for PlainQueue {
    #[expect(unsafe_code, reason = "tun-tap lends its descriptor as a number only")]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the interface owns the descriptor, and is borrowed for as long as it is lent.
        unsafe { BorrowedFd::borrow_raw(self.interface.as_raw_fd()) }
    }
}

impl Queue for PlainQueue {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, Offload)>> {
        match self.interface.recv(buffer) {
            Ok(length) => Ok(Some((length, Offload::NONE))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[inline]
    fn write(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        if frame.checksum() == Checksum::Partial || frame.offload.segmentation.is_some() {
            return Err(unfinished());
        }
        self.interface.send(frame.bytes).map(drop)
    }

    fn set_offloads(&mut self, offloads: Offloads) -> io::Result<()> {
        if offloads == Offloads::NONE { Ok(()) } else { Err(unfinished()) }
    }
}

fn unfinished() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "a plain device has nobody who would finish a packet")
}
