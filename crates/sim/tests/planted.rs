//! Each invariant catches the bug that is planted for it, and what it says leads back to the run.

use sim::sabotage::Sabotage;

/// Seeds whose scenarios give every saboteur an occasion.
const SEEDS: std::ops::Range<u64> = 0..20;

fn caught(sabotage: Sabotage) {
    let mut times = 0;
    for seed in SEEDS {
        let clean = sim::run(seed);
        assert!(clean.is_ok(), "without sabotage: {clean:?}");
        let Err(failure) = sim::run_with(seed, Some(sabotage)) else { continue };
        assert_eq!(failure.violation.invariant, sabotage.caught_by(), "{failure}");
        assert!(failure.to_string().contains(&format!("SIDEGATE_SIM_SEED={seed}")), "{failure}");
        times += 1;
    }
    assert!(times > 0, "{sabotage:?} was never noticed");
}

#[test]
fn a_frame_for_another_consumer_is_noticed() {
    caught(Sabotage::Misdeliver);
}

#[test]
fn swapped_bytes_are_noticed() {
    caught(Sabotage::SwapBytes);
}

#[test]
fn a_shared_port_is_noticed() {
    caught(Sabotage::ShareAPort);
}

#[test]
fn a_missing_verdict_is_noticed() {
    caught(Sabotage::SwallowAVerdict);
}

#[test]
fn a_wrong_checksum_is_noticed() {
    caught(Sabotage::SpoilAChecksum);
}

#[test]
fn connections_that_never_end_are_noticed() {
    caught(Sabotage::SwallowAnswers);
}

#[test]
fn a_leaked_port_is_noticed() {
    caught(Sabotage::LeakAPort);
}
