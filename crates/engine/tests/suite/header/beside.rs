//! Beside the road: errors about flows with a header, RSTs, tuples that are used again, other workers, devices that are gone.

use super::*;
use crate::icmp::icmp;
use engine::{Message, WorkerId};

/// The sequence and acknowledgement numbers of the packet that an error on its way to the consumer quotes.
fn quoted(talk: &mut Talk, about: &[u8]) -> (u32, u32) {
    let error = icmp((3, 3, 0), "10.2.0.1", NODE, about);
    let (provider, now) = (talk.lab.provider, talk.lab.now);
    let said = talk.lab.input_at(talk.worker, provider, &error, now);
    assert_eq!(said.verdicts[0].reason, Reason::IcmpForwarded);
    let (device, bytes) = &said.sent[0];
    assert_eq!(*device, talk.lab.consumers[0]);
    let quote = wire::parse(&bytes[28..]).unwrap();
    assert_eq!((quote.source, quote.source_port), (addr(CLIENT), CLIENT_PORT));
    (quote.sequence, quote.acknowledgement)
}

#[test]
fn errors_quote_what_the_consumer_has_sent() {
    let mut talk = Talk::new();
    let waiting = talk.hear_consumer(&ACKING).bytes;
    assert_eq!(quoted(&mut talk, &waiting), ACKING.numbers);
    let (_, left) = talk.consumer(&Segment { payload: b"hello", ..ACKING });
    assert_eq!(quoted(&mut talk, &left[0].bytes), ACKING.numbers, "of the header it knows nothing");
    assert_eq!(quoted(&mut talk, &left[1].bytes), ACKING.numbers);
    let middle = written(
        (NODE, talk.port),
        (TARGET, 8080),
        &Segment { numbers: (START + 48, 1), payload: b"x", ..ACKING },
    );
    assert_eq!(quoted(&mut talk, &middle).0, START);
    talk.hear_target(&Segment { numbers: (THEIR_START, START + H + 5), ..ANSWERING });
    assert_eq!(talk.path(), FlowPath::Shifted);
    let later = talk.hear_consumer(&Segment { numbers: (START + 5, THEIR_START), payload: b"on", ..ACKING });
    talk.worker = 1;
    assert_eq!(quoted(&mut talk, &later.bytes), (START + 5, THEIR_START));
}

#[test]
fn errors_quote_what_the_target_has_sent() {
    let mut talk = Talk::out(&[], Duration::ZERO);
    let all = Segment { numbers: (THEIR_START, START + H + 5), payload: b"hi", ..ACKING };
    let left = talk.hear_target(&all);
    let error = icmp((3, 3, 0), "10.1.0.1", INTERFACE, &left.bytes);
    let said = talk.lab.input(talk.lab.consumers[0], &error);
    let quote = wire::parse(&said.sent[0].1[28..]).unwrap();
    assert_eq!((quote.sequence, quote.acknowledgement), all.numbers);
}

#[test]
fn a_reset_is_exact_on_either_side() {
    let mut talk = Talk::new();
    let reset = Segment { flags: RST, numbers: (START, 0), ..ACKING };
    assert_eq!(talk.hear_consumer(&reset).packet.sequence, START);
    let mut talk = Talk::out(&[], Duration::ZERO);
    assert_eq!(talk.reset(START + 5), [START, START + H + 5], "the target may have nothing of it");
    let mut talk = Talk::out(&[], Duration::ZERO);
    let reset = Segment { flags: RST | ACK, numbers: (THEIR_START, START + H + 5), ..ACKING };
    assert_eq!(talk.hear_target(&reset).numbers(), (THEIR_START, START + 5));
}

/// A target that has got a part of the header takes no RST but one that is just there. What it says instead tells the consumer,
/// who is gone, nothing but its first number.
#[test]
fn a_reset_reaches_a_target_that_has_not_got_all_of_it() {
    let mut talk = Talk::out(&[], Duration::ZERO);
    talk.hear_target(&Segment { numbers: (THEIR_START, START + 24), ..ANSWERING });
    // Late: what it says is old.
    talk.hear_target(&Segment { numbers: (THEIR_START, START + 10), ..ANSWERING });
    assert_eq!(talk.reset(START + 77), [START + H + 77], "a guess");
    assert_eq!(talk.reset(START), [START + 24, START + H], "in answer to what it was told");
    assert_eq!(talk.reset(START + 5), [START + 24, START + H + 5], "where it is");
    talk.hear_target(&Segment { numbers: (THEIR_START, START + H + 5), ..ANSWERING });
    assert_eq!(talk.reset(START + 5), [START + H + 5]);
}

#[test]
fn it_may_close_while_the_header_is_under_way() {
    let mut talk = Talk::new();
    let (_, left) = talk.consumer(&Segment { flags: FIN | ACK, payload: b"bye", ..ACKING });
    assert_eq!((left[0].payload(), left[1].numbers().0), (&header()[..], START + H));
    let fin = Segment { flags: FIN | ACK, ..ANSWERING };
    assert_eq!(talk.hear_target(&fin).numbers(), (THEIR_START, START), "before it has got the header");
    talk.hear_consumer(&Segment { numbers: (START + 4, THEIR_START + 1), ..ACKING });
    assert_eq!(talk.pass(millis(200)).0.len(), 1, "which it still gets");
    let last = Segment { numbers: (THEIR_START + 1, START + H + 4), ..ANSWERING };
    assert_eq!(talk.hear_target(&last).numbers(), (THEIR_START + 1, START + 4));
    let (_, events) = talk.pass(millis(100_000));
    assert!(matches!(events[..], [Event::FlowClosed { cause: Cause::Finished, .. }]), "{events:?}");
}

#[test]
fn a_tuple_that_is_used_again_gets_a_header_again() {
    // Closed while it waits, while it is out, and afterwards.
    for stage in 0..3 {
        let mut talk = Talk::new();
        if stage > 0 {
            talk.consumer(&Segment { payload: b"hello", ..ACKING });
        }
        if stage > 1 {
            talk.hear_target(&Segment { numbers: (THEIR_START, START + H + 5), ..ANSWERING });
        }
        let sent = if stage > 0 { 5 } else { 0 };
        talk.reset(START + sent);
        let port = talk.port;
        for worker in [0, 1] {
            talk.worker = worker;
            talk.ask(ISN, &[]);
            assert_eq!(talk.port, port, "the same flow, to the target");
            talk.answer(&[]);
            let (_, left) = talk.consumer(&Segment { payload: b"again", ..ACKING });
            assert_eq!((left[0].payload(), left[1].numbers().0), (&header()[..], START + H));
            talk.reset(START + 5);
        }
    }
}

/// Another worker may open it anew at any moment, and then goes by the same words.
#[test]
fn a_flow_that_has_closed_is_left_as_it_is() {
    for is_sent_twice in [false, true] {
        let mut talk = Talk::out(&[], Duration::ZERO);
        if is_sent_twice {
            talk.pass(millis(200));
        }
        talk.reset(START + 5);
        let heard = Segment { numbers: (THEIR_START, START + H), ..ANSWERING };
        assert_eq!(talk.hear_target(&heard).numbers(), ANSWERING.numbers);
        talk.pass(millis(9_000));
        assert!(matches!(talk.path(), FlowPath::Escorted { .. }), "{:?}", talk.path());
        assert_eq!(talk.hear_target(&heard).numbers(), ANSWERING.numbers);
    }
}

#[test]
fn another_worker_hands_its_packets_over_until_its_numbers_are_settled() {
    let mut talk = Talk::out(&[], Duration::ZERO);
    let (provider, [consumer, _]) = (talk.lab.provider, talk.lab.consumers);
    let about =
        talk.hear_consumer(&Segment { numbers: (START + 5, THEIR_START), payload: b"x", ..ACKING }).bytes;
    let frames = [
        (consumer, talk.consumer_frame(&Segment { numbers: (START + 6, THEIR_START), ..ACKING })),
        (provider, talk.target_frame(&ANSWERING)),
        (provider, icmp((3, 3, 0), "10.2.0.1", NODE, &about)),
    ];
    for (device, frame) in &frames {
        let said = talk.lab.input_at(1, *device, frame, talk.lab.now);
        assert_eq!(said.handed, [(WorkerId(0), *device, frame.clone())], "as it came");
        let said = talk.lab.input_at(0, *device, frame, talk.lab.now);
        assert_eq!((said.handed.len(), said.sent.len()), (0, 1));
    }
    talk.hear_target(&Segment { numbers: (THEIR_START, START + H + 6), ..ANSWERING });
    for (device, frame) in &frames {
        let said = talk.lab.input_at(1, *device, frame, talk.lab.now);
        assert_eq!((said.handed.len(), said.sent.len()), (0, 1));
    }
}

#[test]
fn what_goes_nowhere_brings_nothing_out() {
    let mut talk = Talk::new();
    let (provider, [consumer, _]) = (talk.lab.provider, talk.lab.consumers);
    let hello = Segment { payload: b"hello", ..ACKING };
    let expiring = with_ttl(talk.consumer_frame(&hello), 1);
    assert_eq!(talk.lab.refused(consumer, &expiring), Reason::TtlExpired);
    talk.lab.tell(Message::Detach(provider), Duration::ZERO);
    let (reason, left) = talk.consumer(&hello);
    assert_eq!((reason, left.len()), (Reason::EgressDown, 0));
    talk.lab.tell(Message::Attach(provider), Duration::ZERO);
    assert_eq!(talk.consumer(&hello).1.len(), 2);
}
