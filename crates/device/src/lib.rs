//! Where packets come from: TUN queues, namespaces, routes.
//!
//! An [`Opener`] makes one device in one network namespace and hands back its queues: plain file descriptors that any
//! thread may read and write. Whatever has to happen *in* the namespace happens on a throw-away thread that enters it
//! and ends, so no thread of the caller ever changes its own.
//!
//! A device lives exactly as long as its queues and its [`Hold`]: it is never made persistent, so letting go of them (or
//! dying) removes the device and the routes to it.

mod error;
mod facts;
mod hold;
pub mod lab;
mod link;
mod name;
mod namespace;
mod netlink;
mod obstacle;
mod offloads;
mod opener;
mod plain;
pub mod probe;
mod program;
mod proxy;
mod queue;
mod ring;
mod rootless;
mod route;
mod steering;
mod tun;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use wire::{Frame, Offload};

pub use error::{DeviceError, Place};
pub use hold::{Fallen, Hold};
pub use name::device_name;
pub use namespace::{NamespaceIdentity, inside};
pub use obstacle::Obstacle;
pub use offloads::{Offloads, Undone};
pub use opener::OffloadOpener;
pub use plain::PlainOpener;
pub use proxy::Answer;
pub use ring::{Leaving, Packet, Ring, Told};
pub use rootless::{Privilege, gain_privilege};
pub use steering::{Refusal, Steered, Steering};

/// What a device has to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceSpec {
    /// Its name; see [`device_name`].
    pub name: String,
    /// The file of the namespace that it lives in.
    pub namespace: PathBuf,
    /// How many queues it has, one per worker; 0 counts as 1.
    pub queues: usize,
    /// Its MTU: larger than what the path carries, so that the limit is the engine's to enforce.
    pub mtu: u32,
    /// The most that the kernel may leave undone on it.
    pub offloads: Offloads,
    /// How packets find their queue; `None` leaves it to the kernel.
    pub steering: Option<Steering>,
    /// The addresses that are routed to it, each as a /32 or /128.
    pub routed: Vec<IpAddr>,
    /// Addresses that the namespace gets on it, at most one per family: also the preferred source of the routes.
    pub local: Vec<IpAddr>,
    /// The routed addresses that hosts on a link are answered for.
    pub answers: Vec<Answer>,
    /// Whether hosts may be answered later than the device is there: what stands in the way, such as a link that is
    /// missing, is said in the log, and [`Hold::keep`] tries again. Otherwise it is an error.
    pub answers_may_wait: bool,
}

/// One queue of one device, non-blocking.
pub trait Queue: AsFd + Send {
    /// Reads one packet into `buffer`, which wants to be [`wire::FRAME_CAPACITY`] long: of a packet that does not
    /// fit, the end is lost. `Ok(None)` says that there is nothing to read now. An offload header that makes no
    /// sense is an error of kind [`io::ErrorKind::InvalidData`]: that packet is gone, the queue is fine. Any other
    /// error means that the device is gone. One that is down has nothing to read: only [`Hold::keep`] tells it from one
    /// that is idle.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, Offload)>>;

    /// Writes one packet. A frame whose offload does not fit its bytes, or the device, is refused with
    /// [`io::ErrorKind::InvalidInput`].
    fn write(&mut self, frame: &Frame<'_>) -> io::Result<()>;

    /// Where a [`Ring`] may read and write packets, each with its offload header in front, instead of [`Queue::read`] and
    /// [`Queue::write`]; none where only the queue itself can.
    fn file(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Tells the kernel what it may leave undone from now on. It keeps that per device; it does no harm to tell
    /// every queue.
    fn set_offloads(&mut self, offloads: Offloads) -> io::Result<()>;
}

/// A device that is up and routed to.
pub struct Opened {
    /// Its queues. Dropping the last of them, and the hold, removes the device, at once unless the process is just starting
    /// another: between fork and exec, a child holds all of its parent's files.
    pub queues: Vec<Box<dyn Queue>>,
    /// Its name.
    pub name: String,
    /// What the kernel leaves undone on it.
    pub offloads: Offloads,
    /// How packets find their queue.
    pub steering: Steered,
    /// The namespace that it is in: the one that was there when it was opened.
    pub namespace: NamespaceIdentity,
    /// Looks after what leads to it, and changes that; `None` if there is no kernel to ask.
    pub hold: Option<Hold>,
}

/// Makes devices: the backends differ in how.
pub trait Opener: Send + Sync {
    /// Makes the device that `spec` asks for. After an error nothing of it is left.
    fn open(&self, spec: &DeviceSpec) -> Result<Opened, DeviceError>;
}
