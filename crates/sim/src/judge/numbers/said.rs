//! What the forwarder says by itself on flows whose two sides differ: to a target the header, and where a RST has to go besides;
//! to a consumer what lets it speak.

use flow::FlowId;
use wire::{Packet, TcpFlags, parse};

use super::{Numbers, Sides};
use crate::invariants::{
    Violation, handshake_is_first, header_is_cut, header_is_in_its_place, reset_is_heard, room_is_there,
    segments_are_short_enough,
};
use crate::ledger::{Ledger, Sight};
use crate::packet::{Talk, route_of};
use crate::recorder::{Batch, Departure};
use crate::tcp::window_field;

impl Numbers {
    /// Looks at what no packet of either end has become.
    pub(super) fn check_built(
        &self,
        departure: &Departure,
        packet: &Packet,
        seen: Option<Sight>,
        ledger: &Ledger,
    ) -> Result<(), Violation> {
        let talk = Talk::from(packet);
        let client = ledger.client_of(departure.device, &talk.back());
        let sides = |flow: Option<&FlowId>| self.flows.get(flow?);
        if let Some(sides) = client.and_then(|client| sides(self.clients.get(&client))) {
            return sides.lets_speak(packet, &departure.frame.bytes);
        }
        let Some(sides) = seen.and_then(|seen| sides(self.sights.get(&seen))) else { return Ok(()) };
        ledger.mss_of(departure.device, &talk).map_or(Ok(()), |mss| header_is_cut(packet, mss))?;
        if sides.is_spliced {
            handshake_is_first(&departure.frame, packet, sides.is_met)?;
        }
        let offset = sides.offset_of(packet.sequence);
        offset.map_or(Ok(()), |offset| header_is_in_its_place(packet, offset, sides.header))
    }
}

impl Sides {
    /// What we say to its consumer, in its target's name: no window is opened that the target has not.
    fn lets_speak(&self, packet: &Packet, bytes: &[u8]) -> Result<(), Violation> {
        let Some(granted) = self.granted.filter(|_| self.is_spliced && packet.flags.bits() == TcpFlags::ACK)
        else {
            return Ok(());
        };
        let told = u64::from(window_field(packet, bytes));
        let room = u64::from(granted).saturating_sub(self.header.into());
        // One unit there is always: who can say nothing does not bring the header out.
        if told == 1 { Ok(()) } else { room_is_there(told << self.scales.1, room) }
    }

    /// Its consumer was told what its target takes. (A SYN comes before that.)
    pub(super) fn segments_are_short_enough(
        &self,
        departure: &Departure,
        packet: &Packet,
        ledger: &Ledger,
    ) -> Result<(), Violation> {
        if packet.flags.syn() {
            return Ok(());
        }
        segments_are_short_enough(departure, packet, ledger)
    }

    /// A packet of its consumer's passes. Its RST goes to where the target is.
    pub(super) fn passes(&mut self, was: &Packet, is: &Packet, batch: &Batch) -> Result<(), Violation> {
        let end = was.sequence.wrapping_add(was.sequence_len());
        if !was.flags.rst() {
            let is_more = self.reached.is_none_or(|reached| end.wrapping_sub(reached) as i32 > 0);
            self.reached = if is_more { Some(end) } else { self.reached };
            return Ok(());
        }
        let first = self.begun.unwrap_or(0).wrapping_add(1);
        let expected = first.wrapping_add(self.acknowledged);
        let is_meant = self.is_out() && (was.sequence == first || Some(was.sequence) == self.reached);
        let says_so = |own: &Departure| {
            let said = parse(&own.frame.bytes).ok();
            said.is_some_and(|said| {
                said.flags.rst() && said.sequence == expected && route_of(&said) == route_of(is)
            })
        };
        reset_is_heard(!is_meant || batch.said.departures.iter().any(says_so), expected)
    }
}
