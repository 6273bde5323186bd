//! All of the road on `nat`: a known flow's packet, a new flow, a refused packet.

use std::time::Duration;

use arrayvec::ArrayVec;
use engine::Worker;
use wire::{Checksum, Frame, Offload, Segmentation, SegmentationKind, TcpFlags};

use super::Meter;
use super::packets::{
    CONSUMER, Heard, NOW, PROVIDER, Sink, ends_of_answer, ends_of_consumer, partial, said, segment,
    steps_through, tcp, udp, worker,
};

const FILE: &str = r#"
[[service]]
name = "s"
namespace = "p"
nodes = [{ address = "10.2.9.1" }]
listeners = [{ protocol = "tcp", port = 80, forward = "g" }, { protocol = "udp", port = 53, forward = "g" }]
[[target_group]]
name = "g"
targets = [{ address = "10.2.0.2", port = 8080 }, { address = "10.2.0.3", port = 8080 }]
[[endpoint]]
name = "e"
service = "s"
namespace = "c"
interfaces = [{ address = "10.1.9.50" }]
"#;
const HEADERS: usize = 40;

/// A packet of an open flow that has just passed; perhaps one that is to become segments of this size.
pub(super) fn known<M: Meter>(meter: &mut M, payload: usize, segments: Option<u16>) {
    let (mut worker, mut sink) = (worker(FILE), Sink::default());
    shake_hands(&mut worker);
    let fresh = tcp(1, TcpFlags::ACK, payload);
    let mut bytes = fresh.clone();
    let segmentation = segments.map(|size| Segmentation { kind: SegmentationKind::Tcp4, ecn: false, size });
    let offload = Offload { checksum: Checksum::Partial, segmentation };
    meter.again(|| {
        bytes[..HEADERS].copy_from_slice(&fresh[..HEADERS]);
        worker.input(CONSUMER, &mut [Frame { offload, bytes: &mut bytes }], NOW, &mut sink);
    });
    assert_eq!(sink.refused, 0);
}

/// Opens a flow both of whose sides begin at 0, as [`tcp`] has it.
fn shake_hands(worker: &mut Worker) {
    const BEFORE: u32 = u32::MAX;
    let mut heard = Heard::default();
    let mut input = |device, ends, segment| {
        let (mut bytes, len) = said(ends, segment, 0);
        worker.input(device, &mut [partial(&mut bytes[..len])], NOW, &mut heard);
        heard.last(PROVIDER)
    };
    let client = ends_of_consumer(1);
    let syn = input(CONSUMER, client, segment(TcpFlags::SYN, BEFORE, 0));
    input(PROVIDER, ends_of_answer(&syn), segment(TcpFlags::SYN | TcpFlags::ACK, BEFORE, 0));
    input(CONSUMER, client, segment(TcpFlags::ACK, 0, 0));
}

/// Packets of known flows in random order, one by one or in batches.
pub(super) fn among_many<M: Meter>(meter: &mut M, batch: usize) {
    const CLIENTS: u32 = 50_000;
    let (mut worker, mut sink) = (worker(FILE), Sink::default());
    for client in 0..CLIENTS {
        worker.input(CONSUMER, &mut [partial(&mut udp(client as u16 + 1))], NOW, &mut sink);
    }
    let mut next = steps_through(CLIENTS);
    meter.each(
        || (0..batch).map(|_| udp(next() as u16 + 1)).collect::<Vec<_>>(),
        |packets| {
            let mut frames: ArrayVec<Frame<'_>, 8> = packets.iter_mut().map(|bytes| partial(bytes)).collect();
            worker.input(CONSUMER, &mut frames, NOW, &mut sink);
        },
    );
    assert_eq!(sink.refused, 0);
}

/// The one before is forgotten, and a flow comes and goes.
pub(super) fn new_flow<M: Meter>(meter: &mut M) {
    let (mut worker, mut sink) = (worker(FILE), Sink::default());
    let (mut port, mut now) = (0, NOW);
    meter.each(
        || {
            port = port % 60_000 + 1;
            (tcp(port, TcpFlags::SYN, 0), tcp(port, TcpFlags::RST, 0))
        },
        |(syn, rst)| {
            // A closed flow is remembered for a minute; each expiry sees a tenth of the slots, and here there are few.
            now += Duration::from_secs(61);
            worker.expire(now, 4096, &mut sink);
            worker.input(CONSUMER, &mut [partial(syn)], now, &mut sink);
            worker.input(CONSUMER, &mut [partial(rst)], now, &mut sink);
        },
    );
    assert_eq!(sink.refused, 0);
}

/// A SYN to a port where nobody listens.
pub(super) fn refused<M: Meter>(meter: &mut M) {
    let (mut worker, mut sink) = (worker(FILE), Sink::default());
    let mut stray = tcp(1, TcpFlags::SYN, 0);
    stray[23] = 99;
    let mut asked = 0;
    meter.again(|| {
        asked += 1;
        worker.input(CONSUMER, &mut [partial(&mut stray)], NOW, &mut sink);
    });
    assert_eq!(sink.refused, asked);
}
