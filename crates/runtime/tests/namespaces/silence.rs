//! Connections that are silent for longer than their listener allows. `run.time_scale` makes 350 s one.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use device::OffloadOpener;

use crate::Named;
use crate::lab::{INTERFACES, Lab, NAT, PATIENCE, TERMINATE, echoes};

pub(crate) const TRIALS: &[Named] = &[
    (
        "silence_ends_a_connection_and_its_next_packet_is_reset",
        silence_ends_a_connection_and_its_next_packet_is_reset,
    ),
    (
        "both_ends_of_what_expires_are_told_if_that_is_wanted",
        both_ends_of_what_expires_are_told_if_that_is_wanted,
    ),
    ("silence_ends_a_terminated_connection_too", silence_ends_a_terminated_connection_too),
];

fn silence_ends_a_connection_and_its_next_packet_is_reset() {
    let lab = Lab::with("time_scale = 350", Arc::new(OffloadOpener));
    for (nth, interface) in INTERFACES.into_iter().enumerate() {
        let mut stream = silent_until_it_expires(&lab, interface, NAT, nth);
        stream.set_nonblocking(true).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock, "nobody was told");
        stream.set_nonblocking(false).unwrap();
        stream.write_all(b"still there?").unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        await_hits(&lab, nth);
    }
}

fn both_ends_of_what_expires_are_told_if_that_is_wanted() {
    let lab = Lab::with("time_scale = 350\n[flows]\nexpiry = \"reset\"", Arc::new(OffloadOpener));
    for (nth, interface) in INTERFACES.into_iter().enumerate() {
        let mut stream = silent_until_it_expires(&lab, interface, NAT, nth);
        assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

fn silence_ends_a_terminated_connection_too() {
    let lab = Lab::with("time_scale = 350", Arc::new(OffloadOpener));
    for (nth, interface) in INTERFACES.into_iter().enumerate() {
        let mut stream = silent_until_it_expires(&lab, interface, TERMINATE, nth);
        stream.write_all(b"still there?").unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        await_hits(&lab, nth);
    }
}

/// A connection that has been used, and then was not, until it was forgotten as the `nth` one.
fn silent_until_it_expires(lab: &Lab, interface: &str, port: u16, nth: usize) -> TcpStream {
    let mut stream = lab.connect(interface, port).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(echoes(&mut stream, b"hello"));
    lab.await_state("its expiry", |snapshot| snapshot.flows.closed["idle"] == nth as u64 + 1);
    stream
}

fn await_hits(lab: &Lab, nth: usize) {
    lab.await_state("an expired flow hit", |snapshot| {
        let hits = snapshot.verdicts.iter().find(|count| count.reason == "expired_flow_hit").unwrap();
        hits.count == nth as u64 + 1
    });
}
