//! What a packet's road is made of, the flow table aside.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use wire::{Addr, Checksum, Frame, Offload, Rewrite, TcpFlags};

use super::Meter;
use super::packets::tcp;

pub(super) fn parse<M: Meter>(meter: &mut M) {
    let bytes = tcp(1, TcpFlags::ACK, 1400);
    meter.again(|| wire::parse(black_box(&bytes)));
}

pub(super) fn rewrite<M: Meter>(meter: &mut M, checksum: Checksum) {
    let mut bytes = tcp(1, TcpFlags::ACK, 1400);
    let packet = wire::parse(&bytes).unwrap();
    let rewrite = Rewrite {
        source: Addr::v4([10, 2, 9, 1]),
        source_port: 40_000,
        destination: Addr::v4([10, 2, 0, 2]),
        destination_port: 8080,
    };
    let offload = Offload { checksum, segmentation: None };
    meter.again(|| rewrite.apply(&mut Frame { offload, bytes: black_box(&mut bytes) }, &packet));
}

pub(super) fn count<M: Meter>(meter: &mut M) {
    let counter = AtomicU64::new(0);
    meter.again(|| counter.store(counter.load(Ordering::Relaxed) + black_box(1), Ordering::Relaxed));
}
