//! What becomes of segments that no decent peer sends, or only in distress, as scripts.

use crate::script::{accepted, accepted_with, opened};

#[test]
fn nobody_gets_in_more_than_the_window_has_told() {
    accepted(
        "< S 0:0(0)
         ready
         > S. 0:0(0) ack 1 win 65535
         < . 1:1(0) ack 1
         < . 30001:60001(30000) ack 1
         > . 1:1(0) ack 1
         < . 60001:65537(5536) ack 1
         > . 1:1(0) ack 1
         < . 1:30001(30000) ack 1
         > . 1:1(0) ack 60001
         Open",
    );
}

#[test]
fn of_bytes_that_overlap_the_last_win_until_they_are_in_order() {
    opened(
        "< . 4:7(3) ack 1 \"def\"
         > . 1:1(0) ack 1
         < . 1:6(5) ack 1 \"abcDE\"
         > . 1:1(0) ack 7
         < . 1:4(3) ack 1 \"ABC\"
         > . 1:1(0) ack 7
         < . 3:9(6) ack 1 \"....gh\"
         read abcDEfgh
         +10
         > . 1:1(0) ack 9",
    );
}

#[test]
fn bytes_and_a_fin_that_were_overtaken_are_taken_with_the_acknowledgement_that_they_have() {
    opened(
        "send 5
         > P. 1:6(5) ack 1
         send 5
         > P. 6:11(5) ack 1
         < P. 4:7(3) ack 11 \"def\"
         > . 11:11(0) ack 1
         < P. 1:4(3) ack 6 \"abc\"
         > . 11:11(0) ack 7
         read abcdef
         < P. 7:10(3) ack -600000
         send 5
         > P. 11:16(5) ack 7
         < . 7:7(0) ack 16
         < F. 7:7(0) ack 11
         +40
         > . 16:16(0) ack 8
         HalfClosed",
    );
}

#[test]
fn a_fin_counts_behind_the_last_byte() {
    opened(
        "< F. 4:4(0) ack 1
         < F 1:1(0)
         Open
         < . 1:4(3) ack 1 \"abc\"
         < F. 4:4(0) ack 1
         read abc
         +40
         > . 1:1(0) ack 5
         HalfClosed
         < P. 5:8(3) ack 1
         > . 1:1(0) ack 5
         HalfClosed",
    );
}

#[test]
fn odd_flags_and_a_syn_with_bytes_change_nothing() {
    accepted(
        "< S 0:5(5)
         ready
         > S. 0:0(0) ack 1
         < PU. 1:4(3) ack 1 \"abc\"
         < SF. 1:1(0) ack 1
         > . 1:1(0) ack 4
         < RF. 4:4(0) ack 1
         < - 4:4(0)
         Open
         read abc
         +10
         > . 1:1(0) ack 4",
    );
}

#[test]
fn absurd_options_are_clamped_or_cost_the_segment() {
    for (mss, payload) in [(0, 536), (1, 48), (48, 48), (49, 49)] {
        accepted(&format!(
            "< S 0:0(0) <mss {mss}>
             ready
             > S. 0:0(0) ack 1
             < . 1:1(0) ack 1 win {payload}
             send 2000
             > . 1:{}({payload}) ack 1",
            payload + 1
        ));
    }
    // A shift of 255 counts as 14.
    accepted(
        "< S 0:0(0) <wscale 255>
         ready
         > S. 0:0(0) ack 1 <wscale 3>
         < . 1:1(0) ack 1 win 1
         send 5
         > P. 1:6(5) ack 1",
    );
    accepted(
        "< S 0:0(0) <x02>
         < S 0:0(0) <x03,x09>
         ready
         +60000
         Opening
         < S 0:0(0) <xfe,x02,x00,xff>
         > S. 0:0(0) ack 1
         < . 1:1(0) ack 1
         < P. 1:4(3) ack 1 <x05,x03,x01>
         Open",
    );
}

#[test]
fn a_segment_from_half_the_sequence_space_away_is_nobody_s() {
    // The window is full and the FIN lies at its edge: smoltcp's comparisons would let this pass, and its arithmetic panic.
    accepted_with(
        1000,
        "< S 0:0(0) <sackOK>
         ready
         > S. 0:0(0) ack 1 win 1000
         < . 1:1(0) ack 1
         < F. 1:1001(1000) ack 1
         < . 2147484649:2147484659(10) ack 1
         > . 1:1(0) ack 1002 win 0
         Open",
    );
}

#[test]
fn a_tiny_window_gets_one_segment_for_each_acknowledgement() {
    opened(
        "< . 1:1(0) ack 1 win 1
         send 100
         > . 1:2(1) ack 1
         < . 1:1(0) ack 2 win 1
         > . 2:3(1) ack 1
         < . 1:1(0) ack 3 win 0
         < . 1:1(0) ack 3 win 7
         > . 3:10(7) ack 1",
    );
}

#[test]
fn a_window_counts_also_where_its_segment_is_acknowledged_at_once() {
    opened(
        "< . 11:16(5) ack 1
         > . 1:1(0) ack 1
         < . 1:11(10) ack 1 win 0
         > . 1:1(0) ack 16
         send 5
         > . 1:2(1) ack 16
         +350
         > . 1:2(1) ack 16
         < . 16:16(0) ack 2 win 9
         > P. 2:6(4) ack 16",
    );
}

#[test]
fn the_window_is_what_was_said_last_whatever_comes_late() {
    opened(
        "< . 11:16(5) ack 1 win 0
         > . 1:1(0) ack 1
         < . 6:11(5) ack 1 win 0
         > . 1:1(0) ack 1
         < . 1:11(10) ack 1 win 0
         > . 1:1(0) ack 16
         < . 11:21(10) ack 1 win 1
         +10
         > . 1:1(0) ack 21
         send 5
         > . 1:2(1) ack 21
         +350
         > . 1:2(1) ack 21
         < . 21:21(0) ack 1 win 0
         +500
         > . 1:2(1) ack 21
         < . 21:21(0) ack 2 win 9
         > P. 2:6(4) ack 21",
    );
}

#[test]
fn a_window_that_is_closed_is_probed_and_opens_again() {
    accepted_with(
        60,
        "< S 0:0(0)
         ready
         > S. 0:0(0) ack 1 win 60
         < . 1:1(0) ack 1
         < . 1:61(60) ack 1
         > ...
         +10
         > ...
         < . 61:62(1) ack 1
         > . 1:1(0) ack 61 win 0
         < . 60:60(0) ack 1
         +500
         < . 60:60(0) ack 1
         > . 1:1(0) ack 61 win 0
         read ............................................................
         > . 1:1(0) ack 61 win 60
         < . 61:64(3) ack 1
         +10
         > . 1:1(0) ack 64
         read ...",
    );
}

#[test]
fn who_has_filled_the_window_acknowledges_from_its_end() {
    accepted_with(
        60,
        "< S 0:0(0)
         ready
         > S. 0:0(0) ack 1 win 60
         < . 1:1(0) ack 1
         Open
         send 5
         > P. 1:6(5) ack 1
         < . 11:61(50) ack 1
         > . 6:6(0) ack 1
         < . 61:61(0) ack 6
         +3000",
    );
}
