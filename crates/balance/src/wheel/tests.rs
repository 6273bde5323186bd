use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// As different as identities are, and as hashes of flows are.
fn scrambled(n: u64) -> u64 {
    mix(n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1))
}

fn evenly(count: u64) -> Vec<(u64, u16)> {
    weighted(&vec![1; count as usize])
}

fn weighted(weights: &[u16]) -> Vec<(u64, u16)> {
    (0..).map(scrambled).zip(weights.iter().copied()).collect()
}

/// How many of so many flows each target gets.
fn spread(targets: &[(u64, u16)], flows: u64) -> Vec<u64> {
    let wheel = Wheel::build(targets);
    let mut counts = vec![0; targets.len()];
    (0..flows).filter_map(|flow| wheel.pick(scrambled(flow))).for_each(|target| counts[target] += 1);
    counts
}

/// The part of all places that lead to another target after a change.
fn moved(before: &[(u64, u16)], after: &[(u64, u16)]) -> f64 {
    let wheels = [before, after].map(Wheel::build);
    let of = |wheel: &Wheel, targets: &[(u64, u16)], hash| wheel.pick(hash).map(|target| targets[target].0);
    let hashes = (0..1u64 << 16).map(|n| n << 48);
    let differ = |hash: &u64| of(&wheels[0], before, *hash) != of(&wheels[1], after, *hash);
    hashes.filter(differ).count() as f64 / f64::from(1 << 16)
}

#[test]
fn eight_targets_have_even_shares_by_chi_squared() {
    let expected = 100_000.0 / 8.0;
    let counts = spread(&evenly(8), 100_000);
    let chi_squared: f64 = counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum();
    assert!(chi_squared < 24.3, "1 in 1,000 for 7 degrees of freedom; {chi_squared}, {counts:?}");
}

#[test]
fn shares_are_within_two_percent_of_the_weights() {
    let many: Vec<u16> = (0..1000).map(|n| 100 + n % 300).collect();
    for weights in
        [&[1, 2, 3, 4][..], &[90, 10], &[1, 99], &[999, 998, 1], &[1; 32], &[1; 33], &[7; 1000], &many]
    {
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        for (share, weight) in Wheel::build(&weighted(weights)).shares().into_iter().zip(weights) {
            let wanted = f64::from(*weight) / total;
            let error = (share - wanted).abs();
            assert!(error < 0.02 * wanted || error < 1.0 / f64::from(SMALL), "{weight} of {total}: {share}");
        }
    }
    let counts = spread(&weighted(&[10, 20, 30, 40]), 1_000_000);
    for (count, weight) in counts.iter().zip([10.0, 20.0, 30.0, 40.0]) {
        assert!((*count as f64 / 10_000.0 / weight - 1.0).abs() < 0.02, "real flows, too: {counts:?}");
    }
}

#[test]
fn a_target_with_any_weight_has_a_place() {
    let weights: Vec<u16> = (1..1000).chain([999]).collect();
    let shares = Wheel::build(&weighted(&weights)).shares();
    assert!(shares.iter().all(|share| *share > 0.0));
    for (share, weight) in shares.iter().zip(weights).filter(|(_, weight)| *weight >= 100) {
        let wanted = f64::from(weight) / 500_499.0;
        assert!((share / wanted - 1.0).abs() < 0.02, "{weight}: {share} for {wanted}");
    }
}

#[test]
fn none_one_and_nobody_with_weight() {
    assert_eq!(Wheel::build(&[]).pick(7), None);
    assert_eq!(Wheel::build(&weighted(&[0, 0, 0])).pick(u64::MAX), None);
    assert_eq!(Wheel::build(&weighted(&[0, 0, 0])).shares(), [0.0; 3]);
    let one = Wheel::build(&weighted(&[0, 5, 0]));
    assert_eq!((one.pick(0), one.pick(u64::MAX), one.places.len()), (Some(1), Some(1), 1));
    assert_eq!(one.shares(), [0.0, 1.0, 0.0]);
}

#[test]
fn one_target_more_or_less_moves_about_its_own_share() {
    for count in [2, 3, 8, 32, 33, 100, 1000] {
        let all = evenly(count);
        let share = 1.0 / count as f64;
        for gone in [0, count as usize / 2, count as usize - 1] {
            let mut fewer = all.clone();
            fewer[gone].1 = 0;
            let moved = moved(&all, &fewer);
            println!(
                "one of {count} targets out of service: {:.3} % move, its share is {:.3} %",
                moved * 100.0,
                share * 100.0
            );
            assert!(moved >= share * 0.98, "{moved}");
            assert!(moved < share * 1.05 + 0.014, "{count}: {moved}");
        }
    }
}

#[test]
fn who_is_who_does_not_depend_on_the_list() {
    let address = |text: &str| text.parse().unwrap();
    let target = |ip: &str, port| Target {
        group: topology::Id::new(0),
        address: address(ip),
        port,
        zone: None,
        weight: 1,
    };
    let all: HashSet<u64> =
        [("web", "10.2.0.2", 80), ("web", "10.2.0.2", 81), ("web", "fd00::2", 80), ("dns", "10.2.0.2", 80)]
            .into_iter()
            .map(|(group, ip, port)| identity(group, &target(ip, port)))
            .collect();
    assert_eq!(all.len(), 4);
    let weight_elsewhere = Target { weight: 9, group: topology::Id::new(3), ..target("10.2.0.2", 80) };
    assert!(all.contains(&identity("web", &weight_elsewhere)));
    assert_eq!(identity("web", &target("10.2.0.2", 80)), 0x87ec_9fe6_f864_dd72, "the same for ever");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_order_of_the_list_is_no_matter(weights in prop::collection::vec(0..1000u16, 1..40), turn in 0..40usize) {
        let list = weighted(&weights);
        let mut turned = list.clone();
        turned.rotate_left(turn % list.len());
        let (one, other) = (Wheel::build(&list), Wheel::build(&turned));
        for flow in (0..500).map(scrambled) {
            let of = |wheel: &Wheel, list: &[(u64, u16)]| wheel.pick(flow).map(|target| list[target]);
            prop_assert_eq!(of(&one, &list), of(&other, &turned));
        }
    }

    #[test]
    fn every_place_is_somebodys_who_has_weight(weights in prop::collection::vec(prop_oneof![Just(0), 0..1000u16], 0..70)) {
        let wheel = Wheel::build(&weighted(&weights));
        prop_assert!(wheel.places.iter().all(|target| weights[*target as usize] > 0));
        prop_assert!(weights.iter().zip(wheel.shares()).all(|(weight, share)| (*weight > 0) == (share > 0.0)));
    }
}
