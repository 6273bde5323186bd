//! What must hold of ICMP that leaves: an error names only what its receiver knows, is about something that its receiver has
//! sent, and is one of few.

use std::collections::HashMap;
use std::time::Duration;

use engine::Event;
use flow::FlowId;

use super::{Invariant, Violation};
use crate::header::{Header, v4_header_is_right};
use crate::icmp::{Message, quote};
use crate::ledger::Ledger;
use crate::recorder::Departure;

const LONGEST_V4: usize = 576;
const LONGEST_V6: usize = 1280;
/// Errors about one flow: so many at once, and one more each time this has passed.
const AT_ONCE: u32 = 10;
const ONE_MORE_EACH: Duration = Duration::from_millis(100);

/// 6. An error comes from the address that its receiver has spoken to, and quotes what the receiver has sent, as far as it
///    quotes it. If it is an intruder's, at least the addresses and ports are the receiver's own.
pub fn error_is_translated(
    departure: &Departure,
    message: &Message<'_>,
    is_honest: bool,
    ledger: &Ledger,
) -> Result<(), Violation> {
    let broken = |why: &str| {
        let to = ledger.namespace(departure.device);
        let Message { source, destination, kind, code, .. } = message;
        let message = format!("ICMP {kind}/{code} from {source} to {destination} in {to}: {why}");
        Err(Violation::new(Invariant::ErrorsTranslated, message))
    };
    let Some(header) = Header::read(message.body) else { return broken("it quotes no packet") };
    if (header.source, header.destination) != (message.destination, message.source) {
        let quoted = format!("it quotes {} > {}", header.source, header.destination);
        return broken(&quoted);
    }
    let longest = if message.source.is_ipv4() { LONGEST_V4 } else { LONGEST_V6 };
    if departure.frame.bytes.len() > longest {
        return broken(&format!("it is {} bytes long", departure.frame.bytes.len()));
    }
    if ledger.side_between(departure.device, message.source, message.destination).is_none() {
        return broken("its receiver does not speak to its sender");
    }
    let Some(quoted) = quote(message.body) else { return Ok(()) };
    if ledger.side_of(departure.device, &quoted.talk.back()).is_none() {
        return broken(&format!("it quotes {:?}, which its receiver has never spoken", quoted.talk));
    }
    if is_honest && !v4_header_is_right(message.body) {
        return broken("the quoted header's checksum is wrong");
    }
    if is_honest && !ledger.has_sent(departure.device, &quoted) {
        return broken(&format!("its receiver has not sent what it quotes: {quoted:02x?}"));
    }
    Ok(())
}

/// How many more errors about each flow may be passed on.
#[derive(Default)]
pub struct Allowances(HashMap<FlowId, Duration>);

impl Allowances {
    /// A flow that opens, perhaps again, begins with all of it.
    pub fn event(&mut self, event: &Event) {
        if let Event::FlowOpened { flow, .. } = event {
            self.0.remove(flow);
        }
    }

    /// 7. Errors about a flow are passed on ten at once at most, and ten a second. The allowance of each is told by when it
    ///    will be whole again.
    pub fn error_is_allowed(&mut self, flow: FlowId, now: Duration) -> Result<(), Violation> {
        let whole = self.0.entry(flow).or_default();
        *whole = now.max(*whole) + ONE_MORE_EACH;
        // What counts in ticks may be one early.
        if *whole <= now + ONE_MORE_EACH * (AT_ONCE + 1) {
            return Ok(());
        }
        Err(Violation::new(Invariant::ErrorsLimited, format!("one error too many about {flow:?}")))
    }
}
