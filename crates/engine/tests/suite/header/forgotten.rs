//! A consumer that begins anew on a tuple that is taken: its target is asked whether it has forgotten the flow, and only if it has
//! does the flow end.

use super::*;

/// A SYN of the consumer's that is not the flow's own.
const ANEW: Segment<'_> = Segment { flags: SYN, numbers: (ISN + 5000, 0), ..ACKING };

/// Flows that stand: whose header waits, is out, and has been heard.
fn standing() -> [Talk; 3] {
    let mut heard = Talk::out(&[], Duration::ZERO);
    heard.hear_target(&Segment { numbers: (THEIR_START, START + H + 5), ..ANSWERING });
    assert_eq!(heard.path(), FlowPath::Shifted);
    [Talk::new(), Talk::out(&[], Duration::ZERO), heard]
}

/// A SYN-ACK with this acknowledgement.
fn answer(acknowledgement: u32) -> Segment<'static> {
    Segment { flags: SYN | ACK, numbers: (99, acknowledgement), ..ACKING }
}

/// What becomes of a target's packet, and why flows end at it.
fn ended(talk: &mut Talk, segment: &Segment<'_>) -> (Reason, Vec<Left>, Vec<Cause>) {
    let frame = talk.target_frame(segment);
    let said = talk.lab.input_at(talk.worker, talk.lab.provider, &frame, talk.lab.now);
    let cause = |event: &Event| match event {
        Event::FlowClosed { cause, .. } => Some(*cause),
        _ => None,
    };
    (said.verdicts[0].reason, left(&said), said.events.iter().filter_map(cause).collect())
}

#[test]
fn a_target_that_has_forgotten_ends_the_flow_and_the_next_syn_opens_another_with_a_header() {
    for mut talk in standing() {
        let before = talk.port;
        let asked = talk.hear_consumer(&ANEW).packet.sequence;
        let (reason, left, causes) = ended(&mut talk, &answer(asked + 1));
        assert_eq!((reason, left.len(), causes), (Reason::OneWayReset, 1, vec![Cause::Reset]));
        assert_eq!((left[0].device, left[0].flags()), (talk.lab.provider, RST));
        assert_eq!(left[0].packet.sequence, asked + 1, "where it expects the next byte");

        talk.ask(ISN + 5000, &[]);
        assert_ne!(talk.port, before, "the old one rests");
        talk.hear_target(&Segment { numbers: (THEIRS, START + 5000), ..answer(0) });
        talk.hear_consumer(&Segment { numbers: (START + 5000, THEIR_START), ..ACKING });
        let hello = Segment { numbers: (START + 5000, THEIR_START), payload: b"hello", ..ACKING };
        let (_, left) = talk.consumer(&hello);
        assert_eq!((left[0].payload(), left[1].payload()), (&header()[..], &b"hello"[..]));
    }
}

/// Its port is closed: the next SYN is refused as any is.
#[test]
fn a_target_that_is_gone_ends_the_flow_too() {
    for mut talk in standing() {
        let asked = talk.hear_consumer(&ANEW).packet.sequence;
        let refusal = |number| Segment { flags: RST | ACK, numbers: (0, number), ..ACKING };
        for wild in [asked, asked + 2] {
            let path = talk.path();
            talk.target(&refusal(wild));
            assert_eq!(talk.path(), path, "that is no answer");
        }
        let (reason, left, causes) = ended(&mut talk, &refusal(asked + 1));
        assert_eq!((reason, left.len()), (Reason::NoFlow, 0), "nobody else knows the number");
        assert_eq!(causes, [Cause::Reset]);
        let syn = talk.hear_consumer(&ANEW);
        assert_eq!((syn.packet.sequence, syn.flags()), (ISN + 5000, SYN), "a newcomer's");
    }
}

/// One that says a number and does not mean it.
#[test]
fn a_reset_that_acknowledges_nothing_ends_nothing() {
    for mut talk in standing() {
        let acknowledgement = talk.hear_consumer(&ANEW).packet.sequence + 1;
        let mut buffer = [0; wire::SEGMENT_CAPACITY];
        let flags = wire::TcpFlags::new(wire::TcpFlags::RST);
        let reset = wire::Segment { flags, acknowledgement, ..wire::Segment::default() };
        let len = reset.write_between((addr(TARGET), 8080), (addr(NODE), talk.port), &mut buffer);
        let (path, provider) = (talk.path(), talk.lab.provider);
        talk.input(provider, &buffer[..len]);
        assert_eq!(talk.path(), path);
    }
}

#[test]
fn what_does_not_answer_the_question_ends_nothing() {
    for mut talk in standing() {
        let number = talk.hear_consumer(&ANEW).packet.sequence;
        assert_eq!(talk.hear_consumer(&ANEW).packet.sequence, number, "sent again");
        let other = Segment { numbers: (ISN + 6000, 0), ..ANEW };
        assert_eq!(talk.hear_consumer(&other).packet.sequence, number, "whoever asks");
        for wild in [number, number + 2, ISN + 5001, ISN + 5001 + H] {
            assert_eq!(talk.target(&answer(wild)).0, Reason::OneWay);
        }
        let syn = Segment { flags: SYN, numbers: (99, number + 1), ..ACKING };
        assert_eq!(talk.target(&syn).0, Reason::OneWay, "which answers nothing");
        let (_, _, causes) = ended(&mut talk, &Segment { numbers: (THEIR_START, number + 1), ..ANSWERING });
        assert_eq!(causes, [], "it does not begin anew, and refuses nothing");
        let path = talk.path();
        talk.hear_target(&ANSWERING);
        assert_eq!(talk.path(), path, "it goes on");
    }
}

#[test]
fn a_target_that_remembers_says_so_and_the_consumer_ends_the_flow() {
    let [waiting, _, heard] = standing();
    for (mut talk, taken) in [(waiting, START), (heard, START + H + 5)] {
        talk.hear_consumer(&ANEW);
        let challenge = talk.hear_target(&Segment { numbers: (THEIR_START, taken), ..ANSWERING });
        let at = challenge.packet.acknowledgement;
        talk.consumer(&Segment { flags: RST, numbers: (at, 0), ..ACKING });
        let syn = talk.hear_consumer(&ANEW);
        assert_eq!((syn.packet.sequence, syn.flags()), (ISN + 5000, SYN), "a newcomer's");
    }
}

#[test]
fn an_error_about_the_question_is_no_news_for_the_consumer() {
    for mut talk in standing() {
        let asked = talk.hear_consumer(&ANEW);
        let mut error = [0; wire::ICMP_ERROR_CAPACITY];
        let unreachable = wire::IcmpError::TooBig(1400);
        let len = unreachable.write(addr(TARGET), addr(NODE), &asked.bytes, &mut error);
        let provider = talk.lab.provider;
        assert_eq!(talk.lab.refused(provider, &error[..len]), Reason::IcmpNoFlow);
    }
}
