//! What leaves, and when: packets that smoltcp builds, as the connection's [`Sender`] wants them.

use std::time::Duration;

use smoltcp::iface::PollResult;
use smoltcp::socket::tcp::State as Tcp;
use wire::{Frame, Packet, SynOptions};

use super::{Alarm, Connection};
use crate::loss::{Due, Leave, Sender};
use crate::phy::Port;
use crate::{Limits, Stack, clock};

/// How many packets one poll sends at most, so that no connection holds up the others.
const BURST: usize = 64;

/// smoltcp's longest time-out: when its clock leaps so far, it begins to send again.
const LEAP: Duration = Duration::from_secs(60);

/// The longest IP packet.
const LONGEST: usize = u16::MAX as usize;

/// What is taken from and made of an MSS option, as smoltcp does it: without one, IPv4's default for both families.
const DEFAULT_MSS: usize = SynOptions::default_mss(true) as usize;
const LEAST_MSS: usize = 48;

const TCP_HEADER: usize = 20;
const TIMESTAMPS: usize = 12;

/// What a connection's sending side needs beside its socket.
pub(super) struct Sending {
    /// Who decides what leaves; `None` until the connection is open. It is large, and the connection is moved when it is made.
    sender: Box<Option<Sender>>,
    /// The longest segment that the peer takes, its options included.
    peer_mss: usize,
    /// How far smoltcp's clock is ahead.
    lead: Duration,
    syn: Syn,
}

/// When our SYN has left. What answers it tells how long a round trip takes, if it left only once (Karn).
#[derive(Clone, Copy, Default)]
enum Syn {
    #[default]
    Unsent,
    Sent(Duration),
    SentAgain,
}

impl Syn {
    fn leaves(&mut self, now: Duration) {
        *self = if matches!(self, Self::Unsent) { Self::Sent(now) } else { Self::SentAgain };
    }

    fn trip(self, now: Duration) -> Option<Duration> {
        if let Self::Sent(at) = self { Some(now.saturating_sub(at)) } else { None }
    }
}

/// What smoltcp has to do.
#[derive(Clone, Copy)]
enum Work {
    /// Something, perhaps.
    Now,
    /// Nothing until then, or until something happens.
    Later(Option<Duration>),
}

impl Default for Sending {
    fn default() -> Self {
        Self { sender: Box::new(None), peer_mss: DEFAULT_MSS, lead: Duration::ZERO, syn: Syn::default() }
    }
}

impl Sending {
    fn sender(&self) -> Option<&Sender> {
        (*self.sender).as_ref()
    }

    pub(super) fn sender_mut(&mut self) -> Option<&mut Sender> {
        (*self.sender).as_mut()
    }

    /// Takes note of the peer's SYN.
    pub(super) fn note_syn(&mut self, said: &SynOptions) {
        let mss = said.mss.map_or(DEFAULT_MSS, usize::from);
        self.peer_mss = mss.max(LEAST_MSS);
    }

    /// Whether smoltcp would learn nothing from a packet.
    pub(super) fn is_duplicate(&self, packet: &Packet, bytes: &[u8]) -> bool {
        self.sender().is_some_and(|sender| sender.is_duplicate(packet, bytes))
    }

    /// Whether a packet is no older than what its sender was told.
    pub(super) fn is_current(&self, packet: &Packet) -> bool {
        self.sender().is_none_or(|sender| sender.is_current(packet))
    }

    /// A packet as smoltcp is to see it, with numbers and a window that it makes the right thing of. Nobody acknowledges by
    /// more than `oldest` bytes late.
    pub(super) fn seen<'a>(
        &self,
        packet: &Packet,
        bytes: &'a [u8],
        sequence: u32,
        oldest: u32,
        spare: &'a mut [u8],
    ) -> &'a [u8] {
        let version = self.sender().and_then(|sender| sender.version(packet, bytes, oldest));
        if version.is_none() && sequence == packet.sequence {
            return bytes;
        }
        let seen = &mut spare[..bytes.len()];
        seen.copy_from_slice(bytes);
        let at = packet.transport;
        seen[at + 4..at + 8].copy_from_slice(&sequence.to_be_bytes());
        if let Some((acknowledgement, window)) = version {
            seen[at + 8..at + 12].copy_from_slice(&acknowledgement.to_be_bytes());
            seen[at + 14..at + 16].copy_from_slice(&window.to_be_bytes());
        }
        seen
    }

    /// What the time is for smoltcp.
    pub(super) fn instant(&self, now: Duration) -> smoltcp::time::Instant {
        clock::instant(now + self.lead)
    }
}

impl Connection {
    /// Sends what there is to send: data, acknowledgements, whatever a timer demands. It costs nothing where nothing has happened
    /// and no time has come.
    pub fn poll(&mut self, stack: &mut Stack, now: Duration, emit: &mut impl FnMut(&mut Frame<'_>)) {
        if let Alarm::Set(at) = self.alarm
            && at.is_none_or(|at| now < at)
        {
            return;
        }
        clock::set_timestamp(now, self.beginning.timestamp);
        self.go_back_if_lost(stack, now, emit);
        let mut work = Work::Now;
        for _ in 0..BURST {
            let leave = self.sending.sender().map_or(Leave::Send(u32::MAX), Sender::leave);
            work = self.work(stack, now);
            let is_done = matches!(work, Work::Later(_))
                || self.dispatch(stack, leave, now, emit) == PollResult::None
                || leave == Leave::Nothing;
            if is_done && !self.close_if_open() {
                break;
            }
        }
        if self.sending.sender_mut().is_some_and(Sender::takes_debt) {
            self.tell(0, emit);
        }
        self.widen(now, emit);
        self.alarm = Alarm::Set(self.next_poll(stack, work, now));
    }

    /// When to poll next if nothing happens before; `now` if there is more to send already. `None`: only when something
    /// happens.
    pub fn poll_at(&mut self, stack: &mut Stack, now: Duration) -> Option<Duration> {
        match self.alarm {
            Alarm::Rung => self.next_poll(stack, Work::Now, now),
            Alarm::Set(at) => at.map(|at| at.max(now)),
        }
    }

    /// The same, after a look at smoltcp that has found this.
    fn next_poll(&self, stack: &mut Stack, found: Work, now: Duration) -> Option<Duration> {
        // smoltcp would ask to be polled for a SYN-ACK that it does not send, and for the end of TIME-WAIT.
        let waits = match self.socket().state() {
            Tcp::SynReceived => self.held,
            state => state == Tcp::TimeWait,
        };
        if waits {
            return None;
        }
        let is_over = self.failure.is_some() || self.socket().state() == Tcp::Closed;
        let sender = self.sending.sender().filter(|_| !is_over);
        // It does not know that what it has to send must wait.
        let is_held = sender.is_some_and(|sender| sender.leave() == Leave::Nothing);
        let deadline = sender.and_then(Sender::deadline).map(|deadline| deadline.max(now));
        let at = match (found, self.fin_held_until(now)) {
            (Work::Later(at), _) => at,
            (Work::Now, Some(until)) => Some(until),
            (Work::Now, None) => self.socket_at(stack, now).filter(|at| !(is_held && *at == now)),
        };
        [at, deadline].into_iter().flatten().min()
    }

    /// What smoltcp has to do.
    fn work(&self, stack: &mut Stack, now: Duration) -> Work {
        let at = match (self.socket().state(), self.fin_held_until(now)) {
            (Tcp::SynReceived, _) if self.held => None,
            // It would compare windows that nobody has told yet.
            (Tcp::SynSent | Tcp::SynReceived, _) => Some(now),
            (_, Some(until)) => Some(until),
            (_, None) => self.socket_at(stack, now),
        };
        if at == Some(now) { Work::Now } else { Work::Later(at) }
    }

    /// When smoltcp has something to do.
    fn socket_at(&self, stack: &mut Stack, now: Duration) -> Option<Duration> {
        let at = stack.interface.poll_at(self.sending.instant(now), self.berth.sockets());
        at.map(|at| clock::duration(at).saturating_sub(self.sending.lead).max(now))
    }

    /// Until when the acknowledgement of the peer's FIN waits, which is then all that smoltcp has to send.
    fn fin_held_until(&self, now: Duration) -> Option<Duration> {
        let until = self.fin_held.filter(|until| now < *until)?;
        let is_quiet = |sender: &Sender| !sender.must_go_back() && !sender.is_behind();
        let has_all_left = self.sending.sender().is_none_or(is_quiet) && !self.has_unsent();
        (self.socket().state() == Tcp::CloseWait && has_all_left).then_some(until)
    }

    /// Takes note of what the peer acknowledges with a packet, once smoltcp has seen it. Before that it `was_current`, or not.
    pub(super) fn hear(
        &mut self,
        stack: &Stack,
        packet: &Packet,
        bytes: &[u8],
        was_current: bool,
        now: Duration,
    ) {
        if matches!(self.socket().state(), Tcp::Closed | Tcp::Listen | Tcp::SynSent | Tcp::SynReceived) {
            return;
        }
        let first = self.first_unacknowledged();
        let segment = self.segment(stack);
        let trip = self.sending.syn.trip(now);
        let sender = self.sending.sender.get_or_insert_with(|| Sender::new(first, segment, trip));
        sender.heard(first, packet, bytes, was_current, now);
    }

    /// Whether a byte with this number has been sent and is not acknowledged.
    pub(super) fn is_under_way(&self, sequence: u32) -> bool {
        let first = self.first_unacknowledged();
        let end = self.sending.sender().map_or(first, Sender::end);
        sequence.wrapping_sub(first) < end.wrapping_sub(first)
    }

    /// Whether there are bytes that have never left.
    pub(super) fn has_unsent(&self) -> bool {
        let first = self.first_unacknowledged();
        let sent = self.sending.sender().map_or(0, |sender| sender.end().wrapping_sub(first));
        self.unacknowledged() > sent as usize
    }

    /// The number of the first byte that is not acknowledged. smoltcp does not tell; it follows from where the numbers began,
    /// what we have given it and what it still keeps.
    fn first_unacknowledged(&self) -> u32 {
        let acknowledged = self.bytes.sent().wrapping_sub(self.socket().send_queue() as u32);
        let ends = matches!(self.socket().state(), Tcp::FinWait2 | Tcp::TimeWait);
        self.beginning.sequence.wrapping_add(1).wrapping_add(acknowledged).wrapping_add(ends.into())
    }

    /// Bytes of the headers of a packet with data.
    fn headers(&self) -> usize {
        let timestamps = if self.socket().timestamp_enabled() { TIMESTAMPS } else { 0 };
        self.network_header() + TCP_HEADER + timestamps
    }

    fn network_header(&self) -> usize {
        if self.remote.is_ipv4() { 20 } else { 40 }
    }

    /// Payload bytes of a full segment.
    pub(super) fn segment(&self, stack: &Stack) -> u32 {
        let mtu = stack.link.mtu().min(self.path_mtu.unwrap_or(usize::MAX));
        let longest = mtu.min(self.network_header() + TCP_HEADER + self.sending.peer_mss);
        (longest - self.headers()) as u32
    }

    /// Makes smoltcp begin again if something is lost that it has left behind. On its way forward, what it has to acknowledge leaves
    /// first: the packets that follow may not.
    fn go_back_if_lost(&mut self, stack: &mut Stack, now: Duration, emit: &mut impl FnMut(&mut Frame<'_>)) {
        if self.socket().state() == Tcp::Closed {
            return;
        }
        let (segment, has_bytes) = (self.segment(stack), self.unacknowledged() > 0);
        let Some(sender) = &mut *self.sending.sender else { return };
        sender.lower_segment(segment);
        let probes = sender.expire(now) == Due::WindowProbe && has_bytes;
        let must_go_back = sender.must_go_back();
        if probes || must_go_back {
            self.sending.lead += LEAP;
        }
        if must_go_back || sender.is_behind() {
            self.dispatch(stack, Leave::Nothing, now, emit);
        }
    }

    /// Lets smoltcp build a packet.
    fn dispatch(
        &mut self,
        stack: &mut Stack,
        leave: Leave,
        now: Duration,
        emit: &mut impl FnMut(&mut Frame<'_>),
    ) -> PollResult {
        let time = self.egress_time(now);
        let time = self.sending.instant(time);
        let limits = Limits { mtu: self.path_mtu, longest: self.longest(stack, leave) };
        let headers = self.headers();
        let (link, interface, scratch) = stack.within(limits);
        let start = scratch.start(headers);
        let mut port = Port {
            inbound: None,
            scratch: &mut scratch.bytes_mut()[start..],
            link,
            standing: &mut self.standing,
            window: &mut self.bytes.window,
            sender: self.sending.sender_mut(),
            leave,
            now,
            emit,
        };
        let result = interface.poll_egress(time, &mut port, self.berth.sockets_mut());
        let opens = matches!(self.socket().state(), Tcp::SynSent | Tcp::SynReceived);
        if opens && result != PollResult::None {
            self.sending.syn.leaves(now);
        }
        result
    }

    /// The longest packet that smoltcp may build, if it might build a longer one. A super-packet that is full ends with a
    /// whole segment.
    fn longest(&self, stack: &Stack, leave: Leave) -> Option<usize> {
        let headers = self.headers();
        let payload = match leave {
            Leave::Send(len) | Leave::Skip(len) => len as usize,
            Leave::Nothing => 0,
        };
        let (segment, room) = (self.segment(stack) as usize, LONGEST - headers);
        let offloads = stack.link.offloads();
        let most = if offloads { room - room % segment } else { segment };
        let len = payload.min(most);
        // Where less waits, smoltcp keeps to it by itself. That it has the same idea of a segment is not relied upon.
        (len < self.unacknowledged()).then_some(headers + len)
    }
}
