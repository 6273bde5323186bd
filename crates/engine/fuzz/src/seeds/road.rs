//! Conversations on the straight road: nat, terminated, datagrams.

use super::*;

/// MSS 8961, SACK permitted, timestamps, a window scale of 7: what Linux sends with a SYN.
pub(super) const SYN_OPTIONS: &[u8] = &[2, 4, 0x23, 0x01, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
/// Timestamps and two SACK blocks.
const SACK_OPTIONS: &[u8] =
    &[1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 1, 1, 1, 5, 18, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 12, 0, 0, 0, 16, 0];
/// The MSS at an odd place, and a length that leads nowhere.
const ODD_OPTIONS: &[u8] = &[1, 2, 4, 0x23, 0x01, 8, 0, 0];

pub(super) fn nat(asker: Asker) -> Vec<Story> {
    let options =
        |flags, options: &[u8], payload| Segment { options: options.to_vec(), ..says(flags, payload) };
    let like_linux = vec![
        ask(asker, NAT, options(SYN, SYN_OPTIONS, 0)),
        answer(0, options(SYN | ACK, SYN_OPTIONS, 0)),
        answer(0, options(ACK, &SACK_OPTIONS[..12], 100)),
        answer(0, options(ACK, SACK_OPTIONS, 1400)),
        treated(answering(0, options(ACK, &SACK_OPTIONS[..12], 20_000)), left(Left::Segments(1400))),
        treated(answering(0, says(ACK, 500)), left(Left::Checksum)),
        treated(answering(0, says(ACK, 500)), left(Left::Verified)),
    ];
    let close = [answer(0, says(FIN | ACK, 0)), answer(0, says(FIN | ACK, 0)), answer(0, says(ACK, 0))];
    let second = Asker { second: true, ..asker };
    vec![
        ("nat-like-linux", PLAIN, like_linux),
        ("nat-odd-options", PLAIN, vec![ask(asker, NAT, options(SYN, ODD_OPTIONS, 0))]),
        (
            "nat-close-and-reopen",
            PLAIN,
            [&handshake(asker, NAT)[..], &close, &handshake(asker, NAT)].concat(),
        ),
        ("nat-refused", PLAIN, vec![ask(asker, NAT, says(SYN, 0)), answer(0, says(RST | ACK, 0))]),
        (
            "nat-idle",
            PLAIN,
            [handshake(asker, NAT), vec![Step::Pass(3600), answer(0, says(ACK, 10))]].concat(),
        ),
        (
            "nat-two-consumers",
            TWO_WORKERS,
            vec![
                ask(asker, NAT, says(SYN, 0)),
                treated(asking(second, NAT, says(SYN, 0)), other_worker()),
                answer(1, says(SYN | ACK, 0)),
                treated(answering(1, says(SYN | ACK, 0)), other_worker()),
            ],
        ),
        (
            "nat-device-goes",
            PLAIN,
            [
                handshake(asker, NAT),
                vec![Step::Detach(PROVIDER), ask(asker, NAT, says(SYN, 1)), Step::Attach(PROVIDER)],
                handshake(asker, NAT),
            ]
            .concat(),
        ),
    ]
}

pub(super) fn terminated(asker: Asker) -> Vec<Story> {
    let talk = vec![
        ask(asker, TERMINATE, says(SYN, 0)),
        answer(0, says(SYN | ACK, 0)),
        answer(0, says(ACK, 100)),
        answer(0, says(ACK, 3000)),
        answer(0, says(ACK, 0)),
        Step::Pass(10),
        answer(0, says(FIN | ACK, 0)),
        answer(0, says(FIN | ACK, 0)),
        answer(0, says(ACK, 0)),
    ];
    // The last FIN comes once more, when all is over.
    let closing = [(0, SYN | ACK), (0, ACK), (0, FIN | ACK), (0, FIN | ACK), (0, ACK), (1, FIN | ACK)]
        .map(|(back, flags)| answer(back, says(flags, 0)));
    let across = [(SYN | ACK, 0), (ACK, 100), (ACK, 1000), (ACK, 0)]
        .map(|(flags, payload)| treated(answering(0, says(flags, payload)), other_worker()));
    let elsewhere = [&[ask(asker, TERMINATE, says(SYN, 0))], &across[..]].concat();
    vec![
        ("terminate", PLAIN, talk.clone()),
        ("terminate-fin-again", PLAIN, [&[ask(asker, TERMINATE, says(SYN, 0))], &closing[..]].concat()),
        ("terminate-plain-devices", Setting { plain_devices: true, ..PLAIN }, talk),
        ("terminate-other-worker", TWO_WORKERS, elsewhere.clone()),
        ("terminate-full-rings", Setting { full_rings: true, ..TWO_WORKERS }, elsewhere),
        (
            "terminate-refused",
            PLAIN,
            vec![ask(asker, TERMINATE, says(SYN, 0)), answer(0, says(RST | ACK, 0))],
        ),
        ("terminate-unanswered", PLAIN, vec![ask(asker, TERMINATE, says(SYN, 0)), Step::Pass(400)]),
        (
            "terminate-device-goes",
            PLAIN,
            [handshake(asker, TERMINATE), vec![Step::Detach(CONSUMER), Step::Pass(10)]].concat(),
        ),
        (
            "terminate-late-syn",
            PLAIN,
            [
                handshake(asker, TERMINATE),
                vec![ask(asker, TERMINATE, Segment { shift: 100, ..says(SYN, 0) })],
            ]
            .concat(),
        ),
        (
            "terminate-reports",
            HELPFUL,
            [handshake(asker, TERMINATE), (0..4).flat_map(|back| beside::about(asker, back, 1300)).collect()]
                .concat(),
        ),
    ]
}

pub(super) fn datagrams(asker: Asker) -> Vec<Story> {
    let to_checksum = if asker.v6 { 46 } else { 26 };
    let none = Treatment { patches: vec![(to_checksum, 0), (to_checksum + 1, 0)], ..Treatment::default() };
    vec![
        (
            "udp",
            PLAIN,
            vec![
                ask(asker, DNS, says(0, 30)),
                answer(0, says(0, 300)),
                treated(answering(0, says(0, 31)), left(Left::Checksum)),
                treated(answering(0, says(0, 5000)), left(Left::Segments(1000))),
                treated(answering(0, says(0, 3)), none),
                Step::Pass(1300),
                answer(0, says(0, 3)),
            ],
        ),
        (
            "udp-two-consumers",
            TWO_WORKERS,
            vec![
                ask(asker, DNS, says(0, 30)),
                ask(Asker { second: true, ..asker }, DNS, says(0, 30)),
                answer(1, says(0, 300)),
                answer(1, says(0, 301)),
            ],
        ),
    ]
}
