//! By which queue the kernel hands us a packet: chosen by a [`program`](crate::program) of ours, so that each direction of
//! a flow stays with one worker for ever.
//!
//! The kernel's own choice follows whoever has last written to the flow, the other way round. It knows 4,096 flows, each
//! until nothing was written for three seconds. So flows change queues while packets are on their way, which then overtake
//! each other; and whatever is written costs a look into its headers.

#![expect(unsafe_code, reason = "a program is loaded by bpf(2), which no crate that we have wraps")]

use std::ffi::{c_int, c_long};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use thiserror::Error;

use crate::program::{Instruction, program};
use crate::tun;

/// What the queue of a packet is chosen by. Of a packet without ports, a fragment among them, both ways look at the
/// addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steering {
    /// A hash of addresses and ports.
    ByFlow,
    /// The destination's port: the remainder of its division by the number of queues is the queue. So whoever chooses the
    /// source port of a flow chooses the queue of what comes back.
    ByDestinationPort,
}

/// Who chooses the queue of a packet. It shows in one line.
#[derive(Debug)]
pub enum Steered {
    /// Nobody: there is one queue.
    OneQueue,
    /// Our program.
    Ours(Steering),
    /// The kernel, as it was to be.
    Kernel,
    /// The kernel, because it did not take our program.
    Refused(Refusal),
}

/// Why there is no program of ours on a device.
#[derive(Debug, Error)]
pub enum Refusal {
    /// It could not be loaded.
    #[error("bpf was refused: {0}")]
    Load(io::Error),
    /// The driver did not want it.
    #[error("the driver takes no program: {0}")]
    Attach(io::Error),
}

impl fmt::Display for Steered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneQueue => f.write_str("none (one queue)"),
            Self::Ours(Steering::ByFlow) => f.write_str("by flow"),
            Self::Ours(Steering::ByDestinationPort) => f.write_str("by destination port"),
            Self::Kernel => f.write_str("the kernel's own"),
            Self::Refused(refusal) => write!(f, "the kernel's own ({refusal})"),
        }
    }
}

/// Steers a device by its first queue, of so many. The kernel numbers them in the order in which they were opened, and that
/// is theirs here.
pub(crate) fn steer(first: &impl AsFd, queues: usize, wanted: Option<Steering>) -> Steered {
    match (queues, wanted) {
        (0 | 1, _) => Steered::OneQueue,
        (_, None) => Steered::Kernel,
        (_, Some(steering)) => match attach(first, steering) {
            Ok(()) => Steered::Ours(steering),
            Err(refusal) => Steered::Refused(refusal),
        },
    }
}

/// The device keeps the program, whose descriptor is closed.
fn attach(queue: &impl AsFd, steering: Steering) -> Result<(), Refusal> {
    let program = load(&program(steering)).map_err(Refusal::Load)?;
    tun::set_steering(queue.as_fd(), program.as_fd()).map_err(Refusal::Attach)
}

/// What bpf(2) reads to load a program: the front of `union bpf_attr`.
#[repr(C)]
struct Request {
    kind: u32,
    length: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    /// For those who list the programs that are loaded.
    name: [u8; 16],
}

fn load(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    const LOAD_PROGRAM: c_long = 5;
    const SOCKET_FILTER: u32 = 1;
    let request = Request {
        kind: SOCKET_FILTER,
        length: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"MIT OR Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"sidegate_steers\0",
    };
    let size = size_of::<Request>() as c_long;
    // SAFETY: the kernel reads `size` bytes of the request, so many instructions, and the license, which ends in a zero.
    // All of them outlive the call.
    let program = unsafe { libc::syscall(libc::SYS_bpf, LOAD_PROGRAM, &raw const request, size) };
    if program < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(program as c_int) })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn the_request_has_the_kernels_layout() {
        let offsets = [
            offset_of!(Request, instructions),
            offset_of!(Request, license),
            offset_of!(Request, log),
            offset_of!(Request, kernel_version),
            offset_of!(Request, name),
            size_of::<Request>(),
            size_of::<Instruction>(),
        ];
        assert_eq!(offsets, [8, 16, 32, 40, 48, 64, 8]);
    }

    #[test]
    fn one_queue_needs_no_steering() {
        let queue = || File::open("/dev/null").unwrap();
        for wanted in [None, Some(Steering::ByFlow), Some(Steering::ByDestinationPort)] {
            assert_eq!(steer(&queue(), 1, wanted).to_string(), "none (one queue)");
        }
        assert_eq!(steer(&queue(), 2, None).to_string(), "the kernel's own");
    }

    /// Here it is not a TUN; elsewhere it may be that only root may load programs.
    #[test]
    fn a_refusal_says_who_refused() {
        let queue = File::open("/dev/null").unwrap();
        let steered = steer(&queue, 2, Some(Steering::ByFlow));
        assert!(matches!(steered, Steered::Refused(_)), "{steered}");
        let refused = Steered::Refused(Refusal::Load(io::Error::from_raw_os_error(libc::EPERM)));
        assert_eq!(
            refused.to_string(),
            "the kernel's own (bpf was refused: Operation not permitted (os error 1))"
        );
    }
}
