//! Packets of nobody's, with the right tuple and numbers that neither end has shown: what is done in the consumer's name does not go
//! by them.

use super::*;

/// The target has said nothing yet: nobody can have acknowledged this.
const WILD: u32 = THEIR_START + 1000;

#[test]
fn a_stray_brings_nothing_out() {
    let mut talk = Talk::new();
    let far = START + (1 << 26) + 1;
    let strays = [
        (ACK, START, WILD, &b"stray"[..]),
        (ACK, START, THEIR_START - 1, b"stray"),
        (ACK, START + 7, WILD, b""),
        (ACK, far, THEIR_START, b"stray"),
        (FIN | ACK, START, WILD, b""),
    ];
    for (flags, sequence, acknowledgement, payload) in strays {
        let stray = Segment { flags, numbers: (sequence, acknowledgement), payload, ..ACKING };
        let (reason, left) = talk.consumer(&stray);
        assert_eq!((reason, left.len()), (Reason::AheadOfHeader, 0), "{:?}", stray.numbers);
    }
    let (_, left) = talk.consumer(&Segment { payload: b"hello", ..ACKING });
    assert_eq!((left[0].payload(), left[0].numbers()), (&header()[..], (START, THEIR_START)));
}

#[test]
fn a_target_may_say_much_before_the_consumer_says_anything() {
    let mut talk = Talk::new();
    let mut said = THEIR_START;
    for _ in 0..9 {
        said = said.wrapping_add(1 << 25);
        talk.hear_target(&Segment { numbers: (said - 1, START), payload: b"x", ..ANSWERING });
        talk.hear_consumer(&Segment { numbers: (START, said), ..ACKING });
    }
    for nobody_has_it in [said + 1, said - (1 << 26) - 1] {
        let stray = Segment { numbers: (START, nobody_has_it), payload: b"stray", ..ACKING };
        assert_eq!(talk.consumer(&stray).0, Reason::AheadOfHeader);
    }
    let (_, left) = talk.consumer(&Segment { numbers: (START, said - 1000), payload: b"hello", ..ACKING });
    assert_eq!(left[0].numbers(), (START, said - 1000));
}

/// Who opens fast may be answered so, and take that or not.
#[test]
fn what_comes_with_a_syn_ack_is_said_too() {
    for taken in [0, 5] {
        let mut talk = Talk::asked(&headed(""), 1, &[]);
        let answer = Segment { flags: SYN | ACK, numbers: (THEIRS, START), payload: b"early", ..ACKING };
        talk.hear_target(&answer);
        let stray = Segment { numbers: (START, THEIR_START + 6), payload: b"stray", ..ACKING };
        assert_eq!(talk.consumer(&stray).0, Reason::AheadOfHeader);
        let hello = Segment { numbers: (START, THEIR_START + taken), payload: b"hello", ..ACKING };
        assert_eq!(talk.consumer(&hello).1[0].numbers(), hello.numbers);
    }
}

#[test]
fn a_header_that_comes_again_does_not_say_what_a_stray_has_said() {
    let mut talk = Talk::out(&[], Duration::ZERO);
    let wild = Segment { numbers: (START + 5, WILD), window: 1, ..ACKING };
    let far = Segment { numbers: (START + 5 + (1 << 27), THEIR_START), window: 1, ..ACKING };
    for stray in [wild, far] {
        talk.hear_consumer(&stray);
    }
    let (left, _) = talk.pass(millis(200));
    assert_eq!((left[0].numbers(), left[0].window()), ((START, THEIR_START), 1000));
}

/// A RST without an acknowledgement has a number all the same, which is 0: past many that are in use.
#[test]
fn what_acknowledges_nothing_acknowledges_nothing_of_the_header() {
    let isn = 0xf000_0000;
    let mut talk = Talk::asked(&headed(""), 1, &[]);
    talk.ask(isn, &[]);
    talk.hear_target(&Segment { flags: SYN | ACK, numbers: (THEIRS, isn + 1), ..ACKING });
    let hello = Segment { numbers: (isn + 1, THEIR_START), payload: b"hello", ..ACKING };
    assert_eq!(talk.consumer(&hello).1.len(), 2);
    talk.hear_target(&Segment { flags: RST, numbers: (THEIR_START + 9, 0), ..ACKING });
    assert_eq!(talk.reset(isn + 6), [isn + 1, isn + 6 + H]);
}

/// So has a consumer's segment without one, which a target takes no byte of.
#[test]
fn what_acknowledges_nothing_brings_nothing_out() {
    let mut talk = Talk::asked(&headed(""), 1, &[]);
    talk.hear_target(&Segment { flags: SYN | ACK, numbers: (u32::MAX, START), ..ACKING });
    let hello = Segment { numbers: (START, 0), payload: b"hello", ..ACKING };
    for flags in [0, PSH, FIN] {
        let (reason, left) = talk.consumer(&Segment { flags, ..hello });
        assert_eq!((reason, left.len()), (Reason::AheadOfHeader, 0));
    }
    assert_eq!(talk.consumer(&hello).1.len(), 2);
}

#[test]
fn a_goodbye_from_before_the_first_byte_is_none() {
    let mut talk = Talk::new();
    for numbers in [(ISN, THEIR_START), (START - 500, THEIR_START)] {
        talk.hear_consumer(&Segment { flags: FIN | ACK, numbers, ..ACKING });
    }
    assert_eq!(talk.consumer(&Segment { payload: b"hello", ..ACKING }).1.len(), 2);
}

#[test]
fn far_beyond_a_header_that_was_heard_its_bytes_still_count() {
    let mut talk = Talk::out(&[], Duration::ZERO);
    assert_eq!(talk.pass(millis(200)).0.len(), 1, "it goes out twice");
    talk.hear_target(&Segment { numbers: (THEIR_START, START + H), ..ANSWERING });
    let far = START + 0x9000_0000;
    let options = sack(&[(far + 10, far + 20)]);
    let left = talk.hear_target(&Segment { numbers: (THEIR_START, far), options: &options, ..ANSWERING });
    assert_eq!((left.numbers().1, blocks(&left)), (far - H, vec![far + 10 - H, far + 20 - H]));
}
