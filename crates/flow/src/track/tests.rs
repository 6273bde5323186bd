use std::cell::Cell;

use wire::{Addr, Protocol, TcpFlags};

use super::*;
use Direction::{Forward, Reply};

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;
const FIN: u8 = TcpFlags::FIN;
const RST: u8 = TcpFlags::RST;

thread_local! {
    /// What is added to the numbers of the consumer and of the target.
    static BASES: Cell<[u32; 2]> = const { Cell::new([0; 2]) };
}

/// A connection as the tracker sees it: the consumer's numbers begin at 1,000, the target's at 7,000, and [`BASES`].
#[derive(Clone, Copy)]
struct Talk {
    track: Track,
    sent: [u32; 2],
    acknowledged: [u32; 2],
}

impl Talk {
    fn new() -> Self {
        Self { track: Track::OPENING, sent: [0; 2], acknowledged: [0; 2] }
    }

    fn established() -> Self {
        let mut talk = Self::new();
        for (direction, flags, numbers) in
            [(Forward, SYN, (1000, 0)), (Reply, SYN | ACK, (7000, 1001)), (Forward, ACK, (1001, 7001))]
        {
            assert_eq!(talk.say(direction, flags, numbers, 0), Sign::Plausible);
        }
        assert_eq!(talk.phase(), Phase::Established);
        talk
    }

    fn say(&mut self, direction: Direction, flags: u8, (sequence, ack): (u32, u32), payload: usize) -> Sign {
        let (mine, theirs) = (direction as usize, direction.other() as usize);
        let edges = Edges {
            sent: self.sent[mine],
            acknowledged: self.acknowledged[mine],
            other_sent: self.sent[theirs],
            other_acknowledged: self.acknowledged[theirs],
        };
        let bases = BASES.get();
        let (sequence, ack) = (sequence.wrapping_add(bases[mine]), ack.wrapping_add(bases[theirs]));
        let step = self.track.after(&packet(flags, sequence, ack, payload), direction, edges);
        self.track = step.track;
        self.sent[mine] = step.sent;
        self.acknowledged[mine] = step.acknowledged;
        step.sign
    }

    fn phase(&self) -> Phase {
        self.track.phase()
    }
}

fn packet(flags: u8, sequence: u32, acknowledgement: u32, payload: usize) -> Packet {
    Packet {
        source: Addr::v4([10, 0, 0, 1]),
        destination: Addr::v4([10, 0, 0, 2]),
        protocol: Protocol::Tcp,
        source_port: 1,
        destination_port: 2,
        ttl: 64,
        flags: TcpFlags::new(flags),
        sequence,
        acknowledgement,
        transport: 20,
        payload: 40,
        len: 40 + payload,
    }
}

#[test]
fn a_connection_opens_when_the_target_has_answered_and_been_heard() {
    let mut talk = Talk::new();
    talk.say(Forward, SYN, (1000, 0), 0);
    talk.say(Forward, SYN, (1000, 0), 0);
    assert_eq!(talk.phase(), Phase::Opening, "a SYN may be repeated");
    assert_eq!(talk.say(Reply, SYN | ACK, (7000, 1002), 0), Sign::Stray, "it acknowledges something else");
    talk.say(Reply, SYN | ACK, (7000, 1001), 0);
    assert_eq!(talk.phase(), Phase::Opening, "not heard yet");
    let mut flood = talk;
    flood.say(Forward, ACK, (1001, 99), 0);
    assert_eq!(flood.phase(), Phase::Opening, "whoever has not seen the SYN-ACK cannot acknowledge it");
    talk.say(Forward, ACK, (1001, 7001), 0);
    assert_eq!(talk.phase(), Phase::Established);
}

#[test]
fn a_target_may_take_a_syns_payload_or_a_part_of_it_or_none() {
    for taken in [0, 1, 499, 500] {
        let mut talk = Talk::new();
        talk.say(Forward, SYN, (1000, 0), 500);
        assert_eq!(talk.say(Reply, SYN | ACK, (7000, 1502), 0), Sign::Stray, "nobody has sent that");
        assert_eq!(talk.say(Reply, SYN | ACK, (7000, 1001 + taken), 0), Sign::Plausible);
        assert_eq!(talk.phase(), Phase::Opening);
        let mut refused = talk;
        assert_eq!(talk.say(Forward, ACK, (1001 + taken, 7001), (500 - taken) as usize), Sign::Plausible);
        assert_eq!(talk.phase(), Phase::Established, "{taken}");
        assert_eq!(talk.say(Reply, ACK, (7001, 1501), 100), Sign::Plausible);
        refused.say(Forward, RST, (1001 + taken, 0), 0);
        assert_eq!(refused.phase(), Phase::Closing, "a consumer's RST is where the target is: {taken}");
    }
    let mut talk = Talk::new();
    talk.say(Forward, SYN, (1_000_000, 0), 0);
    let old = 1_000_001 - SYN_PAYLOAD - 1;
    assert_eq!(talk.say(Reply, SYN | ACK, (7000, old), 0), Sign::Stray, "no SYN has so much");
}

/// As Linux repeats one that has asked to open fast. Whichever of the two the target has heard, it has answered.
#[test]
fn a_repeated_syn_may_leave_its_payload_out() {
    for taken in [0, 500] {
        let mut talk = Talk::new();
        talk.say(Forward, SYN, (1000, 0), 500);
        talk.say(Forward, SYN, (1000, 0), 0);
        assert_eq!(talk.say(Reply, SYN | ACK, (7000, 1502), 0), Sign::Stray, "nobody has sent that");
        assert_eq!(talk.say(Reply, SYN | ACK, (7000, 1001 + taken), 0), Sign::Plausible);
        assert_eq!(talk.say(Forward, ACK, (1001 + taken, 7001), 0), Sign::Plausible);
        assert_eq!(talk.phase(), Phase::Established, "{taken}");
    }
    let mut anew = Talk::new();
    anew.say(Forward, SYN, (1000, 0), 500);
    anew.say(Forward, SYN, (900_000, 0), 0);
    assert_eq!(anew.say(Reply, SYN | ACK, (7000, 1501), 0), Sign::Stray, "that was another one");
    assert_eq!(anew.say(Reply, SYN | ACK, (7000, 900_001), 0), Sign::Plausible);
}

#[test]
fn both_may_open_at_once() {
    let mut talk = Talk::new();
    talk.say(Forward, SYN, (1000, 0), 0);
    talk.say(Reply, SYN, (7000, 0), 0);
    talk.say(Reply, SYN | ACK, (7000, 1001), 0);
    assert_eq!(talk.say(Forward, SYN | ACK, (1000, 7000), 0), Sign::Stray, "it has not heard the other one");
    talk.say(Forward, SYN | ACK, (1000, 7001), 0);
    assert_eq!(talk.phase(), Phase::Established);
}

#[test]
fn a_fin_counts_once_it_is_acknowledged() {
    let mut talk = Talk::established();
    talk.say(Forward, FIN | ACK, (1001, 7001), 10);
    talk.say(Reply, ACK, (7001, 1011), 0);
    assert_eq!(talk.phase(), Phase::Established, "the data is acknowledged, the FIN is not");
    talk.say(Reply, ACK, (7001, 1012), 0);
    assert_eq!(talk.phase(), Phase::Established, "half-closed is not closed");
    let mut hours = talk;
    for n in 0..1000 {
        assert_eq!(hours.say(Reply, ACK, (7001 + n * 1000, 1012), 1000), Sign::Plausible);
        assert_eq!(hours.say(Forward, ACK, (1012, 8001 + n * 1000), 0), Sign::Plausible);
    }
    assert_eq!(hours.phase(), Phase::Established, "and may talk for hours");
    talk.say(Reply, FIN | ACK, (7001, 1012), 0);
    assert_eq!(talk.phase(), Phase::Established);
    talk.say(Forward, ACK, (1012, 7002), 0);
    assert_eq!((talk.phase(), talk.track.cause()), (Phase::Closing, Cause::Finished));
}

#[test]
fn both_may_close_at_once() {
    let mut talk = Talk::established();
    talk.say(Forward, FIN | ACK, (1001, 7001), 0);
    talk.say(Reply, FIN | ACK, (7001, 1001), 0);
    talk.say(Forward, ACK, (1002, 7002), 0);
    assert_eq!(talk.phase(), Phase::Established);
    talk.say(Reply, ACK, (7002, 1002), 0);
    assert_eq!(talk.phase(), Phase::Closing);
}

#[test]
fn a_refusal_closes_and_a_forged_one_does_not() {
    let mut talk = Talk::new();
    talk.say(Forward, SYN, (1000, 0), 0);
    assert_eq!(talk.say(Reply, RST | ACK, (0, 999), 0), Sign::Stray);
    assert_eq!(talk.phase(), Phase::Opening);
    talk.say(Reply, RST | ACK, (0, 1001), 0);
    assert_eq!((talk.phase(), talk.track.cause()), (Phase::Closing, Cause::Reset));
}

#[test]
fn what_a_target_has_answered_it_does_not_refuse_any_more() {
    for (flags, numbers, sign) in [
        (RST, (7001, 0), Sign::Plausible),
        (RST | ACK, (7001, 1011), Sign::Plausible),
        (RST | ACK, (7002, 1001), Sign::Stray),
    ] {
        let mut talk = Talk::new();
        talk.say(Forward, SYN, (1000, 0), 0);
        assert!(talk.track.awaits_answer());
        talk.say(Reply, SYN | ACK, (7000, 1001), 0);
        assert!(talk.phase() == Phase::Opening && !talk.track.awaits_answer());
        assert_eq!(talk.say(Reply, flags, numbers, 0), sign);
        assert_eq!(talk.phase() == Phase::Closing, sign == Sign::Plausible);
    }
}

#[test]
fn a_reset_closes_where_the_next_byte_is_expected() {
    let open = Talk::established();
    for (direction, expected) in [(Forward, 1001), (Reply, 7001)] {
        let mut talk = open;
        assert_eq!(talk.say(direction, RST, (expected, 0), 0), Sign::Plausible);
        assert_eq!(talk.phase(), Phase::Closing);

        for stray in [expected - 1, expected + 100_000, expected ^ 1 << 31] {
            let mut talk = open;
            assert_eq!(talk.say(direction, RST, (stray, 0), 0), Sign::Stray, "{stray}");
            assert!(talk.phase() == Phase::Established && !talk.track.is_suspect());
        }
    }
}

#[test]
fn a_reset_nearby_makes_a_suspect_and_any_life_clears_it() {
    let mut talk = Talk::established();
    assert_eq!(talk.say(Reply, RST, (7050, 0), 0), Sign::Plausible);
    assert!(talk.track.is_suspect() && talk.phase() == Phase::Established);
    assert_eq!(talk.track.cause(), Cause::Reset, "should it be silent from now on");
    talk.say(Forward, ACK, (1001, 7001), 0); // the challenge
    assert!(!talk.track.is_suspect());
}

#[test]
fn what_is_nowhere_near_changes_nothing() {
    let open = Talk::established();
    for (flags, sequence) in [(ACK, 1 << 30), (FIN | ACK, 1 << 30), (SYN, 5), (SYN | ACK, 1000)] {
        let mut talk = open;
        assert_eq!(talk.say(Forward, flags, (sequence, 7001), 0), Sign::Stray);
        assert_eq!((talk.track, talk.sent, talk.acknowledged), (open.track, open.sent, open.acknowledged));
    }
    // A FIN that leaves a hole is not the end of what was sent.
    let mut talk = open;
    talk.say(Forward, ACK, (1001, 7001), 5000);
    talk.say(Forward, FIN | ACK, (1001, 7001), 100);
    talk.say(Reply, ACK, (7001, 6001), 0);
    talk.say(Reply, FIN | ACK, (7001, 6001), 0);
    talk.say(Forward, ACK, (6001, 7002), 0);
    assert_eq!(talk.phase(), Phase::Established);
}

#[test]
fn all_of_this_holds_wherever_the_numbers_begin() {
    let all = [
        a_connection_opens_when_the_target_has_answered_and_been_heard,
        a_target_may_take_a_syns_payload_or_a_part_of_it_or_none,
        both_may_open_at_once,
        a_fin_counts_once_it_is_acknowledged,
        both_may_close_at_once,
        a_refusal_closes_and_a_forged_one_does_not,
        what_a_target_has_answered_it_does_not_refuse_any_more,
        a_reset_closes_where_the_next_byte_is_expected,
        a_reset_nearby_makes_a_suspect_and_any_life_clears_it,
        what_is_nowhere_near_changes_nothing,
    ];
    for bases in [[1 << 31, 3 << 30], [3 << 30, 1 << 31], [u32::MAX - 1005, u32::MAX - 7005]] {
        BASES.set(bases);
        all.iter().for_each(|scenario: &fn()| scenario());
    }
}
