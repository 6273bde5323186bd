//! Flows whose target falls or goes, or whose way does; and health checks.

use super::*;

/// The topology's first target and the next of its group: of the same family.
const TARGETS: [[u8; 2]; 2] = [[0, 2], [1, 3]];
const WITHOUT_LISTENER: u8 = 1;
const OTHER_TARGETS: u8 = 2;
const WITHOUT_ENDPOINT: u8 = 3;

pub(super) fn ends(asker: Asker) -> Vec<Story> {
    let [first, next] = TARGETS[usize::from(asker.v6)];
    let judge = |target, well| Step::Judge { target, well };
    let other = Asker { port: 1, ..asker };
    let all = |door, segment: &Segment| [asker, other].map(|asker| ask(asker, door, segment.clone()));
    let open = |door| [handshake(asker, door), handshake(other, door)].concat();
    let well = [judge(first, true), judge(next, true)];
    // Whichever they went to: one of these is it.
    let falls = |door, segment: Segment| {
        let story = [
            well.to_vec(),
            open(door),
            vec![judge(first, false)],
            all(door, &segment).to_vec(),
            open(door),
            vec![judge(first, true), judge(next, false)],
            all(door, &segment).to_vec(),
            vec![Step::Pass(20)],
        ];
        story.concat()
    };
    let goes = |door, variant| {
        let story = [
            open(door),
            vec![Step::Reload(variant)],
            all(door, &says(ACK, 10)).to_vec(),
            vec![Step::Pass(20)],
        ];
        story.concat()
    };
    let back = [vec![Step::Reload(0)], handshake(asker, NAT)].concat();
    let second = Asker { second: true, ..asker };
    vec![
        ("check", CHECKED, vec![Step::Pass(20), answer(0, says(SYN | ACK, 0)), Step::Pass(100)]),
        ("check-refused", CHECKED, vec![Step::Pass(20), answer(0, says(RST | ACK, 0)), Step::Pass(100)]),
        ("target-falls", CHECKED, falls(NAT, says(ACK, 10))),
        ("target-falls-syn-again", CHECKED, falls(NAT, says(SYN, 0))),
        ("target-falls-terminate", CHECKED, falls(TERMINATE, says(ACK, 10))),
        ("target-goes", PLAIN, [goes(NAT, OTHER_TARGETS), back.clone()].concat()),
        ("target-goes-terminate", PLAIN, goes(TERMINATE, OTHER_TARGETS)),
        ("listener-goes", PLAIN, [goes(NAT, WITHOUT_LISTENER), back].concat()),
        (
            "endpoint-goes",
            PLAIN,
            [
                handshake(second, NAT),
                vec![Step::Reload(WITHOUT_ENDPOINT), answer(0, says(ACK, 10)), Step::Pass(20)],
            ]
            .concat(),
        ),
    ]
}
