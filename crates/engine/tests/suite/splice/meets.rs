//! How the ends of a spliced flow meet, and what each then hears of the other.

use super::*;

/// A checksum that somebody has damaged on the way.
fn damaged(mut frame: Vec<u8>) -> Vec<u8> {
    *frame.last_mut().unwrap() ^= 1;
    frame
}

#[test]
fn both_ends_meet_and_each_hears_its_own_numbers() {
    let mut scene = Scene::known(FILE, ANSWER);
    let answered = scene.greeted(&segment(SYN, ISN, 0, MODERN));
    assert_eq!((answered.flags(), answered.packet.acknowledgement, answered.window()), (SYN | ACK, START, 0));
    let told = answered.options();
    assert_eq!((told.mss, told.window_scale, told.sack_permitted), (Some(1460), Some(9), true));
    assert_eq!(told.timestamps.unwrap()[1], 700);
    scene.ours = answered.packet.sequence;
    let asked = scene.dial(stamped(710, told.timestamps.unwrap()[0]));
    assert_eq!(
        asked.options(),
        SynOptions { timestamps: Some([710, 0]), ..MODERN },
        "the consumer's own words"
    );
    let [acked, opened] = scene.meet(ANSWER);
    assert_eq!((acked.flags(), acked.numbers(), acked.stamps()), (ACK, (START, THEIR_START), [710, 90_000]));
    let ours = scene.ours.wrapping_add(1);
    assert_eq!((opened.flags(), opened.numbers()), (ACK, (ours, START)));
    assert_eq!(opened.window(), 20_000 >> 9);
    assert_eq!(opened.stamps(), [told.timestamps.unwrap()[0], 710], "it goes on from what was told");
    assert_eq!(scene.path(), Some(FlowPath::Shifted));

    let hello =
        Segment { payload: b"hello", ..segment(ACK, START, ours, stamped(720, opened.stamps()[0] + 5)) };
    let carried = scene.carried(true, &hello);
    assert_eq!((carried.numbers(), carried.stamps()), ((START, THEIR_START), [720, 90_005]));
    assert_eq!((carried.payload(), carried.window()), (&b"hello"[..], 20_000));
    let answer = Segment {
        payload: b"world",
        ..segment(ACK, THEIR_START, START.wrapping_add(5), stamped(90_010, 720))
    };
    let carried = scene.carried(false, &answer);
    assert_eq!((carried.numbers(), carried.payload()), ((ours, START.wrapping_add(5)), &b"world"[..]));
    assert_eq!((carried.stamps(), carried.window()), ([opened.stamps()[0] + 10, 720], 20_000));
}

#[test]
fn the_target_hears_nothing_until_the_consumer_has_heard_our_number() {
    let mut scene = Scene::answered(MODERN, ANSWER);
    let ours = scene.ours.wrapping_add(1);
    let guess = segment(ACK, START, ours.wrapping_add(1), PLAIN);
    let (reason, left) = scene.consumer(&guess);
    assert_eq!((reason, left.len()), (Reason::SpliceHandshake, 1));
    assert_eq!((left[0].device, left[0].flags()), (scene.lab.consumers[0], RST));
    let right = scene.frame(true, &segment(ACK, START, ours, PLAIN));
    let device = scene.lab.consumers[0];
    assert_eq!(scene.input(device, &damaged(right)).0, Reason::BadChecksum);
    scene.dial(PLAIN);
    let answer = scene.frame(false, &segment(SYN | ACK, THEIRS, START, ANSWER));
    let device = scene.lab.provider;
    assert_eq!(scene.input(device, &damaged(answer)).0, Reason::BadChecksum);
    assert_eq!(scene.path(), Some(FlowPath::Escorted { worker: 0, escort: 0 }));
    scene.meet(ANSWER);
}

#[test]
fn a_syn_that_comes_again_gets_the_same_answer_and_another_one_another() {
    let mut scene = Scene::answered(MODERN, ANSWER);
    scene.lab.now = seconds(1);
    let again = scene.greeted(&segment(SYN, ISN, 0, MODERN));
    assert_eq!(again.numbers(), (scene.ours, START));
    let other = scene.greeted(&segment(SYN, 5000, 0, PLAIN));
    assert_eq!(other.packet.acknowledgement, 5001);
    assert_ne!(other.packet.sequence, scene.ours);
    assert_eq!(other.options(), SynOptions { mss: Some(1460), ..PLAIN });
    let (reason, left) = scene.consumer(&segment(ACK, START, scene.ours.wrapping_add(1), PLAIN));
    assert_eq!((reason, left[0].flags()), (Reason::SpliceHandshake, RST), "that was the first one's");
    let ack = segment(ACK, 5001, other.packet.sequence.wrapping_add(1), PLAIN);
    let (_, left) = scene.consumer(&ack);
    assert_eq!((left[0].flags(), left[0].packet.sequence, left[0].options()), (SYN, 5000, PLAIN));
}

#[test]
fn what_is_lost_is_said_again() {
    let mut scene = Scene::answered(MODERN, ANSWER);
    let again = scene.pass(seconds(2));
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].flags(), again[0].numbers()), (SYN | ACK, (scene.ours, START)));
    scene.dial(stamped(710, 0));
    let again = scene.pass(seconds(6));
    assert_eq!(again.len(), 2, "after one second and after two more");
    assert!(
        again
            .iter()
            .all(|left| (left.device, left.flags(), left.packet.sequence) == (scene.lab.provider, SYN, ISN))
    );
    scene.meet(ANSWER);
    assert!(scene.pass(seconds(60)).is_empty());
}

#[test]
fn the_targets_second_syn_ack_is_for_the_consumer_to_answer() {
    // Our acknowledgement was lost: the consumer's is as good.
    let mut scene = Scene::met();
    let again = scene.carried(false, &segment(SYN | ACK, THEIRS, START, ANSWER));
    assert_eq!(again.numbers(), (scene.ours, START));
    let challenged = scene.carried(true, &segment(ACK, START, scene.ours.wrapping_add(1), stamped(720, 0)));
    assert_eq!(challenged.numbers(), (START, THEIR_START));
}

#[test]
fn a_lost_window_is_asked_for_and_told_by_the_target() {
    let mut scene = Scene::met();
    let probe = scene.carried(true, &segment(ACK, ISN, scene.ours.wrapping_add(1), stamped(720, 0)));
    assert_eq!(probe.numbers(), (ISN, THEIR_START));
    let told = scene.carried(false, &segment(ACK, THEIR_START, START, stamped(90_001, 720)));
    assert_eq!((told.numbers(), told.window()), ((scene.ours.wrapping_add(1), START), 20_000));
}

/// Who asks about a closed window, asks whether we are there, or speaks in spite of it, is told again (RFC 9293, 3.8.6.1 and 3.10.7.4):
/// by his own TCP's rules he may otherwise take us for dead before the target answers.
#[test]
fn probes_and_early_bytes_are_answered_while_the_target_is_asked() {
    let mut scene = Scene::dialled(MODERN, ANSWER);
    let ours = scene.ours.wrapping_add(1);
    let early = Segment { payload: b"early", ..segment(ACK, START, ours, stamped(730, 0)) };
    let [probe, fin] = [(ACK, ISN, 720), (ACK | FIN, START, 725)]
        .map(|(flags, sequence, value)| segment(flags, sequence, ours, stamped(value, 0)));
    let mut told_at = 0;
    for (said, newest) in [(probe, 720), (early, 730), (fin, 730)] {
        scene.lab.now += Duration::from_millis(10);
        let told = scene.greeted(&said);
        assert_eq!((told.flags(), told.numbers(), told.window()), (ACK, (ours, START), 0));
        assert_eq!(told.stamps()[1], newest, "nobody's clock runs back");
        told_at = told.stamps()[0];
    }
    scene.swallowed(true, &segment(ACK, START, ours, stamped(730, 0)));
    let [acked, opened] = scene.meet(ANSWER);
    assert_eq!((acked.stamps()[0], opened.stamps()), (730, [told_at, 730]), "nor does ours");
    assert_eq!(opened.packet.acknowledgement, START, "none of it has arrived");
}

#[test]
fn a_syn_with_payload_opens_like_any_other() {
    let mut scene = Scene::known(FILE, ANSWER);
    let syn = Segment { payload: b"early", ..segment(SYN, ISN, 0, MODERN) };
    let answered = scene.greeted(&syn);
    assert_eq!(answered.packet.acknowledgement, START, "it comes again");
    scene.ours = answered.packet.sequence;
    scene.dial(stamped(710, 0));
    scene.meet(ANSWER);
    let early =
        Segment { payload: b"early", ..segment(ACK, START, scene.ours.wrapping_add(1), stamped(720, 0)) };
    scene.carried(true, &early);
    scene.carried(false, &segment(ACK, THEIR_START, START.wrapping_add(5), stamped(90_001, 720)));
    scene.pass(seconds(60));
    assert_eq!(scene.path(), Some(FlowPath::Shifted), "it stands");
}

#[test]
fn a_consumer_without_options_gets_none() {
    let mut scene = Scene::answered(PLAIN, ANSWER);
    let asked = scene.dial(PLAIN);
    assert_eq!(asked.options(), PLAIN);
    let [acked, opened] = scene.meet(SynOptions { mss: Some(1460), ..PLAIN });
    assert_eq!([acked.options(), opened.options()], [PLAIN; 2]);
    assert_eq!(opened.window(), 20_000, "nobody scales");
    let hello = scene
        .carried(true, &Segment { payload: b"x", ..segment(ACK, START, scene.ours.wrapping_add(1), PLAIN) });
    assert_eq!(hello.numbers(), (START, THEIR_START));
}

#[test]
fn a_larger_window_scale_than_was_told_is_told_in_the_one_that_the_consumer_knows() {
    for told in 0..=14u8 {
        for meant in told..=14u8 {
            let known = SynOptions { window_scale: Some(told), ..ANSWER };
            let mut scene = Scene::dialled(MODERN, known);
            let [_, opened] = scene.meet(SynOptions { window_scale: Some(meant), ..ANSWER });
            assert_eq!(opened.window(), 20_000 >> told);
            let window = |field: u16| segment_with_window(field, START);
            for field in [0, 1, 300, u16::MAX] {
                let heard = u32::from(scene.carried(false, &window(field)).window()) << told;
                let said = u32::from(field) << meant;
                assert!(heard <= said, "{told} {meant}: {heard} of {said}");
                assert!(
                    heard >= said.min(65_535 << told) >> told << told,
                    "{told} {meant}: {heard} of {said}"
                );
            }
        }
    }
}

fn segment_with_window(window: u16, acknowledgement: u32) -> Segment<'static> {
    Segment { window, ..segment(ACK, THEIR_START, acknowledgement, stamped(90_001, 720)) }
}

#[test]
fn a_server_may_speak_first() {
    let mut scene = Scene::met();
    let banner = Segment { payload: b"220", ..segment(ACK, THEIR_START, START, stamped(90_000, 710)) };
    let carried = scene.carried(false, &banner);
    assert_eq!((carried.numbers(), carried.payload()), ((scene.ours.wrapping_add(1), START), &b"220"[..]));
}

#[test]
fn a_target_whose_window_is_closed_opens_it_itself() {
    let mut scene = Scene::dialled(MODERN, ANSWER);
    let (_, left) = scene.target(&Segment { window: 0, ..segment(SYN | ACK, THEIRS, START, ANSWER) });
    assert_eq!(left[1].window(), 0);
    assert_eq!(scene.carried(false, &segment_with_window(50, START)).window(), 50);
}

#[test]
fn the_path_is_one_way_at_every_stage() {
    let syn = segment(SYN, 77, 0, MODERN);
    let stages = [Scene::dialled(MODERN, ANSWER), Scene::met()];
    for mut scene in stages {
        let (reason, left) = scene.target(&syn);
        assert_eq!((reason, left.len()), (Reason::OneWay, 0));
    }
}

#[test]
fn packets_that_other_workers_get_find_their_way() {
    let mut scene = Scene::answered(MODERN, ANSWER);
    let ack = scene.frame(true, &segment(ACK, START, scene.ours.wrapping_add(1), stamped(710, 0)));
    let (device, now) = (scene.lab.consumers[0], scene.lab.now);
    let said = scene.lab.input_at(1, device, &ack, now);
    assert_eq!(said.handed.len(), 1, "its numbers are not known yet");
    scene.dial(stamped(710, 0));
    scene.meet(ANSWER);
    let said = scene.lab.input_at(1, device, &ack, now);
    assert_eq!((said.handed.len(), said.verdicts[0].reason), (0, Reason::Forwarded));
    assert_eq!(left(&said)[0].numbers(), (START, THEIR_START));
}

#[test]
fn nobody_is_told_of_segments_that_we_do_not_carry() {
    let large = |said| SynOptions { mss: Some(9000), ..said };
    let mut scene = Scene::known(FILE, large(ANSWER));
    let answered = scene.greeted(&segment(SYN, ISN, 0, large(MODERN)));
    scene.ours = answered.packet.sequence;
    let asked = scene.dial(stamped(710, 0));
    assert_eq!([answered, asked].map(|left| left.options().mss), [Some(8365); 2]);
}

/// Its consumer begins anew, and its target has forgotten it: their new windows go by the flow's scales, too.
#[test]
fn what_a_rescaled_flows_ends_agree_on_anew_means_what_they_mean() {
    for meant in [8, 9, 10] {
        let mut scene = Scene::dialled(MODERN, SynOptions { window_scale: Some(7), ..ANSWER });
        scene.meet(ANSWER);
        let ack = scene.carried(true, &segment(ACK, START, scene.ours.wrapping_add(1), stamped(720, 0)));
        assert_eq!(ack.window(), 20_000, "the consumer's scale is the target's, too");
        assert_eq!(scene.carried(true, &segment(SYN, 5000, 0, MODERN)).packet.sequence, 5000);
        let answer = SynOptions { window_scale: Some(meant), ..ANSWER };
        let told = scene.carried(false, &segment(SYN | ACK, 777, 5001, answer));
        assert_eq!(told.window(), 20_000, "a SYN's is not scaled");
        let scale = told.options().window_scale.unwrap();
        let window = Segment { window: 300, ..segment(ACK, 778, 5001, stamped(90_001, 720)) };
        assert_eq!(u32::from(scene.carried(false, &window).window()) << scale, 300 << meant);
    }
}
