//! The last things that were said, for whoever has to find out what went wrong.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use wire::{Unparsed, parse};

use crate::fragment;
use crate::header::Header;
use crate::icmp::{self, Message, Quote};
use crate::packet::{OwnedFrame, Talk, route_of};
use crate::recorder::Batch;

/// Batches that are kept.
const KEPT: usize = 8;

/// The last batches.
#[derive(Default, Debug)]
pub struct Story(VecDeque<(Duration, Batch)>);

impl Story {
    /// Adds a batch, and forgets the oldest.
    pub fn add(&mut self, now: Duration, batch: Batch) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((now, batch));
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Batch { device, frames, said }) in &self.0 {
            writeln!(f, "{at:?}")?;
            let from = device.map_or(u16::MAX, |device| device.0);
            frames.iter().try_for_each(|frame| writeln!(f, "  in  {from} {}", Line(frame)))?;
            for departure in &said.departures {
                let how = if departure.slot.is_some() { "forwarded" } else { "built" };
                writeln!(f, "  out {} {} {how}", departure.device.0, Line(&departure.frame))?;
            }
            said.handed_over.iter().try_for_each(|frame| writeln!(f, "  handed over {}", Line(frame)))?;
            said.verdicts.iter().try_for_each(|(slot, verdict)| writeln!(f, "  [{slot}] {verdict:?}"))?;
            said.events.iter().try_for_each(|event| writeln!(f, "  {event:?}"))?;
        }
        Ok(())
    }
}

/// A frame in one line.
struct Line<'a>(&'a OwnedFrame);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match parse(&self.0.bytes) {
            Ok(packet) => {
                let route = route_of(&packet);
                let (flags, sequence, acknowledgement) =
                    (packet.flags.bits(), packet.sequence, packet.acknowledgement);
                write!(f, "{} {} > {}", packet.protocol, route.source, route.destination)?;
                write!(
                    f,
                    " flags {flags:#04x} seq {sequence} ack {acknowledgement}, {} bytes",
                    packet.payload_len()
                )?;
            }
            Err(reason) => self.write_other(f, reason)?,
        }
        f.write_str(if self.0.damaged { " (damaged)" } else { "" })
    }
}

impl Line<'_> {
    fn write_other(&self, f: &mut fmt::Formatter<'_>, reason: Unparsed) -> fmt::Result {
        let bytes = &self.0.bytes;
        if let Some(Message { source, destination, kind, code, body, .. }) = icmp::read(bytes) {
            write!(f, "icmp {kind}/{code} {source} > {destination}")?;
            if let Some(Quote { talk: Talk { protocol, route }, sequence, .. }) = icmp::quote(body) {
                write!(f, " about {protocol} {} > {} seq {sequence}", route.source, route.destination)?;
            }
        } else if let Some((header, piece)) = fragment::read(bytes) {
            let Header { source, destination, identifier, offset, .. } = header;
            let end = offset + piece.len();
            write!(f, "fragment {source} > {destination} of {identifier:#x}: {offset}..{end}")?;
        } else {
            write!(f, "{reason:?}")?;
        }
        write!(f, ", {} bytes", bytes.len())
    }
}
