//! What is learned of a target from its answer to the SYN of our own.

use engine::Speech;
use topology::TargetId;

use super::*;

fn target(lab: &Lab) -> TargetId {
    let topology = lab.shared.topology();
    let found = topology
        .targets
        .iter()
        .find(|(_, target)| (target.address, target.port) == (TARGET.parse().unwrap(), 8080));
    found.unwrap().0
}

#[test]
fn a_target_is_known_once_its_answer_was_taken() {
    let mut lab = Lab::new(1);
    let target = target(&lab);
    let (mut talk, _) = Talk::begin(&mut lab, 0, 1000, Duration::ZERO);
    assert_eq!(lab.shared.speech(target), None);
    // Of whom it may be, and does not answer our SYN.
    let expected = std::mem::replace(&mut talk.far.expected, 99);
    let stray = talk.far.packet(SYN | ACK, &[]);
    lab.input(lab.provider, &stray);
    assert_eq!(lab.shared.speech(target), None);
    talk.far.expected = expected;
    talk.say(&mut lab, Who::Far, SYN | ACK, &[], Duration::ZERO);
    let plain = Speech { mss: Some(8961), window_scale: None, sack: false, timestamps: false };
    assert_eq!(lab.shared.speech(target), Some(plain), "also while the consumer has not said a thing");
}

#[test]
fn nothing_is_learned_from_a_refusal() {
    let mut lab = Lab::new(1);
    let (mut talk, _) = Talk::begin(&mut lab, 0, 1000, Duration::ZERO);
    let said = talk.say(&mut lab, Who::Far, RST | ACK, &[], Duration::ZERO);
    assert_eq!(closed(&said), [Cause::Reset]);
    assert_eq!(lab.shared.speech(target(&lab)), None);
}
