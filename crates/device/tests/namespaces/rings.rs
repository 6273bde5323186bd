//! Packets that come and go by a ring. Where the kernel lends no io_uring (containers forbid it), these trials are skipped.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use device::{Leaving, Packet, Ring, Told, inside};
use libtest_mimic::Failed;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use wire::{Checksum, Offload, Segmentation, SegmentationKind};

use crate::Named;
use crate::support::{OFFLOAD, OWN, ROUTED, ipv4, namespace, run, udp};

pub(crate) const TRIALS: &[Named] = &[
    ("what_is_written_together_arrives_in_order", what_is_written_together_arrives_in_order),
    ("packets_come_whole_to_each_queue", packets_come_whole_to_each_queue),
    ("each_refusal_is_told_with_its_packets_place", each_refusal_is_told_with_its_packets_place),
    ("a_file_that_knows_no_haste_spoils_the_ring", a_file_that_knows_no_haste_spoils_the_ring),
    ("what_a_device_brings_comes_by_itself", what_a_device_brings_comes_by_itself),
    ("nothing_is_lost_for_want_of_room", nothing_is_lost_for_want_of_room),
    ("room_is_shared_by_all_queues", room_is_shared_by_all_queues),
    ("payload_of_long_packets_begins_with_a_cache_line", payload_of_long_packets_begins_with_a_cache_line),
    ("what_makes_no_sense_is_told", what_makes_no_sense_is_told),
    ("a_queue_that_is_stopped_is_let_go_of", a_queue_that_is_stopped_is_let_go_of),
    ("a_ring_that_is_dropped_lets_go_of_its_queues", a_ring_that_is_dropped_lets_go_of_its_queues),
    ("a_device_that_is_gone_is_told", a_device_that_is_gone_is_told),
    ("a_file_that_is_watched_is_told_each_time", a_file_that_is_watched_is_told_each_time),
];

/// Whether the kernel lends no ring; if so, says it loudly.
pub(crate) fn skips_rings() -> bool {
    // Who insists on all tests is to see them fail.
    let insists = std::env::var("SIDEGATE_REQUIRE_PRIVILEGES").is_ok_and(|value| value == "1");
    let refusal = Ring::new().err().filter(|_| !insists);
    if let Some(refusal) = &refusal {
        eprintln!("SKIPPED: some tests of `device`: io_uring is not to be had here: {refusal}");
    }
    refusal.is_some()
}

fn what_is_written_together_arrives_in_order() -> Result<(), Failed> {
    let namespace = namespace()?;
    let opened = OFFLOAD.open(&namespace)?;
    let socket = inside(namespace.path(), || UdpSocket::bind((OWN, 53)))??;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let packets: Vec<_> = (0..8).map(|nth| ipv4(17, ROUTED, OWN, &udp(4000, 53, &[nth]))).collect();
    let segmentation = Some(Segmentation { kind: SegmentationKind::Udp, ecn: false, size: 1000 });
    let impossible = Offload { checksum: Checksum::Complete, segmentation };
    let to = opened.queues[0].file().ok_or("no file")?;
    let leaving: Vec<_> = packets
        .iter()
        .enumerate()
        .map(|(nth, bytes)| Leaving { to, offload: if nth == 3 { impossible } else { Offload::NONE }, bytes })
        .collect();
    let told = written(&mut Ring::new()?, &leaving)?;
    let refused = |nth| if nth == 3 { Err(ErrorKind::InvalidInput) } else { Ok(()) };
    assert_eq!(told, (0..8).map(|nth| (nth, refused(nth))).collect::<Vec<_>>());
    for nth in [0, 1, 2, 4, 5, 6, 7] {
        let mut buffer = [0; 100];
        assert_eq!((socket.recv(&mut buffer)?, buffer[0]), (1, nth));
    }
    Ok(())
}

/// The place of a packet, and how its writing has ended.
type Ended = (usize, Result<(), ErrorKind>);

fn how_it_ended(told: Told) -> Option<Ended> {
    let Told::Written(place, result) = told else { return None };
    Some((place, result.map_err(|error| error.kind())))
}

/// How the writing of each has ended.
fn written(ring: &mut Ring, leaving: &[Leaving<'_>]) -> io::Result<Vec<Ended>> {
    let mut ended = Vec::new();
    ring.turn(leaving, Duration::ZERO, |told| ended.extend(how_it_ended(told)))?;
    Ok(ended)
}

const PACKET: [u8; 30] =
    [0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2, 0, 10, 0, 0, 1, 2];

/// Something like a queue, and its far end.
fn pair() -> Result<[OwnedFd; 2], Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map(Into::into)
}

fn packets_come_whole_to_each_queue() -> Result<(), Failed> {
    let mut ring = Ring::new()?;
    let pairs = [pair()?, pair()?];
    let pair_of = |nth: usize| &pairs[usize::from(nth.is_multiple_of(3))];
    let checksums = [Checksum::Partial, Checksum::Complete];
    let offload = |nth: usize| Offload { checksum: checksums[nth % 2], segmentation: None };
    let packets: Vec<_> = (0..Ring::CAPACITY as u8).map(|nth| [&PACKET[..], &[nth]].concat()).collect();
    for _ in 0..3 {
        let each = packets.iter().enumerate();
        let leaving: Vec<_> = each
            .map(|(nth, bytes)| Leaving { to: pair_of(nth)[0].as_fd(), offload: offload(nth), bytes })
            .collect();
        let told = written(&mut ring, &leaving)?;
        assert_eq!((told.len(), told.iter().all(|(_, result)| result.is_ok())), (packets.len(), true));
        let mut buffer = [0; 100];
        for (nth, packet) in packets.iter().enumerate() {
            let length = read(&pair_of(nth)[1], &mut buffer)?;
            assert_eq!(buffer[..length], [&offload(nth).encode(packet)[..], packet].concat(), "{nth}");
        }
        assert_eq!(pairs.each_ref().map(|[_, far]| read(far, &mut buffer)), [Err(Errno::AGAIN); 2]);
    }
    Ok(())
}

/// A queue that is full refuses at once, as it does alone; the others get theirs.
fn each_refusal_is_told_with_its_packets_place() -> Result<(), Failed> {
    let [full, open, [closed, far]] = [pair()?, pair()?, pair()?];
    while write(&full[0], &[0; 1000]).is_ok() {}
    drop(far);
    let leaving = [&full[0], &open[0], &closed, &open[0]].map(|to| Leaving {
        to: to.as_fd(),
        offload: Offload::NONE,
        bytes: &PACKET,
    });
    let told = written(&mut Ring::new()?, &leaving)?;
    let refusals = [Err(ErrorKind::WouldBlock), Ok(()), Err(ErrorKind::BrokenPipe), Ok(())];
    assert!(told.into_iter().eq(refusals.into_iter().enumerate()));
    Ok(())
}

/// The kernel would have to wait for such a file: whoever writes hears that this was not done, and may do it otherwise.
fn a_file_that_knows_no_haste_spoils_the_ring() -> Result<(), Failed> {
    let mut ring = Ring::new()?;
    let (slow, pair) = (File::options().write(true).open("/proc/self/comm")?, pair()?);
    let leaving = |to| Leaving { to, offload: Offload::NONE, bytes: &PACKET };
    let both = [leaving(slow.as_fd()), leaving(pair[0].as_fd())];
    for second in [Ok(()), Err(ErrorKind::Unsupported)] {
        let mut told = Vec::new();
        assert!(ring.turn(&both, Duration::ZERO, |end| told.extend(how_it_ended(end))).is_err());
        assert_eq!(told, [(0, Err(ErrorKind::Unsupported)), (1, second)]);
    }
    Ok(())
}

/// What the next turn tells that has something to tell, within two seconds.
fn next(ring: &mut Ring) -> Result<Vec<Told>, Failed> {
    let mut all = Vec::new();
    ring.turn(&[], Duration::from_secs(2), |told| all.push(told))?;
    if all.is_empty() { Err("nothing is told within two seconds".into()) } else { Ok(all) }
}

fn nothing_is_told(ring: &mut Ring, patience: Duration) -> Result<(), Failed> {
    let mut all = Vec::new();
    ring.turn(&[], patience, |told| all.push(told))?;
    if all.is_empty() { Ok(()) } else { Err(format!("{all:?} is told").into()) }
}

/// The packets of the next turns, until there are so many.
fn arrivals(ring: &mut Ring, count: usize) -> Result<Vec<(u16, Packet)>, Failed> {
    let mut packets = Vec::new();
    while packets.len() < count {
        for told in next(ring)? {
            match told {
                Told::Arrived(name, packet) => packets.push((name, packet)),
                told => return Err(format!("{told:?} is told").into()),
            }
        }
    }
    Ok(packets)
}

fn lend(ring: &mut Ring, count: usize) {
    (0..count).for_each(|_| ring.lend(Packet::room()));
}

fn what_a_device_brings_comes_by_itself() -> Result<(), Failed> {
    let namespace = namespace()?;
    let opened = OFFLOAD.open(&namespace)?;
    let socket = inside(namespace.path(), || UdpSocket::bind((OWN, 5300)))??;
    let mut ring = Ring::new()?;
    lend(&mut ring, 4);
    for (name, queue) in opened.queues.iter().enumerate() {
        ring.read(name as u16, queue.file().ok_or("no file")?)?;
    }
    for nth in 0..20u8 {
        socket.send_to(&[nth], (ROUTED, 53))?;
        let (_, mut packet) = loop {
            let (name, packet) = arrivals(&mut ring, 1)?.pop().ok_or("no packet")?;
            // The namespace itself has something to say about a device that is new.
            if packet.bytes()[0] == 0x45 && packet.bytes()[9] == 17 {
                break (name, packet);
            }
            ring.lend(packet);
        };
        assert_eq!(packet.offload().checksum, Checksum::Partial);
        assert_eq!((packet.bytes().len(), packet.bytes()[28]), (29, nth));
        assert_eq!(packet.frame().bytes[12..20], [OWN.octets(), ROUTED.octets()].concat());
        ring.lend(packet);
    }
    Ok(())
}

/// The kernel keeps what comes until there is room.
fn nothing_is_lost_for_want_of_room() -> Result<(), Failed> {
    let (mut ring, [near, far]) = (Ring::new()?, pair()?);
    ring.read(7, near.as_fd())?;
    for nth in 0..10 {
        write(&far, &[&[0; Offload::LEN], &[nth][..]].concat())?;
    }
    nothing_is_told(&mut ring, Duration::ZERO)?;
    let mut nth = 0;
    for room in [1, 3, 6] {
        lend(&mut ring, room);
        for (name, packet) in arrivals(&mut ring, room)? {
            assert_eq!((name, packet.bytes()), (7, &[nth][..]));
            nth += 1;
        }
    }
    assert_eq!(nth, 10);
    Ok(())
}

/// However much waits in each, and however many there are.
fn room_is_shared_by_all_queues() -> Result<(), Failed> {
    for (queues, packets, rounds) in [(2, 250, 8), (40, 20, 20)] {
        let mut ring = Ring::new()?;
        let pairs = (0..queues).map(|_| pair()).collect::<Result<Vec<_>, _>>()?;
        for (name, [near, far]) in pairs.iter().enumerate() {
            ring.read(name as u16, near.as_fd())?;
            for _ in 0..packets {
                write(far, &[0; Offload::LEN + 1])?;
            }
        }
        let mut had = vec![0; queues];
        for _ in 0..rounds {
            while ring.wants_room() {
                ring.lend(Packet::room());
            }
            for told in next(&mut ring)? {
                if let Told::Arrived(name, _) = told {
                    had[usize::from(name)] += 1;
                }
            }
        }
        let [least, most] =
            [had.iter().min(), had.iter().max()].map(|count| count.copied().unwrap_or_default());
        assert!(most <= 2 * least + 2, "{had:?}");
    }
    Ok(())
}

/// Whatever headers they have: one of each kind tells what the next ones will have.
fn payload_of_long_packets_begins_with_a_cache_line() -> Result<(), Failed> {
    let (mut ring, [near, far]) = (Ring::new()?, pair()?);
    ring.read(0, near.as_fd())?;
    for (version, transport, words, kind) in [
        (0x45, 20, 8, SegmentationKind::Tcp4),
        (0x60, 40, 8, SegmentationKind::Tcp6),
        (0x45, 20, 5, SegmentationKind::Tcp4),
        (0x60, 40, 15, SegmentationKind::Tcp6),
    ] {
        let (protocol, headers) = (if version == 0x45 { 9 } else { 6 }, transport + 4 * words);
        let mut sent = vec![7; 20_000];
        (sent[0], sent[protocol], sent[transport + 12]) = (version, 6, (words as u8) << 4);
        let segmentation = Some(Segmentation { kind, ecn: false, size: 1000 });
        let offload = Offload { checksum: Checksum::Partial, segmentation };
        for nth in 0..2 {
            lend(&mut ring, 1);
            write(&far, &[&offload.encode(&sent)[..], &sent].concat())?;
            let (_, packet) = arrivals(&mut ring, 1)?.pop().ok_or("no packet")?;
            assert_eq!((packet.offload(), packet.bytes()), (offload, &sent[..]));
            let payload = packet.bytes()[headers..].as_ptr().addr();
            assert!(nth == 0 || payload.is_multiple_of(64), "{headers}: {payload:x}");
        }
    }
    Ok(())
}

fn what_makes_no_sense_is_told() -> Result<(), Failed> {
    let (mut ring, [near, far]) = (Ring::new()?, pair()?);
    ring.read(1, near.as_fd())?;
    lend(&mut ring, 1);
    let nonsense = [&[0xff; Offload::LEN][..], &PACKET].concat();
    for broken in [&nonsense[..], &[0; Offload::LEN - 1]] {
        write(&far, broken)?;
        assert!(matches!(next(&mut ring)?[..], [Told::Broken(1)]));
    }
    write(&far, &[&[0; Offload::LEN][..], &PACKET].concat())?;
    assert_eq!(arrivals(&mut ring, 1)?[0].1.bytes(), PACKET);
    Ok(())
}

/// Whether the far end finds its pair closed.
fn is_closed(far: &OwnedFd) -> Result<bool, Errno> {
    let mut asked = [PollFd::new(far, PollFlags::IN)];
    poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(asked[0].revents().contains(PollFlags::HUP))
}

fn a_queue_that_is_stopped_is_let_go_of() -> Result<(), Failed> {
    let (mut ring, pairs) = (Ring::new()?, [pair()?, pair()?]);
    lend(&mut ring, 2);
    for (name, [near, _]) in pairs.iter().enumerate() {
        ring.read(name as u16, near.as_fd())?;
    }
    nothing_is_told(&mut ring, Duration::ZERO)?;
    let [[stopped, far], [_other, other_far]] = pairs;
    drop(stopped);
    assert!(ring.reads(0) && !is_closed(&far)?, "the ring holds it");
    ring.stop(0);
    assert!(matches!(next(&mut ring)?[..], [Told::Ended(0, None)]));
    assert!(!ring.reads(0) && is_closed(&far)?);
    write(&other_far, &[0; Offload::LEN + 1])?;
    assert_eq!(arrivals(&mut ring, 1)?[0].0, 1);

    // What was never begun ends without a word.
    let [near, far] = pair()?;
    ring.read(0, near.as_fd())?;
    drop(near);
    ring.stop(0);
    assert!(!ring.reads(0) && is_closed(&far)?);
    Ok(())
}

fn a_ring_that_is_dropped_lets_go_of_its_queues() -> Result<(), Failed> {
    let (mut ring, [near, far]) = (Ring::new()?, pair()?);
    lend(&mut ring, 2);
    ring.read(0, near.as_fd())?;
    nothing_is_told(&mut ring, Duration::ZERO)?;
    drop((near, ring));
    assert!(is_closed(&far)?);
    Ok(())
}

fn a_device_that_is_gone_is_told() -> Result<(), Failed> {
    let namespace = namespace()?;
    let opened = OFFLOAD.open(&namespace)?;
    let mut ring = Ring::new()?;
    lend(&mut ring, 8);
    ring.read(3, opened.queues[0].file().ok_or("no file")?)?;
    ring.turn(&[], Duration::ZERO, drop)?;
    run(&namespace, "ip link delete sg-test")?;
    while ring.reads(3) {
        for told in next(&mut ring)? {
            if let Told::Ended(name, failure) = told {
                assert_eq!(
                    (name, failure.and_then(|failure| failure.raw_os_error())),
                    (3, Some(Errno::BADFD.raw_os_error()))
                );
            }
        }
    }
    Ok(())
}

fn a_file_that_is_watched_is_told_each_time() -> Result<(), Failed> {
    let (mut ring, bell) = (Ring::new()?, eventfd(0, EventfdFlags::NONBLOCK)?);
    ring.watch(&bell)?;
    for _ in 0..3 {
        nothing_is_told(&mut ring, Duration::from_millis(1))?;
        write(&bell, &1u64.to_ne_bytes())?;
        assert!(matches!(next(&mut ring)?[..], [Told::Ready]));
        read(&bell, &mut [0; 8])?;
    }
    Ok(())
}
