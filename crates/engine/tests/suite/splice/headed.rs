//! Splice to a target that gets a proxy protocol header: between the target's answer and the consumer's first byte.

use super::*;
use crate::header::{ON_FIRST_ACK, headed};

/// Bytes of a header.
const H: u32 = 100;

fn met(file: &str) -> (Scene, Vec<Left>) {
    let mut scene = Scene::known(file, ANSWER);
    scene.ours = scene.greeted(&segment(SYN, ISN, 0, MODERN)).packet.sequence;
    scene.dial(stamped(710, 0));
    let (reason, left) = scene.target(&segment(SYN | ACK, THEIRS, START, ANSWER));
    assert_eq!(reason, Reason::SpliceHandshake);
    (scene, left)
}

fn is_header(left: &Left) -> bool {
    left.payload().starts_with(&wire::PROXY_LOCAL[..12]) && left.payload().len() == H as usize
}

#[test]
fn the_header_goes_ahead_of_the_consumers_first_bytes() {
    let (mut scene, left) = met(&headed(""));
    let ours = scene.ours.wrapping_add(1);
    assert_eq!(left.len(), 2);
    assert!(matches!(scene.path(), Some(FlowPath::Escorted { .. })));
    assert_eq!(left[1].window(), (20_000 - 100) >> 9, "the header has its part of the window");
    let (_, left) =
        scene.consumer(&Segment { payload: b"hello", ..segment(ACK, START, ours, stamped(720, 0)) });
    assert_eq!(left.len(), 2);
    assert!(is_header(&left[0]));
    assert_eq!(left[0].numbers(), (START, THEIR_START));
    assert_eq!(left[1].numbers(), (START.wrapping_add(H), THEIR_START));
    let end = START.wrapping_add(H + 5);
    let acked = scene.carried(false, &segment(ACK, THEIR_START, end, stamped(90_001, 720)));
    assert_eq!(acked.numbers(), (ours, START.wrapping_add(5)));
    assert_eq!(scene.path(), Some(FlowPath::Shifted));
    let more = Segment { payload: b"more", ..segment(ACK, START.wrapping_add(5), ours, stamped(730, 0)) };
    assert_eq!(scene.carried(true, &more).numbers(), (end, THEIR_START));
}

#[test]
fn a_reload_in_the_midst_of_a_greeting_takes_nobodys_header() {
    let mut scene = Scene::known(&headed(""), ANSWER);
    scene.ours = scene.greeted(&segment(SYN, ISN, 0, MODERN)).packet.sequence;
    scene.dial(stamped(710, 0));
    scene.lab.reload(&spliced(FILE), seconds(0));
    let (_, left) = scene.target(&segment(SYN | ACK, THEIRS, START, ANSWER));
    assert_eq!(left.len(), 2);
    let ours = scene.ours.wrapping_add(1);
    let hello = Segment { payload: b"hello", ..segment(ACK, START, ours, stamped(720, 0)) };
    let (_, left) = scene.consumer(&hello);
    assert_eq!((left.len(), is_header(&left[0])), (2, true), "it was let in by one who says who it is");
}

#[test]
fn on_first_ack_it_goes_at_once() {
    let (mut scene, left) = met(&headed(ON_FIRST_ACK));
    let headers: Vec<_> = left.iter().filter(|left| is_header(left)).collect();
    assert_eq!((left.len(), headers.len()), (3, 1));
    assert_eq!((headers[0].numbers(), headers[0].stamps()), ((START, THEIR_START), [710, 90_000]));
    let again = scene.pass(Duration::from_millis(300));
    assert!(again.len() == 1 && is_header(&again[0]), "it was lost, and comes again");
    let banner =
        Segment { payload: b"220", ..segment(ACK, THEIR_START, START.wrapping_add(H), stamped(90_300, 710)) };
    assert_eq!(scene.carried(false, &banner).numbers(), (scene.ours.wrapping_add(1), START));
    scene.pass(seconds(5));
    assert_eq!(scene.path(), Some(FlowPath::Shifted));
}

#[test]
fn a_header_that_is_never_acknowledged_ends_both_sides_in_their_own_numbers() {
    let (mut scene, _) = met(&headed(ON_FIRST_ACK));
    let ours = scene.ours.wrapping_add(1);
    let left = scene.pass(seconds(30));
    let resets: Vec<_> = left.iter().filter(|left| left.packet.flags.rst()).collect();
    assert!(resets.iter().any(|left| left.device == scene.lab.consumers[0] && left.packet.sequence == ours));
    assert!(resets.iter().any(|left| left.device == scene.lab.provider));
    assert!(scene.causes().contains(&Cause::HeaderUnheard));
}

#[test]
fn a_target_that_is_taken_out_while_its_header_waits_takes_its_flow_along() {
    let (mut scene, _) = met(&headed(""));
    let at_once = ", \"deregistration_delay.timeout_seconds\" = 0, \"deregistration_delay.connection_termination.enabled\" = true";
    let [gone, other] = ["10.2.0.2", "10.2.0.3"].map(|target| format!("\"{target}\", port = 8080"));
    let said = scene.lab.reload(&spliced(&headed(at_once)).replace(&gone, &other), seconds(1));
    let mut told = left(&said);
    scene.lab.now = seconds(1);
    told.extend(scene.pass(seconds(5)));
    for (device, sequence) in
        [(scene.lab.consumers[0], scene.ours.wrapping_add(1)), (scene.lab.provider, START)]
    {
        let is_told = |left: &Left| left.device == device && left.packet.flags.rst();
        assert!(told.iter().any(|left| is_told(left) && left.packet.sequence == sequence));
    }
}

#[test]
fn a_second_syn_ack_does_not_disturb_a_header_that_waits() {
    let (mut scene, _) = met(&headed(""));
    let ours = scene.ours.wrapping_add(1);
    let again = scene.carried(false, &segment(SYN | ACK, THEIRS, START, ANSWER));
    assert_eq!(again.numbers(), (scene.ours, START));
    let challenged = scene.carried(true, &segment(ACK, START, ours, stamped(715, 0)));
    assert_eq!(challenged.numbers(), (START, THEIR_START));
    let (_, left) =
        scene.consumer(&Segment { payload: b"hello", ..segment(ACK, START, ours, stamped(720, 0)) });
    assert!(is_header(&left[0]));
    assert_eq!(left[1].numbers(), (START.wrapping_add(H), THEIR_START));
}
