//! What must hold of terminated connections: none of them is ended by a panic, they keep to their memory, and nothing of them
//! is left.

use engine::Event;
use flow::Cause;
use wire::Packet;

use super::{Invariant, Violation};
use crate::ledger::Ledger;
use crate::packet::{Route, Talk, route_of};
use crate::recorder::Departure;

/// What a connection is never refused, however little memory there is.
const NEVER_REFUSED: usize = 64 << 10;
/// No intruder's segment is longer.
const MOST_FORGED: u16 = 64;

/// 2c. What the forwarder builds is cut so that its receiver finds no segment longer than it has announced; and whoever is
///     spliced with a receiver, or sends behind its header, has been told so.
pub fn segments_are_short_enough(
    departure: &Departure,
    packet: &Packet,
    ledger: &Ledger,
) -> Result<(), Violation> {
    let Some(mss) = ledger.mss_of(departure.device, &Talk::from(packet)) else { return Ok(()) };
    let whole = packet.payload_len();
    let longest = departure.frame.offload.segmentation.map_or(whole, |cut| whole.min(cut.size.into()));
    // Whoever speaks in a consumer's name has heard no announcement.
    let most = if departure.slot.is_some() { mss.max(MOST_FORGED) } else { mss };
    if longest <= most.into() {
        return Ok(());
    }
    let Route { source, destination } = route_of(packet);
    let message = format!("{source} > {destination}: a segment of {longest} bytes, and the MSS is {mss}");
    Err(Violation::new(Invariant::AgreementsKept, message))
}

/// 13. No connection has brought down the stack below it.
pub fn nobody_panics(event: &Event) -> Result<(), Violation> {
    match event {
        Event::FlowClosed { flow, cause: Cause::Panicked, .. } => {
            Err(Violation::new(Invariant::NobodyPanics, format!("{flow:?} has ended in a panic")))
        }
        _ => Ok(()),
    }
}

/// 14. The buffers of all terminated connections take no more memory than they may.
pub fn memory_is_bounded(used: usize, limit: usize, connections: usize) -> Result<(), Violation> {
    let most = limit + connections * NEVER_REFUSED;
    let message = format!("{connections} connections take {used} bytes, and may take {most}");
    if used > most { Err(Violation::new(Invariant::MemoryBounded, message)) } else { Ok(()) }
}

/// 5, of terminated connections: when all is over, nobody has one, and all of their memory has come back.
pub fn no_connection_is_left(connections: usize, used: usize) -> Result<(), Violation> {
    if (connections, used) == (0, 0) {
        return Ok(());
    }
    let message = format!(
        "{connections} connections are terminated that nobody knows of, and {used} bytes of buffers are still in use"
    );
    Err(Violation::new(Invariant::NothingLeft, message))
}
