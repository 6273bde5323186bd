//! What must hold, whatever the seed. Each invariant is one function here, asked after every step.

mod errors;
mod fragments;
mod headers;
mod numbers;
mod steering;
mod terminated;

use std::fmt;

use engine::Reason;
use flow::FlowId;
use wire::{Offload, Packet, mss_of, parse};

use crate::ledger::{Ledger, Side, Sight, Tuple};
use crate::packet::{OwnedFrame, Talk, checksums_are_right, route_of};
use crate::recorder::{Batch, Departure};
use crate::stream::{ConnectionId, Way, piece, tag_in};
use crate::tcp::Tcp;

pub use errors::{Allowances, error_is_translated};
pub use fragments::{Fragments, fragment_is_on_its_own_side, payload};
pub use headers::{greeting_is_right, header_is_due, header_is_right};
pub use numbers::{
    Carried, Numbering, handshake_is_first, header_is_cut, header_is_in_its_place, numbers_are_translated,
    reset_is_heard, room_is_there, syn_is_bare,
};
pub use steering::{
    check_is_due, end_is_told, flow_ends_in_time, flow_may_end, health_follows_table, health_is_told,
    newcomer_is_welcome, nobody_is_asked,
};
pub use terminated::{memory_is_bounded, no_connection_is_left, nobody_panics, segments_are_short_enough};

/// Which rule was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invariant {
    /// No packet crosses to a side that it does not belong to.
    OwnSideOnly,
    /// Every byte arrives, in order.
    BytesInOrder,
    /// Whoever speaks to a peer keeps to what the two have agreed upon.
    AgreementsKept,
    /// Two live flows to one target never share a node's port.
    PortsUnique,
    /// Every frame ends in exactly one verdict.
    OneVerdict,
    /// What leaves has right checksums and TTL, and is otherwise what came in.
    FaithfulFrames,
    /// Every connection ends as planned.
    AllEndAsPlanned,
    /// An ICMP error names nobody whom its receiver does not know, and quotes what its receiver has sent.
    ErrorsTranslated,
    /// Errors about a flow are few.
    ErrorsLimited,
    /// A datagram in fragments arrives whole and equal, or not at all.
    NothingMixed,
    /// Fragments that leave do not overlap.
    NoOverlap,
    /// Whoever has no business here is told apart.
    IntrudersKnown,
    /// Nothing is forwarded to a device that is gone, and what ends there ends.
    DeviceThere,
    /// What workers build leaves no work to a device once they know that it takes none.
    NothingUndone,
    /// No connection brings down the stack below it.
    NobodyPanics,
    /// Terminated connections keep to their memory.
    MemoryBounded,
    /// When all is over, no flow, no port, no kept fragment, no terminated connection and none of its memory is left.
    NothingLeft,
    /// What is known of a target is what its checks can have found.
    HealthFollowsTable,
    /// Newcomers are sent to those who take them.
    NewcomersWelcome,
    /// A flow is ended where the attributes of its target say so, or the operator has taken its way; and nowhere else.
    FlowsEndAsTheirAttributesSay,
    /// A target is told who its client is, rightly and once, when it is to be told, and never otherwise.
    HeaderRight,
    /// Where the numbers of a flow's two sides differ, each side hears its own.
    NumbersTranslated,
    /// No target hears of a spliced flow before its consumer's handshake is complete.
    HandshakeFirst,
    /// The scenario itself makes sense.
    SoundScenario,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnSideOnly => "no packet crosses to a side that it does not belong to",
            Self::BytesInOrder => "every byte arrives, in order",
            Self::AgreementsKept => "windows, segments and timestamps are what was agreed upon",
            Self::PortsUnique => "two live flows to one target never share a node's port",
            Self::OneVerdict => "every frame ends in exactly one verdict",
            Self::FaithfulFrames => "what leaves is right, and otherwise what came in",
            Self::AllEndAsPlanned => "every connection ends as planned",
            Self::ErrorsTranslated => "an ICMP error names and quotes only what its receiver knows",
            Self::ErrorsLimited => "errors about a flow are few",
            Self::NothingMixed => "a datagram in fragments arrives whole and equal, or not at all",
            Self::NoOverlap => "fragments that leave do not overlap",
            Self::IntrudersKnown => "whoever has no business here is told apart",
            Self::DeviceThere => "nothing is forwarded to a device that is gone",
            Self::NothingUndone => "what workers build leaves no work to a device that takes none",
            Self::NobodyPanics => "no connection brings down the stack below it",
            Self::MemoryBounded => "terminated connections keep to their memory",
            Self::NothingLeft => "when all is over, nothing is left",
            Self::HealthFollowsTable => "what is known of a target is what its checks can have found",
            Self::NewcomersWelcome => "newcomers are sent to those who take them",
            Self::FlowsEndAsTheirAttributesSay => "flows are ended as attributes say, and only so",
            Self::HeaderRight => {
                "a target is told who its client is, rightly, once and when it is to be told"
            }
            Self::NumbersTranslated => "where a flow's two sides differ in numbers, each hears its own",
            Self::HandshakeFirst => "no target hears of a spliced flow before the handshake is complete",
            Self::SoundScenario => "the scenario makes sense",
        })
    }
}

/// A broken rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub message: String,
}

impl Violation {
    /// This rule is broken, as the message says.
    pub fn new(invariant: Invariant, message: impl Into<String>) -> Self {
        Self { invariant, message: message.into() }
    }

    /// A stream whose first word names no connection.
    pub fn nameless(beginning: &[u8]) -> Self {
        let shown = &beginning[..beginning.len().min(16)];
        Self::new(
            Invariant::BytesInOrder,
            format!("a stream begins with {shown:02x?}, which names no connection"),
        )
    }
}

/// 1. A frame reaches only the side that it belongs to: it comes from an address of ours there, goes to somebody who has
///    talked to that address, acknowledges nothing that only others have sent, and carries that side's bytes.
pub fn frame_is_on_its_own_side(
    departure: &Departure,
    packet: &Packet,
    came_in: Option<&OwnedFrame>,
    ledger: &Ledger,
) -> Result<(), Violation> {
    let crossed = |why: &str| {
        let route = route_of(packet);
        let to = ledger.namespace(departure.device);
        let message = format!("{} > {} went to {to}: {why}", route.source, route.destination);
        Err(Violation::new(Invariant::OwnSideOnly, message))
    };
    let own_way = match ledger.side_of(departure.device, &Talk::from(packet)) {
        None => return crossed("it comes from no address of ours there, or goes to nobody who talks to us"),
        Some(Side::Consumer) if packet.flags.opens() => {
            return crossed("it opens a connection to a consumer");
        }
        Some(Side::Consumer) => Way::Down,
        Some(Side::Provider) => Way::Up,
    };
    // What was meant for whoever had the port before, where too few are left, may come late.
    let is_inherited = came_in.is_some_and(|frame| ledger.inherits(frame));
    if packet.flags.ack() && !is_inherited && !ledger.may_hear(departure.device, packet.acknowledgement) {
        return crossed("it acknowledges what somebody else has sent");
    }
    let Some(tag) = tag_in(&departure.frame.bytes[packet.payload..]) else { return Ok(()) };
    let is_own = match ledger.device_of(tag.connection) {
        Some(device) => own_way == Way::Up || device == departure.device,
        None => false,
    };
    if !is_own || tag.way != own_way {
        return crossed(&format!("it carries bytes of {:?}, {:?}", tag.connection, tag.way));
    }
    Ok(())
}

/// 2. Bytes that have arrived at `offset` of a stream are that stream's.
pub fn bytes_in_order(
    connection: ConnectionId,
    way: Way,
    offset: usize,
    bytes: &[u8],
) -> Result<(), Violation> {
    let expected = piece(connection, way, offset, bytes.len());
    let Some(at) = bytes.iter().zip(&expected).position(|(found, expected)| found != expected) else {
        return Ok(());
    };
    let message = format!(
        "{connection:?} {way:?}: byte {} is {:#04x}, not {:#04x}",
        offset + at,
        bytes[at],
        expected[at]
    );
    Err(Violation::new(Invariant::BytesInOrder, message))
}

/// 2b. Nobody sends to a peer what no window of its has had room for, or leaves out the timestamps that were agreed upon.
pub fn keeps_to_what_was_agreed(connection: ConnectionId, peer: &Tcp) -> Result<(), Violation> {
    let Some(complaint) = peer.complaint() else { return Ok(()) };
    Err(Violation::new(Invariant::AgreementsKept, format!("{connection:?}: {complaint}")))
}

/// 3. A port of a node belongs to one flow at a time, as the target sees it.
pub fn port_has_one_owner(
    seen: Sight,
    owner: Tuple,
    flow: Option<FlowId>,
    ledger: &mut Ledger,
) -> Result<(), Violation> {
    let Some(other) = ledger.take_port(seen, owner, flow) else { return Ok(()) };
    let Sight { protocol, node, target } = seen;
    let message = format!(
        "{target} sees {protocol} from {node} for {owner:?}, and {other:?} has not been said to be closed"
    );
    Err(Violation::new(Invariant::PortsUnique, message))
}

/// 3, for a connection that the forwarder opens by itself: its port belongs to no flow.
pub fn port_is_free(seen: Sight, ledger: &Ledger) -> Result<(), Violation> {
    let Some(other) = ledger.holder_of(&seen) else { return Ok(()) };
    let Sight { node, target, .. } = seen;
    let message =
        format!("{target} sees a new connection from {node}, and {other:?} has not been said to be closed");
    Err(Violation::new(Invariant::PortsUnique, message))
}

/// 4a. Each frame of a batch has one verdict, or was handed over once and untouched; its receiver says the verdict.
pub fn one_verdict_each(batch: &Batch) -> Result<(), Violation> {
    let broken = |message: String| Err(Violation::new(Invariant::OneVerdict, message));
    let mut silent: Vec<&OwnedFrame> = Vec::new();
    for (slot, frame) in batch.frames.iter().enumerate() {
        match batch.said.verdicts.iter().filter(|(of, _)| *of == slot).count() {
            0 => silent.push(frame),
            1 => {}
            count => return broken(format!("frame {slot} of {} has {count} verdicts", batch.frames.len())),
        }
    }
    if silent.len() != batch.said.handed_over.len() {
        let handed_over = batch.said.handed_over.len();
        return broken(format!("{} frames have no verdict, {handed_over} were handed over", silent.len()));
    }
    let strange =
        batch.said.handed_over.iter().any(|handed| !silent.iter().any(|frame| frame.bytes == handed.bytes));
    if strange { broken("a frame was changed before it was handed over".into()) } else { Ok(()) }
}

/// 4b. What leaves has right checksums and a TTL; if it was forwarded, all but what nat changes is as it came in.
pub fn frame_is_faithful(
    departure: &Departure,
    packet: &Packet,
    came_in: Option<&OwnedFrame>,
    is_shifted: bool,
    mss_ceiling: u16,
) -> Result<(), Violation> {
    let unfaithful = |why: String| {
        let route = route_of(packet);
        let message = format!("{} > {}: {why}", route.source, route.destination);
        Err(Violation::new(Invariant::FaithfulFrames, message))
    };
    if !checksums_are_right(&departure.frame, packet) {
        return unfaithful("a checksum is wrong".into());
    }
    let ceiling = if packet.source.is_v4() { mss_ceiling } else { mss_ceiling - 20 };
    if packet.flags.syn() && mss_of(&departure.frame.bytes, packet).is_some_and(|mss| mss > ceiling) {
        return unfaithful(format!("its MSS is above {ceiling}"));
    }
    let Some(before) = came_in else {
        return if packet.ttl >= 32 {
            Ok(())
        } else {
            unfaithful(format!("built with a TTL of {}", packet.ttl))
        };
    };
    let Ok(original) = parse(&before.bytes) else {
        return unfaithful("it was forwarded, and is no packet".into());
    };
    if packet.ttl + 1 != original.ttl {
        return unfaithful(format!("its TTL went from {} to {}", original.ttl, packet.ttl));
    }
    if before.offload != departure.frame.offload {
        return unfaithful("its offload state has changed".into());
    }
    let [was, is] = [(before, &original), (&departure.frame, packet)].map(|(frame, packet)| {
        let mut bytes = untouched(frame, packet);
        if is_shifted {
            leave_out_numbers(&mut bytes, packet);
        }
        bytes
    });
    // (A SYN that is shifted is made an ordinary one.)
    if was != is && !(is_shifted && packet.flags.syn()) {
        return unfaithful("something has changed that nat leaves alone".into());
    }
    Ok(())
}

/// Of what is shifted, numbers, window and options are asked elsewhere.
fn leave_out_numbers(bytes: &mut [u8], packet: &Packet) {
    let at = packet.transport;
    for range in [at + 4..at + 12, at + 14..at + 16, at + 20..packet.payload] {
        bytes[range].fill(0);
    }
}

/// A packet without what nat changes: addresses, ports, TTL, checksums, and a SYN's MSS.
fn untouched(frame: &OwnedFrame, packet: &Packet) -> Vec<u8> {
    let mut bytes = frame.bytes.clone();
    let network = if packet.source.is_v4() { [8..9, 10..20] } else { [7..8, 8..40] };
    for range in network {
        bytes[range].fill(0);
    }
    let checksum = packet.transport + packet.protocol.checksum_offset();
    bytes[packet.transport..packet.transport + 4].fill(0);
    bytes[checksum..checksum + 2].fill(0);
    if packet.flags.syn() {
        bytes[packet.transport + 20..packet.payload].fill(0);
    }
    bytes
}

/// 10. What an intruder has sent ends in one of the ways that are meant for it.
pub fn intruder_is_known(frame: &OwnedFrame, reason: Reason) -> Result<(), Violation> {
    let Some(ends) = frame.ends.filter(|ends| !ends.contains(&reason) && !BUSY.contains(&reason)) else {
        return Ok(());
    };
    let message = format!("{} instead of {ends:?}: {:02x?}", reason.as_str(), frame.bytes);
    Err(Violation::new(Invariant::IntrudersKnown, message))
}

/// 11. Nothing is forwarded to a device that the workers know to be gone. (What they build themselves, they may try.)
pub fn device_is_there(is_forwarded: bool, is_gone: bool) -> Result<(), Violation> {
    let why = "a frame was forwarded to a device that is detached";
    if is_forwarded && is_gone { Err(Violation::new(Invariant::DeviceThere, why)) } else { Ok(()) }
}

/// 11, of terminated flows: they end with either of their devices.
pub fn nothing_is_cut_off(flows: usize) -> Result<(), Violation> {
    let why = format!("{flows} terminated flows have outlived a device of theirs");
    if flows > 0 { Err(Violation::new(Invariant::DeviceThere, why)) } else { Ok(()) }
}

/// 12. Once the workers know that no work may be left to a device, what they build leaves none. (What they forward may have
///     come before.)
pub fn nothing_is_left_undone(departure: &Departure, is_lowered: bool) -> Result<(), Violation> {
    let is_undone = departure.slot.is_none() && departure.frame.offload != Offload::NONE;
    let why = "a worker has built a frame that leaves work undone";
    if is_lowered && is_undone { Err(Violation::new(Invariant::NothingUndone, why)) } else { Ok(()) }
}

/// Ways in which everything may end.
const BUSY: [Reason; 3] = [Reason::HandOverFull, Reason::EgressDown, Reason::NoTarget];

/// 5. When all is over: the flow table is empty, every source port is back, and every flow's end has been told.
pub fn nothing_is_left(flows: usize, ports: usize, untold: usize) -> Result<(), Violation> {
    if (flows, ports, untold) == (0, 0, 0) {
        return Ok(());
    }
    let message = format!(
        "{flows} flows and {ports} source ports are still in use, and of {untold} flows nobody has said that they are closed"
    );
    Err(Violation::new(Invariant::NothingLeft, message))
}
