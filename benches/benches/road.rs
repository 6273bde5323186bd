//! How long each step of a packet's road takes, on `nat`, shifted and on `terminate`: parse, table, tracking, rewrite, counters,
//! the choice of a target, and the whole.

#![allow(missing_docs)]

use std::time::Instant;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use road::{Meter, steps};

criterion_group!(road, all);
criterion_main!(road);

fn all(criterion: &mut Criterion) {
    let mut timed = Timed { criterion, group: "step", name: "clock", packets: 1 };
    // Belongs to no step: the time is read once a batch, outside of the engine.
    timed.again(Instant::now);
    for step in steps() {
        timed = Timed { group: step.group, name: step.name, packets: step.packets, ..timed };
        (step.run)(&mut timed);
    }
}

/// Times the step of this name.
struct Timed<'a> {
    criterion: &'a mut Criterion,
    group: &'static str,
    name: &'static str,
    packets: u64,
}

impl Timed<'_> {
    fn group(&mut self) -> BenchmarkGroup<'_, WallTime> {
        let mut group = self.criterion.benchmark_group(self.group);
        group.throughput(Throughput::Elements(self.packets));
        group
    }
}

impl Meter for Timed<'_> {
    fn again<T>(&mut self, mut work: impl FnMut() -> T) {
        let name = self.name;
        self.group().bench_function(name, |b| b.iter(&mut work));
    }

    fn each<I>(&mut self, mut ready: impl FnMut() -> I, mut work: impl FnMut(&mut I)) {
        let name = self.name;
        self.group().bench_function(name, |b| {
            b.iter_batched_ref(&mut ready, &mut work, BatchSize::SmallInput);
        });
    }
}
