//! What we say ourselves to an end of a flow.

use flow::Key;
use wire::{Frame, SEGMENT_CAPACITY, Segment};

use crate::attached::Attached;
use crate::contract::{Egress, Output};
use crate::plan::Plan;
use crate::view::Location;

/// Says something to the end of a flow that is behind `key`, if there is a way to it.
pub(crate) fn say<O: Output>(
    plan: &Plan,
    attached: &Attached,
    key: &Key,
    segment: &Segment<'_>,
    out: &mut O,
) {
    let at = plan.view.locate(key.place).filter(|at| attached.has(at.device));
    let Some(Location { device, address }) = at else { return };
    let mut buffer = [0; SEGMENT_CAPACITY];
    let (ours, theirs) = ((address, key.local_port), (key.remote, key.remote_port));
    let len = segment.write_between(ours, theirs, &mut buffer);
    out.emit(&mut Frame::plain(&mut buffer[..len]), Egress::Device(device));
}
