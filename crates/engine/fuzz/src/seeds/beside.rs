//! Conversations beside the road: ICMP errors about flows of every kind, datagrams in pieces.

use super::*;

/// The ICMP errors that there are about a packet: the target is not there, the packet is too big, it has gone too far.
pub(super) fn about(asker: Asker, back: u8, mtu: u16) -> Vec<Step> {
    let kinds: &[[u8; 2]] = if asker.v6 {
        &[[1, 4], [1, 0], [2, 0], [3, 0], [4, 1]]
    } else {
        &[[3, 3], [3, 1], [3, 4], [11, 0], [12, 0]]
    };
    let whole = u16::MAX;
    let each =
        |&kind| Step::Send(Making::Report { back, kind, word: mtu, quoted: whole }, Treatment::default());
    kinds.iter().map(each).collect()
}

pub(super) fn reports(asker: Asker) -> Vec<Story> {
    let report = |back, quoted| {
        let kind = if asker.v6 { [2, 0] } else { [3, 4] };
        Making::Report { back, kind, word: 1400, quoted }
    };
    let header = if asker.v6 { 40 } else { 20 };
    let (quoted_port, quoted_source) = (header + 8 + header, header + 8 + if asker.v6 { 8 } else { 12 });
    let mended =
        |patches: &[(u16, u8)]| Treatment { patches: patches.to_vec(), mend: true, ..Treatment::default() };
    let towards = |setting, door, answers: u8| {
        let flags = if door == DNS { [0; 3] } else { [SYN, SYN | ACK, ACK] };
        let mut steps = vec![ask(asker, door, says(flags[0], 600))];
        steps.extend((1..=answers).map(|nth| answer(0, says(flags[usize::from(nth)], 700))));
        steps.extend(about(asker, 0, 1300));
        (setting, steps)
    };
    let story = |name, (setting, steps)| (name, setting, steps);
    vec![
        story("report-tcp-to-consumer", towards(PLAIN, NAT, 2)),
        story("report-tcp-to-target", towards(PLAIN, NAT, 1)),
        story("report-udp-to-consumer", towards(HELPFUL, DNS, 0)),
        story("report-udp-to-target", towards(HELPFUL, DNS, 1)),
        (
            "report-quotes",
            PLAIN,
            vec![
                ask(asker, NAT, says(SYN, 0)),
                send(report(0, header + 8)),
                send(report(0, header + 4)),
                send(report(0, 4)),
                treated(report(0, 60), mended(&[(quoted_port, 0)])),
                treated(report(0, 60), mended(&[(quoted_source, 99)])),
                treated(report(0, 60), mended(&[(header + 8, 0x4f)])),
                treated(report(0, 60), Treatment { patches: vec![(header + 2, 1)], ..Treatment::default() }),
            ],
        ),
        (
            "report-small-mtu",
            PLAIN,
            [
                vec![ask(asker, NAT, says(SYN, 0))],
                about(asker, 0, 68),
                about(asker, 0, 0),
                about(asker, 0, 9000),
            ]
            .concat(),
        ),
        (
            "report-about-report",
            HELPFUL,
            [vec![ask(asker, DNS, says(0, 600))], about(asker, 0, 1300), about(asker, 0, 1300)].concat(),
        ),
        (
            "report-often",
            PLAIN,
            [vec![ask(asker, DNS, says(0, 0))], (0..15).map(|nth| send(report(nth, 60))).collect()].concat(),
        ),
    ]
}

pub(super) fn fragments(asker: Asker) -> Vec<Story> {
    let cut = |pieces: &[(u16, u16)], id| Treatment { pieces: pieces.to_vec(), id, ..Treatment::default() };
    let question = |pieces: &[(u16, u16)]| treated(asking(asker, DNS, says(0, 2000)), cut(pieces, 7));
    let second = Asker { second: true, ..asker };
    let big: Vec<_> = (0..14).map(|nth| (nth * 180, 180)).collect();
    let spread = Treatment { spread: true, ..cut(&[(100, 100), (0, 100), (200, 100)], 9) };
    vec![
        ("fragments-in-order", PLAIN, vec![question(&[(0, 100), (100, 100), (200, 100)])]),
        ("fragments-late-first", PLAIN, vec![question(&[(200, 100), (100, 100), (0, 100)])]),
        (
            "fragments-overlap",
            PLAIN,
            vec![question(&[(0, 100), (50, 100), (100, 200)]), question(&[(0, 251), (0, 2)])],
        ),
        ("fragments-twice", PLAIN, vec![question(&[(0, 100), (0, 100), (100, 200), (100, 200)])]),
        ("fragments-no-first", PLAIN, vec![question(&[(100, 200)]), Step::Pass(700), question(&[(0, 100)])]),
        (
            "fragments-no-room",
            PLAIN,
            vec![
                question(&Vec::from_iter((10..25).map(|nth| (nth, 1)))),
                question(&Vec::from_iter((25..40).map(|nth| (nth, 1)))),
            ],
        ),
        (
            "fragments-many-holes",
            PLAIN,
            vec![
                question(&Vec::from_iter((0..15).map(|nth| (nth * 2, 1)))),
                question(&Vec::from_iter((15..30).map(|nth| (nth * 2, 1)))),
            ],
        ),
        ("fragments-tiny-first", PLAIN, vec![question(&[(0, 0), (0, 1), (1, 300)])]),
        ("fragments-beyond", PLAIN, vec![question(&[(0, 100), (8191, 8191), (100, 200)])]),
        ("fragments-20k", PLAIN, vec![treated(asking(asker, DNS, says(0, 20_000)), cut(&big, 3))]),
        ("fragments-spread", TWO_WORKERS, vec![treated(asking(asker, DNS, says(0, 2000)), spread)]),
        (
            "fragments-two-consumers",
            TWO_WORKERS,
            [(asker, 0, 100), (second, 0, 100), (asker, 100, 200), (second, 100, 200)]
                .map(|(asker, offset, len)| {
                    treated(asking(asker, DNS, says(0, 2000)), cut(&[(offset, len)], 5))
                })
                .to_vec(),
        ),
        (
            "fragments-answer",
            PLAIN,
            vec![
                ask(asker, DNS, says(0, 30)),
                treated(answering(0, says(0, 3000)), cut(&[(180, 180), (0, 180), (360, 180)], 8)),
            ],
        ),
        (
            "fragments-tcp",
            PLAIN,
            vec![treated(asking(asker, NAT, says(SYN, 100)), cut(&[(0, 5), (5, 10)], 2))],
        ),
        (
            "fragments-no-listener",
            PLAIN,
            vec![treated(
                asking(asker, DNS, says(0, 100)),
                Treatment {
                    patches: vec![(if asker.v6 { 43 } else { 23 }, 54)],
                    mend: true,
                    ..cut(&[(0, 5), (5, 10)], 2)
                },
            )],
        ),
    ]
}
