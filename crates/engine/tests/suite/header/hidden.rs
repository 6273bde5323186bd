//! What the consumer never learns: that there is a header.

use super::*;

#[test]
fn acknowledgements_inside_it_are_none() {
    let mut talk = Talk::out(&[], Duration::ZERO);
    for (ack, seen) in [(ISN, ISN), (START, START), (START + 1, START), (START + H - 1, START)] {
        let left = talk.hear_target(&Segment { numbers: (THEIR_START, ack), ..ANSWERING });
        assert_eq!(left.numbers(), (THEIR_START, seen));
    }
    let left = talk.hear_target(&Segment { numbers: (THEIR_START, START + H + 2), ..ANSWERING });
    assert_eq!(left.numbers(), (THEIR_START, START + 2));
}

#[test]
fn the_window_has_no_room_for_it_until_it_is_taken() {
    // By how many bits the target shifts; then its windows, and what the consumer is told while the header waits, and while it is
    // out. As long as the consumer has to speak first, it may.
    let scaled = |scale| vec![3, 3, scale, 1];
    for (options, windows) in [
        (vec![], [(1000, 900, 900), (99, 1, 0), (0, 0, 0)]),
        (scaled(0), [(1000, 900, 900), (100, 1, 0), (102, 2, 2)]),
        (scaled(3), [(1000, 987, 987), (12, 1, 0), (65_535, 65_522, 65_522)]),
        (scaled(7), [(1000, 999, 999), (1, 1, 0), (0, 0, 0)]),
        (scaled(14), [(1000, 999, 999), (1, 1, 0), (0, 0, 0)]),
    ] {
        let mut talk = Talk::asked(&headed(""), 1, &options);
        let answer = Segment { flags: SYN | ACK, numbers: (THEIRS, START), options: &options, ..ACKING };
        assert_eq!(talk.hear_target(&answer).window(), 900, "a SYN-ACK's is never scaled");
        talk.hear_consumer(&ACKING);
        for (window, seen, _) in windows {
            assert_eq!(talk.hear_target(&Segment { window, ..ANSWERING }).window(), seen);
        }
        talk.consumer(&Segment { payload: b"hello", ..ACKING });
        for (window, _, seen) in windows {
            assert_eq!(talk.hear_target(&Segment { window, ..ANSWERING }).window(), seen);
        }
        let half = Segment { numbers: (THEIR_START, START + 50), window: 5000, ..ANSWERING };
        let scale = options.get(2).copied().unwrap_or(0);
        assert_eq!(talk.hear_target(&half).window(), 5000 - 50u16.div_ceil(1 << scale));
        let all = Segment { numbers: (THEIR_START, START + H), ..half };
        assert_eq!(talk.hear_target(&all).window(), 5000);
    }
}

#[test]
fn no_block_arrives_before_it_does() {
    let mut talk = Talk::out(&[], Duration::ZERO);
    let ahead = sack(&[(START + H, START + H + 5)]);
    for ack in [START, START + 40] {
        let left = talk.hear_target(&Segment { numbers: (THEIR_START, ack), options: &ahead, ..ANSWERING });
        assert_eq!((blocks(&left), left.options()), (vec![], &[1; 12][..]), "the header's bytes are missing");
    }
    let options = sack(&[(START + H + 9, START + H + 20)]);
    let all = Segment { numbers: (THEIR_START, START + H + 5), options: &options, ..ANSWERING };
    assert_eq!(blocks(&talk.hear_target(&all)), [START + 9, START + 20], "shifted, once it has arrived");
    let later = sack(&[(START + H + 30, START + H + 40), (START + H + 9, START + H + 20)]);
    let left = talk.hear_target(&Segment { options: &later, ..all });
    assert_eq!(blocks(&left), [START + 30, START + 40, START + 9, START + 20]);
}

#[test]
fn what_arrives_twice_is_not_told_twice_if_it_is_the_header() {
    let mut talk = Talk::out(&[], Duration::ZERO);
    assert_eq!(talk.pass(millis(200)).0.len(), 1, "sent again");
    talk.hear_target(&Segment { numbers: (THEIR_START, START + H + 5), ..ANSWERING });
    assert!(matches!(talk.path(), FlowPath::Escorted { .. }), "it may be heard of once more");
    let twice = sack(&[(START, START + H), (START + H + 50, START + H + 60)]);
    let heard = Segment { numbers: (THEIR_START, START + H + 5), options: &twice, ..ANSWERING };
    assert_eq!(blocks(&talk.hear_target(&heard)), [START + 50, START + 60], "of the header: no");
    let twice = sack(&[(START + H, START + H + 5)]);
    assert_eq!(blocks(&talk.hear_target(&Segment { options: &twice, ..heard })), [START, START + 5]);
    let old = Segment { numbers: (THEIR_START, START + 9), ..ANSWERING };
    assert_eq!(talk.hear_target(&old).numbers().1, START, "late");

    talk.pass(millis(2_150));
    assert!(matches!(talk.path(), FlowPath::Escorted { .. }));
    talk.pass(millis(2_250));
    assert_eq!(talk.path(), FlowPath::Shifted);
    assert_eq!(talk.hear_target(&heard).numbers(), (THEIR_START, START + 5));
}

#[test]
fn the_consumers_own_blocks_and_timestamps_are_not_touched() {
    let mut talk = Talk::out(&[], Duration::ZERO);
    let options = [sack(&[(THEIR_START + 10, THEIR_START + 20)]), stamps(5, 6)].concat();
    let left =
        talk.hear_consumer(&Segment { numbers: (START + 5, THEIR_START), options: &options, ..ACKING });
    assert_eq!((left.numbers(), left.options()), ((START + H + 5, THEIR_START), &options[..]));
    let options = stamps(77, 5);
    let left = talk.hear_target(&Segment { options: &options, ..ANSWERING });
    assert_eq!(left.options(), options);
}

#[test]
fn segment_sizes_are_clamped_as_on_nat() {
    let size = [2, 4, 0x23, 0x01];
    let mut talk = Talk::asked(&headed(""), 1, &[]);
    let syn = Segment { flags: SYN, numbers: (ISN, 0), options: &size, ..ACKING };
    assert_eq!(
        SynOptions::read(&talk.hear_consumer(&syn).bytes, &wire::parse(&talk.consumer_frame(&syn)).unwrap())
            .mss,
        Some(8365)
    );
    let answer = Segment { flags: SYN | ACK, numbers: (THEIRS, START), options: &size, ..ACKING };
    let left = talk.hear_target(&answer);
    assert_eq!(wire::mss_of(&left.bytes, &left.packet), Some(8365));
}
