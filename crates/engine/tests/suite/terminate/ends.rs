//! How terminated connections end, what is remembered of them, and who is told.

use wire::Frame;

use super::*;
use crate::allocations::{Tally, allocations};

#[test]
fn a_fin_that_comes_once_more_is_acknowledged_once_more() {
    for first in [Who::Near, Who::Far] {
        let mut lab = Lab::new(1);
        let mut talk = Talk::open(&mut lab, 0, 1000, Duration::ZERO);
        let last = if first == Who::Near { Who::Far } else { Who::Near };
        let end = talk.close(&mut lab, first, Duration::ZERO);
        assert_eq!((closed(&end), lab.workers[0].terminated()), (vec![Cause::Finished], 0));
        let end = talk.end(last);
        let fin = tcp(end.own, end.other, FIN | ACK, (end.next.wrapping_sub(1), end.expected), &[]);
        let said = lab.input_at(0, end.device, &fin, seconds(59));
        assert_eq!(reason(&said), Reason::TimeWait);
        let [answer] = end.heard(&said)[..] else { panic!("{:?}", said.sent) };
        assert_eq!(
            (answer.flags.bits(), answer.acknowledgement, answer.sequence),
            (ACK, end.next, end.expected)
        );
        // What asks for nothing gets nothing.
        for quiet in [end.packet(ACK, &[]), end.packet(RST, &[])] {
            let said = lab.input_at(0, end.device, &quiet, seconds(59));
            assert_eq!((reason(&said), said.sent.len()), (Reason::TimeWait, 0));
        }
        let said = lab.input_at(0, end.device, &fin, seconds(60));
        assert_eq!(said.verdicts[0].reason.outcome(), engine::Outcome::Answered, "it is forgotten");
        assert!(end.heard(&said)[0].flags.rst());
    }
}

#[test]
fn on_the_tuple_of_a_closed_connection_a_new_one_opens_at_once() {
    for first in [Who::Near, Who::Far] {
        let mut lab = Lab::new(1);
        Talk::open(&mut lab, 0, 1000, Duration::ZERO).close(&mut lab, first, Duration::ZERO);
        let mut again = Talk::open(&mut lab, 0, 1000, seconds(1));
        let said = again.say(&mut lab, Who::Near, ACK, b"hello", seconds(1));
        assert_eq!(again.far.heard(&said)[0].payload_len(), 5);
    }
}

/// What was remembered of a connection says nothing about the next one on its tuple.
#[test]
fn where_a_later_connection_was_reset_what_still_comes_gets_a_reset() {
    for (first, last) in [(Who::Near, Who::Far), (Who::Far, Who::Near)] {
        // Where the table is three quarters full, a closed flow's port is free again after a second.
        let mut lab = Lab::of(&FILE.replacen("capacity = 4096", "capacity = 1024", 1), 1);
        for n in 0..800 {
            Talk::open(&mut lab, 0, 2000 + n, Duration::ZERO);
        }
        let mut old = Talk::open(&mut lab, 0, 1000, Duration::ZERO);
        old.close(&mut lab, first, Duration::ZERO);
        lab.pass(0, seconds(3), &mut Said::default());
        let late = old.say(&mut lab, last, FIN | ACK, &[], seconds(3));
        assert_eq!(reason(&late), Reason::TimeWait, "it is remembered");
        let mut new = Talk::open(&mut lab, 0, 1000, seconds(3));
        assert_eq!(new.far.other, old.far.other, "the same port again");
        assert_eq!(closed(&new.say(&mut lab, first, RST, &[], seconds(3))), [Cause::Reset]);
        let said = new.say(&mut lab, last, ACK, b"hello", seconds(3));
        assert_eq!(said.verdicts[0].reason.outcome(), engine::Outcome::Answered);
        assert!(new.end(last).heard(&said)[0].flags.rst());
    }
}

#[test]
fn a_consumer_that_does_not_complete_its_handshake_has_thirty_seconds() {
    let mut lab = Lab::new(1);
    let (mut talk, _) = Talk::begin(&mut lab, 0, 1000, Duration::ZERO);
    talk.say(&mut lab, Who::Far, SYN | ACK, &[], Duration::ZERO);
    assert_eq!(closed(&talk.pass(&mut lab, Duration::from_millis(29_999))), []);
    let said = talk.pass(&mut lab, seconds(31));
    assert_eq!(closed(&said), [Cause::Unanswered]);
    assert!(talk.far.heard(&said).last().unwrap().flags.rst(), "its target need not wait");
}

/// A shorter idle time-out is for what is open.
#[test]
fn a_shortened_idle_time_out_leaves_an_opening_its_thirty_seconds() {
    for expiry in ["silent", "reset"] {
        let file = FILE.replacen("[run]", "[run]\ntime_scale = 350", 1);
        let flows = format!("[flows]\nexpiry = \"{expiry}\"");
        for target_answers in [false, true] {
            let mut lab = Lab::of(&file.replacen("[flows]", &flows, 1), 1);
            let mut open = Talk::open(&mut lab, 0, 999, Duration::ZERO);
            let (mut talk, _) = Talk::begin(&mut lab, 0, 1000, Duration::ZERO);
            if target_answers {
                talk.say(&mut lab, Who::Far, SYN | ACK, &[], Duration::ZERO);
            }
            assert_eq!(closed(&open.pass(&mut lab, Duration::from_millis(1001))), [Cause::Idle]);
            assert_eq!(closed(&talk.pass(&mut lab, Duration::from_millis(29_900))), []);
            assert_eq!(closed(&talk.pass(&mut lab, seconds(31))), [Cause::Unanswered]);
        }
    }
}

#[test]
fn what_is_silent_for_too_long_ends_in_silence_and_is_told_when_it_speaks() {
    for who in [Who::Near, Who::Far] {
        let mut lab = Lab::new(1);
        let mut talk = Talk::open(&mut lab, 0, 1000, Duration::ZERO);
        assert_eq!(closed(&talk.pass(&mut lab, Duration::from_millis(349_999))), []);
        let said = talk.pass(&mut lab, seconds(351));
        assert_eq!((closed(&said), said.sent.len()), (vec![Cause::Idle], 0));
        let said = talk.say(&mut lab, who, ACK, b"hello", seconds(352));
        assert_eq!(reason(&said), Reason::ExpiredFlowHit);
        assert!(talk.end(who).heard(&said)[0].flags.rst());
    }
}

#[test]
fn both_ends_are_told_at_once_where_that_is_wanted() {
    let file = FILE.replacen("capacity = 4096", "capacity = 4096\nexpiry = \"reset\"", 1);
    let mut lab = Lab::of(&file, 1);
    let mut talk = Talk::open(&mut lab, 0, 1000, Duration::ZERO);
    let said = talk.pass(&mut lab, seconds(351));
    assert_eq!(closed(&said), [Cause::Idle]);
    for end in [&talk.near, &talk.far] {
        let [reset] = end.heard(&said)[..] else { panic!("{:?}", said.sent) };
        assert!(reset.flags.rst());
    }
}

#[test]
fn a_keep_alive_keeps_a_connection_alive() {
    for who in [Who::Near, Who::Far] {
        let mut lab = Lab::new(1);
        let mut talk = Talk::open(&mut lab, 0, 1000, Duration::ZERO);
        for now in [300, 600, 900].map(seconds) {
            let end = talk.end(who);
            let probe = tcp(end.own, end.other, ACK, (end.next.wrapping_sub(1), end.expected), &[]);
            let said = lab.input_at(0, end.device, &probe, now);
            assert_eq!(end.heard(&said)[0].acknowledgement, end.next, "and is answered");
            assert_eq!(closed(&talk.pass(&mut lab, now + seconds(300))), []);
        }
        assert_eq!(closed(&talk.pass(&mut lab, seconds(1260))), [Cause::Idle]);
    }
}

#[test]
fn a_half_closed_connection_may_be_silent_for_as_long_as_any() {
    let mut lab = Lab::new(1);
    let mut talk = Talk::open(&mut lab, 0, 1000, Duration::ZERO);
    talk.say(&mut lab, Who::Near, FIN | ACK, &[], Duration::ZERO);
    talk.say(&mut lab, Who::Far, ACK, &[], Duration::ZERO);
    assert_eq!(closed(&talk.pass(&mut lab, seconds(349))), []);
    assert_eq!(closed(&talk.pass(&mut lab, seconds(351))), [Cause::Idle]);
}

/// A consumer that keeps its side alive does not keep a relay whose target is gone.
#[test]
fn who_acknowledges_nothing_for_too_long_is_gone() {
    for (flags, bytes) in [(ACK, &b"hello"[..]), (FIN | ACK, b"")] {
        let mut lab = Lab::new(1);
        let mut talk = Talk::open(&mut lab, 0, 1000, Duration::ZERO);
        let said = talk.say(&mut lab, Who::Near, flags, bytes, Duration::ZERO);
        assert_eq!(talk.far.heard(&said)[0].sequence_len(), bytes.len().max(1) as u32);
        for now in (10..340).step_by(10).map(seconds) {
            assert_eq!(closed(&talk.pass(&mut lab, now)), []);
            talk.say(&mut lab, Who::Near, ACK, &[], now);
        }
        assert_eq!(closed(&talk.pass(&mut lab, seconds(351))), [Cause::Idle]);
    }
}

#[test]
fn an_end_allocates_nothing() {
    let mut lab = Lab::new(1);
    let mut talk = Talk::open(&mut lab, 0, 1000, Duration::ZERO);
    let Talk { near, far } = &mut talk;
    let mut near_closes = near.packet(FIN | ACK, &[]);
    far.expected += 1;
    let mut far_closes = far.packet(FIN | ACK, &[]);
    (near.next, near.expected) = (near.next + 1, near.expected + 1);
    let mut near_agrees = near.packet(ACK, &[]);
    let mut tally = Tally::default();
    let count = allocations(|| {
        let packets = [&mut near_closes, &mut far_closes, &mut near_agrees];
        for (bytes, device) in packets.into_iter().zip([near.device, far.device, near.device]) {
            lab.workers[0].input(device, &mut [Frame::plain(bytes)], Duration::ZERO, &mut tally);
        }
        lab.pass(0, seconds(100), &mut tally);
    });
    // Both FINs, and the acknowledgement of the last: that of the first comes with a FIN.
    assert_eq!((lab.workers[0].terminated(), tally.emitted, count), (0, 3, 0));
}
