//! A panic within one flow's TCP, among others.

use std::time::Duration;

use flow::Cause;
use topology::{DeviceId, Path};
use wire::{Frame, ICMP_ERROR_CAPACITY, IcmpError, Segment, TcpFlags};

use super::fence::tests::plant;
use crate::Worker;
use crate::contract::Message;
use crate::fixture::{CLIENT, CONSUMER, INTERFACE, NODE, PROVIDER, Said, addr, say, worker};

/// A consumer's SYN from this port, at this second.
fn syn(worker: &mut Worker, port: u16, second: u64) -> Said {
    let flags = TcpFlags::new(TcpFlags::SYN);
    let syn = Segment { flags, sequence: 1000, window: 1000, ..Segment::default() };
    say(worker, CONSUMER, [(CLIENT.0, port), INTERFACE], &syn, Duration::from_secs(second))
}

/// The devices that RSTs have gone to.
fn told(said: &Said) -> Vec<DeviceId> {
    said.resets().into_iter().map(|(device, _)| device).collect()
}

#[test]
fn a_panic_ends_one_flow_tells_its_peers_and_leaves_the_others_alone() {
    let (shared, mut worker) = worker(Path::Terminate);
    for port in [1, 2] {
        assert_eq!(syn(&mut worker, port, 0).sent.len(), 1, "it is dialled");
    }
    plant();
    let said = syn(&mut worker, 1, 0);
    assert_eq!((said.closed(), told(&said)), (vec![Cause::Panicked], vec![PROVIDER, CONSUMER]));
    assert_eq!((worker.terminated(), shared.flows().live()), (1, 1));
    let mut said = Said::default();
    worker.expire(Duration::from_secs(2), 100, &mut said);
    assert_eq!((said.sent.len(), told(&said).len()), (1, 0), "the other one dials again");
    plant();
    worker.expire(Duration::from_secs(10), 100, &mut said);
    assert_eq!((said.closed(), worker.terminated()), (vec![Cause::Panicked], 0));
    assert_eq!(syn(&mut worker, 3, 10).sent.len(), 1, "and newcomers come in");
}

#[test]
fn an_error_about_a_segment_is_heard_behind_the_fence_too() {
    let (_, mut worker) = worker(Path::Terminate);
    let (_, dialled) = syn(&mut worker, 1, 0).sent.remove(0);
    let mut error = [0; ICMP_ERROR_CAPACITY];
    let len = IcmpError::TooBig(1400).write(addr("10.2.0.1"), addr(NODE), &dialled, &mut error);
    let mut said = Said::default();
    plant();
    worker.input(PROVIDER, &mut [Frame::plain(&mut error[..len])], Duration::ZERO, &mut said);
    assert_eq!((said.closed(), worker.terminated()), (vec![Cause::Panicked], 0));
}

#[test]
fn a_device_that_goes_ends_its_flows_behind_the_fence_and_their_other_ends_are_told() {
    for (is_broken, cause) in [(false, Cause::Released), (true, Cause::Panicked)] {
        let (_, mut worker) = worker(Path::Terminate);
        syn(&mut worker, 1, 0);
        let mut said = Said::default();
        if is_broken {
            plant();
        }
        worker.message(Message::Detach(CONSUMER), Duration::ZERO, &mut said);
        assert_eq!((said.closed(), worker.terminated()), (vec![cause], 0));
        assert!(told(&said).contains(&PROVIDER));
    }
}
