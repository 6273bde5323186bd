//! A greeting, packet by packet: no table, no output.

use flow::Direction;
use proptest::prelude::*;
use wire::{Addr, SEGMENT_CAPACITY, parse};

use super::*;

const CEILING: u16 = 8365;
/// Ours towards the consumer.
const BEGINS: Beginning = Beginning { sequence: u32::MAX - 2, timestamp: u32::MAX - 500 };
/// Their ports.
const CONSUMER: u16 = 40_000;
const TARGET: u16 = 8080;
/// What a modern host says in its SYN.
const MODERN: SynOptions =
    SynOptions { mss: Some(1460), window_scale: Some(7), sack_permitted: true, timestamps: Some([700, 0]) };
const PLAIN: SynOptions =
    SynOptions { mss: None, window_scale: None, sack_permitted: false, timestamps: None };
const FULL: Speech = Speech { mss: Some(1400), window_scale: Some(9), sack: true, timestamps: true };

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A segment as it is heard.
fn heard(from: u16, segment: &Segment<'_>) -> (Packet, Words) {
    let mut buffer = [0; SEGMENT_CAPACITY];
    let end = |port| (Addr::v4([10, 0, 0, 1]), port);
    let len = segment.write_between(end(from), end(CONSUMER + TARGET - from), &mut buffer);
    let packet = parse(&buffer[..len]).unwrap();
    (packet, Words::by(&buffer[..len], &packet))
}

fn segment(flags: u8, sequence: u32, acknowledgement: u32, options: SynOptions) -> Segment<'static> {
    Segment { flags: TcpFlags::new(flags), sequence, acknowledgement, window: 40_000, options, payload: &[] }
}

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;
const RST: u8 = TcpFlags::RST;

/// Both ends of a greeting, and the numbers that they begin with.
struct Scene {
    greeting: Greeting,
    start: u32,
    now: Duration,
}

impl Scene {
    fn open(options: SynOptions, target: Speech, start: u32) -> Self {
        let (syn, said) = heard(CONSUMER, &segment(SYN, start, 0, options));
        let greeting = Greeting::open(&syn, &said, &target, CEILING, BEGINS, Duration::ZERO);
        Self { greeting, start, now: Duration::ZERO }
    }

    fn dialled(options: SynOptions, target: Speech, start: u32) -> Self {
        let mut scene = Self::open(options, target, start);
        scene.greeting.syn_ack(scene.now);
        assert_eq!(scene.consumer(ACK, start.wrapping_add(1), BEGINS.sequence.wrapping_add(1)), Step::Dial);
        scene
    }

    fn consumer(&mut self, flags: u8, sequence: u32, acknowledgement: u32) -> Step {
        self.consumer_says(&segment(flags, sequence, acknowledgement, PLAIN))
    }

    fn consumer_says(&mut self, segment: &Segment<'_>) -> Step {
        let (packet, said) = heard(CONSUMER, segment);
        self.greeting.hear_consumer(&packet, &said, self.now)
    }

    fn target(&self, flags: u8, sequence: u32, acknowledgement: u32, options: SynOptions) -> Step {
        self.target_says(&segment(flags, sequence, acknowledgement, options))
    }

    fn target_says(&self, segment: &Segment<'_>) -> Step {
        let (packet, said) = heard(TARGET, segment);
        self.greeting.hear_target(&packet, &said, self.now)
    }

    /// The target answers as it should.
    fn met(&self, sequence: u32, options: SynOptions) -> Meeting {
        match self.target(SYN | ACK, sequence, self.start.wrapping_add(1), options) {
            Step::Met(met) => met,
            step => panic!("{step:?}"),
        }
    }
}

#[test]
fn a_window_of_nothing_and_the_targets_options_are_what_the_consumer_is_told() {
    let mut scene = Scene::open(MODERN, FULL, 1000);
    let told = scene.greeting.syn_ack(seconds(1));
    assert_eq!((told.flags.bits(), told.sequence, told.acknowledgement), (SYN | ACK, BEGINS.sequence, 1001));
    assert_eq!(told.window, 0);
    let timestamps = Some([BEGINS.timestamp.wrapping_add(1000), 700]);
    assert_eq!(
        told.options,
        SynOptions { mss: Some(1400), window_scale: Some(9), sack_permitted: true, timestamps }
    );
    let asked = scene.greeting.syn();
    assert_eq!((asked.flags.bits(), asked.sequence, asked.window), (SYN, 1000, 40_000));
    assert_eq!(asked.options, MODERN, "the consumer's own words");
}

#[test]
fn nobody_is_told_what_the_other_does_not_speak() {
    for bits in 0..8u8 {
        let has = |bit: u8| bits >> bit & 1 == 1;
        let less = SynOptions {
            mss: Some(9000),
            window_scale: has(0).then_some(3),
            sack_permitted: has(1),
            timestamps: has(2).then_some([700, 0]),
        };
        let both = [Scene::open(less, FULL, 1), Scene::open(MODERN, Speech::of(&less), 1)];
        for (mut scene, scales) in both.into_iter().zip([[9, 3], [3, 7]]) {
            let [told, asked] =
                [scene.greeting.syn_ack(seconds(0)), scene.greeting.syn()].map(|said| said.options);
            assert_eq!(
                [told, asked].map(|said| said.window_scale),
                scales.map(|scale| has(0).then_some(scale))
            );
            assert_eq!([told, asked].map(|said| said.sack_permitted), [has(1); 2]);
            assert_eq!([told, asked].map(|said| said.timestamps.is_some()), [has(2); 2]);
            assert!([told, asked].iter().all(|said| said.mss.unwrap() <= CEILING));
        }
    }
    let jumbo = Speech { mss: Some(9000), ..FULL };
    let mut large = Scene::open(SynOptions { mss: Some(9000), ..MODERN }, jumbo, 1);
    assert_eq!(large.greeting.syn_ack(seconds(0)).options.mss, Some(CEILING), "whatever both would take");
    let small = SynOptions { mss: Some(600), ..MODERN };
    assert_eq!(Scene::open(small, FULL, 1).greeting.syn_ack(seconds(0)).options.mss, Some(600));
    let mut scene = Scene::open(PLAIN, Speech::default(), 1);
    assert_eq!(scene.greeting.syn_ack(seconds(0)).options, SynOptions { mss: Some(536), ..PLAIN });
    assert_eq!(scene.greeting.syn().options, PLAIN);
}

#[test]
fn a_syn_again_is_answered_again_and_another_one_begins_anew() {
    let mut scene = Scene::open(MODERN, FULL, 1000);
    scene.now = seconds(1);
    let again = SynOptions { timestamps: Some([1700, 0]), ..MODERN };
    assert_eq!(scene.consumer_says(&segment(SYN, 1000, 0, again)), Step::Answer);
    assert_eq!(scene.greeting.syn_ack(scene.now).options.timestamps.unwrap()[1], 1700);
    assert_eq!(scene.consumer(SYN, 2000, 0), Step::Anew);
    assert_eq!(scene.consumer(SYN | ACK, 1000, 0), Step::Wait);
    assert_eq!(scene.consumer(ACK, 1001, BEGINS.sequence.wrapping_add(1)), Step::Dial);
    for sequence in [1000, 2000] {
        assert_eq!(
            scene.consumer(SYN, sequence, 0),
            Step::Challenge,
            "there is somebody behind the first one"
        );
    }
    let challenge = scene.greeting.challenge(scene.now);
    assert_eq!((challenge.sequence, challenge.acknowledgement), (BEGINS.sequence.wrapping_add(1), 1001));
    assert_eq!((challenge.flags.bits(), challenge.window), (ACK, 0));
}

#[test]
fn only_who_has_heard_our_number_makes_us_dial() {
    let ours = BEGINS.sequence.wrapping_add(1);
    for (sequence, acknowledgement, step) in [
        (1001, ours, Step::Dial),
        (1000, ours, Step::Dial),
        (1001, ours.wrapping_add(1), Step::Refuse),
        (1001, BEGINS.sequence, Step::Refuse),
        (999, ours, Step::Wait),
        (1002, ours, Step::Wait),
    ] {
        let mut scene = Scene::open(MODERN, FULL, 1000);
        assert_eq!(scene.consumer(ACK, sequence, acknowledgement), step, "{sequence} {acknowledgement}");
        assert_eq!(scene.greeting.has_dialled(), step == Step::Dial);
        assert_eq!(scene.consumer(0, 1001, ours), Step::Wait);
    }
    let mut scene = Scene::open(MODERN, FULL, 1000);
    let early = Segment { payload: b"early", ..segment(ACK, 1001, ours, PLAIN) };
    assert_eq!(scene.consumer_says(&early), Step::Dial, "it comes once more: it is not acknowledged");
    for (said, step) in [
        (early, Step::Challenge),
        (segment(ACK, 1000, ours, PLAIN), Step::Challenge),
        (segment(TcpFlags::FIN | ACK, 1001, ours, PLAIN), Step::Challenge),
        (segment(ACK, 1001, ours, PLAIN), Step::Wait),
    ] {
        assert_eq!(
            scene.consumer_says(&said),
            step,
            "who asks hears that we are there, who does not need not"
        );
    }
    assert_eq!(scene.target(SYN | ACK, 5, 1001, PLAIN), Step::Mismatch);
}

#[test]
fn a_reset_counts_exactly_where_the_next_byte_would_be() {
    for dialled in [false, true] {
        let scene =
            || if dialled { Scene::dialled(MODERN, FULL, 1000) } else { Scene::open(MODERN, FULL, 1000) };
        for (sequence, step) in [(1001, Step::Hung), (1000, Step::Wait), (1002, Step::Wait), (0, Step::Wait)]
        {
            assert_eq!(scene().consumer(RST, sequence, 0), step);
            assert_eq!(scene().consumer(RST | ACK, sequence, 7), step);
        }
    }
    let scene = Scene::dialled(MODERN, FULL, 1000);
    assert_eq!(scene.target(RST | ACK, 0, 1001, PLAIN), Step::Refused);
    assert_eq!(scene.target(RST | ACK, 0, 1000, PLAIN), Step::Wait);
    assert_eq!(scene.target(RST, 1001, 0, PLAIN), Step::Wait, "it answers nothing");
    let ends = [scene.greeting.consumer_reset(), scene.greeting.target_reset()];
    assert_eq!(ends.map(|end| end.sequence), [BEGINS.sequence.wrapping_add(1), 1001]);
}

#[test]
fn an_old_connection_of_the_targets_is_put_out_of_its_way() {
    let scene = Scene::dialled(MODERN, FULL, 1000);
    assert_eq!(scene.target(ACK, 5, 4000, PLAIN), Step::Refuse);
    assert_eq!(scene.target(SYN | ACK, 5, 4000, MODERN), Step::Refuse);
    assert_eq!(scene.target(ACK, 5, 1001, PLAIN), Step::Wait);
    let undialled = Scene::open(MODERN, FULL, 1000);
    assert_eq!(undialled.target(SYN | ACK, 5, 1001, MODERN), Step::Refuse, "nobody has asked it");
    assert_eq!(undialled.target(RST | ACK, 5, 1001, MODERN), Step::Wait);
}

#[test]
fn each_handshake_is_tried_again_and_again_until_it_has_taken_too_long() {
    let tried = |mut scene: Scene, step| {
        let mut at = Vec::new();
        loop {
            let deadline = scene.greeting.deadline();
            assert_eq!(scene.greeting.pass(deadline - Duration::from_millis(1)), Step::Wait);
            match scene.greeting.pass(deadline) {
                Step::GiveUp => break assert_eq!(deadline, PATIENCE),
                found => assert_eq!(found, step),
            }
            at.push(deadline.as_secs());
        }
        at
    };
    assert_eq!(tried(Scene::open(MODERN, FULL, 1), Step::Answer), [1, 3, 7, 15]);
    let mut late = Scene::open(MODERN, FULL, 1);
    late.now = seconds(5);
    assert_eq!(late.consumer(ACK, 2, BEGINS.sequence.wrapping_add(1)), Step::Dial);
    assert_eq!(tried(late, Step::Dial), [6, 8, 12, 20]);
}

#[test]
fn a_greeting_that_begins_anew_has_no_more_time_than_the_flow() {
    let fresh = Scene { now: seconds(20), ..Scene::open(MODERN, FULL, 2000) };
    let greeting =
        Scene::open(MODERN, FULL, 1000).greeting.anew(Greeting { opened: fresh.now, ..fresh.greeting });
    assert_eq!((greeting.start, greeting.opened), (2000, Duration::ZERO));
}

#[test]
fn what_was_told_has_to_be_true() {
    let scene = Scene::dialled(MODERN, FULL, 1000);
    let answer = SynOptions { window_scale: Some(9), timestamps: Some([5, 700]), ..MODERN };
    scene.met(5, answer);
    for lacking in [
        SynOptions { sack_permitted: false, ..answer },
        SynOptions { timestamps: None, ..answer },
        SynOptions { window_scale: None, ..answer },
        SynOptions { window_scale: Some(8), ..answer },
        SynOptions { mss: Some(1399), ..answer },
        SynOptions { mss: None, ..answer },
    ] {
        assert_eq!(scene.target(SYN | ACK, 5, 1001, lacking), Step::Mismatch);
    }
    for better in [SynOptions { window_scale: Some(10), ..answer }, SynOptions { mss: Some(9000), ..answer }]
    {
        scene.met(5, better);
    }
    let modest = Scene::dialled(PLAIN, Speech { mss: None, ..FULL }, 1000);
    modest.met(5, PLAIN);
}

#[test]
fn a_window_is_told_in_the_units_that_the_consumer_knows() {
    for told in (0..=14).map(Some).chain([None]) {
        let scene = Scene::dialled(MODERN, Speech { window_scale: told, ..FULL }, 1000);
        for meant in told.unwrap_or(0)..=14 {
            let syn_ack = SynOptions { window_scale: Some(meant), ..MODERN };
            let met = scene.met(5, syn_ack);
            let to = told.unwrap_or(0);
            let from = if told.is_some() { meant } else { 0 };
            assert_eq!(met.numbering.window, Scaling { from, to });
            let update = scene.greeting.window_update(&met, 0);
            assert_eq!(update.window, 40_000 >> to, "a SYN's window is not scaled");
            assert_eq!(scene.greeting.window_update(&met, 100).window, 39_900 >> to);
        }
    }
}

#[test]
fn a_window_too_small_for_those_units_is_told_as_one_and_none_at_all_as_none() {
    let coarse = Scene::dialled(MODERN, Speech { window_scale: Some(14), ..FULL }, 1000);
    let options = SynOptions { window_scale: Some(14), ..MODERN };
    let answer = |window| Segment { window, ..segment(SYN | ACK, 5, 1001, options) };
    for (window, told) in [(0, 0), (1, 1), (16_383, 1), (16_384, 1), (u16::MAX, 3)] {
        let Step::Met(met) = coarse.target_says(&answer(window)) else { panic!("{window}") };
        assert_eq!(coarse.greeting.window_update(&met, 0).window, told);
    }
}

#[test]
fn the_targets_acknowledgement_says_what_the_consumer_said_last() {
    let mut scene = Scene::open(MODERN, FULL, 1000);
    let ours = BEGINS.sequence.wrapping_add(1);
    let says = |window, value| {
        let options = SynOptions { timestamps: Some([value, 1]), ..PLAIN };
        Segment { window, ..segment(ACK, 1000, ours, options) }
    };
    assert_eq!(scene.consumer_says(&says(300, 800)), Step::Dial);
    assert_eq!(
        (scene.greeting.syn().window, scene.greeting.syn().options.timestamps),
        (40_000, Some([800, 0]))
    );
    assert_eq!(scene.consumer_says(&says(200, 900)), Step::Challenge);
    assert_eq!(scene.consumer_says(&says(100, 850)), Step::Challenge, "it was overtaken");
    let met = scene.met(5, SynOptions { window_scale: Some(9), timestamps: Some([77, 800]), ..MODERN });
    let ack = scene.greeting.ack(&met);
    assert_eq!((ack.flags.bits(), ack.sequence, ack.acknowledgement, ack.window), (ACK, 1001, 6, 100));
    assert_eq!(ack.options, SynOptions { timestamps: Some([900, 77]), ..PLAIN });
}

#[test]
fn who_has_no_timestamps_gets_none() {
    let mut scene = Scene::dialled(PLAIN, FULL, 1000);
    let met = scene.met(5, SynOptions { mss: Some(1400), timestamps: Some([77, 800]), ..PLAIN });
    assert_eq!(met.numbering.timestamp, 0);
    let said = [
        scene.greeting.ack(&met),
        scene.greeting.window_update(&met, 0),
        scene.greeting.challenge(scene.now),
    ];
    assert!(said.iter().all(|said| said.options == PLAIN));
}

proptest! {
    /// Whatever numbers the two sides begin with: what each says in the other's terms is what the other means.
    #[test]
    fn the_numbers_of_both_sides_meet(start: u32, theirs: u32, stamp: u32, wait in 0u64..28_000) {
        let mut scene = Scene::dialled(MODERN, FULL, start);
        let told = scene.greeting.challenge(Duration::from_millis(wait)).options.timestamps.unwrap();
        let met = scene.met(theirs, SynOptions { window_scale: Some(9), timestamps: Some([stamp, 700]), ..MODERN });
        let (ack, update) = (scene.greeting.ack(&met), scene.greeting.window_update(&met, 0));
        let [forward, reply] = [Direction::Forward, Direction::Reply].map(|way| met.numbering.shift(way));
        // As the target would have said it.
        prop_assert_eq!(update.sequence, ack.acknowledgement.wrapping_add(reply.sequence));
        prop_assert_eq!(update.acknowledgement, ack.sequence);
        let stamps = [ack, update].map(|said| said.options.timestamps.unwrap());
        prop_assert_eq!(stamps[1][0], stamp.wrapping_add(reply.timestamp));
        prop_assert_eq!(stamps[1][0], told[0], "it goes on from what was told");
        // As the consumer answers it.
        prop_assert_eq!(ack.acknowledgement, update.sequence.wrapping_add(forward.acknowledgement));
        prop_assert_eq!(stamps[0], [stamps[1][1], stamps[1][0].wrapping_add(forward.echo)]);
        prop_assert_eq!((forward.sequence, reply.acknowledgement, forward.timestamp, reply.echo), (0, 0, 0, 0));
    }
}
