//! Fragments that come twice, or overlap: nobody is given two versions of one byte.

use std::collections::HashMap;

use super::*;
use wire::Addr;

#[test]
fn a_duplicate_is_dropped_alone() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let question = payload(3, 4000);
    let pieces = cut(&client(V4, 5000, &question), 77, 1480);
    // Twice while it waits, twice when the first has come.
    let order = [2, 2, 0, 0, 1].map(|n| pieces[n].clone());
    let said = input(&mut lab, consumer, &order);
    use Reason::{FragmentDuplicate, FragmentForwarded, FragmentKept};
    assert_eq!(
        said.reasons(),
        [FragmentKept, FragmentDuplicate, FragmentForwarded, FragmentDuplicate, FragmentForwarded]
    );
    assert_eq!(FragmentDuplicate.remedy(), "", "it happens");
    assert_eq!(received(&said, lab.provider)[0].1, question);
}

#[test]
fn fragments_that_overlap_condemn_their_datagram_and_no_other() {
    let whole = client(V4, 5000, &payload(3, 4000));
    let data = &whole[20..];
    let piece = |start: usize, end: usize| fragment(&whole, 77, start, &data[start..end], end < data.len());
    let beyond = |start: usize, len: usize, more| fragment(&whole, 77, start, &vec![1; len], more);
    let overlapping = [
        vec![piece(0, 1480), piece(1472, 2960)],
        vec![piece(0, 1480), piece(2960, 4008), piece(1480, 2968)],
        vec![piece(0, 1480), piece(2960, 4008), beyond(4008, 8, true)],
        vec![piece(0, 1480), piece(2960, 4008), beyond(4008, 8, false)],
        vec![piece(0, 1480), piece(2960, 4008), beyond(1480, 8, false)],
    ];
    for pieces in overlapping {
        let mut lab = Lab::new(1);
        let consumer = lab.consumers[0];
        let said = input(&mut lab, consumer, &pieces);
        assert_eq!(said.reasons().last(), Some(&Reason::FragmentOverlap));
        assert_eq!(lab.refused(consumer, &piece(1480, 2960)), Reason::FragmentOverlap, "nor what is left");
        let other = input(&mut lab, consumer, &cut(&whole, 78, 1480));
        assert_eq!(received(&other, lab.provider).len(), 1, "another datagram is none of its business");
    }

    // What waits is dropped too, and the first one then.
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let said = input(&mut lab, consumer, &[piece(1480, 2960), piece(3200, 4008), piece(2952, 3200)]);
    assert_eq!(said.ended(), [(Reason::FragmentOverlap, 2)]);
    assert_eq!(lab.refused(consumer, &piece(0, 1480)), Reason::FragmentOverlap);
}

/// Whatever comes, every fragment has one verdict, what is kept is sent or said to be dropped, and no receiver is given
/// anything that overlaps.
#[test]
fn rubbish_is_accounted_for_and_never_overlaps() {
    let mut numbers = Numbers(7);
    let mut lab = Lab::new(1);
    let consumers = lab.consumers;
    let wholes = [V4, V6].map(|family| client(family, 5000, &payload(3, 2000)));
    let (mut said, mut frames) = (Said::default(), 0);
    for round in 0..20_000u64 {
        let whole = &wholes[numbers.below(2)];
        let data = &whole[if whole[0] >> 4 == 4 { 20 } else { 40 }..];
        let start = if numbers.below(4) == 0 { 0 } else { numbers.below(40) * 8 };
        let len = (1 + numbers.below(20)) * 8 - if numbers.below(8) == 0 { 3 } else { 0 };
        let more = numbers.below(8) > 0;
        let id = round as u32 / 16 + numbers.below(2) as u32;
        let piece = fragment(whole, id, start, &data[start..start + len], more);
        let now = Duration::from_millis(round);
        said.append(lab.input_at(0, consumers[numbers.below(2)], &piece, now));
        frames += 1;
        if numbers.below(50) == 0 {
            lab.pass(0, now, &mut said);
        }
    }
    lab.pass(0, 200 * SECOND, &mut said);
    assert_eq!(said.verdicts.len(), frames);
    let (kept, forwarded) = (said.count(Reason::FragmentKept), said.count(Reason::FragmentForwarded));
    let (late, dropped): (Vec<_>, Vec<_>) =
        said.ended().into_iter().partition(|(reason, _)| *reason == Reason::FragmentForwarded);
    let [late, dropped] = [late, dropped].map(|ended| ended.iter().map(|(_, count)| count).sum::<usize>());
    assert!(late > 100 && dropped > 100 && forwarded > 1000, "{late} {dropped} {forwarded}");
    assert_eq!(late + dropped, kept, "all that was kept has ended");
    assert_eq!(said.sent.len(), forwarded + late);

    let mut seen = HashMap::<(Addr, u32), Vec<(u16, u16)>>::new();
    for (_, bytes) in &said.sent {
        let piece = wire::parse_fragment(bytes).unwrap();
        let stretches = seen.entry((piece.source, piece.identification)).or_default();
        assert!(stretches.iter().all(|(start, end)| piece.end <= *start || *end <= piece.start));
        stretches.push((piece.start, piece.end));
    }
}
