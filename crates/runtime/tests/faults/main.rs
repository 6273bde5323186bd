//! Devices that fail: the loop neither spins nor dies nor loses count, and the watch opens anew what cannot be read any
//! more. No privilege is needed: there is no kernel behind these devices.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that fails here has failed

mod fake;
mod reloads;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use device::{Offloads, Undone};
use fake::{Fault, Machine};
use runtime::{DeviceState, DeviceStatus, Forwarder, Snapshot};
use rustix::io::Errno;
use topology::{Origin, Topology};
use wire::{Checksum, Offload, Segmentation, SegmentationKind};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Files that are there on every machine, and are not each other: the watch looks at no more.
const PROVIDER: &str = "/proc/self/ns/net";
const CONSUMER: &str = "/proc/self/ns/uts";
const OTHER_CONSUMER: &str = "/proc/self/ns/mnt";
/// Those that are there from the beginning.
const CONSUMERS: &[&str] = &[CONSUMER, OTHER_CONSUMER];

const CLIENT: [u8; 4] = [10, 1, 0, 2];
const INTERFACE: [u8; 4] = [10, 1, 9, 50];
const NODE: [u8; 4] = [10, 2, 9, 1];
const TARGET: [u8; 4] = [10, 2, 0, 2];

/// A forwarder of one worker between fake devices, and the packets that were sent into it.
struct Lab {
    machine: Arc<Machine>,
    forwarder: Forwarder,
    sent: u64,
}

impl Lab {
    fn new() -> Self {
        Self::with("")
    }

    /// A lab whose file has these lines under `[run]`.
    fn with(run: &str) -> Self {
        let machine = Arc::new(Machine::default());
        let opener = Arc::clone(&machine) as _;
        let forwarder = Forwarder::start(Arc::new(topology(run, CONSUMERS)), opener).unwrap();
        Self { machine, forwarder, sent: 0 }
    }

    /// The consumer asks.
    fn ask(&mut self, offload: Offload, payload: &[u8]) {
        self.sent += 1;
        self.machine.send(CONSUMER, offload, &datagram((CLIENT, 4000), (INTERFACE, 53), payload));
    }

    /// The consumer asks, and the question comes out at the target. Returns the port that it comes from.
    fn question_arrives(&mut self, payload: &[u8]) -> u16 {
        self.ask(Offload::NONE, payload);
        let packet = self.machine.receive(PROVIDER);
        assert_eq!((&packet[12..16], &packet[16..20]), (&NODE[..], &TARGET[..]));
        assert_eq!(&packet[28..], payload);
        u16::from_be_bytes([packet[20], packet[21]])
    }

    /// The target answers on that port, and the answer comes out at the consumer.
    fn answer_arrives(&mut self, port: u16, payload: &[u8]) {
        self.sent += 1;
        self.machine.send(PROVIDER, Offload::NONE, &datagram((TARGET, 5353), (NODE, port), payload));
        let packet = self.machine.receive(CONSUMER);
        assert_eq!((&packet[12..16], &packet[16..20]), (&INTERFACE[..], &CLIENT[..]));
        assert_eq!(&packet[28..], payload);
    }

    fn snapshot(&self) -> Snapshot {
        self.forwarder.snapshot()
    }

    fn provider(&self) -> DeviceStatus {
        self.snapshot().devices[0].clone()
    }

    fn consumer(&self) -> DeviceStatus {
        self.snapshot().devices[1].clone()
    }

    fn await_state(&self, what: &str, is_it: impl Fn(&Snapshot) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_it(&self.snapshot()) {
            assert!(Instant::now() < deadline, "{what} did not happen: {:#?}", self.snapshot());
            std::thread::yield_now();
        }
    }

    /// Every packet that was sent has been read and has its verdict; and the worker has not woken up for nothing: that is
    /// once a packet at most, for what it was told, and for its timers. (One that spins does so thousands of times.)
    fn expect_accounts(&self, lost_unread: u64) {
        let read = self.sent - lost_unread;
        self.await_state("a verdict for every packet", |snapshot| verdicts(snapshot) == read);
        // What a batch forwards leaves after its last verdict.
        let out = |device: &DeviceStatus| device.sent.frames + device.send_errors;
        let out = |snapshot: &Snapshot| snapshot.devices.iter().map(out).sum::<u64>();
        self.await_state("its leaving", |snapshot| out(snapshot) == count(snapshot, "forwarded"));
        let snapshot = self.snapshot();
        let received: u64 = snapshot.devices.iter().map(|device| device.received.frames).sum();
        assert_eq!(received, read);
        let wakeups = snapshot.workers[0].wakeups;
        let most = self.sent + 100 + (snapshot.uptime * 20.0) as u64;
        assert!(wakeups <= most, "{wakeups} wake-ups for {} packets in {} s", self.sent, snapshot.uptime);
    }
}

/// A service, and an endpoint to it in each of these namespaces, all with the same address. `run` is said as well of how to
/// run.
fn topology(run: &str, consumers: &[&str]) -> Topology {
    let service = format!(
        r#"
        [run]
        name = "faults"
        workers = 1
        {run}
        [[service]]
        name = "dns"
        namespace = "{PROVIDER}"
        nodes = [{{ address = "10.2.9.1" }}]
        listeners = [{{ protocol = "udp", port = 53, forward = "dns" }}]
        [[target_group]]
        name = "dns"
        targets = [{{ address = "10.2.0.2", port = 5353 }}]
        "#
    );
    let endpoint = |namespace: &&str| {
        format!(
            r#"
            [[endpoint]]
            name = "dns-{}"
            service = "dns"
            namespace = "{namespace}"
            interfaces = [{{ address = "10.1.9.50" }}]
            "#,
            namespace.rsplit_once('/').unwrap().1
        )
    };
    let file: String = std::iter::once(service).chain(consumers.iter().map(endpoint)).collect();
    Topology::parse(&file, &Origin::new(Path::new("/faults.toml"))).unwrap()
}

fn verdicts(snapshot: &Snapshot) -> u64 {
    snapshot.verdicts.iter().map(|verdict| verdict.count).sum()
}

fn count(snapshot: &Snapshot, reason: &str) -> u64 {
    snapshot.verdicts.iter().find(|verdict| verdict.reason == reason).unwrap().count
}

/// UDP over IPv4, without a UDP checksum.
fn datagram(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let udp = 8 + payload.len() as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet[2..4].copy_from_slice(&(20 + udp).to_be_bytes());
    packet.extend([from.0, to.0].concat());
    packet.extend([from.1, to.1, udp, 0].iter().flat_map(|field| field.to_be_bytes()));
    packet.extend(payload);
    packet
}

fn partial(segment: Option<u16>) -> Offload {
    let segmentation = segment.map(|size| Segmentation { kind: SegmentationKind::Udp, ecn: false, size });
    Offload { checksum: Checksum::Partial, segmentation }
}

#[test]
fn what_cannot_be_written_is_counted_and_not_tried_again() {
    let mut lab = Lab::new();
    let mut errors = 0;
    for errno in [Errno::AGAIN, Errno::INVAL, Errno::IO] {
        lab.question_arrives(b"before");
        lab.machine.set_fault(PROVIDER, Some(Fault::Write(errno)));
        for _ in 0..10 {
            lab.ask(Offload::NONE, b"lost");
        }
        errors += 10;
        lab.await_state("the count", |snapshot| snapshot.devices[0].send_errors == errors);
        lab.machine.set_fault(PROVIDER, None);
        let port = lab.question_arrives(b"after");
        lab.answer_arrives(port, b"an answer");
    }
    assert!(!lab.machine.has_more(PROVIDER));
    let [provider, consumer] = [lab.provider(), lab.consumer()];
    assert_eq!((provider.sent.frames, consumer.send_errors), (6, 0));
    assert_eq!(provider.offloads, Offloads::ALL.to_string(), "a plain frame says nothing about offloads");
    lab.expect_accounts(0);
}

#[test]
fn a_receiver_that_takes_nothing_holds_nobody_up() {
    let mut lab = Lab::new();
    let port = lab.question_arrives(b"first");
    // Nobody reads at the target, so at some point the socket is full: a real EAGAIN.
    for _ in 0..2000 {
        lab.ask(Offload::NONE, &[7; 1400]);
    }
    lab.await_state("a full socket", |snapshot| snapshot.devices[0].send_errors > 0);
    lab.answer_arrives(port, b"the other way is free");
    lab.expect_accounts(0);
}

#[test]
fn a_read_that_finds_nothing_loses_nothing() {
    let mut lab = Lab::new();
    lab.machine.set_fault(CONSUMER, Some(Fault::Read(Errno::AGAIN)));
    lab.ask(Offload::NONE, b"one");
    lab.await_state("the read", |_| lab.machine.fault(CONSUMER).is_none());
    lab.ask(Offload::NONE, b"two");
    for expected in [b"one", b"two"] {
        assert_eq!(lab.machine.receive(PROVIDER)[28..], *expected);
    }
    lab.expect_accounts(0);
}

#[test]
fn an_offload_header_without_sense_costs_one_packet() {
    let mut lab = Lab::new();
    for _ in 0..20 {
        // No segmentation is of this type.
        let mut frame = [0; 60];
        frame[1] = 0x70;
        lab.machine.send_raw(CONSUMER, &frame);
    }
    let port = lab.question_arrives(b"afterwards");
    lab.answer_arrives(port, b"an answer");
    let consumer = lab.consumer();
    assert_eq!((consumer.receive_errors, consumer.received.frames), (20, 1));
    assert_eq!(lab.machine.openings(CONSUMER), 1, "the device is fine");
    lab.expect_accounts(0);
}

#[test]
fn a_device_that_cannot_be_read_is_opened_anew() {
    for errno in [Errno::IO, Errno::BADFD, Errno::INVAL] {
        let mut lab = Lab::new();
        let port = lab.question_arrives(b"before");
        lab.machine.set_fault(CONSUMER, Some(Fault::Read(errno)));
        // This one is still in the queue when the device is closed.
        lab.ask(Offload::NONE, b"lost");
        lab.await_state("the loss", |snapshot| snapshot.devices[1].state != DeviceState::Up);
        assert!(
            matches!(lab.consumer().state, DeviceState::Down(why) if why.contains("error")),
            "it says why"
        );
        lab.await_state("the new device", |snapshot| snapshot.endpoints[0].up);
        assert_eq!((lab.machine.openings(CONSUMER), lab.machine.openings(PROVIDER)), (2, 1));
        assert_eq!(lab.question_arrives(b"after"), port, "the flow is the same");
        lab.answer_arrives(port, b"an answer");
        assert_eq!(lab.consumer().receive_errors, 1);
        lab.expect_accounts(1);
    }
}

#[test]
fn a_device_that_hangs_up_is_opened_anew_as_soon_as_it_can_be() {
    let mut lab = Lab::new();
    let port = lab.question_arrives(b"before");
    lab.machine.refuse(PROVIDER, 1);
    lab.machine.hang_up(PROVIDER);
    lab.await_state("the refusal", |snapshot| {
        matches!(&snapshot.devices[0].state, DeviceState::Down(why) if why.contains("ip netns add"))
    });
    lab.ask(Offload::NONE, b"nowhere to go");
    lab.await_state("its verdict", |snapshot| count(snapshot, "egress_down") == 1);
    lab.await_state("the new device", |snapshot| snapshot.endpoints[0].up);
    assert_eq!(lab.question_arrives(b"after"), port, "the flow is the same");
    lab.answer_arrives(port, b"an answer");
    lab.expect_accounts(0);
}

#[test]
fn a_queue_that_stops_delivering_holds_nobody_up() {
    let mut lab = Lab::new();
    let port = lab.question_arrives(b"before");
    lab.machine.set_fault(CONSUMER, Some(Fault::Silence));
    for _ in 0..10 {
        lab.ask(Offload::NONE, b"stuck");
    }
    for _ in 0..100 {
        lab.answer_arrives(port, b"an answer");
    }
    assert_eq!((lab.consumer().received.frames, lab.machine.has_more(PROVIDER)), (1, false));
    lab.machine.set_fault(CONSUMER, None);
    lab.ask(Offload::NONE, b"the next");
    for _ in 0..10 {
        assert_eq!(lab.machine.receive(PROVIDER)[28..], *b"stuck");
    }
    assert_eq!(lab.machine.receive(PROVIDER)[28..], *b"the next");
    lab.expect_accounts(0);
}

#[test]
fn a_kernel_that_breaks_its_word_is_asked_for_less() {
    let mut lab = Lab::new();
    lab.question_arrives(b"before");
    assert_eq!((lab.provider().offloads, lab.consumer().offloads).0, "csum tso4 tso6 ecn uso4 uso6");
    let steps = [
        (
            Undone::Udp,
            partial(Some(1000)),
            "csum tso4 tso6 ecn (lowered: the kernel refused a UDP super-packet)",
        ),
        (Undone::Checksum, partial(None), "none (lowered: the kernel refused a partial checksum)"),
    ];
    let mut left = Offloads::ALL;
    let mut errors = 0;
    for (undone, offload, shown) in steps {
        lab.machine.set_fault(PROVIDER, Some(Fault::Refuse(undone)));
        let is_lowered = |lab: &Lab| lab.snapshot().devices.iter().all(|device| device.offloads == shown);
        let deadline = Instant::now() + PATIENCE;
        // Each that is refused says so, unless the watch has yet to hear of one before it; some are on their way still.
        let mut asked = 0;
        while asked < 50 || !is_lowered(&lab) {
            assert!(Instant::now() < deadline, "the offloads are not lowered");
            lab.ask(offload, &[7; 2500]);
            asked += 1;
        }
        errors += asked;
        lab.await_state("the count", |snapshot| snapshot.devices[0].send_errors == errors);
        left = left.without(undone);
        lab.question_arrives(b"a plain one");
        for device in [PROVIDER, CONSUMER] {
            assert_eq!(lab.machine.asked(device).last(), Some(&left), "told once, to every device");
        }
    }
    assert_eq!(lab.machine.asked(CONSUMER), [Offloads::ALL, Offloads::TCP, Offloads::NONE]);
    lab.expect_accounts(0);

    lab.machine.hang_up(CONSUMER);
    lab.await_state("the new device", |_| lab.machine.openings(CONSUMER) == 2);
    assert_eq!(lab.machine.asked(CONSUMER).last(), Some(&Offloads::NONE), "a new device starts there");
}

/// A frame that contradicts itself is refused by every kernel.
#[test]
fn a_frame_that_is_at_fault_itself_lowers_nothing() {
    let mut lab = Lab::new();
    lab.machine.set_fault(PROVIDER, Some(Fault::Write(Errno::INVAL)));
    let too_many = partial(Some(1));
    let without_checksum = Offload { checksum: Checksum::Complete, ..partial(Some(1000)) };
    for offload in [too_many, without_checksum] {
        lab.ask(offload, &[7; 2500]);
    }
    lab.await_state("the count", |snapshot| snapshot.devices[0].send_errors == 2);
    lab.machine.set_fault(PROVIDER, None);
    // Whatever had been reported, the watch would have heard of before this.
    lab.machine.hang_up(CONSUMER);
    lab.await_state("the new device", |_| lab.machine.openings(CONSUMER) == 2);
    assert_eq!(lab.machine.asked(CONSUMER), [Offloads::ALL; 2]);
    lab.expect_accounts(0);
}

#[test]
fn reports_without_end_do_not_keep_the_watch_from_its_rounds() {
    let mut lab = Lab::new();
    lab.question_arrives(b"before");
    lab.machine.set_fault(PROVIDER, Some(Fault::Refuse(Undone::Checksum)));
    lab.machine.hang_up(OTHER_CONSUMER);
    let deadline = Instant::now() + PATIENCE;
    while lab.machine.openings(OTHER_CONSUMER) < 2 {
        assert!(Instant::now() < deadline, "the device is not opened anew");
        lab.ask(partial(None), b"refused");
    }
    lab.expect_accounts(0);
}
