//! The header is lost, or its acknowledgement: it is sent again by a clock of its own.

use super::*;

/// When headers leave until then, as the consumer's clock shows it in milliseconds.
fn sent_again(talk: &mut Talk, until: u64) -> Vec<u64> {
    let mut times = Vec::new();
    for now in talk.lab.now.as_millis() as u64 + 1..=until {
        let (left, _) = talk.pass(millis(now));
        let copies = left.iter().filter(|left| left.payload() == header());
        assert!(left.iter().all(|left| left.packet.sequence == START || left.flags() & RST != 0));
        times.extend(copies.map(|_| now));
    }
    times
}

#[test]
fn it_comes_again_later_and_later_and_then_both_ends_are_told() {
    for (rtt, first) in [(0, 200), (50, 200), (150, 300), (20_000, 3000)] {
        let mut talk = Talk::out(&[], millis(rtt));
        let doubling = [1, 3, 7, 15, 31].map(|times| rtt + times * first);
        let end = rtt + 63 * first;
        assert_eq!(sent_again(&mut talk, end - 1), doubling, "after a round trip of {rtt} ms");
        let (left, events) = talk.pass(millis(end));
        let resets: Vec<_> =
            left.iter().map(|left| (left.device, left.flags(), left.packet.sequence)).collect();
        let [consumer, _] = talk.lab.consumers;
        assert!(resets.contains(&(consumer, RST, THEIR_START)), "{resets:?}");
        assert!(resets.contains(&(talk.lab.provider, RST, START + H + 5)), "{resets:?}");
        assert!(matches!(events[..], [Event::FlowClosed { cause: Cause::HeaderUnheard, .. }]), "{events:?}");
        assert_eq!(talk.consumer(&ACKING).0, Reason::NoFlowReset);
    }
}

#[test]
fn it_is_the_last_copy_of_a_syn_that_is_answered() {
    let mut talk = Talk::asked(&headed(""), 1, &[]);
    talk.lab.now = millis(1000);
    talk.ask(ISN, &[]);
    talk.lab.now = millis(1150);
    talk.answer(&[]);
    assert_eq!(talk.consumer(&Segment { payload: b"hello", ..ACKING }).1.len(), 2);
    assert_eq!(sent_again(&mut talk, 1500), [1450]);
}

#[test]
fn a_target_that_is_heard_of_is_not_given_up() {
    let mut talk = Talk::out(&[], Duration::ZERO);
    let mut copies = 0;
    for second in 1..30 {
        copies += sent_again(&mut talk, second * 1000).len();
        talk.hear_target(&Segment { payload: b"not a word of yours", ..ANSWERING });
    }
    assert!(copies > 50, "{copies}");
    assert!(matches!(talk.path(), FlowPath::Escorted { .. }));
    talk.hear_target(&Segment { numbers: (THEIR_START, START + H), ..ANSWERING });
    assert_eq!(sent_again(&mut talk, 40_000), [0u64; 0]);
}

#[test]
fn once_heard_it_does_not_come_again() {
    let mut talk = Talk::out(&[], Duration::ZERO);
    talk.hear_target(&Segment { numbers: (THEIR_START, START + H - 1), ..ANSWERING });
    assert_eq!(sent_again(&mut talk, 250), [200], "all of it has to be acknowledged");
    talk.hear_target(&Segment { numbers: (THEIR_START, START + H), ..ANSWERING });
    assert_eq!(sent_again(&mut talk, 10_000), [0u64; 0]);
    assert_eq!(talk.path(), FlowPath::Shifted);
}

#[test]
fn it_says_what_the_consumer_has_said_last() {
    let mut talk = Talk::out(&stamps(10, 90), Duration::ZERO);
    talk.hear_target(&Segment { payload: b"hey", ..ANSWERING });
    let options = stamps(20, 91);
    let later = Segment { numbers: (START + 5, THEIR_START + 3), window: 777, options: &options, ..ACKING };
    talk.hear_consumer(&later);
    // Late: what it says is old.
    talk.hear_consumer(&Segment { window: 5, options: &stamps(11, 90), payload: b"hello", ..ACKING });
    let (left, _) = talk.pass(millis(200));
    assert_eq!((left[0].numbers(), left[0].window()), ((START, THEIR_START + 3), 777));
    assert_eq!((left[0].options(), left[0].payload()), (&options[..], &header()[..]));
}

#[test]
fn a_flow_that_is_reset_is_left_in_peace() {
    let mut talk = Talk::out(&[], Duration::ZERO);
    talk.reset(START + 5);
    assert_eq!(sent_again(&mut talk, 9_000), [0u64; 0]);
}

#[test]
fn what_ends_while_it_waits_leaves_nothing_behind() {
    let mut talk = Talk::new();
    talk.hear_consumer(&Segment { flags: RST, ..ACKING });
    let (left, events) = talk.pass(millis(100_000));
    assert!(left.is_empty());
    assert!(matches!(events[..], [Event::FlowClosed { cause: Cause::Reset, .. }]), "{events:?}");
}

#[test]
fn it_counts_as_sent_whatever_brought_it_out() {
    let mut talk = Talk::new();
    let far = Segment { numbers: (START + (1 << 26), THEIR_START), payload: b"far beyond", ..ACKING };
    assert_eq!(talk.consumer(&far).0, Reason::StrayForwarded);
    let (left, _) = talk.pass(millis(63 * 200));
    let provider = talk.lab.provider;
    let resets = left.iter().filter(|left| left.device == provider && left.flags() & RST != 0);
    assert!(resets.map(|left| left.packet.sequence).any(|sequence| sequence == START + H));
}
