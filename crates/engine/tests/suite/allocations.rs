//! Nothing on a packet's road allocates: not a known flow's packet, not a refused one, on nat not even a new flow's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use crate::fragments::cut;
use crate::header::headed;
use crate::icmp::icmp;
use crate::lab::*;
use engine::{Egress, Event, HandOverFull, Output, Reason, Verdict, WorkerId};
use topology::DeviceId;
use wire::Frame;

/// Counts this thread's allocations.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[allow(unsafe_code)] // a counting allocator is what this test is made of
// SAFETY: everything is passed on to the system's allocator; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, that is, from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

pub(crate) fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Counts verdicts and keeps nothing.
#[derive(Default)]
pub(crate) struct Tally {
    forwarded: usize,
    others: usize,
    pub(crate) emitted: usize,
}

impl Output for Tally {
    fn forward(&mut self, _: usize, _: &mut Frame<'_>, _: Egress) {}
    fn emit(&mut self, _: &mut Frame<'_>, _: Egress) {
        self.emitted += 1;
    }
    fn hand_over(&mut self, _: WorkerId, _: DeviceId, _: &Frame<'_>) -> Result<(), HandOverFull> {
        Ok(())
    }
    fn verdict(&mut self, _: usize, verdict: Verdict) {
        if verdict.reason == Reason::Forwarded {
            self.forwarded += 1;
        } else {
            self.others += 1;
        }
    }
    fn event(&mut self, _: Event) {}
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![0u8; 100]))), 1);
}

#[test]
fn nothing_on_the_nat_path_allocates() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    let mut packets: Vec<Vec<u8>> = (0..1000u16)
        .flat_map(|n| {
            [
                tcp((CLIENT, 10_000 + n), (INTERFACE, 80), SYN, (1, 0), &[]),
                tcp((CLIENT, 10_000 + n), (INTERFACE, 80), ACK, (2, 1), b"hello"),
                udp((CLIENT, 10_000 + n), (INTERFACE, 53), b"hello"),
                tcp((CLIENT, 10_000 + n), (INTERFACE, 80), RST, (7, 1), &[]),
                tcp((CLIENT, 10_000 + n), (INTERFACE, 81), SYN, (1, 0), &[]),
                udp(("0.0.0.0", 10_000 + n), (INTERFACE, 53), b"hello"),
            ]
        })
        .collect();
    let mut strays: Vec<Vec<u8>> =
        (0..100).map(|n| tcp((CLIENT, 20_000 + n), (INTERFACE, 80), ACK, (1, 1), &[])).collect();
    let question = udp((CLIENT, 30_000), (INTERFACE, 53), b"hello");
    let left = lab.input(consumer, &question).sent[0].1.clone();
    let mut errors = vec![icmp((3, 4, 1400), TARGET, NODE, &left); 100];
    let provider = lab.provider;
    let mut tally = Tally::default();
    let count = allocations(|| {
        for bytes in packets.iter_mut().chain(&mut strays) {
            lab.workers[0].input(consumer, &mut [Frame::plain(bytes)], Duration::ZERO, &mut tally);
        }
        for bytes in &mut errors {
            lab.workers[0].input(provider, &mut [Frame::plain(bytes)], Duration::ZERO, &mut tally);
        }
        lab.pass(0, Duration::from_secs(400), &mut tally);
    });
    assert_eq!((tally.forwarded, tally.others, tally.emitted), (4000, 2200, 110), "ten errors at once");
    assert!(lab.shared.flows().is_quiet(), "flows have come and gone");
    assert_eq!(count, 0);
}

#[test]
fn once_there_have_been_as_many_at_once_no_flow_with_a_header_allocates() {
    let mut lab = Lab::of(&headed(""), 1);
    let (consumer, provider) = (lab.consumers[0], lab.provider);
    let target = (TARGET, 8080);
    // The second time, each client is given the port that it had.
    let ports: Vec<u16> = (0..500)
        .map(|n| lab.carried(consumer, &tcp((CLIENT, 10_000 + n), (INTERFACE, 80), SYN, (1, 0), &[])).1)
        .map(|syn| syn.source_port)
        .collect();
    lab.pass(0, Duration::from_secs(100), &mut Tally::default());
    assert!(lab.shared.flows().is_quiet());
    let mut frames: Vec<_> = ports
        .iter()
        .enumerate()
        .flat_map(|(n, port)| {
            let (client, node) = ((CLIENT, 10_000 + n as u16), (NODE, *port));
            let acked = if n % 2 == 0 { 107 } else { 2 };
            [
                (consumer, tcp(client, (INTERFACE, 80), SYN, (1, 0), &[])),
                (provider, tcp(target, node, SYN | ACK, (50, 2), &[])),
                (consumer, tcp(client, (INTERFACE, 80), ACK, (2, 51), b"hello")),
                (provider, tcp(target, node, ACK, (51, acked), &[])),
            ]
        })
        .collect();
    let mut tally = Tally::default();
    let count = allocations(|| {
        let now = Duration::from_secs(100);
        for (device, bytes) in &mut frames {
            lab.workers[0].input(*device, &mut [Frame::plain(bytes)], now, &mut tally);
        }
        lab.pass(0, Duration::from_secs(1000), &mut tally);
    });
    assert_eq!((tally.forwarded, tally.others), (2000, 0));
    assert!(tally.emitted >= 500 + 5 * 250, "{}: headers, and half of them again and again", tally.emitted);
    assert!(lab.shared.flows().is_quiet());
    assert_eq!(count, 0);
}

#[test]
fn nothing_about_fragments_allocates_wherever_they_come_in_their_datagram() {
    let mut lab = Lab::new(1);
    let consumer = lab.consumers[0];
    // Whole datagrams, the first fragment first and last; and ones that stay incomplete, more than are remembered.
    let mut pieces: Vec<Vec<u8>> = (0..2000u16)
        .flat_map(|n| {
            let mut pieces = cut(&udp((CLIENT, 1000 + n), (INTERFACE, 53), &[7; 7000]), n.into(), 1480);
            match n % 16 {
                0..8 => pieces.reverse(),
                8 => drop(pieces.remove(0)),
                _ => drop(pieces.pop()),
            }
            pieces
        })
        .collect();
    let mut tally = Tally::default();
    let count = allocations(|| {
        for (n, bytes) in pieces.iter_mut().enumerate() {
            let now = Duration::from_millis(4 * n as u64);
            lab.workers[0].input(consumer, &mut [Frame::plain(bytes)], now, &mut tally);
            if n % 10 == 0 {
                lab.pass(0, now, &mut tally);
            }
        }
        lab.pass(0, Duration::from_secs(400), &mut tally);
    });
    assert!(tally.emitted > 3000, "{} were sent after they had waited", tally.emitted);
    assert!(lab.shared.flows().is_quiet(), "flows have come and gone");
    assert_eq!(count, 0);
}

#[test]
fn after_set_up_nothing_on_the_terminate_path_allocates() {
    let mut lab = Lab::new(1);
    let (consumer, provider) = (lab.consumers[0], lab.provider);
    let said = lab.input(consumer, &tcp((CLIENT, 40_001), (INTERFACE, 8443), SYN, (1, 0), &[]));
    let dialled = wire::parse(&said.sent[0].1).unwrap();
    let next = dialled.sequence.wrapping_add(1);
    let target = (TARGET, 8080);
    let node = (NODE, dialled.source_port);
    let said = lab.input(provider, &tcp(target, node, SYN | ACK, (100, next), &[]));
    let syn_ack = said.sent.iter().find(|(device, _)| *device == consumer).unwrap();
    let theirs = wire::parse(&syn_ack.1).unwrap().sequence.wrapping_add(1);
    let client = (CLIENT, 40_001);
    let interface = (INTERFACE, 8443);
    let mut data: Vec<Vec<u8>> =
        (0..200u32).map(|n| tcp(client, interface, ACK, (2 + n * 100, theirs), &[7; 100])).collect();
    let mut answers: Vec<Vec<u8>> = (0..200u32)
        .map(|n| tcp(target, node, ACK, (101 + n * 100, next.wrapping_add(n * 100)), &[8; 100]))
        .collect();
    let mut tally = Tally::default();
    let worker = &mut lab.workers[0];
    let count = allocations(|| {
        for (n, (bytes, answer)) in data.iter_mut().zip(&mut answers).enumerate() {
            let now = Duration::from_millis(n as u64);
            worker.input(consumer, &mut [Frame::plain(bytes)], now, &mut tally);
            worker.input(provider, &mut [Frame::plain(answer)], now, &mut tally);
            worker.expire(now, 100, &mut tally);
        }
    });
    assert!(tally.emitted >= 200, "{} frames were emitted", tally.emitted);
    assert_eq!(count, 0);
}
