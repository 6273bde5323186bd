//! Where the header goes, and what brings it out.

use super::*;

#[test]
fn the_target_gets_the_header_first_byte_for_byte_and_the_consumer_hears_nothing_of_it() {
    let mut talk = Talk::new();
    assert_eq!(talk.shown().numbering.header, 0);
    let (reason, left) = talk.consumer(&Segment { payload: b"hello", ..ACKING });
    assert_eq!((reason, talk.shown().numbering.header), (Reason::Forwarded, H as u8));
    let [first, second] = &left[..] else { panic!("{} frames", left.len()) };
    for left in [first, second] {
        assert_eq!(left.device, talk.lab.provider);
        assert_eq!((left.packet.source, left.packet.source_port), (addr(NODE), talk.port));
        assert_eq!((left.packet.destination, left.packet.destination_port), (addr(TARGET), 8080));
    }
    assert_eq!((first.numbers(), first.flags(), first.window()), ((START, THEIR_START), PSH | ACK, 1000));
    assert_eq!((first.packet.ttl, second.packet.ttl), (64, 63));
    let got = first.payload();
    assert_eq!(got[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x54");
    assert_eq!(got[16..28], [10, 1, 0, 2, 10, 1, 9, 50, 0x9c, 0x40, 0, 80], "the consumer, and its endpoint");
    assert_eq!((&got[35..39], &got[39..61]), (&[0xea, 0, 0x17, 1][..], &VPCE[..]));
    assert_eq!(got, header());
    assert_eq!((second.numbers(), second.payload()), ((START + H, THEIR_START), &b"hello"[..]));

    // The target acknowledges both, and answers; from now on any worker carries the flow.
    let left = talk.hear_target(&Segment { numbers: (THEIR_START, START + H + 5), payload: b"hi", ..ACKING });
    assert_eq!((left.numbers(), left.payload(), left.window()), ((THEIR_START, START + 5), &b"hi"[..], 1000));
    assert_eq!(talk.path(), FlowPath::Shifted);
    talk.worker = 1;
    let left =
        talk.hear_consumer(&Segment { numbers: (START + 5, THEIR_START + 2), payload: b"on", ..ACKING });
    assert_eq!(left.numbers(), (START + 5 + H, THEIR_START + 2));
    let left = talk.hear_target(&Segment { numbers: (THEIR_START + 2, START + H + 7), ..ACKING });
    assert_eq!(left.numbers(), (THEIR_START + 2, START + 7));
}

#[test]
fn each_clouds_words_count_for_as_long_as_they_are() {
    for (tlv, len) in [("aws", H), ("gcp", 39), ("azure", 36)] {
        let file = headed(&format!(", \"proxy_protocol_v2.tlv\" = \"{tlv}\""));
        let mut talk = Talk::begun(&file, &[], Duration::ZERO);
        let (_, left) = talk.consumer(&Segment { payload: b"hello", ..ACKING });
        assert_eq!((left[0].payload().len() as u32, left[1].packet.sequence), (len, START + len), "{tlv}");
        let nearly = talk.hear_target(&Segment { numbers: (THEIR_START, START + len - 1), ..ANSWERING });
        assert_eq!((nearly.packet.acknowledgement, nearly.window()), (START, 999));
        let all = talk.hear_target(&Segment { numbers: (THEIR_START, START + len + 5), ..ANSWERING });
        assert_eq!((all.packet.acknowledgement, talk.path()), (START + 5, FlowPath::Shifted));
        let more = Segment { numbers: (START + 5, THEIR_START), payload: b"more", ..ACKING };
        assert_eq!(talk.hear_consumer(&more).packet.sequence, START + len + 5);
    }
}

#[test]
fn other_groups_and_datagrams_get_none() {
    let mut lab = Lab::of(&headed(""), 1);
    let consumer = lab.consumers[0];
    assert_eq!(lab.carried(consumer, &udp((CLIENT, 1), (INTERFACE, 53), b"who?")).0, lab.provider);
    let mut talk = Talk::begun(FILE, &[], Duration::ZERO);
    assert_eq!(talk.path(), FlowPath::Nat);
    let left = talk.hear_consumer(&Segment { payload: b"hello", ..ACKING });
    assert_eq!(left.numbers(), (START, THEIR_START));
}

#[test]
fn numbers_pass_as_they_are_until_the_consumer_has_something_to_say() {
    let mut talk = Talk::new();
    let passing = [
        ACKING,
        Segment { numbers: (ISN, THEIR_START), ..ACKING }, // a keep-alive
        Segment { numbers: (ISN, THEIR_START), payload: &[0], ..ACKING }, // one of the old kind
        Segment { numbers: (START, THEIR_START + 6), ..ACKING },
    ];
    let left = talk.hear_target(&Segment { payload: b"banner", ..ANSWERING });
    assert_eq!((left.numbers(), left.payload()), ((THEIR_START, START), &b"banner"[..]));
    for segment in passing {
        assert_eq!(talk.hear_consumer(&segment).numbers(), segment.numbers);
    }
    let probe = Segment { flags: ACK, numbers: (THEIR_START + 5, START), ..ACKING };
    assert_eq!(talk.hear_target(&probe).numbers(), probe.numbers);
    let (_, left) = talk.consumer(&Segment { numbers: (START, THEIR_START + 6), payload: b"x", ..ACKING });
    assert_eq!(left[0].numbers(), (START, THEIR_START + 6), "what the consumer has heard is told");
    assert_eq!((left[0].payload(), left[1].numbers().0), (&header()[..], START + H));
}

#[test]
fn who_closes_without_a_word_closes_without_a_header() {
    let mut talk = Talk::new();
    let fin = Segment { flags: FIN | ACK, ..ACKING };
    assert_eq!(talk.hear_consumer(&fin).numbers(), fin.numbers);
    let heard = Segment { flags: FIN | ACK, numbers: (THEIR_START, START + 1), ..ACKING };
    let left = talk.hear_target(&heard);
    assert_eq!(
        (left.numbers(), left.window()),
        (heard.numbers, 1000),
        "no room is kept for what does not come"
    );
    let last = Segment { numbers: (START + 1, THEIR_START + 1), ..ACKING };
    assert_eq!(talk.hear_consumer(&last).numbers(), last.numbers, "beyond the start, and yet nothing to say");
    assert_eq!(talk.hear_consumer(&fin).numbers(), fin.numbers, "once more");
    // Nobody honest speaks after that: it would be heard without a header.
    let (reason, left) = talk.consumer(&Segment { payload: b"late", ..ACKING });
    assert_eq!((reason, left.len()), (Reason::AheadOfHeader, 0));
}

#[test]
fn the_first_ack_brings_it_out_where_that_is_wanted() {
    let mut talk = Talk::begun(&headed(ON_FIRST_ACK), &[], Duration::ZERO);
    let (_, left) = talk.consumer(&ACKING);
    assert_eq!((left[0].numbers(), left[0].payload()), ((START, THEIR_START), &header()[..]));
    assert_eq!((left[1].numbers(), left[1].payload()), ((START + H, THEIR_START), &[][..]));
    let banner = Segment { numbers: (THEIR_START, START + H), payload: b"banner", ..ACKING };
    assert_eq!(talk.hear_target(&banner).numbers(), (THEIR_START, START));
    // Not the SYN-ACK's own sender, and not before it has come.
    let mut talk = Talk::asked(&headed(ON_FIRST_ACK), 1, &[]);
    assert_eq!(talk.hear_consumer(&ACKING).numbers(), ACKING.numbers);
}

#[test]
fn whatever_comes_first_brings_it_out() {
    for (flags, payload) in [(ACK, &b"later"[..]), (FIN | ACK, &[]), (FIN | ACK, b"the end"), (ACK, &[])] {
        let mut talk = Talk::new();
        let ahead = Segment { flags, numbers: (START + 500, THEIR_START), payload, ..ACKING };
        let (_, left) = talk.consumer(&ahead);
        assert_eq!((left[0].numbers().0, left[0].payload()), (START, &header()[..]));
        assert_eq!((left[1].numbers().0, left[1].payload()), (START + 500 + H, payload));
        let first = Segment { payload: &[7; 500], ..ACKING };
        assert_eq!(talk.hear_consumer(&first).numbers().0, START + H, "once is enough");
    }
}

#[test]
fn a_small_segment_size_splits_it() {
    let told = |mss: u16| [&[2, 4][..], &mss.to_be_bytes()].concat();
    let stamped = |mss| [told(mss), stamps(9, 8)].concat();
    let cases: [(Vec<u8>, Vec<u8>, &[usize]); 7] = [
        (vec![], vec![], &[100]),
        (told(100), vec![], &[100]),
        (told(99), vec![], &[99, 1]),
        (told(48), vec![], &[48, 48, 4]),
        (stamped(48), stamps(9, 8), &[36, 36, 28]),
        (told(1), vec![], &[48, 48, 4]),
        (told(0), vec![], &[100]),
    ];
    for (answer, options, lens) in cases {
        let mut talk = Talk::asked(&headed(""), 1, &answer);
        talk.answer(&answer);
        let (_, left) = talk.consumer(&Segment { payload: b"hello", options: &options, ..ACKING });
        let (last, pieces) = left.split_last().unwrap();
        assert_eq!(pieces.iter().map(|left| left.payload().len()).collect::<Vec<_>>(), lens);
        let mut next = START;
        for piece in pieces {
            assert_eq!((piece.packet.sequence, piece.options()), (next, &options[..]));
            next += piece.payload().len() as u32;
        }
        assert_eq!(pieces.iter().flat_map(Left::payload).copied().collect::<Vec<_>>(), header());
        assert_eq!((last.packet.sequence, last.options()), (START + H, &options[..]));
    }
}

#[test]
fn a_super_packet_stays_whole_behind_it() {
    let mut talk = Talk::new();
    let payload = vec![7; 40_000];
    let mut bytes = talk.consumer_frame(&Segment { payload: &payload, ..ACKING });
    let kind = wire::SegmentationKind::Tcp4;
    let segmentation = Some(wire::Segmentation { kind, ecn: false, size: 1448 });
    let packet = wire::parse(&bytes).unwrap();
    let len = packet.len - packet.transport;
    let partial = wire::pseudo_header(packet.source, packet.destination, packet.protocol, len);
    bytes[packet.transport + 16..packet.transport + 18].copy_from_slice(&partial.to_be_bytes());
    let offload = wire::Offload { checksum: wire::Checksum::Partial, segmentation };
    let mut said = Said::default();
    let frame = wire::Frame { offload, bytes: &mut bytes };
    talk.lab.workers[0].input(talk.lab.consumers[0], &mut [frame], Duration::ZERO, &mut said);
    let left = left(&said);
    assert_eq!(left.iter().map(|left| left.payload().len()).collect::<Vec<_>>(), [100, 40_000]);
    assert_eq!(left[1].packet.sequence, START + H);
}
