//! All of the road for a packet whose numbers are shifted: its flow's target has had a proxy protocol header, of which the
//! consumer knows nothing. The packets have timestamps, as those of most flows do.

use engine::Worker;
use topology::DeviceId;
use wire::{Segment, SynOptions, TcpFlags};

use super::Meter;
use super::packets::{
    CONSUMER, Ends, Heard, NOW, PAYLOAD, PROVIDER, Sink, ends_of_answer, ends_of_consumer, partial, said,
    segment, worker,
};

const FILE: &str = r#"
[[service]]
name = "s"
namespace = "p"
nodes = [{ address = "10.2.9.1" }]
listeners = [{ protocol = "tcp", port = 80, forward = "g" }]
[[target_group]]
name = "g"
targets = [{ address = "10.2.0.2", port = 8080 }]
attributes = { "proxy_protocol_v2.enabled" = true }
[[endpoint]]
name = "e"
service = "s"
namespace = "c"
interfaces = [{ address = "10.1.9.50" }]
"#;
/// Where the consumer's bytes begin, and the target's.
const CONSUMERS: u32 = 1001;
const TARGETS: u32 = 2001;

pub(super) fn to_target<M: Meter>(meter: &mut M) {
    let flow = Flow::settled();
    let more = timed(TcpFlags::ACK, CONSUMERS + PAYLOAD as u32, TARGETS);
    flow.measure(meter, CONSUMER, ends_of_consumer(1), more);
}

pub(super) fn to_consumer<M: Meter>(meter: &mut M) {
    let flow = Flow::settled();
    let (ends, answer) = (flow.node, timed(TcpFlags::ACK, TARGETS, flow.acknowledgement));
    flow.measure(meter, PROVIDER, ends, answer);
}

/// A flow whose target has acknowledged its header, and the consumer's first bytes.
struct Flow {
    worker: Worker,
    /// Where the target's packets come from and go to.
    node: Ends,
    /// What the target has acknowledged, as it numbers.
    acknowledgement: u32,
}

impl Flow {
    fn settled() -> Self {
        let (mut worker, mut heard) = (worker(FILE), Heard::default());
        let mut input = |device, ends, segment, payload| {
            let (mut bytes, len) = said(ends, segment, payload);
            worker.input(device, &mut [partial(&mut bytes[..len])], NOW, &mut heard);
            heard.last(PROVIDER)
        };
        let client = ends_of_consumer(1);
        let syn = input(CONSUMER, client, timed(TcpFlags::SYN, CONSUMERS - 1, 0), 0);
        let node = ends_of_answer(&syn);
        input(PROVIDER, node, timed(TcpFlags::SYN | TcpFlags::ACK, TARGETS - 1, CONSUMERS), 0);
        let first = input(CONSUMER, client, timed(TcpFlags::ACK, CONSUMERS, TARGETS), PAYLOAD);
        assert!(first.sequence > CONSUMERS, "a header goes ahead of it");
        let acknowledgement = first.sequence + PAYLOAD as u32;
        input(PROVIDER, node, timed(TcpFlags::ACK, TARGETS, acknowledgement), 0);
        Self { worker, node, acknowledgement }
    }

    /// Carries a packet that comes from there, over and over.
    fn measure<M: Meter>(mut self, meter: &mut M, from: DeviceId, ends: Ends, segment: Segment<'static>) {
        let (fresh, len) = said(ends, segment, PAYLOAD);
        let headers = len - PAYLOAD;
        let (mut bytes, mut sink) = (fresh, Sink::default());
        meter.again(|| {
            bytes[..headers].copy_from_slice(&fresh[..headers]);
            self.worker.input(from, &mut [partial(&mut bytes[..len])], NOW, &mut sink);
        });
        assert_eq!(sink.refused, 0);
    }
}

/// A segment with timestamps.
fn timed(flags: u8, sequence: u32, acknowledgement: u32) -> Segment<'static> {
    let options = SynOptions { timestamps: Some([1, 1]), ..SynOptions::default() };
    Segment { options, ..segment(flags, sequence, acknowledgement) }
}
