//! Packets through the queues, in both directions.

use std::io::{ErrorKind, Write};
use std::net::{TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use device::lab::Namespace;
use device::{DeviceSpec, Offloads, Queue, Undone, inside};
use libtest_mimic::Failed;
use wire::{
    Addr, Checksum, Frame, Offload, Protocol, Segmentation, SegmentationKind, checksum_is_valid, parse,
    pseudo_header, transport_checksum,
};

use crate::support::{Backend, OFFLOAD, OWN, ROUTED, Received, ipv4, namespace, receive, spec, udp};
use crate::{Named, OfEach};

pub(crate) const OF_EACH: &[OfEach] = &[
    ("a_datagram_arrives_on_a_queue", a_datagram_arrives_on_a_queue),
    ("a_written_frame_reaches_a_socket", a_written_frame_reaches_a_socket),
    ("an_impossible_frame_is_refused", an_impossible_frame_is_refused),
    ("a_large_send_arrives_as_the_offloads_say", a_large_send_arrives_as_the_offloads_say),
];

pub(crate) const TRIALS: &[Named] = &[
    ("fewer_offloads_can_be_asked_for", fewer_offloads_can_be_asked_for),
    ("offloads_can_be_lowered_while_packets_flow", offloads_can_be_lowered_while_packets_flow),
    (
        "return_traffic_follows_the_queue_that_wrote_the_flow",
        return_traffic_follows_the_queue_that_wrote_the_flow,
    ),
];

fn a_datagram_arrives_on_a_queue(backend: &Backend) -> Result<(), Failed> {
    let namespace = namespace()?;
    let mut opened = backend.open(&namespace)?;
    let socket = inside(namespace.path(), || UdpSocket::bind((OWN, 4000)))??;
    socket.send_to(b"hello", (ROUTED, 53))?;
    let packet = receive(&mut opened.queues, |packet| packet.bytes[0] == 0x45)?;
    assert_eq!(packet.bytes[12..20], [OWN.octets(), ROUTED.octets()].concat());
    assert_eq!(packet.bytes[20..26], udp(4000, 53, b"hello")[..6]);
    assert_eq!(packet.bytes[28..], *b"hello");
    assert_eq!(packet.offload, Offload { checksum: checksum_of(backend), segmentation: None });
    let parsed = parse(&packet.bytes).map_err(|error| format!("{error:?}"))?;
    assert_eq!(checksum_is_valid(&packet.bytes, &parsed), checksum_of(backend) == Checksum::Complete);
    assert!(
        opened.queues.iter_mut().all(|queue| matches!(queue.read(&mut [0; 100]), Ok(None))),
        "nothing more"
    );
    Ok(())
}

/// The state of the checksums that the kernel sends.
fn checksum_of(backend: &Backend) -> Checksum {
    if backend.offloads.allow(Undone::Checksum) { Checksum::Partial } else { Checksum::Complete }
}

fn a_written_frame_reaches_a_socket(backend: &Backend) -> Result<(), Failed> {
    let namespace = namespace()?;
    let mut opened = backend.open(&namespace)?;
    let socket = inside(namespace.path(), || UdpSocket::bind((OWN, 53)))??;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    for queue in &mut opened.queues {
        let mut packet = ipv4(17, ROUTED, OWN, &udp(4000, 53, b"hello"));
        queue.write(&Frame::plain(&mut packet))?;
        let mut buffer = [0; 100];
        let (length, from) = socket.recv_from(&mut buffer)?;
        assert_eq!((&buffer[..length], from), (b"hello".as_slice(), (ROUTED, 4000).into()));
    }
    Ok(())
}

fn an_impossible_frame_is_refused(backend: &Backend) -> Result<(), Failed> {
    let namespace = namespace()?;
    let mut opened = backend.open(&namespace)?;
    let queue = &mut opened.queues[0];
    let mut packet = ipv4(17, ROUTED, OWN, &udp(4000, 53, &[0; 2000]));
    let mut write = |checksum, segmentation| {
        let frame = Frame { offload: Offload { checksum, segmentation }, bytes: &mut packet };
        queue.write(&frame).map_err(|error| error.kind())
    };
    let segmentation = Some(Segmentation { kind: SegmentationKind::Udp, ecn: false, size: 1000 });
    let finished_by_the_kernel =
        if backend.offloads == Offloads::NONE { Err(ErrorKind::InvalidInput) } else { Ok(()) };
    assert_eq!(write(Checksum::Partial, None), finished_by_the_kernel);
    assert_eq!(write(Checksum::Partial, segmentation), finished_by_the_kernel);
    // UDP segmentation without a partial checksum.
    assert_eq!(write(Checksum::Complete, segmentation), Err(ErrorKind::InvalidInput));
    assert_eq!(write(Checksum::Complete, None), Ok(()));
    Ok(())
}

fn a_large_send_arrives_as_the_offloads_say(backend: &Backend) -> Result<(), Failed> {
    let namespace = namespace()?;
    let mut opened = backend.open(&namespace)?;
    expect_large_send(&namespace, &mut opened.queues, backend.offloads)
}

/// Sends a lot over TCP, and looks at the first packet of it. The trial is the other end of the connection: it answers the
/// SYN and acknowledges nothing more.
fn expect_large_send(
    namespace: &Namespace,
    queues: &mut [Box<dyn Queue>],
    offloads: Offloads,
) -> Result<(), Failed> {
    let path = namespace.path().to_owned();
    let sender = thread::spawn(move || {
        inside(&path, || -> std::io::Result<()> {
            let mut stream = TcpStream::connect_timeout(&(ROUTED, 80).into(), Duration::from_secs(2))?;
            stream.set_write_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(&[7; 60_000])
        })
    });
    let is_tcp = |packet: &Received| packet.bytes[9] == 6;
    let syn = receive(queues, |packet| is_tcp(packet) && packet.bytes[33] == 0x02)?;
    accept(queues[syn.queue].as_mut(), &syn.bytes, offloads)?;
    let large = receive(queues, |packet| is_tcp(packet) && packet.bytes.len() > 5_000)?;
    sender.join().map_err(|_| "the sender panicked")???;

    assert!(large.bytes.ends_with(&[7; 5_000]));
    let partial = large.offload.checksum == Checksum::Partial;
    assert_eq!(partial, offloads.allow(Undone::Checksum));
    if offloads.allow(Undone::Tcp) {
        let segmentation = large.offload.segmentation.ok_or("no super-packet")?;
        assert_eq!(segmentation.kind, SegmentationKind::Tcp4);
        assert!((8000..9001).contains(&segmentation.size), "{segmentation:?}");
        assert!(large.bytes.len() > 10_000);
    } else {
        assert_eq!(large.offload.segmentation, None);
        assert!(large.bytes.len() <= 9001, "{} bytes", large.bytes.len());
    }
    Ok(())
}

/// Writes the SYN-ACK that answers `syn`: MSS 8960, a window of 65,535.
fn accept(queue: &mut dyn Queue, syn: &[u8], offloads: Offloads) -> Result<(), Failed> {
    let acknowledged = u32::from_be_bytes([syn[24], syn[25], syn[26], syn[27]]).wrapping_add(1);
    let [source, destination] = [ROUTED, OWN].map(|address| Addr::v4(address.octets()));
    let mut header = [syn[22], syn[23], syn[20], syn[21], 0, 0, 0, 1].to_vec();
    header.extend(acknowledged.to_be_bytes());
    header.extend([0x60, 0x12, 0xff, 0xff]);
    header.extend(pseudo_header(source, destination, Protocol::Tcp, 24).to_be_bytes());
    header.extend([0, 0, 2, 4, 0x23, 0x00]);
    let mut packet = ipv4(6, ROUTED, OWN, &header);
    let mut offload = Offload { checksum: Checksum::Partial, segmentation: None };
    if !offloads.allow(Undone::Checksum) {
        let parsed = parse(&packet).map_err(|error| format!("{error:?}"))?;
        let checksum = transport_checksum(&packet, &parsed);
        packet[36..38].copy_from_slice(&checksum.to_be_bytes());
        offload = Offload::NONE;
    }
    Ok(queue.write(&Frame { offload, bytes: &mut packet })?)
}

fn fewer_offloads_can_be_asked_for() -> Result<(), Failed> {
    let namespace = namespace()?;
    let without_tcp = Offloads::ALL.without(Undone::Tcp);
    for offloads in [Offloads::TCP, without_tcp, Offloads::CHECKSUM, Offloads::NONE] {
        let mut opened = OFFLOAD.opener.open(&DeviceSpec { offloads, ..spec(&namespace) })?;
        assert_eq!(opened.offloads, offloads);
        expect_large_send(&namespace, &mut opened.queues, offloads)?;
    }
    Ok(())
}

fn offloads_can_be_lowered_while_packets_flow() -> Result<(), Failed> {
    let namespace = namespace()?;
    let mut opened = OFFLOAD.open(&namespace)?;
    for offloads in [Offloads::ALL, Offloads::CHECKSUM, Offloads::NONE] {
        // One queue speaks for all.
        opened.queues[1].set_offloads(offloads)?;
        expect_large_send(&namespace, &mut opened.queues, offloads)?;
    }
    Ok(())
}

fn return_traffic_follows_the_queue_that_wrote_the_flow() -> Result<(), Failed> {
    let namespace = namespace()?;
    let mut opened = OFFLOAD.open(&namespace)?;
    let socket = inside(namespace.path(), || UdpSocket::bind((OWN, 53)))??;
    for port in 4000..4020 {
        let queue = usize::from(port) % 2;
        opened.queues[queue].write(&Frame::plain(&mut ipv4(17, ROUTED, OWN, &udp(port, 53, b"ask"))))?;
        socket.send_to(b"answer", (ROUTED, port))?;
        let answer = receive(&mut opened.queues, |packet| packet.bytes.ends_with(b"answer"))?;
        assert_eq!(answer.queue, queue, "port {port}");
    }
    Ok(())
}
