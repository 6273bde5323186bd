//! What a client can see of the rules for RST, SYN and acknowledgements, as scripts.

use crate::script::{accepted, dialled, opened};

#[test]
fn the_answer_to_a_syn_waits_and_offers_what_the_peer_has() {
    accepted(
        "< S 0:0(0) <mss 1300,sackOK,ts 7 0,wscale 7>
         +3000
         Opening
         < S 0:0(0) <mss 1300,sackOK,ts 3007 0,wscale 7>
         ready
         > S. 0:0(0) ack 1 <wscale 3,ts 0 7>
         < . 1:1(0) ack 1 <ts 3009 0>
         Open",
    );
    accepted(
        "< S 0:0(0)
         ready
         > S. 0:0(0) ack 1
         +1000
         > S. 0:0(0) ack 1
         < . 1:1(0) ack 2
         > R 2:2(0)
         Opening
         < . 1:1(0) ack 1
         Open",
    );
}

#[test]
fn while_the_answer_is_held_only_the_next_number_resets() {
    accepted(
        "< S 0:0(0)
         < R 0:0(0)
         < R 2:2(0)
         < . 1:1(0) ack 1
         < P. 1:6(5) ack 1
         Opening
         < R 1:1(0)
         Failed(Reset)",
    );
}

#[test]
fn a_reset_counts_where_the_next_byte_is_expected() {
    opened(
        "< R 0:0(0)
         < R 4000000:4000000(0)
         < R -4000000:-4000000(0)
         Open
         < R 2:2(0)
         > . 1:1(0) ack 1
         Open
         < R 1:1(0)
         Failed(Reset)",
    );
}

#[test]
fn what_is_received_and_not_yet_acknowledged_counts() {
    opened(
        "< P. 1:6(5) ack 1
         < R 1:1(0)
         < R. 5:5(0) ack 1
         Open
         < R 7:7(0)
         > . 1:1(0) ack 6
         < R. 6:6(0) ack 1
         Failed(Reset)",
    );
    opened(
        "< P. 1:4(3) ack 1 \"abc\"
         read abc
         +10
         > . 1:1(0) ack 4
         < F. 4:4(0) ack 1
         +40
         > . 1:1(0) ack 5
         HalfClosed
         < R 4:4(0)
         HalfClosed
         < R 5:5(0)
         Failed(Reset)",
    );
}

#[test]
fn both_may_open_at_once() {
    dialled(
        "> S 0:0(0)
         < S 0:0(0)
         > S. 0:0(0) ack 1
         < S. 0:0(0) ack 1
         > . 1:1(0) ack 1
         < . 1:1(0) ack 1
         Open",
    );
}

#[test]
fn the_answer_to_our_syn_acknowledges_it() {
    dialled(
        "> S 0:0(0)
         < S. 0:0(0) ack 2
         > R 2:2(0)
         < S. 0:5(5) ack 1
         > . 1:1(0) ack 1
         Open",
    );
}

#[test]
fn a_reset_of_our_syn_acknowledges_it() {
    dialled(
        "> S 0:0(0)
         < R 0:0(0)
         < R. 0:0(0) ack 0
         < R. 0:0(0) ack 2
         Opening
         < R. 0:0(0) ack 1
         Failed(Refused)",
    );
}

#[test]
fn a_syn_is_told_where_the_connection_stands() {
    let refused = "Open
         < S 0:0(0)
         > . 1:1(0) ack 1
         < S 900:900(0)
         Open
         +500
         < S 900:900(0)
         > . 1:1(0) ack 1
         +500
         < S. 900:900(0) ack 1
         > . 1:1(0) ack 1
         Open
         < R 1:1(0)
         Failed(Reset)";
    opened(refused);
    // The answer to our SYN once more: our ACK was lost.
    dialled(&format!(
        "> S 0:0(0)
         < S. 0:0(0) ack 1
         > . 1:1(0) ack 1
         < S. 0:0(0) ack 1
         > . 1:1(0) ack 1
         +500
         {refused}"
    ));
}

#[test]
fn a_challenge_carries_timestamps_and_the_window() {
    accepted(
        "< S 0:0(0) <ts 7 0,wscale 0>
         ready
         > S. 0:0(0) ack 1 win 65535 <ts 0 7>
         < . 1:1(0) ack 1 <ts 8 0>
         < P. 1:6(5) ack 1 <ts 9 0>
         +10
         > . 1:1(0) ack 6 <ts 10 9>
         +100
         < R 9:9(0)
         > . 1:1(0) ack 6 <ts 110 9>",
    );
}

#[test]
fn what_was_not_sent_cannot_be_acknowledged() {
    opened(
        "< . 1:1(0) ack 2
         > . 1:1(0) ack 1
         < . 1:1(0) ack 1000000
         < P. 1:6(5) ack 3
         send 5
         > P. 1:6(5) ack 1
         +500
         > ...
         < . 1:1(0) ack 7
         > . 6:6(0) ack 1
         < . 1:1(0) ack 6
         Open",
    );
}

#[test]
fn answers_to_what_anybody_may_send_are_half_a_second_apart() {
    opened(
        "< R 9:9(0)
         > . 1:1(0) ack 1
         < S 0:0(0)
         < . 1:1(0) ack 9
         < R 10:10(0)
         < . 2147483649:2147483649(0) ack 1
         +499
         < R 10:10(0)
         +1
         < . 2147483647:2147483657(10) ack 1
         > . 1:1(0) ack 1
         Open",
    );
}

#[test]
fn a_keep_alive_is_answered_with_or_without_its_byte() {
    opened(
        "< . 0:0(0) ack 1
         > . 1:1(0) ack 1
         +1000
         < . 0:1(1) ack 1
         > . 1:1(0) ack 1
         Open",
    );
}
