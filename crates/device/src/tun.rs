//! Opening the queues of a multi-queue TUN: where the driver's own interface is spoken.

#![expect(unsafe_code, reason = "the driver is asked by ioctl")]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Opcode, Setter, Updater, ioctl};
use wire::Offload;

use crate::{DeviceError, Place};

/// The driver's file.
pub(crate) const PATH: &str = "/dev/net/tun";

/// IP packets without a header but the offload header, on several queues.
const FLAGS: c_int = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;

/// How long a device may outlive its process; it is some 30 ms.
const AFTERLIFE: Duration = Duration::from_secs(1);

/// `struct ifreq`, as `TUNSETIFF` uses it.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: u16,
    unused: [u8; 22],
}

/// Makes the device and opens all of its queues (one at least), in the namespace of the calling thread.
pub(crate) fn create(place: &Place, queues: usize) -> Result<Vec<OwnedFd>, DeviceError> {
    let first = first_queue(place)?;
    let rest = (1..queues).map(|_| queue(place, FLAGS));
    std::iter::once(Ok(first)).chain(rest).collect()
}

/// Tells the kernel which work it may leave undone; the flags are `TUN_F_…`.
pub(crate) fn set_offloads(queue: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its flags as a plain integer.
    let request = unsafe { IntegerSetter::<{ libc::TUNSETOFFLOAD as Opcode }>::new_usize(flags as usize) };
    // SAFETY: the request is well-formed, as said above.
    unsafe { ioctl(queue, request) }.map_err(io::Error::from)
}

/// Has the device ask this program for the queue of each packet.
pub(crate) fn set_steering(queue: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TUNSETSTEERINGEBPF reads an `int`.
    let request =
        unsafe { Setter::<{ libc::TUNSETSTEERINGEBPF as Opcode }, c_int>::new(program.as_raw_fd()) };
    // SAFETY: the request is well-formed, as said above.
    unsafe { ioctl(queue, request) }.map_err(io::Error::from)
}

/// What the driver means by refusing `step`.
pub(crate) fn refusal(place: &Place, step: impl Into<String>, cause: io::Error) -> DeviceError {
    match Errno::from_io_error(&cause) {
        Some(Errno::BUSY) => DeviceError::Busy { place: place.clone() },
        _ => DeviceError::driver(place, step, cause),
    }
}

/// A queue of a device that is made for it. Where a killed process was reading one of that name by io_uring, the kernel takes a moment
/// to let go of it, and nothing tells when.
fn first_queue(place: &Place) -> Result<OwnedFd, DeviceError> {
    let end = Instant::now() + AFTERLIFE;
    loop {
        match queue(place, FLAGS | libc::IFF_TUN_EXCL) {
            Err(DeviceError::Busy { .. }) if Instant::now() < end => thread::sleep(AFTERLIFE / 100),
            opened => return opened,
        }
    }
}

fn queue(place: &Place, flags: c_int) -> Result<OwnedFd, DeviceError> {
    let open_flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let queue = rustix::fs::open(PATH, open_flags, Mode::empty())
        .map_err(|errno| refusal(place, format!("open {PATH}"), errno.into()))?;
    attach(&queue, &place.device, flags).map_err(|errno| refusal(place, "create it", errno.into()))?;
    set_header_length(&queue)
        .map_err(|errno| DeviceError::step(place, "set its offload header", errno.into()))?;
    Ok(queue)
}

fn attach(queue: &OwnedFd, device: &str, flags: c_int) -> Result<(), Errno> {
    let mut name = [0; libc::IFNAMSIZ];
    if device.is_empty() || device.len() >= name.len() {
        return Err(Errno::INVAL);
    }
    name[..device.len()].copy_from_slice(device.as_bytes());
    let mut request = Request { name, flags: flags as u16, unused: [0; 22] };
    // SAFETY: TUNSETIFF reads and writes a `struct ifreq`, whose layout and size `Request` has.
    let update = unsafe { Updater::<{ libc::TUNSETIFF as Opcode }, Request>::new(&mut request) };
    // SAFETY: the request is well-formed, as said above.
    unsafe { ioctl(queue, update) }
}

fn set_header_length(queue: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: TUNSETVNETHDRSZ reads an `int`.
    let length = unsafe { Setter::<{ libc::TUNSETVNETHDRSZ as Opcode }, c_int>::new(Offload::LEN as c_int) };
    // SAFETY: the request is well-formed, as said above.
    unsafe { ioctl(queue, length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_kernels_layout() {
        assert_eq!(size_of::<Request>(), size_of::<libc::ifreq>());
        assert_eq!(std::mem::offset_of!(Request, flags), std::mem::offset_of!(libc::ifreq, ifr_ifru));
    }
}
