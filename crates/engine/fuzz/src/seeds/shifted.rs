//! Flows whose two sides number differently: a header goes ahead, or the handshake is the engine's own.

use super::road::SYN_OPTIONS;
use super::*;

pub(super) fn headed(asker: Asker) -> Vec<Story> {
    let early = Segment { shift: 1, ..says(ACK, 10) };
    let fast_open = Segment { options: vec![34, 2, 1, 1], ..says(SYN, 10) };
    // The target acknowledges the header, and then what came after it.
    let talk = [answer(1, says(ACK, 0)), answer(1, says(ACK, 500)), answer(0, says(FIN | ACK, 0))];
    // Then the client has sent ten bytes, and has not heard whether they came.
    let out = |steps: &[Step]| [&handshake(asker, TOLD), steps].concat();
    let after = |flags| answer(2, Segment { shift: 10, ..says(flags, 0) });
    vec![
        ("header", PLAIN, out(&talk)),
        ("header-again", PLAIN, out(&[Step::Pass(100)])),
        ("header-closed", PLAIN, out(&[after(FIN | ACK), answer(0, says(FIN | ACK, 0))])),
        ("header-reset", PLAIN, out(&[after(RST), answer(3, says(RST, 0)), Step::Pass(100)])),
        ("header-reports", PLAIN, out(&all_about(asker))),
        (
            "header-other-worker",
            TWO_WORKERS,
            out(&[treated(answering(1, says(ACK, 0)), other_worker()), answer(0, says(ACK, 10))]),
        ),
        ("header-fast-open", PLAIN, vec![ask(asker, TOLD, fast_open), answer(0, says(RST | ACK, 0))]),
        ("header-ahead", PLAIN, vec![ask(asker, TOLD, says(SYN, 0)), ask(asker, TOLD, early)]),
        (
            "header-at-once",
            PLAIN,
            vec![
                ask(asker, TOLD_AT_ONCE, says(SYN, 0)),
                answer(0, says(SYN | ACK, 0)),
                answer(0, says(ACK, 0)),
                answer(1, says(ACK, 30)),
                answer(0, says(ACK, 10)),
            ],
        ),
    ]
}

pub(super) fn spliced(asker: Asker) -> Vec<Story> {
    let other = Asker { port: 1, ..asker };
    // The first flow is terminated, and teaches what its target speaks. The second one's consumer has our SYN-ACK.
    let greeted = [teach(asker, SPLICED_TOLD), vec![ask(other, SPLICED_TOLD, like_linux(SYN))]].concat();
    // Its target has our SYN.
    let dialled = [&greeted[..], &[answer(0, says(ACK, 0))]].concat();
    let then = |steps: &[Step]| [&dialled[..], steps].concat();
    let met = answer(0, like_linux(SYN | ACK));
    // The header is out, and the consumer's first bytes are.
    let out = |steps: &[Step]| [&dialled[..], &[met.clone(), answer(0, says(ACK, 10))], steps].concat();
    let another = |flags| ask(other, SPLICED_TOLD, Segment { shift: 1, ..says(flags, 10) });
    let after = |flags| answer(2, Segment { shift: 10, ..says(flags, 0) });
    vec![
        ("splice", PLAIN, out(&[answer(1, says(ACK, 10)), another(ACK), Step::Pass(10)])),
        ("splice-mismatch", PLAIN, then(&[answer(0, says(SYN | ACK, 0))])),
        ("splice-refused", PLAIN, then(&[answer(0, says(RST | ACK, 0))])),
        ("splice-hung", PLAIN, then(&[answer(1, says(RST, 0))])),
        ("splice-unanswered", PLAIN, then(&[Step::Pass(400)])),
        ("splice-challenged", PLAIN, then(&[another(SYN), another(ACK)])),
        ("splice-unmet", PLAIN, [&greeted[..], &[another(SYN), another(ACK), Step::Pass(400)]].concat()),
        ("splice-early-reports", PLAIN, then(&all_about(asker))),
        ("splice-reports", PLAIN, out(&all_about(asker))),
        ("splice-closed", PLAIN, out(&[after(FIN | ACK), answer(0, says(FIN | ACK, 0))])),
        ("splice-reset", PLAIN, out(&[after(RST), Step::Pass(100)])),
        (
            "splice-other-worker",
            TWO_WORKERS,
            then(&[met.clone(), treated(answering(0, says(ACK, 10)), other_worker())]),
        ),
        ("splice-without-header", PLAIN, without_header(asker)),
    ]
}

/// Of this group's targets, some flows find each; the last one is spliced.
fn without_header(asker: Asker) -> Vec<Step> {
    let others = (0..4).flat_map(|port| teach(Asker { port, ..asker }, SPLICED));
    let own = [
        ask(Asker { port: 4, ..asker }, SPLICED, like_linux(SYN)),
        answer(0, says(ACK, 0)),
        answer(0, like_linux(SYN | ACK)),
        answer(0, says(ACK, 10)),
        answer(0, says(ACK, 20)),
    ];
    others.chain(own).collect()
}

/// A flow whose target tells what it speaks, if that is not known yet.
fn teach(asker: Asker, door: u8) -> Vec<Step> {
    vec![ask(asker, door, like_linux(SYN)), answer(0, like_linux(SYN | ACK))]
}

fn like_linux(flags: u8) -> Segment {
    Segment { options: SYN_OPTIONS.to_vec(), ..says(flags, 0) }
}

/// Errors about what has left of late.
fn all_about(asker: Asker) -> Vec<Step> {
    (0..4).flat_map(|back| beside::about(asker, back, 1300)).collect()
}
