//! The place of the header is the header's: what a consumer tries to write there does not arrive.

use super::*;

#[test]
fn nobody_else_writes_where_it_goes() {
    let forged = [7; 100];
    let mut talk = Talk::out(&[], Duration::ZERO);
    for (flags, begin, payload) in
        [(ACK, START - H, &forged[..]), (ACK, START - 1, b"xy"), (FIN | ACK, START - 50, &[])]
    {
        let segment = Segment { flags, numbers: (begin, THEIR_START), payload, ..ACKING };
        let (reason, left) = talk.consumer(&segment);
        assert_eq!((reason, left.len()), (Reason::AheadOfHeader, 0));
    }
    let keep_alive = Segment { numbers: (ISN, THEIR_START), ..ACKING };
    assert_eq!(talk.hear_consumer(&keep_alive).numbers().0, ISN + H, "which takes no place");
    // Once the target has it, nothing can take its place any more.
    talk.hear_target(&Segment { numbers: (THEIR_START, START + H + 5), ..ANSWERING });
    let old = Segment { numbers: (START - H, THEIR_START), payload: &forged, ..ACKING };
    assert_eq!(talk.hear_consumer(&old).numbers().0, START);
}

/// What would reach into its place does not bring it out either: shifted, it would lie on the header's own bytes.
#[test]
fn what_begins_before_its_place_brings_nothing_out() {
    for placement in ["", ON_FIRST_ACK] {
        let mut talk = Talk::begun(&headed(placement), &[], Duration::ZERO);
        let reaching_in = Segment { numbers: (ISN, THEIR_START), payload: b"xy", ..ACKING };
        let (reason, left) = talk.consumer(&reaching_in);
        assert_eq!((reason, left.len()), (Reason::AheadOfHeader, 0));
        let before = Segment { numbers: (START - H, THEIR_START), payload: &[7; H as usize], ..ACKING };
        assert_eq!(talk.hear_consumer(&before).numbers(), before.numbers, "the target has had that");
        let (_, left) = talk.consumer(&Segment { payload: b"hello", ..ACKING });
        assert_eq!((left[0].numbers().0, left[0].payload()), (START, &header()[..]));
        assert_eq!(left[1].numbers().0, START + H);
    }
}

#[test]
fn nothing_is_said_before_it_is_known_where_it_goes() {
    let mut talk = Talk::asked(&headed(""), 1, &[]);
    let hello = Segment { payload: b"hello", ..ACKING };
    assert_eq!(talk.consumer(&hello).0, Reason::AheadOfHeader, "the target has not answered");
    // What answers another SYN does not tell.
    talk.hear_target(&Segment { flags: SYN | ACK, numbers: (THEIRS, START + 1), ..ACKING });
    assert_eq!(talk.consumer(&hello).0, Reason::AheadOfHeader);
    talk.hear_target(&Segment { flags: SYN | ACK, numbers: (THEIRS, START), ..ACKING });
    assert_eq!(talk.consumer(&hello).1.len(), 2);
}

#[test]
fn it_goes_where_the_targets_connection_begins() {
    let mut talk = Talk::asked(&headed(""), 1, &[]);
    talk.hear_target(&Segment { flags: SYN | ACK, numbers: (THEIRS, START), ..ACKING });
    // Another SYN, which the target does not take.
    talk.ask(ISN + 5000, &[]);
    talk.hear_target(&Segment { flags: SYN | ACK, numbers: (THEIRS, START), ..ACKING });
    let (_, left) = talk.consumer(&Segment { payload: b"hello", ..ACKING });
    assert_eq!(left[0].packet.sequence, START);
    // And one that it does take.
    let mut talk = Talk::asked(&headed(""), 1, &[]);
    talk.hear_target(&Segment { flags: SYN | ACK, numbers: (THEIRS, START), ..ACKING });
    talk.ask(ISN + 5000, &[]);
    talk.hear_target(&Segment { flags: SYN | ACK, numbers: (THEIRS + 9000, START + 5000), ..ACKING });
    let hello = Segment { numbers: (START + 5000, THEIR_START), payload: b"hello", ..ACKING };
    assert_eq!(talk.consumer(&hello).0, Reason::AheadOfHeader, "it speaks of the one before");
    let hello = Segment { numbers: (START + 5000, THEIR_START + 9000), payload: b"hello", ..ACKING };
    assert_eq!(talk.consumer(&hello).1[0].numbers(), hello.numbers);
}

#[test]
fn a_target_that_has_forgotten_does_not_begin_again_without_one() {
    let other = Segment { flags: SYN | ACK, numbers: (99, START + 3000), ..ACKING };
    let same = Segment { flags: SYN | ACK, numbers: (THEIRS, START), ..ACKING };
    let mut waiting = Talk::new();
    assert_eq!(waiting.target(&other).0, Reason::OneWay);
    waiting.hear_target(&same);
    let out = Talk::out(&[], Duration::ZERO);
    let mut shifted = Talk::out(&[], Duration::ZERO);
    shifted.hear_target(&Segment { numbers: (THEIR_START, START + H + 5), ..ANSWERING });
    assert_eq!(shifted.path(), FlowPath::Shifted);
    for mut talk in [out, shifted] {
        assert_eq!(talk.target(&other).0, Reason::OneWay);
        assert_eq!(talk.target(&same).0, Reason::OneWay, "what it has begun, it has begun");
    }
    let mut opening = Talk::asked(&headed(""), 1, &[]);
    let syn = Segment { flags: SYN, numbers: (99, 0), ..ACKING };
    assert_eq!(opening.target(&syn).0, Reason::OneWay, "nor do both open at once");
}

#[test]
fn a_syn_is_an_ordinary_one_without_payload() {
    let cookie = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
    let experimental = [254, 8, 0xf9, 0x89, 1, 2, 3, 4];
    let multipath = [30, 12, 0x01, 1, 1, 2, 3, 4, 5, 6, 7, 8];
    for options in [&cookie[..], &experimental, &multipath] {
        let mut talk = Talk::asked(&headed(""), 1, &[]);
        let syn = Segment { flags: SYN, numbers: (ISN, 0), options, payload: b"early", ..ACKING };
        let left = talk.hear_consumer(&syn);
        assert_eq!((left.payload(), left.options()), (&[][..], &vec![1; options.len()][..]));
        assert_eq!(left.bytes.len(), 40 + options.len());
        talk.answer(&[]);
        let (_, left) = talk.consumer(&Segment { payload: b"early", ..ACKING });
        assert_eq!((left[0].payload(), left[1].payload()), (&header()[..], &b"early"[..]));
    }
    let mut plain = Talk::asked(FILE, 1, &[]);
    let syn = Segment { flags: SYN, numbers: (ISN, 0), options: &cookie, payload: b"early", ..ACKING };
    assert_eq!(plain.hear_consumer(&syn).payload(), b"early", "without a header, it is the two ends' affair");
}

/// Who has forgotten that it has had a header may open fast.
#[test]
fn a_syn_brings_nothing_when_the_header_has_been_heard_either() {
    let mut talk = Talk::out(&[], Duration::ZERO);
    talk.hear_target(&Segment { numbers: (THEIR_START, START + H + 5), ..ANSWERING });
    assert_eq!(talk.path(), FlowPath::Shifted);
    let cookie = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
    let syn = Segment { flags: SYN, numbers: (ISN + 5000, 0), options: &cookie, ..ACKING };
    for payload in [&b""[..], b"forged"] {
        let left = talk.hear_consumer(&Segment { payload, ..syn });
        assert_eq!((left.flags(), left.payload()), (SYN, &[][..]));
        assert_eq!((left.options(), left.bytes.len()), (&[1; 12][..], 52));
    }
}

#[test]
fn a_damaged_packet_teaches_nothing() {
    let mut talk = Talk::new();
    let mut frame = talk.consumer_frame(&Segment { payload: b"hello", ..ACKING });
    frame[34] ^= 1; // the window, which the header would tell the target with a right checksum
    let consumer = talk.lab.consumers[0];
    assert_eq!(talk.lab.refused(consumer, &frame), Reason::BadChecksum);
    assert_eq!(talk.consumer(&Segment { payload: b"hello", ..ACKING }).1.len(), 2);
}
