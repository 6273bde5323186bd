//! One connection: a socket in a set of its own, and what its owner may know and do.

mod admission;
mod bytes;
mod dial;
mod path_mtu;
mod sending;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smoltcp::socket::tcp::{CongestionControl, Socket, State as Tcp};
use thiserror::Error;
use wire::{
    Addr, Checksum, Frame, Packet, Protocol, SynOptions, checksum_is_valid, header_checksum_is_valid, parse,
};

use self::bytes::Bytes;
use self::sending::Sending;
use crate::buffers::Berth;
use crate::guard::Pace;
use crate::isn::{Beginning, interface_seed};
use crate::loss::Leave;
use crate::parting::{Parting, Timestamps};
use crate::phy::Port;
use crate::standing::Standing;
use crate::{Stack, clock, interface};

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
    /// The process is at the limit of its [`Memory`](crate::Memory): what the packet holds was not taken, and will be sent
    /// again.
    #[error("no memory is left for what the packet holds")]
    NoMemory,
    /// It is a SYN, and the connection is past its own: the peer may have forgotten it. The answer, at most every 500 ms,
    /// is an ACK; the RST that this fetches from a peer that has will end the connection.
    #[error("the connection is past its SYN")]
    LateSyn,
    /// Its numbers are not what its sender's would be, and the connection is past its SYN: anybody may have sent it. If there is an
    /// answer, it is the same.
    #[error("the segment does not fit the connection")]
    Unacceptable,
}

/// An address and a port.
type End = (Addr, u16);

/// When a connection may have something to do.
#[derive(Clone, Copy)]
enum Alarm {
    /// Now: something has happened since it was polled.
    Rung,
    /// Then, or when something happens.
    Set(Option<Duration>),
}

/// One TCP connection. See the crate's documentation for how to drive it.
pub struct Connection {
    berth: Berth,
    local: SocketAddr,
    remote: SocketAddr,
    /// The same, as packets say it.
    ends: [End; 2],
    beginning: Beginning,
    standing: Standing,
    pace: Pace,
    /// Whether the SYN-ACK waits for [`Connection::ready`].
    held: bool,
    /// Whether our FIN is wanted; it waits for the handshake.
    closing: bool,
    failure: Option<Failure>,
    bytes: Bytes,
    sending: Sending,
    /// What the peer's SYN has said, until the owner takes it.
    syn_options: Option<SynOptions>,
    has_dialled_again: bool,
    /// What its path carries, if that is less than the stack's settings say.
    path_mtu: Option<usize>,
    /// When TIME-WAIT began.
    time_wait: Option<Duration>,
    /// Until when the acknowledgement of the peer's FIN waits for our own, or for bytes.
    fin_held: Option<Duration>,
    alarm: Alarm,
}

impl Connection {
    /// A connection for a SYN from `remote` that was admitted. The SYN itself is its first input; the answer waits for
    /// [`Connection::ready`]. `None` where the stack has no place left.
    pub fn accept(stack: &mut Stack, local: SocketAddr, remote: SocketAddr, now: Duration) -> Option<Self> {
        let mut connection = Self::new(stack, local, remote, now)?;
        let endpoint = connection.local;
        connection.held = true;
        connection.socket_mut().pause_synack(true);
        if !connection.is_possible() || connection.socket_mut().listen(endpoint).is_err() {
            connection.failure = Some(Failure::Refused);
        }
        Some(connection)
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
        let packet = parse(frame.bytes).map_err(|_| InputError::Stray)?;
        self.input_parsed(stack, frame, &packet, now, emit)
    }

    /// The same, where the owner knows what the frame parses to.
    pub fn input_parsed(
        &mut self,
        stack: &mut Stack,
        frame: &Frame<'_>,
        packet: &Packet,
        now: Duration,
        emit: &mut impl FnMut(&mut Frame<'_>),
    ) -> Result<(), InputError> {
        self.recognize(frame, packet)?;
        self.stir();
        clock::set_timestamp(now, self.beginning.timestamp);
        if let Some(said) = self.turn_away(packet, now, emit) {
            return said;
        }
        let before = self.socket().state();
        self.make_room(packet)?;
        let is_current = self.sending.is_current(packet);
        if !self.sending.is_duplicate(packet, frame.bytes) {
            self.process(stack, packet, frame.bytes, now, emit);
        }
        self.note_syn(before, packet, frame.bytes);
        self.hear(stack, packet, frame.bytes, is_current, now);
        self.notice_end(stack, before, now);
        if packet.flags.rst() {
            self.notice_reset(before);
        }
        self.dial_again_if_challenged(stack, packet);
        self.close_if_open();
        Ok(())
    }

    /// Lets the answer to the SYN of an accepted connection go.
    pub fn ready(&mut self) {
        if self.held {
            self.held = false;
            self.socket_mut().pause_synack(false);
            self.stir();
        }
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

    /// What the peer's SYN has said of it: told once, as soon as it is ours to answer.
    pub fn take_syn_options(&mut self) -> Option<SynOptions> {
        self.syn_options.take()
    }

    /// Whether the peer has something to acknowledge: bytes, or our FIN.
    pub fn is_owed(&self) -> bool {
        let has_fin = matches!(self.socket().state(), Tcp::FinWait1 | Tcp::Closing | Tcp::LastAck);
        has_fin || self.unacknowledged() > 0
    }

    /// Says that we send no more: FIN follows what was sent. While opening, it waits for the handshake.
    pub fn close(&mut self) {
        if !self.closing {
            self.closing = true;
            self.close_if_open();
            self.stir();
        }
    }

    /// What to keep of it when it is dropped, once it has been polled: how it would answer in TIME-WAIT, if it is there.
    pub fn parting(&self) -> Option<Parting> {
        let sent = self.standing.sent().filter(|_| self.socket().state() == Tcp::TimeWait)?;
        let echo = self.standing.echo();
        Some(Parting {
            sent,
            next: self.expected(),
            timestamps: echo.map(|echo| Timestamps { offset: self.beginning.timestamp, echo }),
        })
    }

    /// Ends it at once, with a RST to the peer if there is one. Nothing happens to a connection that is over.
    pub fn abort(&mut self) {
        if !self.state().is_over() {
            self.failure = Some(Failure::Aborted);
            self.socket_mut().abort();
            self.stir();
        }
    }
}

/// What only this crate does.
impl Connection {
    fn new(stack: &Stack, local: SocketAddr, remote: SocketAddr, now: Duration) -> Option<Self> {
        let mut berth = stack.arena.berth()?;
        let socket = berth.socket_mut();
        // What may leave is our own decision: see `loss`.
        socket.set_congestion_control(CongestionControl::None);
        socket.set_tsval_generator(Some(clock::timestamp));
        // Bytes are passed on as they come: small ones do not wait for an acknowledgement.
        socket.set_nagle_enabled(false);
        let [local, remote] = [local, remote].map(canonical);
        Some(Self {
            berth,
            local,
            remote,
            ends: [local, remote].map(|end| (end.ip().into(), end.port())),
            beginning: stack.numbers.begin(local, remote, now),
            standing: Standing::default(),
            pace: Pace::default(),
            held: false,
            closing: false,
            failure: None,
            bytes: Bytes::new(stack, now),
            sending: Sending::default(),
            syn_options: None,
            has_dialled_again: false,
            path_mtu: None,
            time_wait: None,
            fin_held: None,
            alarm: Alarm::Rung,
        })
    }

    /// Whether there can be a connection between these two at all.
    fn is_possible(&self) -> bool {
        let (local, remote) = (self.local, self.remote);
        local.is_ipv4() == remote.is_ipv4() && is_unicast(local) && is_unicast(remote)
    }

    fn socket(&self) -> &Socket<'static> {
        self.berth.socket()
    }

    fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.berth.socket_mut()
    }

    /// Takes note that there may be something to do.
    fn stir(&mut self) {
        self.alarm = Alarm::Rung;
    }

    /// Whether a packet is the peer's and undamaged. smoltcp would answer anybody else's with a RST.
    fn recognize(&self, frame: &Frame<'_>, packet: &Packet) -> Result<(), InputError> {
        let [local, remote] = self.ends;
        let is_own = packet.protocol == Protocol::Tcp
            && (packet.source, packet.source_port) == remote
            && (packet.destination, packet.destination_port) == local;
        if !is_own {
            return Err(InputError::Stray);
        }
        // Nobody vouches for the header below TCP's.
        let is_damaged = !header_checksum_is_valid(frame.bytes)
            || frame.checksum() == Checksum::Complete && !checksum_is_valid(frame.bytes, packet);
        if is_damaged { Err(InputError::Checksum) } else { Ok(()) }
    }

    /// Shows a packet to smoltcp.
    fn process(
        &mut self,
        stack: &mut Stack,
        packet: &Packet,
        bytes: &[u8],
        now: Duration,
        emit: &mut impl FnMut(&mut Frame<'_>),
    ) {
        let oldest = stack.arena.capacity() as u32;
        let sequence = self.place_of(packet);
        let bytes = self.sending.seen(packet, bytes, sequence, oldest, &mut stack.spare);
        // A listening socket draws its sequence number now: see `dial`.
        let time = self.sending.instant(now);
        let listens = self.socket().state() == Tcp::Listen;
        let mut opening = listens.then(|| interface(&stack.link, interface_seed(self.beginning.sequence)));
        let interface = opening.as_mut().unwrap_or(&mut stack.interface);
        let mut port = Port {
            inbound: Some(bytes),
            scratch: stack.scratch.bytes_mut(),
            link: &stack.link,
            standing: &mut self.standing,
            window: &mut self.bytes.window,
            sender: self.sending.sender_mut(),
            leave: Leave::Send(u32::MAX),
            now,
            emit,
        };
        interface.poll_ingress_single(time, &mut port, self.berth.sockets_mut());
    }

    /// Closes the socket if that is wanted and its time has come; returns whether it was. In LAST-ACK smoltcp does not hear that a
    /// window opens: it is kept out of there until all bytes have left.
    fn close_if_open(&mut self) -> bool {
        let is_last = self.socket().state() == Tcp::CloseWait;
        let closes = self.closing && self.socket().may_send() && !(is_last && self.has_unsent());
        if closes {
            let socket = self.socket_mut();
            socket.close();
            // The ACK of the peer's FIN may be our last packet: it must not wait.
            socket.set_ack_delay(None);
        }
        closes
    }

    /// The time at which to send. It stands still in TIME-WAIT as long as there are bytes to read, because smoltcp throws
    /// them away when TIME-WAIT ends.
    fn egress_time(&self, now: Duration) -> Duration {
        self.time_wait.filter(|_| self.socket().can_recv()).unwrap_or(now)
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
