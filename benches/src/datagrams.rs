//! Datagrams from several senders to one receiver, as fast as one thread sends them, and what of it arrives. One thread sends for
//! everyone in turn, in batches; one receives, in batches too: so neither is a forwarder's limit, and both are the same for all.

use std::array;
use std::collections::BTreeSet;
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, connect, sendmmsg};

use crate::connections::way::Ways;
use crate::patient::{be_brief, patiently};
use crate::process::Interrupt;

/// How many datagrams go into a system call.
const BATCH: usize = 64;
/// After how long a first datagram is sent again.
const AGAIN: Duration = Duration::from_millis(50);
/// How often a first datagram is sent.
const TRIES: usize = 60;

/// What went through in which time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tally {
    datagrams: u64,
    bytes: u64,
    time: Duration,
}

impl Tally {
    /// Datagrams per second.
    pub fn rate(self) -> f64 {
        self.datagrams as f64 / self.time.as_secs_f64()
    }

    /// Bits per second of what datagrams have in them.
    pub fn bits_per_second(self) -> f64 {
        self.bytes as f64 * 8.0 / self.time.as_secs_f64()
    }
}

/// What came of a run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Run {
    /// What was sent.
    pub sent: Tally,
    /// What arrived while that went on.
    pub arrived: Tally,
}

impl Run {
    /// Which part of what was sent did not arrive.
    pub fn lost(self) -> f64 {
        (1.0 - self.arrived.rate() / self.sent.rate()).max(0.0)
    }
}

/// Sockets with a flow each.
pub struct Senders(Vec<UdpSocket>);

impl Senders {
    /// So many, in the calling thread's namespace.
    pub fn new(mut ways: Ways<'_>, count: u8) -> Result<Self> {
        let senders = (0..count).map(|_| {
            let way = ways.turn();
            let socket = way.socket(SocketType::DGRAM, SocketFlags::empty())?;
            connect(&socket, &way.door).with_context(|| format!("a flow {way}"))?;
            let socket = UdpSocket::from(socket);
            be_brief(&socket)?;
            Ok(socket)
        });
        senders.collect::<Result<_>>().map(Self)
    }

    /// Sends datagrams with so many bytes in them until it is enough.
    pub fn send(&self, size: usize, enough: &AtomicBool, interrupt: &Interrupt) -> Result<Tally> {
        let payload = vec![0; size];
        let payload = [IoSlice::new(&payload)];
        let mut controls: [_; BATCH] = array::from_fn(|_| SendAncillaryBuffer::default());
        let mut batch = controls.each_mut().map(|nothing| MMsgHdr::new(&payload, nothing));
        let (start, mut datagrams) = (Instant::now(), 0);
        for sender in self.0.iter().cycle() {
            if enough.load(Ordering::Relaxed) {
                break;
            }
            let sent = patiently(interrupt, || Ok(sendmmsg(sender, &mut batch, SendFlags::empty())?));
            datagrams += sent.context("sending datagrams")? as u64;
        }
        Ok(Tally { datagrams, bytes: datagrams * size as u64, time: start.elapsed() })
    }
}

/// The socket that all flows end in.
pub struct Receiver(UdpSocket);

impl Receiver {
    /// On this one.
    pub const fn new(socket: UdpSocket) -> Self {
        Self(socket)
    }

    /// Sees a datagram of each flow through, so that a run begins when all of them have made their way.
    pub fn expect(&self, senders: &Senders, interrupt: &Interrupt) -> Result<()> {
        self.0.set_read_timeout(Some(AGAIN))?;
        let mut missing = BTreeSet::from_iter(0..senders.0.len());
        for _ in 0..TRIES {
            interrupt.check()?;
            for &flow in &missing {
                senders.0[flow].send(&[flow as u8])?;
            }
            while let Some(flow) = self.hear()? {
                missing.remove(&flow);
                if missing.is_empty() {
                    return Ok(());
                }
            }
        }
        bail!("of {} of {} flows no datagram arrives", missing.len(), senders.0.len());
    }

    /// The flow of a first datagram, if one comes in time. Others may still be under way from the run before.
    fn hear(&self) -> Result<Option<usize>> {
        let mut said = [0; 2];
        loop {
            match self.0.recv(&mut said) {
                Ok(1) => return Ok(Some(usize::from(said[0]))),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error).context("waiting for a first datagram"),
            }
        }
    }

    /// Receives datagrams of so many bytes for as long as `length`. First datagrams, which may have been sent again, do not count.
    pub fn receive(&self, size: usize, length: Duration, interrupt: &Interrupt) -> Result<Tally> {
        be_brief(&self.0)?;
        let mut buffers: [Vec<u8>; BATCH] = array::from_fn(|_| vec![0; size]);
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let start = Instant::now();
        let (mut datagrams, mut bytes) = (0, 0);
        while start.elapsed() < length {
            let arrived = patiently(interrupt, || {
                let mut batch = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
                let flags = MsgFlags::MSG_WAITFORONE;
                let arrived = recvmmsg(self.0.as_raw_fd(), &mut headers, batch.iter_mut(), flags, None)?;
                let whole = arrived.map(|datagram| datagram.bytes).filter(|bytes| *bytes == size);
                Ok(whole.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes as u64)))
            });
            let (more, of_bytes) = arrived.with_context(|| format!("after {datagrams} datagrams"))?;
            (datagrams, bytes) = (datagrams + more, bytes + of_bytes);
        }
        ensure!(datagrams > 0, "not one datagram arrived within {length:?}");
        Ok(Tally { datagrams, bytes, time: start.elapsed() })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::thread;

    use super::*;
    use crate::in_time::{LONGEST, in_time};
    use crate::threads::join;

    const CLIENTS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
    const SIZE: usize = 36;

    fn ends(flows: u8) -> (Senders, Receiver) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ways = Ways::new(&CLIENTS, &[Ipv4Addr::LOCALHOST], socket.local_addr().unwrap().port(), 0);
        (Senders::new(ways, flows).unwrap(), Receiver::new(socket))
    }

    /// What comes of sending datagrams of so many bytes where those of [`SIZE`] are received.
    fn run(ends: &(Senders, Receiver), size: usize, length: Duration, interrupt: &Interrupt) -> Result<Run> {
        let enough = AtomicBool::new(false);
        thread::scope(|scope| {
            let sending = scope.spawn(|| ends.0.send(size, &enough, interrupt));
            let arrived = ends.1.receive(SIZE, length, interrupt);
            enough.store(true, Ordering::Relaxed);
            Ok(Run { sent: join(sending)?, arrived: arrived? })
        })
    }

    #[test]
    fn what_is_sent_arrives() {
        let interrupt = Interrupt::of_nobody().unwrap();
        in_time(|length| {
            let ends = ends(3);
            ends.1.expect(&ends.0, &interrupt)?;
            let Run { sent, arrived } = run(&ends, SIZE, length, &interrupt)?;
            assert!(arrived.datagrams <= sent.datagrams, "{arrived:?} of {sent:?}");
            let is_whole = |tally: &Tally| tally.bytes == tally.datagrams * SIZE as u64;
            assert!([sent, arrived].iter().all(is_whole), "{arrived:?} of {sent:?}");
            anyhow::Ok(())
        });
    }

    #[test]
    fn what_is_not_of_the_run_is_no_figure() {
        let interrupt = Interrupt::of_nobody().unwrap();
        for (size, length) in [(SIZE, Duration::ZERO), (1, Duration::from_millis(20))] {
            let error = run(&ends(1), size, length, &interrupt).unwrap_err();
            assert!(error.to_string().contains("not one datagram"), "{error}");
        }
    }

    #[test]
    fn every_flow_is_waited_for() {
        let interrupt = Interrupt::of_nobody().unwrap();
        let (mut senders, receiver) = ends(2);
        let elsewhere = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        senders.0[1].connect(elsewhere.local_addr().unwrap()).unwrap();
        drop(elsewhere);
        // Its second datagram learns from the kernel that the first has reached nobody.
        assert!(receiver.expect(&senders, &interrupt).is_err());
        senders.0.pop();
        receiver.expect(&senders, &interrupt).unwrap();
    }

    #[test]
    fn the_wish_to_stop_ends_it_at_both_ends() {
        let interrupt = Interrupt::of_nobody().unwrap();
        let ends = ends(1);
        let start = Instant::now();
        thread::scope(|scope| {
            let running = scope.spawn(|| run(&ends, SIZE, 6 * LONGEST, &interrupt));
            interrupt.come();
            assert!(format!("{:#}", join(running).unwrap_err()).contains("interrupted"));
        });
        let enough = AtomicBool::new(false);
        assert!(ends.0.send(SIZE, &enough, &interrupt).is_err());
        assert!(ends.1.expect(&ends.0, &interrupt).is_err());
        assert!(start.elapsed() < LONGEST);
    }

    #[test]
    fn what_does_not_arrive_is_lost() {
        let tally = |datagrams, seconds| Tally { datagrams, bytes: 0, time: Duration::from_secs(seconds) };
        let lost = |sent, arrived| Run { sent, arrived }.lost();
        assert_eq!(lost(tally(800, 2), tally(300, 1)), 0.25);
        assert_eq!(lost(tally(800, 2), tally(401, 1)), 0.0, "the last of the run before arrived in this one");
        assert_eq!(
            Tally { datagrams: 3, bytes: 500, time: Duration::from_secs(2) }.bits_per_second(),
            2000.0
        );
    }
}
