//! Each step of a packet's road, made ready to be done again and again: `--bench road` of `benches` times them, `--bench guard`
//! counts their instructions. Whatever is drawn at random comes from a fixed seed.

#![allow(clippy::unwrap_used)] // a benchmark that cannot be set up may end at once

mod choice;
pub mod instructions;
mod lifetime;
mod packets;
mod pieces;
mod shifted;
mod table;
mod terminate;
mod whole;

use wire::Checksum;

pub use choice::{scrambled, targets};

use lifetime::Closer;

/// Who finds out what a step takes. It is asked once for each.
pub trait Meter {
    /// The step is `work`.
    fn again<T>(&mut self, work: impl FnMut() -> T);

    /// The step is `work` with what is made ready for it, which does not count.
    fn each<I>(&mut self, ready: impl FnMut() -> I, work: impl FnMut(&mut I));
}

/// A step.
pub struct Step<M> {
    /// What it belongs to.
    pub group: &'static str,
    /// Its name within the group.
    pub name: &'static str,
    /// How many packets it carries.
    pub packets: u64,
    /// Sets it up and has it measured.
    pub run: fn(&mut M),
}

impl<M> Step<M> {
    /// What it is called where all steps are listed.
    pub fn title(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }
}

/// All steps.
pub fn steps<M: Meter>() -> Vec<Step<M>> {
    vec![
        piece("parse", pieces::parse),
        piece("rewrite, complete", |meter| pieces::rewrite(meter, Checksum::Complete)),
        piece("rewrite, partial", |meter| pieces::rewrite(meter, Checksum::Partial)),
        piece("count", pieces::count),
        of_table("turn", table::turn),
        of_table("hit, 1024 flows", |meter| table::hit(meter, 1024)),
        of_table("miss, 1024 flows", |meter| table::miss(meter, 1024)),
        of_table("hit and observe, 1024 flows", |meter| table::observe(meter, 1024)),
        of_table("insert and release, 1024 flows", |meter| table::insert(meter, 1024)),
        of_table("hit, 65536 flows", |meter| table::hit(meter, table::MANY)),
        of_table("miss, 65536 flows", |meter| table::miss(meter, table::MANY)),
        of_table("hit and observe, 65536 flows", |meter| table::observe(meter, table::MANY)),
        of_table("insert and release, 65536 flows", |meter| table::insert(meter, table::MANY)),
        choosing("8 targets", |meter| choice::pick(meter, 8)),
        choosing("1000 targets", |meter| choice::pick(meter, 1000)),
        whole("known flow, 1,400 bytes", 1, |meter| whole::known(meter, 1400, None)),
        whole("known flow, 40 KB super-packet", 1, |meter| whole::known(meter, 40_000, Some(8345))),
        whole("one of 50,000 known flows, 1 at a time", 1, |meter| whole::among_many(meter, 1)),
        whole("one of 50,000 known flows, 8 at a time", 8, |meter| whole::among_many(meter, 8)),
        whole("shifted flow, to the target", 1, shifted::to_target),
        whole("shifted flow, to the consumer", 1, shifted::to_consumer),
        whole("new flow: SYN and RST, and its expiry", 2, whole::new_flow),
        whole("refused: no listener", 1, whole::refused),
        lived("the target closes first", |meter| lifetime::connection(meter, Closer::Target)),
        lived("the consumer closes first", |meter| lifetime::connection(meter, Closer::Consumer)),
        terminated("10 of 10 open flows active", |meter| terminate::exchange(meter, 10, 10)),
        terminated("10 of 10000 open flows active", |meter| terminate::exchange(meter, 10_000, 10)),
        terminated("10000 of 10000 open flows active", |meter| terminate::exchange(meter, 10_000, 10_000)),
    ]
}

/// Less than a packet's whole road.
const fn piece<M>(name: &'static str, run: fn(&mut M)) -> Step<M> {
    Step { group: "step", name, packets: 1, run }
}

const fn of_table<M>(name: &'static str, run: fn(&mut M)) -> Step<M> {
    Step { group: "table", name, packets: 1, run }
}

/// The choice of a target, among so many.
const fn choosing<M>(name: &'static str, run: fn(&mut M)) -> Step<M> {
    Step { group: "choice", name, packets: 1, run }
}

const fn whole<M>(name: &'static str, packets: u64, run: fn(&mut M)) -> Step<M> {
    Step { group: "whole", name, packets, run }
}

/// A connection through our own TCP, from its SYN to its end.
const fn lived<M>(name: &'static str, run: fn(&mut M)) -> Step<M> {
    Step { group: "connection", name, packets: lifetime::PACKETS, run }
}

/// A segment and its acknowledgement, through our own TCP.
const fn terminated<M>(name: &'static str, run: fn(&mut M)) -> Step<M> {
    Step { group: "terminate", name, packets: 2, run }
}
