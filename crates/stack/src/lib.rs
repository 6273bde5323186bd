//! TCP of our own: accept, dial, byte streams. Pure, and the only crate that knows smoltcp.
//!
//! # Theory of operation
//!
//! A [`Stack`] is what a worker's connections share: settings, secrets, and one buffer in which every outgoing packet is
//! built. A [`Connection`] is one TCP socket, made for one pair of addresses. There is no list of sockets and no look-up
//! in here: whoever owns the connections knows which one a packet belongs to, and hands it over.
//!
//! The owner drives a connection with three calls and one answer:
//!
//! | call | when |
//! |---|---|
//! | [`Connection::input`] | a packet came for it |
//! | [`Connection::poll`] | after input, after bytes were moved, and when its time has come |
//! | [`Connection::poll_at`] | after poll: when its time comes next, if nothing happens before |
//! | [`Connection::state`] | after input and poll: whether to go on with it |
//!
//! Packets leave through the `emit` closure, before the call returns: nothing is queued, so nothing can be lost in a queue.
//! Time is a [`Duration`] since an origin of the owner's choice; it must not run backwards.
//! **A connection that is over owes one last packet** (the ACK of a FIN, or its RST): poll it once more, then drop it.
//!
//! [`Connection::accept`] makes a connection for a SYN that the owner has admitted. It takes the SYN and stays silent
//! until [`Connection::ready`], so that a proxy can ask its target first: a target that refuses then refuses the client.
//! [`Connection::dial`] opens one to somebody else, from any address. Bytes go through [`Connection::send`] and
//! [`Connection::receive`]; [`relay`] joins two connections and carries everything across: the opening, the bytes, each
//! FIN, an RST.
//!
//! # What goes in and out
//!
//! Frames carry their [`Offload`](wire::Offload) state. Super-packets are taken whole. With [`Settings::offload`], frames
//! leave with a partial checksum, and as super-packets of up to 64 KB.
//!
//! After [`Connection::accept`] or [`Connection::dial`], nothing allocates. Buffers are addresses without memory until
//! bytes lie in them, and the windows that peers are told are held down so that they cannot take more than
//! [`Memory`] grants.
//!
//! # What a peer can do
//!
//! Every segment passes a guard before smoltcp sees it.
//!
//! | a segment with | is |
//! |---|---|
//! | a RST at the next number expected | believed: the connection ends |
//! | a RST elsewhere in the window, a SYN, an acknowledgement of what was not sent, numbers from far away | answered with an ACK, twice a second at most, and otherwise ignored (RFC 5961): [`InputError::Unacceptable`], [`InputError::LateSyn`] |
//! | a RST outside the window, or in TIME-WAIT | ignored (RFC 1337) |
//! | a FIN | acknowledged with our own or with bytes, if either follows within 40 ms; at once, if more than a full segment waits with it |
//! | a keep-alive, a FIN once more, a probe of a closed window | answered with an ACK, twice a second at most |
//! | bytes beyond the window, or after a FIN | refused |
//! | bytes that overlap others | taken: until they are in order the last win, from then on they stay |
//! | an urgent pointer, bytes in a SYN | taken without |
//! | options cut off or contradicting themselves | dropped |
//! | an MSS below 48, a window scale above 14 | taken for 48, for 14; an MSS of 0 for none |
//!
//! Who tells tiny windows gets tiny segments, one for each acknowledgement: it costs both sides the same, and no timer runs
//! but the probe of a closed window. Who sends slowly, or never reads, keeps a place and what
//! memory its bytes take, until the owner's idle time-out; how many such there can be is the owner's to bound.
//!
//! # What the owner has to bring
//!
//! - *ICMP.* A packet-too-big about one of our packets goes to [`Connection::lower_mtu`]; no other error changes anything.
//! - *Time-outs.* A SYN, a FIN and data are sent again for ever, and a peer that never closes leaves us in FIN-WAIT-2 for
//!   ever. An idle time-out, or one for the opening, ends with [`Connection::abort`]. A packet that [`Connection::input`] has
//!   refused is no sign of life, but where [`InputError`] says so.
//! - *Silence.* [`Connection::rest`] gives back the memory of a connection that has been silent for a while.
//! - *TIME-WAIT.* It counts as [`State::Closed`]: the owner drops the connection, and keeps its [`Parting`], which answers
//!   what may still come. A later connection between the same addresses need not wait: its timestamps are later, and its
//!   sequence numbers begin higher at up to 15 MB/s.
//! - *A fence.* smoltcp panics where its sequence arithmetic would underflow. The guard keeps away what is known to get
//!   there, and no other packet has been found to; yet an owner that serves many connections does well to contain a panic to the
//!   connection that it happens in.
//!
//! # Examples
//!
//! A client and an echo server, back to back.
//!
//! ```
//! use std::time::Duration;
//!
//! use stack::{Connection, Memory, Settings, Stack, State};
//! use wire::{Frame, Offload};
//!
//! /// Lets `from` speak, and `to` hear it.
//! fn turn(stack: &mut Stack, from: &mut Connection, to: &mut Connection, now: Duration) {
//!     let mut wire: Vec<(Vec<u8>, Offload)> = Vec::new();
//!     from.poll(stack, now, &mut |frame| wire.push((frame.bytes.to_vec(), frame.offload)));
//!     for (mut bytes, offload) in wire {
//!         to.input(stack, &Frame { offload, bytes: &mut bytes }, now, &mut |_| {}).unwrap();
//!     }
//! }
//!
//! let mut stack = Stack::new(Settings::new([1, 2]), &Memory::new(1 << 20));
//! let [here, there] = ["10.0.0.1:40000".parse()?, "10.0.0.2:7".parse()?];
//! let mut now = Duration::ZERO;
//! let mut client = Connection::dial(&mut stack, here, there, now).ok_or("no place is left")?;
//! let mut server = Connection::accept(&mut stack, there, here, now).ok_or("no place is left")?;
//!
//! server.ready();
//! while client.state() == State::Opening || server.state() == State::Opening {
//!     turn(&mut stack, &mut client, &mut server, now);
//!     turn(&mut stack, &mut server, &mut client, now);
//!     now += Duration::from_millis(1);
//! }
//!
//! client.send(b"hello");
//! client.close();
//! let mut buffer = [0; 16];
//! let mut echoed = Vec::new();
//! while client.state() != State::Closed {
//!     turn(&mut stack, &mut client, &mut server, now);
//!     let len = server.receive(&mut buffer);
//!     server.send(&buffer[..len]);
//!     if server.state() == State::HalfClosed {
//!         server.close();
//!     }
//!     turn(&mut stack, &mut server, &mut client, now);
//!     let len = client.receive(&mut buffer);
//!     echoed.extend_from_slice(&buffer[..len]);
//!     now += Duration::from_millis(1);
//! }
//! assert_eq!(echoed, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A probe of a target that does not answer. Between polls its owner may sleep.
//!
//! ```
//! # use std::time::Duration;
//! # use stack::{Connection, Failure, Memory, Settings, Stack, State};
//! let mut stack = Stack::new(Settings::new([1, 2]), &Memory::new(1 << 20));
//! let [node, target] = ["10.0.0.5:40000".parse()?, "10.0.0.9:80".parse()?];
//! let mut now = Duration::ZERO;
//! let mut probe = Connection::dial(&mut stack, node, target, now).ok_or("no place is left")?;
//!
//! let deadline = now + Duration::from_secs(3);
//! let mut syns = 0;
//! while probe.state() == State::Opening && now < deadline {
//!     probe.poll(&mut stack, now, &mut |_| syns += 1);
//!     now = probe.poll_at(&mut stack, now).map_or(deadline, |at| at.min(deadline));
//! }
//! probe.abort();
//! probe.poll(&mut stack, now, &mut |_| {});
//! assert_eq!((probe.state(), syns), (State::Failed(Failure::Aborted), 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod buffers;
mod clock;
mod connection;
mod guard;
mod isn;
mod loss;
mod memory;
mod parting;
mod phy;
mod relay;
mod standing;
mod window;

use std::sync::Arc;
use std::time::Duration;

use smoltcp::iface::{Config, Interface};
use smoltcp::wire::HardwareAddress;
use wire::{FRAME_CAPACITY, Frame, Room};

pub use connection::{Connection, Failure, InputError, State};
pub use isn::{Beginning, Numbers};
pub use memory::Memory;
pub use parting::Parting;
pub use relay::{Moved, carry, relay};

use buffers::Arena;
use loss::Leave;
use phy::{Link, Port};

/// What all connections of a [`Stack`] have in common.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The secret behind initial sequence numbers and timestamps: random, and the same in all stacks of a process.
    pub seed: [u64; 2],
    /// The largest IP packet that a connection's path carries. The MSS that we announce is this less 40 (IPv6: 60), so a
    /// ceiling on the MSS is a ceiling on this. Less than [`Settings::MIN_MTU`] counts as that.
    pub mtu: usize,
    /// Bytes of a connection's receive buffer, and of its send buffer. Rounded down to the next 65,535 times a power of
    /// two, or to 65,535 at most where it is less. They are in memory as far as they are used.
    pub buffer: usize,
    /// How many connections there may be at once. They are given addresses beforehand, but no memory.
    pub connections: usize,
    /// Whether whoever takes our frames completes checksums and cuts super-packets, as a TUN with offloads does.
    pub offload: bool,
}

impl Settings {
    /// What every IPv6 link carries.
    pub const MIN_MTU: usize = 1280;

    /// An MTU of 1500, buffers of 512 KiB, 2048 connections, with offloads.
    pub fn new(seed: [u64; 2]) -> Self {
        Self { seed, mtu: 1500, buffer: 512 << 10, connections: 2048, offload: true }
    }
}

/// What a worker's connections share. Any connection may be used with any stack of the same settings; each call needs one.
pub struct Stack {
    interface: Interface,
    link: Link,
    /// The same, as last limited for somebody: bulk needs the same limits again and again.
    limited: Limited,
    scratch: Room,
    /// Room for the rare packet that smoltcp must not see as it came.
    spare: Box<[u8]>,
    numbers: Numbers,
    arena: Arc<Arena>,
}

impl Stack {
    /// What a stack's places that are free keep in memory at most, for the connections that come next.
    pub const SPARE: usize = buffers::SPARE;

    /// A stack for connections with these settings, whose buffers are paid for out of `memory`.
    pub fn new(settings: Settings, memory: &Memory) -> Self {
        let link = Link::new(settings.mtu.clamp(Settings::MIN_MTU, usize::from(u16::MAX)), settings.offload);
        Self {
            interface: interface(&link, 0),
            limited: Limited::new(&link, Limits::default()),
            link,
            scratch: Room::empty(),
            spare: vec![0; FRAME_CAPACITY].into_boxed_slice(),
            numbers: Numbers::new(settings.seed),
            arena: Arena::new(whole_windows(settings.buffer), settings.connections, memory),
        }
    }

    /// How many connections there may be at once: [`Settings::connections`], or fewer where the kernel has refused to set
    /// aside as many addresses.
    pub fn places(&self) -> usize {
        self.arena.slots()
    }

    /// How many connections there are.
    pub fn open(&self) -> usize {
        self.arena.slots() - self.arena.vacant()
    }

    /// Whether there are places for two more connections, and memory for what they need at least.
    pub fn has_room(&self) -> bool {
        self.arena.vacant() >= 2 && self.arena.memory().has(self.arena.least(2))
    }

    /// Changes [`Settings::offload`], for what is sent from now on.
    pub fn set_offload(&mut self, offload: bool) {
        self.link = self.link.with_offload(offload);
        self.interface = interface(&self.link, 0);
        self.limited = Limited::new(&self.link, Limits::default());
    }

    /// A link within these limits, the interface to it, and the room in which packets for it are built.
    fn within(&mut self, limits: Limits) -> (&Link, &mut Interface, &mut Room) {
        let (link, interface) = if limits == Limits::default() {
            (&self.link, &mut self.interface)
        } else {
            if self.limited.limits != limits {
                self.limited = Limited::new(&self.link, limits);
            }
            (&self.limited.link, &mut self.limited.interface)
        };
        (link, interface, &mut self.scratch)
    }
}

/// What a connection's next packet must keep to, beyond the stack's settings.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Limits {
    /// What its path carries.
    mtu: Option<usize>,
    /// How long it may be.
    longest: Option<usize>,
}

/// A link with limits, and the interface to it: smoltcp asks a link for them only when it makes one.
struct Limited {
    limits: Limits,
    link: Link,
    interface: Interface,
}

impl Limited {
    fn new(link: &Link, limits: Limits) -> Self {
        let link = link.lowered(limits.mtu.unwrap_or(usize::MAX)).limited(limits.longest);
        Self { limits, interface: interface(&link, 0), link }
    }
}

/// An interface that takes packets for any address, whose generator starts at `seed`. Plain data: it costs no allocation.
fn interface(link: &Link, seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut silent: fn(&mut Frame<'_>) = |_| {};
    let (mut standing, mut window) = Default::default();
    let mut port = Port {
        inbound: None,
        scratch: &mut [],
        link,
        standing: &mut standing,
        window: &mut window,
        sender: None,
        leave: Leave::Nothing,
        now: Duration::ZERO,
        emit: &mut silent,
    };
    let mut interface = Interface::new(config, &mut port, clock::ORIGIN);
    interface.set_any_ip(true);
    interface
}

/// The largest buffer up to `wanted` that a window field describes exactly.
///
/// smoltcp believes the unscaled window of a SYN to be scaled. With a buffer of any other size it would take more from a
/// peer that overruns its first window than the buffer holds, and panic.
fn whole_windows(wanted: usize) -> usize {
    const WINDOW: usize = u16::MAX as usize;
    const LARGEST: usize = WINDOW << 14;
    match wanted.min(LARGEST) / WINDOW {
        0 => wanted.max(1),
        windows => WINDOW << windows.ilog2(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_whole_windows() {
        assert_eq!(whole_windows(0), 1);
        assert_eq!(whole_windows(4096), 4096);
        assert_eq!(whole_windows(65_535), 65_535);
        assert_eq!(whole_windows(131_069), 65_535);
        assert_eq!(whole_windows(256 << 10), 65_535 << 2);
        assert_eq!(whole_windows(usize::MAX), 65_535 << 14);
    }

    #[test]
    fn a_stack_and_its_connections_can_move_to_another_thread() {
        fn assert_send<T: Send>() {}
        assert_send::<Stack>();
        assert_send::<Connection>();
    }
}
