//! Packets that are written together. Where the kernel lends no io_uring (containers forbid it), these trials are skipped.

use std::fs::File;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use device::{Leaving, Ring, inside};
use libtest_mimic::Failed;
use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use wire::{Checksum, Offload, Segmentation, SegmentationKind};

use crate::Named;
use crate::support::{OFFLOAD, OWN, ROUTED, ipv4, namespace, udp};

pub(crate) const TRIALS: &[Named] = &[
    ("what_is_written_together_arrives_in_order", what_is_written_together_arrives_in_order),
    ("packets_come_whole_to_each_queue", packets_come_whole_to_each_queue),
    ("each_refusal_is_told_with_its_packets_place", each_refusal_is_told_with_its_packets_place),
    ("a_file_that_knows_no_haste_spoils_the_ring", a_file_that_knows_no_haste_spoils_the_ring),
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
    let mut told = Vec::new();
    Ring::new()?.write(&leaving, |place, result| told.push((place, result.map_err(|error| error.kind()))))?;
    let refused = |nth| if nth == 3 { Err(ErrorKind::InvalidInput) } else { Ok(()) };
    assert_eq!(told, (0..8).map(|nth| (nth, refused(nth))).collect::<Vec<_>>());
    for nth in [0, 1, 2, 4, 5, 6, 7] {
        let mut buffer = [0; 100];
        assert_eq!((socket.recv(&mut buffer)?, buffer[0]), (1, nth));
    }
    Ok(())
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
        let mut written = 0;
        ring.write(&leaving, |_, result| written += usize::from(result.is_ok()))?;
        assert_eq!(written, packets.len());
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
    let mut told = Vec::new();
    Ring::new()?.write(&leaving, |place, result| told.push((place, result.map_err(|error| error.kind()))))?;
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
        let tell = |place, result: Result<(), std::io::Error>| {
            told.push((place, result.map_err(|error| error.kind())));
        };
        assert!(ring.write(&both, tell).is_err());
        assert_eq!(told, [(0, Err(ErrorKind::Unsupported)), (1, second)]);
    }
    Ok(())
}
