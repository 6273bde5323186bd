//! What targets are chosen by: how long making a wheel takes, and how many flows change their target when one of N comes or
//! goes, beside a plain modulo. (What choosing takes is a step of the road.)

#![allow(missing_docs)]
#![expect(clippy::print_stdout, reason = "a table is part of this program's output")]

use std::hint::black_box;

use balance::Wheel;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use road::{scrambled, targets};

const FLOWS: u64 = 1_000_000;

criterion_group!(choice, build, disruption);
criterion_main!(choice);

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    for count in [8, 1000] {
        let targets = targets(count);
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| Wheel::build(black_box(&targets)));
        });
    }
    let weighted: Vec<(u64, u16)> = (1..1000).map(|n| (scrambled(n), n as u16)).collect();
    group.bench_function("999, of weights 1 to 999", |b| b.iter(|| Wheel::build(black_box(&weighted))));
}

/// Not a matter of time: it is printed once.
fn disruption(_: &mut Criterion) {
    println!("flows that change their target, in percent");
    println!("{:>7} {:>8} {:>12} {:>12} {:>12} {:>12}", "targets", "1/N", "one goes:", "", "one comes:", "");
    println!("{:>7} {:>8} {:>12} {:>12} {:>12} {:>12}", "N", "", "wheel", "modulo", "wheel", "modulo");
    for count in [3, 8, 100, 1000] {
        let all = targets(count + 1);
        let now = &all[..count];
        // The one in the middle, so that those behind it move up.
        let fewer = [&now[..count / 2], &now[count / 2 + 1..]].concat();
        println!(
            "{count:>7} {:>8.3} {:>12.3} {:>12.3} {:>12.3} {:>12.3}",
            100.0 / count as f64,
            by_wheel(now, &fewer),
            by_modulo(now, &fewer),
            by_wheel(now, &all),
            by_modulo(now, &all),
        );
    }
    println!();
}

fn by_wheel(before: &[(u64, u16)], after: &[(u64, u16)]) -> f64 {
    let (old, new) = (Wheel::build(before), Wheel::build(after));
    let target = |wheel: &Wheel, list: &[(u64, u16)], hash| wheel.pick(hash).map(|target| list[target].0);
    moved(|hash| target(&old, before, hash) != target(&new, after, hash))
}

fn by_modulo(before: &[(u64, u16)], after: &[(u64, u16)]) -> f64 {
    let target = |list: &[(u64, u16)], hash: u64| list[(hash % list.len() as u64) as usize].0;
    moved(|hash| target(before, hash) != target(after, hash))
}

fn moved(is_moved: impl Fn(u64) -> bool) -> f64 {
    let flows = (0..FLOWS).map(|flow| scrambled(!flow));
    flows.filter(|hash| is_moved(*hash)).count() as f64 * 100.0 / FLOWS as f64
}
