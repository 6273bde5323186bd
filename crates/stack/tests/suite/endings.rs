//! What a client can see of how a connection ends, as scripts.

use crate::script::accepted;

/// Plays `script` after a handshake with timestamps.
fn opened(script: &str) {
    accepted(&format!(
        "< S 0:0(0) <ts 100 0>
         ready
         > S. 0:0(0) ack 1 <ts 0 100>
         < . 1:1(0) ack 1 <ts 101 0>
         Open
         {script}"
    ));
}

#[test]
fn we_close_first() {
    opened(
        "close
         > F. 1:1(0) ack 1
         < . 1:1(0) ack 2 <ts 102 0>
         Open
         < P. 1:4(3) ack 2 \"abc\" <ts 103 0>
         > . 2:2(0) ack 4
         read abc
         < F. 4:4(0) ack 2 <ts 104 0>
         > . 2:2(0) ack 5
         Closed",
    );
}

#[test]
fn the_peer_closes_first() {
    opened(
        "< F. 1:1(0) ack 1 <ts 102 0>
         HalfClosed
         send 3
         > P. 1:4(3) ack 2
         close
         > F. 4:4(0) ack 2
         < . 2:2(0) ack 4 <ts 103 0>
         HalfClosed
         < . 2:2(0) ack 5 <ts 104 0>
         Closed
         < . 2:2(0) ack 5 <ts 104 0>
         < F. 1:1(0) ack 4 <ts 102 0>
         < S 9000:9000(0) <ts 105 0>
         < R 2:2(0)
         Closed",
    );
}

#[test]
fn a_fin_is_acknowledged_with_what_follows_soon() {
    opened(
        "< F. 1:1(0) ack 1 <ts 102 0>
         +39
         close
         > F. 1:1(0) ack 2
         +39
         < . 2:2(0) ack 2 <ts 103 0>
         +60000
         Closed",
    );
}

#[test]
fn a_fin_that_nothing_follows_is_acknowledged_all_the_same() {
    opened(
        "< F. 1:1(0) ack 1 <ts 102 0>
         +39
         +1
         > . 1:1(0) ack 2
         +60000
         HalfClosed",
    );
}

#[test]
fn a_fin_does_not_hold_up_what_waits_before_it() {
    opened(
        "< FP. 1:601(600) ack 1 <ts 102 0>
         +10
         > . 1:1(0) ack 602",
    );
}

#[test]
fn a_fin_that_waits_does_not_hold_up_what_is_sent_again() {
    opened(
        "send 3
         > P. 1:4(3) ack 1
         < F. 1:1(0) ack 1 <ts 102 0>
         send 3
         > P. 4:7(3) ack 2
         < . 2:2(0) ack 4 <ts 103 0>
         +60000
         > ...
         HalfClosed",
    );
}

#[test]
fn both_close_at_once() {
    opened(
        "close
         > F. 1:1(0) ack 1
         < F. 1:1(0) ack 1 <ts 102 0>
         > . 2:2(0) ack 2
         HalfClosed
         < . 2:2(0) ack 2 <ts 103 0>
         Closed",
    );
}

#[test]
fn a_fin_is_sent_again_until_it_is_acknowledged() {
    opened(
        "close
         > F. 1:1(0) ack 1
         +199
         +1
         > F. 1:1(0) ack 1
         +200
         > F. 1:1(0) ack 1
         +400
         > F. 1:1(0) ack 1
         < . 1:1(0) ack 2 <ts 102 0>
         +60000
         Open",
    );
}

#[test]
fn a_fin_that_comes_again_is_acknowledged_again() {
    opened(
        "< F. 1:1(0) ack 1 <ts 102 0>
         +40
         > . 1:1(0) ack 2
         < F. 1:1(0) ack 1 <ts 302 0>
         > . 1:1(0) ack 2
         +400
         < F. 1:1(0) ack 1 <ts 702 0>
         +800
         < F. 1:1(0) ack 1 <ts 1502 0>
         > . 1:1(0) ack 2
         HalfClosed",
    );
}

/// Until the connection is in TIME-WAIT.
const CLOSED: &str = "close
         > F. 1:1(0) ack 1
         < FP. 1:4(3) ack 2 \"abc\" <ts 102 0>
         > . 2:2(0) ack 5";

#[test]
fn time_wait_answers_what_comes_again_and_is_not_reset() {
    for (dropped, echo) in [("", 1102), ("read abc\ndrop", 102)] {
        opened(&format!(
            "{CLOSED}
             {dropped}
             +1000
             < FP. 1:4(3) ack 2 <ts 1102 0>
             > . 2:2(0) ack 5 <ts 1000 {echo}>
             +1000
             < F. 4:4(0) ack 2 <ts 2102 0>
             > . 2:2(0) ack 5
             < . 5:5(0) ack 2
             < R 5:5(0)
             < R. 4:4(0) ack 2
             < R. 5:9(4) ack 2
             < S 9000:9000(0)
             +1000
             < F. 4:4(0) ack 2 <ts 4102 0>
             > . 2:2(0) ack 5"
        ));
    }
}

#[test]
fn bytes_can_be_read_in_time_wait_however_late() {
    opened(&format!(
        "{CLOSED}
         +120000
         Open
         read abc
         Closed"
    ));
}

/// Nothing leaves when the last acknowledgement comes, and TIME-WAIT is over before anybody looks again.
#[test]
fn bytes_can_be_read_in_time_wait_whoever_closed_first() {
    opened(
        "close
         > F. 1:1(0) ack 1
         < FP. 1:4(3) ack 1 \"abc\" <ts 102 0>
         > . 2:2(0) ack 5
         < . 5:5(0) ack 2 <ts 103 0>
         +11000
         < F. 4:4(0) ack 2 <ts 11103 0>
         > . 2:2(0) ack 5
         Open
         read abc
         Closed",
    );
}

#[test]
fn an_abort_resets_the_peer_where_it_expects_it() {
    opened(
        "send 5
         > P. 1:6(5) ack 1
         < P. 1:4(3) ack 1 \"abc\" <ts 102 0>
         abort
         > R. 6:6(0) ack 4
         Failed(Aborted)",
    );
}

#[test]
fn an_abort_while_bytes_are_sent_again_resets_the_peer_behind_all_of_them() {
    opened(
        "send 5000
         > ...
         +5000
         > ...
         abort
         > R. 5001:5001(0) ack 1
         Failed(Aborted)",
    );
}
