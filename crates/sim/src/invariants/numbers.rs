//! What must hold of flows whose two sides differ in numbers: by a header that only the target gets, and where the consumer's
//! handshake was the forwarder's, by what the target began with.

use wire::{Packet, TcpFlags};

use super::{Invariant, Violation};
use crate::packet::{OwnedFrame, route_of};
use crate::tcp::{Options, window_field};

/// A packet on one side of the forwarder.
pub struct Carried<'a> {
    /// Its fields.
    pub packet: &'a Packet,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// How the numbers of a packet have to change on its way through.
#[derive(Clone, Copy, Default, Debug)]
pub struct Numbering {
    /// What is added to the sequence number: one of these.
    pub sequence: [u32; 2],
    /// What the acknowledgement number becomes: one of these.
    pub acknowledgement: [u32; 2],
    /// What is added to the edges of selective acknowledgements.
    pub selective: u32,
    /// How much of a header the target has not acknowledged: less room for the consumer, and no word of what came out of order.
    pub pending: u32,
    /// Or it has, and this was on its way before that.
    pub is_late: bool,
    /// Below this, before the shift, a selective acknowledgement may be about the header: it may be taken out.
    pub least: Option<u32>,
    /// The scales that the sender's windows have, and that the receiver takes them to have.
    pub scales: (u8, u8),
    /// What is added to the timestamp, and to its echo; unknown until one has been seen.
    pub stamps: Option<(u32, u32)>,
}

/// 19. Whatever is passed on carries its receiver's numbers, and is otherwise what it was.
pub fn numbers_are_translated(was: &Carried<'_>, is: &Carried<'_>, how: &Numbering) -> Result<(), Violation> {
    let broken = |why: String| {
        let route = route_of(is.packet);
        let message = format!("{} > {}: {why} ({how:?})", route.source, route.destination);
        Err(Violation::new(Invariant::NumbersTranslated, message))
    };
    let (before, now) = (was.packet, is.packet);
    if !how.sequence.contains(&now.sequence.wrapping_sub(before.sequence)) {
        return broken(format!("its sequence number went from {} to {}", before.sequence, now.sequence));
    }
    if now.flags.ack() && !how.acknowledgement.contains(&now.acknowledgement) {
        return broken(format!(
            "it acknowledged {}, and now {}",
            before.acknowledgement, now.acknowledgement
        ));
    }
    let [old, new] = [was, is].map(|own| Options::of(own.packet, own.bytes));
    if let Err(why) = blocks_are_shifted(&old, &new, how) {
        return broken(why);
    }
    let stamps = how.stamps.zip(old.timestamps).map(|((value, echo), (sent, echoed))| {
        (sent.wrapping_add(value), if now.flags.ack() { echoed.wrapping_add(echo) } else { echoed })
    });
    if old.timestamps.is_some() != new.timestamps.is_some() || stamps.is_some() && stamps != new.timestamps {
        return broken(format!("its timestamps went from {:?} to {:?}", old.timestamps, new.timestamps));
    }
    if let Err(why) = window_is_told(was, is, how) {
        return broken(why);
    }
    if rest(was) != rest(is) {
        return broken("something has changed that is no number".into());
    }
    Ok(())
}

/// Nothing is added, nothing is left out but what is about a header.
fn blocks_are_shifted(old: &Options, new: &Options, how: &Numbering) -> Result<(), String> {
    let shift = |edge: u32| edge.wrapping_add(how.selective);
    let may_go = |left: u32| how.least.is_some_and(|least| (left.wrapping_sub(least) as i32) < 0);
    let shifted = |keeps: &dyn Fn(u32) -> bool| -> Vec<(u32, u32)> {
        let kept = old.blocks.iter().filter(|(left, _)| keeps(*left));
        kept.map(|(left, right)| (shift(*left), shift(*right))).collect()
    };
    let expected = [shifted(&|_| true), shifted(&|left| !may_go(left))];
    let is_silent = how.pending > 0 && new.blocks.is_empty();
    let is_right = is_silent || (how.pending == 0 || how.is_late) && expected.contains(&new.blocks);
    if is_right {
        return Ok(());
    }
    Err(format!("its selective acknowledgements went from {:?} to {:?}", old.blocks, new.blocks))
}

/// Never more than the target has, less what the header takes; and no less without a reason.
fn window_is_told(was: &Carried<'_>, is: &Carried<'_>, how: &Numbering) -> Result<(), String> {
    let (from, to) = how.scales;
    let [old, new] = [was, is].map(|own| u64::from(window_field(own.packet, own.bytes)));
    let told = |field: u64| (field << from >> to).min(u16::MAX.into());
    // In whole units of the target's.
    let taken = u64::from(how.pending).div_ceil(1 << from);
    let is_less = how.pending > 0 && new == told(old.saturating_sub(taken));
    // A window of one stays one: whoever is told of none may never say what brings the header out.
    let is_least = how.pending > 0 && old <= taken && new == told(old.min(1));
    let is_full = (how.pending == 0 || how.is_late) && new == told(old);
    // Nobody heeds the window of what came before.
    let is_stale = how.pending > 0 && how.is_late && new <= told(old);
    if is_less || is_least || is_full || is_stale || was.packet.flags.rst() {
        return Ok(());
    }
    Err(format!("its window went from {old} << {from} to {new} << {to}"))
}

/// A packet without its numbers.
fn rest(own: &Carried<'_>) -> (u8, Vec<u8>, usize) {
    (
        own.packet.flags.bits(),
        own.bytes[own.packet.payload..].to_vec(),
        own.packet.payload - own.packet.transport,
    )
}

/// 18, of where: what a worker builds for a target is the header, from the first byte on, or nothing.
pub fn header_is_in_its_place(packet: &Packet, offset: u32, len: u32) -> Result<(), Violation> {
    let end = offset.wrapping_add(packet.payload_len() as u32);
    if packet.payload_len() == 0 || offset < len && end <= len {
        return Ok(());
    }
    let message = format!("{offset}..{end} is built for a target, whose header has {len} bytes");
    Err(Violation::new(Invariant::HeaderRight, message))
}

/// 18, of its segments: their receiver takes what they carry, with their options (RFC 6691).
pub fn header_is_cut(packet: &Packet, mss: u16) -> Result<(), Violation> {
    let options = packet.payload - packet.transport - 20;
    let len = packet.payload_len();
    if len == 0 || len + options <= mss.into() {
        return Ok(());
    }
    let message = format!("{len} bytes of a header, with {options} of options, where the MSS is {mss}");
    Err(Violation::new(Invariant::HeaderRight, message))
}

/// 19, of what lets a spliced flow's consumer speak: no more room than its target has beside the header.
pub fn room_is_there(told: u64, room: u64) -> Result<(), Violation> {
    let why = format!("a consumer is told of a window of {told}, where its target has one of {room}");
    if told <= room { Ok(()) } else { Err(Violation::new(Invariant::NumbersTranslated, why)) }
}

/// 19, of a RST: a target that has not got all of its header hears it, too.
pub fn reset_is_heard(is_said: bool, expected: u32) -> Result<(), Violation> {
    let why =
        format!("a consumer has reset its connection, and its target, which expects {expected}, is not told");
    if is_said { Ok(()) } else { Err(Violation::new(Invariant::NumbersTranslated, why)) }
}

/// 18, of what would come before it: a SYN brings no bytes of the client's.
pub fn syn_is_bare(is: &Carried<'_>) -> Result<(), Violation> {
    if is.packet.payload_len() == 0 && !Options::of(is.packet, is.bytes).fast_open {
        return Ok(());
    }
    let message = format!("a SYN goes on with {} bytes, or with the wish for some", is.packet.payload_len());
    Err(Violation::new(Invariant::HeaderRight, message))
}

/// 20. A target hears nothing before the consumer has answered us.
pub fn handshake_is_first(frame: &OwnedFrame, packet: &Packet, is_complete: bool) -> Result<(), Violation> {
    if is_complete {
        return Ok(());
    }
    let route = route_of(packet);
    let (is_syn, len) = (packet.flags.bits() & TcpFlags::SYN != 0, frame.bytes.len());
    let message = format!(
        "{} > {}: {len} bytes (a SYN: {is_syn}) of a consumer who has not answered us",
        route.source, route.destination
    );
    Err(Violation::new(Invariant::HandshakeFirst, message))
}
