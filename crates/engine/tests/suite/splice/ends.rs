//! How a spliced flow ends before its ends have met, and after: who is told, and what is left.

use std::sync::Arc;

use balance::Standing;
use topology::Target;

use super::*;

/// A RST where its receiver expects the next byte.
fn is_reset(left: &Left, sequence: u32) -> bool {
    left.packet.flags.rst() && left.packet.sequence == sequence
}

#[test]
fn a_consumer_that_hangs_up_before_its_target_was_asked_leaves_nothing_behind() {
    let mut scene = Scene::answered(MODERN, ANSWER);
    for stray in [ISN, START.wrapping_add(1)] {
        scene.swallowed(true, &segment(RST, stray, 0, PLAIN));
    }
    assert!(scene.path().is_some());
    let live = scene.lab.shared.flows().len();
    scene.swallowed(true, &segment(RST, START, 0, PLAIN));
    assert_eq!((scene.path(), scene.causes()), (None, vec![Cause::Reset]));
    assert_eq!(scene.lab.shared.flows().len(), live - 1, "its port does not even rest");
    assert!(scene.pass(seconds(60)).is_empty());
}

#[test]
fn a_consumer_that_hangs_up_later_takes_its_target_along() {
    let mut scene = Scene::dialled(MODERN, ANSWER);
    scene.swallowed(true, &segment(RST, ISN, 0, PLAIN));
    let places = scene.lab.shared.flows().len();
    let (reason, left) = scene.consumer(&segment(RST, START, 0, PLAIN));
    assert_eq!((reason, left.len()), (Reason::SpliceHandshake, 1));
    assert!(left[0].device == scene.lab.provider && is_reset(&left[0], START));
    assert_eq!((scene.path(), scene.causes()), (None, vec![Cause::Reset]));
    assert_eq!(scene.lab.shared.flows().len(), places, "its port rests: the target has heard of it");
    let (reason, left) = scene.target(&segment(SYN | ACK, THEIRS, START, ANSWER));
    assert_eq!(reason, Reason::OneWayReset, "it has come too late");
    assert!(is_reset(&left[0], START));
}

#[test]
fn a_target_that_refuses_makes_us_hang_up() {
    let mut scene = Scene::dialled(MODERN, ANSWER);
    scene.swallowed(false, &segment(RST | ACK, 0, ISN, PLAIN));
    let (reason, left) = scene.target(&segment(RST | ACK, 0, START, PLAIN));
    assert_eq!((reason, left.len()), (Reason::SpliceHandshake, 1));
    assert!(left[0].device == scene.lab.consumers[0] && is_reset(&left[0], scene.ours.wrapping_add(1)));
    assert_eq!((scene.path(), scene.causes()), (None, vec![Cause::Reset]));
}

/// Whoever repeats a SYN does not make us say more than anybody else who draws answers.
#[test]
fn challenges_have_no_rate_of_their_own() {
    let mut scene = Scene::dialled(MODERN, ANSWER);
    let syn = segment(SYN, 5000, 0, MODERN);
    let reasons: Vec<Reason> = (0..1001).map(|_| scene.consumer(&syn).0).collect();
    assert_eq!(reasons.iter().filter(|reason| **reason == Reason::SpliceHandshake).count(), 1000);
    assert_eq!(reasons.last(), Some(&Reason::ResetLimited));
}

/// Where real flows count for a target's health, those count whose SYN is ours, too.
#[test]
fn what_a_target_answers_first_is_overheard() {
    let check =
        "health_check = { protocol = \"tcp\", port = 9999, interval = 300, timeout = 120, passive = true }";
    let mut scene = Scene::new(&FILE.replacen("name = \"web\"", &format!("name = \"web\"\n{check}"), 1));
    let shared = Arc::clone(&scene.lab.shared);
    let of_flows = |target: &Target| target.address.to_string() == TARGET && target.port == 8080;
    let target = shared.topology().targets.iter().find(|(_, target)| of_flows(target)).unwrap().0;
    shared.health().set(target, Standing::HEALTHY);
    shared.review(scene.lab.now);
    scene.teach(ANSWER);
    for (nth, flags, failures) in [(1, RST | ACK, 1), (2, RST | ACK, 2), (3, SYN | ACK, 0)] {
        scene.ports = [CLIENT_PORT + nth, 0];
        scene.ours = scene.greeted(&segment(SYN, ISN, 0, MODERN)).packet.sequence;
        scene.dial(stamped(710, 0));
        assert_eq!(scene.target(&segment(flags, THEIRS, START, ANSWER)).0, Reason::SpliceHandshake);
        assert_eq!(shared.health().failures(target), failures);
    }
}

#[test]
fn a_target_in_an_old_connection_is_put_right_and_asked_again() {
    let mut scene = Scene::dialled(MODERN, ANSWER);
    let (reason, left) = scene.target(&segment(ACK, 4000, 3000, PLAIN));
    assert_eq!((reason, left.len()), (Reason::SpliceHandshake, 1));
    assert!(left[0].device == scene.lab.provider && is_reset(&left[0], 3000));
    assert_eq!(scene.pass(seconds(1)).len(), 1);
    scene.meet(ANSWER);
}

#[test]
fn a_target_that_does_not_speak_what_was_told_is_no_target_until_that_is_known() {
    for (lacking, told) in [
        (SynOptions { sack_permitted: false, ..ANSWER }, ANSWER),
        (SynOptions { timestamps: None, ..ANSWER }, ANSWER),
        (SynOptions { window_scale: None, ..ANSWER }, ANSWER),
        (SynOptions { window_scale: Some(8), ..ANSWER }, ANSWER),
        (SynOptions { mss: Some(1000), ..ANSWER }, ANSWER),
    ] {
        let mut scene = Scene::dialled(MODERN, told);
        let (reason, left) = scene.target(&segment(SYN | ACK, THEIRS, START, lacking));
        assert_eq!((reason, left.len()), (Reason::SpliceMismatch, 2));
        for (device, sequence) in
            [(scene.lab.consumers[0], scene.ours.wrapping_add(1)), (scene.lab.provider, START)]
        {
            assert!(left.iter().any(|left| left.device == device && is_reset(left, sequence)));
        }
        assert_eq!((scene.path(), scene.causes()), (None, vec![Cause::Mismatched]));
        // The next one asks what it speaks; the one after that is told the truth, and is none the worse.
        scene.ports = [CLIENT_PORT + 1, 0];
        scene.teach(lacking);
        scene.ports = [CLIENT_PORT + 2, 0];
        scene.ours = scene.greeted(&segment(SYN, ISN, 0, MODERN)).packet.sequence;
        scene.dial(stamped(710, 0));
        scene.meet(SynOptions { timestamps: lacking.timestamps, ..lacking });
    }
}

#[test]
fn a_target_that_never_answers_is_given_up_and_the_consumer_told() {
    let mut scene = Scene::dialled(MODERN, ANSWER);
    let left = scene.pass(seconds(40));
    let asked = left.iter().filter(|left| left.flags() == SYN).count();
    assert_eq!(asked, 4, "after 1, 3, 7 and 15 seconds");
    let told: Vec<&Left> = left.iter().filter(|left| left.packet.flags.rst()).collect();
    assert_eq!(told.len(), 2);
    let consumer = scene.lab.consumers[0];
    assert!(told.iter().any(|left| left.device == consumer && is_reset(left, scene.ours.wrapping_add(1))));
    assert_eq!(scene.path(), None);
    assert!(scene.causes().contains(&Cause::Unanswered));
}

#[test]
fn a_consumer_that_never_acknowledges_is_forgotten_without_a_word() {
    let mut scene = Scene::answered(MODERN, ANSWER);
    let left = scene.pass(seconds(40));
    assert!(left.iter().all(|left| left.flags() == SYN | ACK), "to nobody but the consumer");
    assert_eq!(left.len(), 4);
    assert_eq!(scene.path(), None);
}

#[test]
fn what_has_met_ends_as_on_nat() {
    let mut scene = Scene::met();
    let ours = scene.ours.wrapping_add(1);
    let mut reset = Scene::met();
    reset.carried(true, &segment(RST, START, 0, PLAIN));
    assert_eq!(reset.pass(seconds(11)).len(), 0);
    assert_eq!(reset.causes().last(), Some(&Cause::Reset));

    scene.carried(true, &segment(FIN | ACK, START, ours, stamped(720, 0)));
    let closed =
        scene.carried(false, &segment(FIN | ACK, THEIR_START, START.wrapping_add(1), stamped(90_020, 720)));
    assert_eq!(closed.numbers(), (ours, START.wrapping_add(1)));
    let last =
        scene.carried(true, &segment(ACK, START.wrapping_add(1), ours.wrapping_add(1), stamped(730, 0)));
    assert_eq!(last.numbers(), (START.wrapping_add(1), THEIR_START.wrapping_add(1)));
    // The same tuple again: another handshake of ours, from the same port.
    let port = scene.ports[1];
    scene.ours = scene.greeted(&segment(SYN, ISN, 0, MODERN)).packet.sequence;
    scene.dial(stamped(740, 0));
    assert_eq!(scene.ports[1], port);
    scene.meet(ANSWER);
}

/// The lab's file with another target, and no patience with flows to this one.
fn without_the_target() -> String {
    let gone = spliced(FILE)
        .replace("{ address = \"10.2.0.2\", port = 8080 }, ", "{ address = \"10.2.0.3\", port = 8080 }, ");
    gone.replacen(
        "name = \"web\"",
        "name = \"web\"\nattributes = { \"deregistration_delay.timeout_seconds\" = 0, \"deregistration_delay.connection_termination.enabled\" = true }",
        1,
    )
}

#[test]
fn a_target_that_is_taken_out_takes_its_flows_with_it_at_every_stage() {
    for stage in 0..3 {
        let mut scene = match stage {
            0 => Scene::answered(MODERN, ANSWER),
            1 => Scene::dialled(MODERN, ANSWER),
            _ => Scene::met(),
        };
        // Just when what is unanswered would be said again.
        let said = scene.lab.reload(&without_the_target(), seconds(1));
        let at_once = left(&said).into_iter().filter(|left| scene.is_ours(&left.packet));
        let mut left: Vec<Left> = at_once.collect();
        scene.events.extend(said.events);
        scene.lab.now = seconds(1);
        left.extend(scene.pass(seconds(5)));
        assert!(left.iter().all(|left| !left.packet.flags.syn()), "stage {stage}: it opens no more");
        assert_eq!(scene.path(), None, "stage {stage}");
        let told = left
            .iter()
            .any(|left| left.device == scene.lab.consumers[0] && is_reset(left, scene.ours.wrapping_add(1)));
        assert_eq!(told, stage > 0, "stage {stage}: who takes it to stand is told");
    }
}

/// The consumer's SYN had some, but what its target got is ours, and had none.
#[test]
fn a_target_is_reset_where_it_is_whatever_its_consumers_syn_has_brought() {
    let mut scene = Scene::known(FILE, ANSWER);
    let syn = Segment { payload: b"early", ..segment(SYN, ISN, 0, MODERN) };
    scene.ours = scene.greeted(&syn).packet.sequence;
    scene.dial(stamped(710, 0));
    scene.meet(ANSWER);
    scene.lab.reload(&without_the_target(), seconds(1));
    scene.lab.now = seconds(1);
    let left = scene.pass(seconds(5));
    let resets: Vec<&Left> = left.iter().filter(|left| left.device == scene.lab.provider).collect();
    assert!(!resets.is_empty() && resets.iter().all(|left| is_reset(left, START)));
}

#[test]
fn a_silent_flow_expires_like_any_other() {
    let mut scene = Scene::met();
    assert_eq!(scene.pass(seconds(400)).len(), 0);
    assert_eq!(scene.path(), None);
    assert_eq!(scene.causes().last(), Some(&Cause::Idle));
    let (reason, left) = scene.consumer(&segment(ACK, START, scene.ours.wrapping_add(1), PLAIN));
    assert_eq!((reason, left.len()), (Reason::ExpiredFlowHit, 1));
}
