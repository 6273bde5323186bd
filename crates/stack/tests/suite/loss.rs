//! Losses: what they cost, and that they cost no byte.

use std::time::Duration;

use proptest::prelude::*;

use crate::opening::opened;
use crate::path::{Path, Terms};
use crate::world::V4;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Megabits a second over a gigabit path that loses so many segments in a million.
fn goodput(trip: Duration, lost: u64, limit: Duration) -> (f64, Path) {
    let mut path = Path::new(Terms::new(trip, lost));
    let (took, bytes) = path.transfer(200_000_000, limit);
    (f64::from(bytes) * 8.0 / took.as_secs_f64() / 1e6, path)
}

/// The table in docs/LOSS.md, which `--nocapture` shows, and what must be left of it at least.
#[test]
fn goodput_by_loss_and_round_trip() {
    const LEAST: [(u32, [f64; 4]); 3] =
        [(1, [800.0, 700.0, 240.0, 80.0]), (20, [170.0, 55.0, 17.0, 4.8]), (80, [43.0, 18.0, 3.8, 1.2])];
    println!("round trip   loss   Mbit/s   segments lost");
    for (trip, least) in LEAST {
        for (lost, least) in [0, 100, 1_000, 10_000].into_iter().zip(least) {
            let (rate, path) = goodput(trip * MS, lost, 60 * SECOND);
            let percent = lost as f64 / 10_000.0;
            println!("{trip:7} ms {percent:5} % {rate:8.1} {:8} of {}", path.lost, path.sent);
            assert!(rate > least, "{trip} ms, {percent} % lost: {rate} Mbit/s");
        }
    }
}

#[test]
fn a_short_queue_costs_little() {
    for (queue, least) in [(30_000, 60.0), (100_000, 80.0)] {
        let terms = Terms { rate: 12_500_000, queue, ..Terms::new(10 * MS, 0) };
        let (took, bytes) = Path::new(terms).transfer(8_000_000, 60 * SECOND);
        let rate = f64::from(bytes) * 8.0 / took.as_secs_f64() / 1e6;
        assert!(rate > least, "{queue} bytes before 100 Mbit/s: {rate}");
    }
}

#[test]
fn a_lost_tail_is_found_out_about_before_the_timer_goes_off() {
    // The last segments of every transfer are lost once in two hundred times.
    let mut slow = 0;
    for seed in 1..=400 {
        let terms = Terms { seed, ..Terms::new(20 * MS, 5_000) };
        let (took, _) = Path::new(terms).transfer(14_000, 10 * SECOND);
        slow += usize::from(took > 200 * MS);
    }
    assert!(slow < 8, "{slow} of 400 waited for the timer");
}

#[test]
fn a_request_that_is_lost_leaves_again_as_soon_as_the_handshake_lets_expect() {
    for end in [0, 1] {
        let mut world = opened(V4);
        world.weather.lost = 1000;
        world.ends[end].send(b"request");
        world.run_for(MS);
        world.weather.lost = 0;
        world.run_for(300 * MS);
        assert_eq!(world.ends[end ^ 1].readable(), 7);
    }
}

#[test]
fn packets_that_overtake_each_other_are_not_taken_for_lost() {
    let terms = Terms { late: 20_000, ..Terms::new(20 * MS, 0) };
    let mut path = Path::new(terms);
    let (took, bytes) = path.transfer(20_000_000, 20 * SECOND);
    let rate = f64::from(bytes) * 8.0 / took.as_secs_f64() / 1e6;
    let least = u64::from(bytes) / 1448;
    assert!(rate > 25.0 && path.sent < least + least / 100, "{rate} Mbit/s, {} of {least}", path.sent);
}

fn terms() -> impl Strategy<Value = Terms> {
    let often = |most: u64| prop_oneof![Just(0), 0..most];
    let events = (often(100_000), often(300_000), often(100_000), often(300_000), often(200_000));
    (200..100_000u64, events, any::<bool>(), 100_000..100_000_000u64, 3_000..1_000_000u64, any::<u64>())
        .prop_map(
            |(trip, (lost, late, doubled, lost_acknowledgements, reneged), selective, rate, queue, seed)| {
                Terms {
                    trip: Duration::from_micros(trip),
                    lost,
                    late,
                    doubled,
                    lost_acknowledgements,
                    reneged,
                    selective,
                    rate,
                    queue,
                    seed,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_byte_arrives_whatever_the_path_and_the_peer_do(terms in terms(), total in 0..200_000u32) {
        let mut path = Path::new(terms);
        let (_, bytes) = path.transfer(total, 2000 * SECOND);
        prop_assert_eq!(bytes, total + 1, "and the FIN; at {:?}", path.now);
    }
}
