//! One connection: a socket in a set of its own, and what its owner may know and do.

mod dial;
mod path_mtu;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State as Tcp};
use thiserror::Error;
use wire::{ANSWER_CAPACITY, Addr, Checksum, Frame, Packet, Protocol, checksum_is_valid, parse};

use crate::challenge::Challenge;
use crate::isn::{Beginning, interface_seed};
use crate::phy::Port;
use crate::{Stack, clock, interface};

/// How many packets one poll sends at most, so that no connection holds up the others.
const BURST: usize = 64;

/// How far a connection has come, as its owner needs to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The handshake is not complete: no bytes can be moved.
    Opening,
    /// There are bytes to read, or more may come.
    Open,
    /// The peer has sent its FIN and everything before it is read. Until [`Connection::close`], we may still send.
    HalfClosed,
    /// Both sides have closed, and everything is read. TIME-WAIT counts as this: the connection may be dropped.
    Closed,
    /// It ended early. What was not yet read or sent is of no use any more.
    Failed(Failure),
}

impl State {
    /// Whether the connection may be dropped, once it has been polled.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::Failed(_))
    }
}

/// Why a connection ended early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The peer answered our SYN with a RST; or there can be no connection between these two addresses.
    Refused,
    /// The peer sent a RST later.
    Reset,
    /// [`Connection::abort`] was called.
    Aborted,
}

/// A frame that a connection has not looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum InputError {
    /// It is not a TCP packet from this connection's peer to this connection.
    #[error("the packet does not belong to this connection")]
    Stray,
    /// It was damaged on its way.
    #[error("the TCP checksum is wrong")]
    Checksum,
    /// It is a SYN, and the connection is past its own: the peer may have forgotten it. The answer, at most every 500 ms,
    /// is an ACK; the RST that this fetches from a peer that has will end the connection.
    #[error("the connection is past its SYN")]
    LateSyn,
}

/// One TCP connection. See the crate's documentation for how to drive it.
pub struct Connection {
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    local: SocketAddr,
    remote: SocketAddr,
    beginning: Beginning,
    challenge: Challenge,
    /// Whether the SYN-ACK waits for [`Connection::ready`].
    held: bool,
    /// Whether our FIN is wanted; it waits for the handshake.
    closing: bool,
    failure: Option<Failure>,
    /// Bytes that [`Connection::send`] has taken, modulo 2^32.
    taken: u32,
    has_dialled_again: bool,
    /// What its path carries, if that is less than the stack's settings say.
    path_mtu: Option<usize>,
    /// When it was first seen in TIME-WAIT with bytes to read.
    stopped: Option<Duration>,
}

impl Connection {
    /// A connection for a SYN from `remote` that was admitted. The SYN itself is its first input; the answer waits for
    /// [`Connection::ready`].
    pub fn accept(stack: &mut Stack, local: SocketAddr, remote: SocketAddr, now: Duration) -> Self {
        let mut connection = Self::new(stack, local, remote, now);
        let endpoint = connection.local;
        connection.held = true;
        connection.socket_mut().pause_synack(true);
        if !connection.is_possible() || connection.socket_mut().listen(endpoint).is_err() {
            connection.failure = Some(Failure::Refused);
        }
        connection
    }

    /// Our end.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The peer's end.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Takes a frame from the peer. A checksum that nobody has vouched for is verified. What has to be answered at once
    /// is emitted; the rest follows with the next [`Connection::poll`].
    pub fn input(
        &mut self,
        stack: &mut Stack,
        frame: &Frame<'_>,
        now: Duration,
        emit: &mut impl FnMut(&mut Frame<'_>),
    ) -> Result<(), InputError> {
        let packet = self.own(frame)?;
        if packet.flags.opens() && self.is_past(&packet) {
            self.challenge(&packet, now, emit);
            return Err(InputError::LateSyn);
        }
        let before = self.socket().state();
        // A listening socket draws its sequence number now: see `dial`.
        let mut opening =
            (before == Tcp::Listen).then(|| interface(&stack.link, interface_seed(self.beginning.sequence)));
        let interface = opening.as_mut().unwrap_or(&mut stack.interface);
        let mut port = Port {
            inbound: Some(&*frame.bytes),
            scratch: &mut stack.scratch,
            link: &stack.link,
            challenge: &mut self.challenge,
            emit,
        };
        clock::set_timestamp(now, self.beginning.timestamp);
        interface.poll_ingress_single(clock::instant(now), &mut port, &mut self.sockets);
        if packet.flags.rst() {
            self.notice_reset(before);
        }
        self.dial_again_if_challenged(stack, &packet);
        self.close_if_open();
        Ok(())
    }

    /// Sends what there is to send: data, acknowledgements, whatever a timer demands.
    pub fn poll(&mut self, stack: &mut Stack, now: Duration, emit: &mut impl FnMut(&mut Frame<'_>)) {
        let time = clock::instant(self.egress_time(now));
        clock::set_timestamp(now, self.beginning.timestamp);
        let mut port = Port {
            inbound: None,
            scratch: &mut stack.scratch,
            link: &stack.link,
            challenge: &mut self.challenge,
            emit,
        };
        // smoltcp cuts segments to its interface's MTU: a path that carries less gets an interface for as long as it sends.
        let mut lowered = self.path_mtu.map(|mtu| interface(&stack.link.lowered(mtu), 0));
        let interface = lowered.as_mut().unwrap_or(&mut stack.interface);
        for _ in 0..BURST {
            let sent = interface.poll_egress(time, &mut port, &mut self.sockets);
            if sent == smoltcp::iface::PollResult::None {
                break;
            }
        }
    }

    /// When to poll next if nothing happens before; `now` if there is more to send already. `None`: only when something
    /// happens.
    pub fn poll_at(&mut self, stack: &mut Stack, now: Duration) -> Option<Duration> {
        // smoltcp would ask to be polled for a SYN-ACK that it does not send, and for the end of TIME-WAIT.
        let waits = match self.socket().state() {
            Tcp::SynReceived => self.held,
            state => state == Tcp::TimeWait,
        };
        if waits {
            return None;
        }
        let at = stack.interface.poll_at(clock::instant(now), &self.sockets)?;
        Some(clock::duration(at).max(now))
    }

    /// Lets the answer to the SYN of an accepted connection go.
    pub fn ready(&mut self) {
        self.held = false;
        self.socket_mut().pause_synack(false);
    }

    /// How far it has come.
    pub fn state(&self) -> State {
        if let Some(failure) = self.failure {
            return State::Failed(failure);
        }
        let socket = self.socket();
        match socket.state() {
            Tcp::Listen | Tcp::SynSent | Tcp::SynReceived => State::Opening,
            Tcp::Established | Tcp::FinWait1 | Tcp::FinWait2 => State::Open,
            _ if socket.can_recv() => State::Open,
            Tcp::CloseWait | Tcp::LastAck | Tcp::Closing => State::HalfClosed,
            Tcp::TimeWait | Tcp::Closed => State::Closed,
        }
    }

    /// How many bytes have arrived and wait to be read.
    pub fn readable(&self) -> usize {
        self.socket().recv_queue()
    }

    /// How many bytes [`Connection::send`] would take.
    pub fn writable(&self) -> usize {
        let socket = self.socket();
        if socket.may_send() { socket.send_capacity() - socket.send_queue() } else { 0 }
    }

    /// How many bytes were sent but are not acknowledged by the peer.
    pub fn unacknowledged(&self) -> usize {
        self.socket().send_queue()
    }

    /// Reads into `buffer`; returns how many bytes. 0 if there are none: [`Connection::state`] knows why.
    pub fn receive(&mut self, buffer: &mut [u8]) -> usize {
        self.socket_mut().recv_slice(buffer).unwrap_or(0)
    }

    /// Hands `take` bytes that have arrived, as many as lie in one piece, and forgets as many as it says it took.
    pub fn receive_with(&mut self, take: impl FnOnce(&[u8]) -> usize) -> usize {
        let taken = self.socket_mut().recv(|bytes| {
            let taken = take(bytes).min(bytes.len());
            (taken, taken)
        });
        taken.unwrap_or(0)
    }

    /// Takes as many of `bytes` as there is room for, to be sent; returns how many. 0 while opening and after closing.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        let taken = self.socket_mut().send_slice(bytes).unwrap_or(0);
        self.taken = self.taken.wrapping_add(taken as u32);
        taken
    }

    /// Says that we send no more: FIN follows what was sent. While opening, it waits for the handshake.
    pub fn close(&mut self) {
        self.closing = true;
        self.close_if_open();
    }

    /// Ends it at once, with a RST to the peer if there is one. Nothing happens to a connection that is over.
    pub fn abort(&mut self) {
        if !self.state().is_over() {
            self.failure = Some(Failure::Aborted);
            self.socket_mut().abort();
        }
    }
}

/// What only this crate does.
impl Connection {
    fn new(stack: &Stack, local: SocketAddr, remote: SocketAddr, now: Duration) -> Self {
        let buffer = || SocketBuffer::new(vec![0; stack.buffer]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_congestion_control(CongestionControl::Cubic);
        socket.set_tsval_generator(Some(clock::timestamp));
        // Bytes are passed on as they come: small ones do not wait for an acknowledgement.
        socket.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let socket = sockets.add(socket);
        let [local, remote] = [local, remote].map(canonical);
        Self {
            sockets,
            socket,
            local,
            remote,
            beginning: stack.numbers.begin(local, remote, now),
            challenge: Challenge::default(),
            held: false,
            closing: false,
            failure: None,
            taken: 0,
            has_dialled_again: false,
            path_mtu: None,
            stopped: None,
        }
    }

    /// Whether there can be a connection between these two at all.
    fn is_possible(&self) -> bool {
        let (local, remote) = (self.local, self.remote);
        local.is_ipv4() == remote.is_ipv4() && is_unicast(local) && is_unicast(remote)
    }

    fn socket(&self) -> &Socket<'static> {
        self.sockets.get(self.socket)
    }

    fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    /// The packet in `frame`, if it is the peer's and undamaged. smoltcp would answer anybody else's with a RST.
    fn own(&self, frame: &Frame<'_>) -> Result<Packet, InputError> {
        let packet = parse(frame.bytes).map_err(|_| InputError::Stray)?;
        let own = packet.protocol == Protocol::Tcp
            && packet.source == Addr::from(self.remote.ip())
            && packet.source_port == self.remote.port()
            && packet.destination == Addr::from(self.local.ip())
            && packet.destination_port == self.local.port();
        if !own {
            return Err(InputError::Stray);
        }
        if frame.checksum() == Checksum::Complete && !checksum_is_valid(frame.bytes, &packet) {
            return Err(InputError::Checksum);
        }
        Ok(packet)
    }

    /// Whether the connection is past the point where it has a use for `syn`.
    fn is_past(&self, syn: &Packet) -> bool {
        match self.socket().state() {
            Tcp::Closed | Tcp::Listen | Tcp::SynSent => false,
            Tcp::SynReceived => !self.challenge.knows(syn),
            _ => true,
        }
    }

    /// Challenges the sender of `syn`, except in TIME-WAIT: there the connection is over, and a SYN that comes again once
    /// it is dropped finds its way free.
    fn challenge(&mut self, syn: &Packet, now: Duration, emit: &mut impl FnMut(&mut Frame<'_>)) {
        let mut buffer = [0; ANSWER_CAPACITY];
        if self.socket().state() != Tcp::TimeWait
            && let Some(len) = self.challenge.write(syn, now, &mut buffer)
        {
            emit(&mut Frame::plain(&mut buffer[..len]));
        }
    }

    /// Judges what a RST has done to a socket that was in the state `before`.
    fn notice_reset(&mut self, before: Tcp) {
        match (before, self.socket().state()) {
            // Both sides had closed: the RST takes nothing away.
            (Tcp::Closed | Tcp::TimeWait, _) => {}
            (Tcp::SynSent, Tcp::Closed) => self.failure = Some(Failure::Refused),
            (_, Tcp::Closed) => self.failure = Some(Failure::Reset),
            // smoltcp would listen for another SYN; this connection is for one only.
            (Tcp::SynReceived, Tcp::Listen) => {
                self.failure = Some(Failure::Reset);
                self.socket_mut().abort();
            }
            _ => {}
        }
    }

    fn close_if_open(&mut self) {
        if self.closing && self.socket().may_send() {
            let socket = self.socket_mut();
            socket.close();
            // The ACK of the peer's FIN may be our last packet: it must not wait.
            socket.set_ack_delay(None);
        }
    }

    /// The time at which to send. It stands still in TIME-WAIT as long as there are bytes to read, because smoltcp throws
    /// them away when TIME-WAIT ends.
    fn egress_time(&mut self, now: Duration) -> Duration {
        if self.socket().state() == Tcp::TimeWait && self.socket().can_recv() {
            *self.stopped.get_or_insert(now)
        } else {
            now
        }
    }
}

/// With IPv4 in its own form, not mapped into IPv6.
fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

fn is_unicast(end: SocketAddr) -> bool {
    let broadcast = matches!(end.ip(), IpAddr::V4(ip) if ip.is_broadcast());
    !broadcast && !end.ip().is_multicast() && !end.ip().is_unspecified() && end.port() != 0
}
