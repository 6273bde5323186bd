//! Numbers that pass their end, and begin again at 0, within the header.

use super::*;

/// The header's first byte, and the target's: at the end, about it, and in the midst of what is said.
const BEGINNINGS: [(u32, u32); 5] = [
    (0, 0),
    (u32::MAX, u32::MAX),
    (u32::MAX - 47, 1),
    (u32::MAX - 50, u32::MAX - 2),
    (u32::MAX - 98, u32::MAX - 5),
];
const BANNER: &[u8; 6] = b"banner";

/// A flow between these beginnings: its target takes 48 bytes at once, and has greeted its consumer, who has acknowledged that.
fn greeted(start: u32, theirs: u32) -> Talk {
    let mut talk = Talk::asked(&headed(""), 1, &[2, 4, 0, 48]);
    talk.ask(start.wrapping_sub(1), &[]);
    let answer = Segment { flags: SYN | ACK, numbers: (theirs.wrapping_sub(1), start), ..ACKING };
    talk.hear_target(&Segment { options: &[2, 4, 0, 48], ..answer });
    talk.hear_consumer(&Segment { numbers: (start, theirs), ..ACKING });
    talk.hear_target(&Segment { numbers: (theirs, start), payload: BANNER, ..ACKING });
    let heard = Segment { numbers: (start, theirs.wrapping_add(6)), ..ACKING };
    assert_eq!(talk.hear_consumer(&heard).numbers(), heard.numbers);
    talk
}

#[test]
fn it_goes_out_and_is_heard_across_the_end() {
    for (start, theirs) in BEGINNINGS {
        let mut talk = greeted(start, theirs);
        let [said, end] = [theirs.wrapping_add(6), start.wrapping_add(H)];
        // It was said when only a part of the greeting had come.
        let hello = Segment { numbers: (start, theirs.wrapping_add(1)), payload: b"hello", ..ACKING };
        let (_, left) = talk.consumer(&hello);
        let begins: Vec<u32> = left.iter().map(|left| left.packet.sequence).collect();
        assert_eq!(begins, [0, 48, 96, H].map(|offset| start.wrapping_add(offset)));
        assert_eq!(left[..3].iter().flat_map(Left::payload).copied().collect::<Vec<_>>(), header());

        let taken = [end, end.wrapping_add(5)];
        let ahead = sack(&[(taken[0], taken[1])]);
        for part in 0..H {
            let number = start.wrapping_add(part);
            let left = talk.hear_target(&Segment { numbers: (said, number), options: &ahead, ..ANSWERING });
            assert_eq!((left.numbers(), blocks(&left)), ((said, start), vec![]), "{part} bytes of it");
            assert_eq!(left.window(), 1000 - (H - part) as u16);
        }
        let later = sack(&[(taken[1].wrapping_add(9), taken[1].wrapping_add(20))]);
        let all = Segment { numbers: (said, taken[1]), options: &later, ..ANSWERING };
        let left = talk.hear_target(&all);
        assert_eq!((left.numbers(), left.window()), ((said, start.wrapping_add(5)), 1000));
        assert_eq!(blocks(&left), [14, 25].map(|offset| start.wrapping_add(offset)));
        assert_eq!(talk.path(), FlowPath::Shifted);
    }
}

#[test]
fn nobody_writes_there_across_the_end_either() {
    for (start, theirs) in BEGINNINGS {
        let mut talk = greeted(start, theirs);
        let said = theirs.wrapping_add(6);
        let at = |offset: u32, payload| {
            let numbers = (start.wrapping_add(offset), said);
            Segment { numbers, payload, ..ACKING }
        };
        assert_eq!(
            talk.hear_consumer(&at(u32::MAX, b"x")).packet.sequence,
            start.wrapping_sub(1),
            "a keep-alive"
        );
        assert_eq!(talk.consumer(&at(u32::MAX, b"xy")).0, Reason::AheadOfHeader);
        assert_eq!(talk.consumer(&at(0, b"hello")).1.len(), 4);
        assert_eq!(talk.consumer(&at(H.wrapping_neg(), &[7; 100])).0, Reason::AheadOfHeader);
        assert_eq!(talk.hear_consumer(&at(5, b"more")).packet.sequence, start.wrapping_add(H + 5));
        let (left, _) = talk.pass(millis(200));
        assert_eq!(left.iter().flat_map(Left::payload).copied().collect::<Vec<_>>(), header());
    }
}
