//! What falls between two looks of a worker's.

use flow::{Cause, Fate};
use topology::{Path, Topology};
use wire::{Segment, TcpFlags};

use super::*;
use crate::fixture::{CLIENT, CONSUMER, INTERFACE, Said, say, worker};

/// The order of the looks is told by what they are given: here, what the first one has seen is not the latest any more.
#[test]
fn what_is_sentenced_between_two_looks_is_ended_at_the_next() {
    let (shared, mut worker) = worker(Path::Terminate);
    let syn = Segment { flags: TcpFlags::new(TcpFlags::SYN), sequence: 1, ..Segment::default() };
    say(&mut worker, CONSUMER, [CLIENT, INTERFACE], &syn, Duration::ZERO);
    assert_eq!(worker.terminated(), 1);
    let lanes = shared.flows.lanes();
    let seen = lanes.sentences();
    shared.adopt(Arc::new(Topology::clone(&shared.topology())), Duration::ZERO);
    lanes.iter().for_each(|(lane, _)| lanes.set_fate(lane, Fate::Ended(Cause::Deregistered)));
    worker.keep_up_since(seen, Duration::ZERO);
    assert_eq!((worker.plan.number, worker.sentences), (2, seen));
    worker.expire(Duration::ZERO, 0, &mut Said::default());
    assert_eq!(worker.terminated(), 0);
}
