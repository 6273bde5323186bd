//! ICMP beside the road: errors about a known flow are translated. The rest is dropped, or answered where that is helpful.
//!
//! ```text
//!   parse ─▶ whose address is it?
//!              ├─ a ping ─────────▶ dropped; helpful: answered
//!              ├─ an error ───────▶ whose packet does it quote?
//!              │                      ├─ nat ────────▶ said by our address, quoting what the sender sent ─▶ Emit
//!              │                      ├─ escorted ───▶ the same (HandOver if it is another worker's), but of our own question (forgotten.rs)
//!              │                      └─ terminated ─▶ its own TCP takes note (HandOver if it is another worker's)
//!              └─ anything else ──▶ dropped
//! ```
//!
//! An error is somebody's word: it never ends a flow and is no sign of its life. What it says about the provider's
//! network (who says it, extensions behind the quote) does not reach the consumer.

use flow::{FlowPath, Found, Key, Place};
use topology::IcmpPolicy;
use wire::{
    Addr, Checksum, Frame, ICMP_ERROR_CAPACITY, Icmp, IcmpError, IcmpMessage, Packet, Quote, Shift, Unparsed,
    header_checksum_is_valid, least_mtu,
};

use crate::admit::check_source;
use crate::contract::{Egress, Output};
use crate::journey::{Journey, Trail, is_damaged};
use crate::verdict::Reason;

/// In the byte of an IPv4 header that holds the flags.
const DONT_FRAGMENT: u8 = 0x40;

impl<O: Output> Journey<'_, O> {
    /// Carries an ICMP packet to its end. `Ok(None)` is one that was handed over.
    #[cold] // beside the road, also in the code
    pub(crate) fn icmp(
        &mut self,
        frame: &mut Frame<'_>,
        trail: &mut Trail,
    ) -> Result<Option<Reason>, Reason> {
        let icmp = wire::parse_icmp(frame.bytes)?;
        let view = &self.plan.view;
        let place = view.place(self.device, icmp.destination).ok_or(Reason::UnknownAddress)?;
        if let Place::Interface(interface) = place {
            trail.interface = Some(interface);
        }
        let too_long = frame.bytes.len() > view.mtu;
        match icmp.message {
            IcmpMessage::Ping if too_long => Err(self.over_mtu(frame, icmp.source, icmp.destination)),
            IcmpMessage::Ping => self.ping(frame, &icmp).map(Some),
            _ if too_long => Err(Reason::OverMtu),
            IcmpMessage::Error(IcmpError::TimeExceeded(_), _) if !self.is_helpful() => Err(Reason::IcmpKind),
            IcmpMessage::Error(error, quote) => {
                self.check(frame, &icmp)?;
                let error = self.credible(error, icmp.destination)?;
                // What our address is told about was sent by our address.
                let quote = quote.filter(|quote| quote.source == icmp.destination);
                self.error(frame, error, &quote.ok_or(Reason::IcmpNoFlow)?, place, trail)
            }
            IcmpMessage::Other => Err(Reason::IcmpKind),
        }
    }

    /// An error about a packet that left from `place`.
    fn error(
        &mut self,
        frame: &mut Frame<'_>,
        error: IcmpError,
        quote: &Quote,
        place: Place,
        trail: &mut Trail,
    ) -> Result<Option<Reason>, Reason> {
        // The key of what comes back from where the packet went: it leads to who sent it.
        let key = Key {
            place,
            protocol: quote.protocol,
            local_port: quote.source_port,
            remote: quote.destination,
            remote_port: quote.destination_port,
        };
        let found = self.turn.find(&key).ok_or(Reason::IcmpNoFlow)?;
        trail.follow(&found);
        match found.path {
            FlowPath::Nat => self.translate(frame, error, *quote, &found, None).map(Some),
            FlowPath::Shifted | FlowPath::Escorted { .. }
                if self.shared.is_question(found.flow, quote.sequence) =>
            {
                Err(Reason::IcmpNoFlow)
            }
            FlowPath::Shifted => {
                let back = undone(&self.turn.numbering(&found).shift(found.direction.other()));
                self.translate(frame, error, *quote, &found, Some(&back)).map(Some)
            }
            FlowPath::Escorted { worker, escort } if worker == self.own.id.0 => {
                let back = undone(&self.escorted_shift(quote, &found, escort).ok_or(Reason::IcmpNoFlow)?);
                self.translate(frame, error, *quote, &found, Some(&back)).map(Some)
            }
            FlowPath::Terminated { worker, relay } if worker == self.own.id.0 => {
                Ok(Some(self.take_note(error, quote, relay, &found)))
            }
            FlowPath::Terminated { worker, .. } | FlowPath::Escorted { worker, .. } => {
                self.hand_over(worker, frame)
            }
            // A probe has a time-out of its own.
            FlowPath::Probe { .. } => Err(Reason::IcmpNoFlow),
        }
    }

    /// Tells the flow's other end, from the only address that it knows, about the packet as it sent it: with its addresses,
    /// ports and numbers. (The identification of a fragment stays the one that we gave it: nobody remembers what it was.)
    fn translate(
        &mut self,
        frame: &mut Frame<'_>,
        error: IcmpError,
        mut quote: Quote,
        found: &Found,
        back: Option<&Shift>,
    ) -> Result<Reason, Reason> {
        let (egress, onward) = self.onward(found)?;
        if !self.turn.allows_error(found, self.now) {
            return Err(Reason::IcmpLimited);
        }
        if let Some(back) = back {
            quote.shift(frame.bytes, back);
        }
        quote.rewrite(frame.bytes, &onward.reversed());
        let mut buffer = [0; ICMP_ERROR_CAPACITY];
        let len = error.write(onward.source, onward.destination, quote.bytes(frame.bytes), &mut buffer);
        self.out.emit(&mut Frame::plain(&mut buffer[..len]), egress);
        Ok(Reason::IcmpForwarded)
    }

    /// An error about a segment of our own TCP. All but packet-too-big are soft: its timers know better.
    fn take_note(&mut self, error: IcmpError, quote: &Quote, relay: u32, found: &Found) -> Reason {
        let IcmpError::TooBig(mtu) = error else { return Reason::IcmpTerminated };
        self.own.terminator.lower_mtu(relay, found, mtu as usize, quote.sequence, self.out)
    }

    /// Answers a ping to one of our addresses, if that is wanted.
    fn ping(&mut self, frame: &mut Frame<'_>, ping: &Icmp) -> Result<Reason, Reason> {
        if !self.is_helpful() {
            return Err(Reason::Ping);
        }
        self.check(frame, ping)?;
        if !self.own.messages.allow(self.now) {
            return Err(Reason::IcmpLimited);
        }
        let len = wire::answer_ping(frame.bytes, ping);
        self.out.emit(&mut Frame::plain(&mut frame.bytes[..len]), Egress::Device(self.device));
        Ok(Reason::PingAnswered)
    }

    /// A packet is longer than the path carries. Its sender is told the MTU, if that is wanted and the packet must not be
    /// cut into fragments.
    pub(crate) fn over_mtu(&mut self, frame: &Frame<'_>, source: Addr, destination: Addr) -> Reason {
        let may_be_cut = source.is_v4() && frame.bytes[6] & DONT_FRAGMENT == 0;
        let error = IcmpError::TooBig(self.plan.view.mtu as u32);
        if !may_be_cut && self.complain(frame, error, source, destination) {
            Reason::OverMtuAnswered
        } else {
            Reason::OverMtu
        }
    }

    /// A packet's TTL or hop limit ends here. Its sender is told, if that is wanted.
    pub(crate) fn ttl_expired(&mut self, frame: &Frame<'_>, packet: &Packet) -> Reason {
        if self.complain(frame, IcmpError::TimeExceeded(0), packet.source, packet.destination) {
            Reason::TtlExpiredAnswered
        } else {
            Reason::TtlExpired
        }
    }

    /// Tells a packet's sender what has become of it, from the address that it was sent to. Returns whether it was told:
    /// not if nobody wants that, its address is none that can be answered, the packet is damaged (and so perhaps that
    /// address), or there were too many answers just now.
    fn complain(&mut self, frame: &Frame<'_>, error: IcmpError, source: Addr, destination: Addr) -> bool {
        let allowed = self.is_helpful()
            && check_source(&self.plan.view, self.device, source).is_ok()
            && is_sound(frame)
            && self.own.messages.allow(self.now);
        if allowed {
            let mut buffer = [0; ICMP_ERROR_CAPACITY];
            let len = error.write(destination, source, frame.bytes, &mut buffer);
            self.out.emit(&mut Frame::plain(&mut buffer[..len]), Egress::Device(self.device));
        }
        allowed
    }

    /// Whether an ICMP packet comes from somebody, and undamaged.
    fn check(&self, frame: &Frame<'_>, icmp: &Icmp) -> Result<(), Reason> {
        check_source(&self.plan.view, self.device, icmp.source)?;
        if is_sound_icmp(frame, icmp) { Ok(()) } else { Err(Reason::BadChecksum) }
    }

    /// The error as it can be passed on: no path carries less than it must, and this one no more than `run.mtu`.
    fn credible(&self, error: IcmpError, ours: Addr) -> Result<IcmpError, Reason> {
        match error {
            IcmpError::TooBig(mtu) if (mtu as usize) < least_mtu(ours) => Err(Reason::IcmpSmallMtu),
            IcmpError::TooBig(mtu) => Ok(IcmpError::TooBig(mtu.min(self.plan.view.mtu as u32))),
            other => Ok(other),
        }
    }

    fn is_helpful(&self) -> bool {
        self.plan.view.icmp == IcmpPolicy::Helpful
    }
}

/// What takes a quoted packet back to the numbers that its sender goes by.
fn undone(shift: &Shift) -> Shift {
    let Shift { sequence, acknowledgement, .. } = *shift;
    let (sequence, acknowledgement) = (sequence.wrapping_neg(), acknowledgement.wrapping_neg());
    Shift { sequence, acknowledgement, ..Shift::default() }
}

/// Whether no checksum of a packet is wrong, as far as somebody has to verify it; of a fragment there is only the header's.
fn is_sound(frame: &Frame<'_>) -> bool {
    match wire::parse(frame.bytes) {
        Ok(packet) => header_checksum_is_valid(frame.bytes) && !is_damaged(frame, &packet),
        Err(Unparsed::Icmp) => wire::parse_icmp(frame.bytes).is_ok_and(|icmp| is_sound_icmp(frame, &icmp)),
        Err(Unparsed::Fragment) => header_checksum_is_valid(frame.bytes),
        Err(_) => false,
    }
}

fn is_sound_icmp(frame: &Frame<'_>, icmp: &Icmp) -> bool {
    let is_vouched_for = frame.checksum() != Checksum::Complete;
    header_checksum_is_valid(frame.bytes) && (is_vouched_for || icmp.checksum_is_valid(frame.bytes))
}
