//! What fragments may take: time, and room that all consumers share.

use super::*;

#[test]
fn what_waits_is_dropped_after_two_seconds() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let pieces = cut(&client(V4, 5000, &payload(3, 4000)), 77, 1480);
    input(&mut lab, consumer, &pieces[1..]);
    let mut said = Said::default();
    lab.pass(0, 2 * SECOND - Duration::from_millis(1), &mut said);
    assert!(said.ended().is_empty());
    lab.pass(0, 2 * SECOND, &mut said);
    assert_eq!(said.ended(), [(Reason::FragmentTimedOut, 2)]);
    let said = input_at(&mut lab, consumer, &pieces, 3 * SECOND);
    assert_eq!(received(&said, lab.provider).len(), 1, "all of it again is another datagram");
}

#[test]
fn of_a_datagram_sixteen_fragments_may_wait_in_sixteen_stretches() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let whole = client(V4, 5000, &payload(3, 4000));
    let in_a_row = cut(&whole, 1, 200);
    let in_holes: Vec<_> = cut(&whole, 2, 64).into_iter().step_by(2).collect();
    // Of the second one the first fragment is here: nothing waits, but it is as hard to follow.
    for (pieces, kept) in [(&in_a_row[1..18], 16), (&in_holes[..17], 0)] {
        let said = input(&mut lab, consumer, pieces);
        assert_eq!(said.reasons().last(), Some(&Reason::FragmentNoRoom));
        assert_eq!(said.count(Reason::FragmentNoRoom), 1);
        // It will never be whole: nothing of it waits any longer, nor goes on.
        let dropped: usize = said.ended().iter().map(|(_, count)| count).sum();
        assert_eq!((said.count(Reason::FragmentKept), dropped), (kept, kept));
    }
    for left in [&in_a_row[0], &in_a_row[18], &in_holes[20]] {
        assert_eq!(lab.refused(consumer, left), Reason::FragmentNoRoom);
    }
}

#[test]
fn when_no_more_may_wait_the_oldest_datagram_makes_room() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let pieces = |id| cut(&client(V4, 5000, &payload(3, 4000)), id, 400);
    for id in 0..8 {
        let said = input(&mut lab, consumer, &pieces(id)[1..9]);
        assert_eq!(said.reasons(), [Reason::FragmentKept; 8], "64 of all");
    }
    let said = input(&mut lab, consumer, &pieces(8)[1..2]);
    assert_eq!(said.reasons(), [Reason::FragmentKept]);
    assert_eq!(said.ended(), [(Reason::FragmentNoRoom, 8)]);
    assert_eq!(lab.refused(consumer, &pieces(0)[0]), Reason::FragmentNoRoom);
    let said = input(&mut lab, consumer, &pieces(1)[..1]);
    assert_eq!(said.ended(), [(Reason::FragmentForwarded, 8)], "the others go on");
}

#[test]
fn the_datagram_that_makes_room_may_be_the_one_that_needs_it() {
    // 64 datagrams of one fragment each, and the oldest wants a second one.
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let pieces = |id| cut(&client(V4, 5000, &payload(3, 4000)), id, 400);
    for id in 0..64 {
        input(&mut lab, consumer, &pieces(id)[1..2]);
    }
    let said = input(&mut lab, consumer, &pieces(0)[2..3]);
    assert_eq!(said.reasons(), [Reason::FragmentNoRoom]);
    assert_eq!(said.ended(), [(Reason::FragmentNoRoom, 1)]);
}

/// Whatever one consumer sends, be it more datagrams than are known at once or more than may wait, the other's arrive.
#[test]
fn one_consumers_flood_takes_no_room_from_the_other() {
    let question = payload(5, 4000);
    for (family, count, flood) in [
        (V4, 100, &[1, 2][..]), // never a first fragment
        (V4, 1000, &[2]),
        (V6, 1000, &[1, 2]),
        (V4, 1000, &[0]), // the first, and nothing else
    ] {
        let mut lab = Lab::new(1);
        let [greedy, modest] = lab.consumers;
        let pour = |lab: &mut Lab, ids: std::ops::Range<u32>| {
            for id in ids {
                let pieces = cut(&client(family, 5000, &payload(3, 4000)), id, 1480);
                let some: Vec<_> = flood.iter().map(|at| pieces[*at].clone()).collect();
                input(lab, greedy, &some);
            }
        };
        pour(&mut lab, 0..count);
        let mut said = Said::default();
        for (n, piece) in cut(&client(family, 5000, &question), 1, 1480).iter().rev().enumerate() {
            said.append(lab.input(modest, piece));
            let begin = count * (n as u32 + 1);
            pour(&mut lab, begin..begin + count);
        }
        assert_eq!(said.count(Reason::FragmentKept), 2);
        assert_eq!(received(&said, lab.provider)[0].1, question);
    }
}

#[test]
fn the_oldest_datagram_makes_room() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let pieces = |id| cut(&client(V4, 5000, &payload(3, 4000)), id, 1480);
    input(&mut lab, consumer, &pieces(0)[2..]);
    for id in 1..512 {
        assert!(input(&mut lab, consumer, &pieces(id)[..1]).ended().is_empty());
    }
    let said = input(&mut lab, consumer, &pieces(512)[..1]);
    assert_eq!(said.ended(), [(Reason::FragmentNoRoom, 1)]);
    let said = input(&mut lab, consumer, &pieces(1)[1..]);
    assert_eq!(said.reasons(), [Reason::FragmentForwarded; 2], "the others go on");
    let said = input(&mut lab, consumer, &pieces(0)[1..2]);
    assert_eq!(said.reasons(), [Reason::FragmentKept]);
}
