//! Packets through the queues, in both directions.

use std::io::{ErrorKind, Write};
use std::net::{TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use device::{OffloadOpener, Opener, Queue, inside};
use libtest_mimic::Failed;
use wire::{Addr, Checksum, Frame, Offload, Protocol, Segmentation, SegmentationKind, pseudo_header};

use crate::Named;
use crate::support::{OWN, ROUTED, Received, ipv4, namespace, receive, spec, udp};

pub(crate) const TRIALS: &[Named] = &[
    ("a_datagram_arrives_on_a_queue", a_datagram_arrives_on_a_queue),
    ("a_written_frame_reaches_a_socket", a_written_frame_reaches_a_socket),
    ("an_impossible_frame_is_refused", an_impossible_frame_is_refused),
    ("a_large_send_arrives_as_super_packets", a_large_send_arrives_as_super_packets),
    (
        "return_traffic_follows_the_queue_that_wrote_the_flow",
        return_traffic_follows_the_queue_that_wrote_the_flow,
    ),
];

fn a_datagram_arrives_on_a_queue() -> Result<(), Failed> {
    let namespace = namespace()?;
    let mut opened = OffloadOpener.open(&spec(&namespace))?;
    let socket = inside(namespace.path(), || UdpSocket::bind((OWN, 4000)))??;
    socket.send_to(b"hello", (ROUTED, 53))?;
    let packet = receive(&mut opened.queues, |packet| packet.bytes[0] == 0x45)?;
    assert_eq!(packet.bytes[12..20], [OWN.octets(), ROUTED.octets()].concat());
    assert_eq!(packet.bytes[20..26], udp(4000, 53, b"hello")[..6]);
    assert_eq!(packet.bytes[28..], *b"hello");
    assert_eq!(packet.offload, Offload { checksum: Checksum::Partial, segmentation: None });
    assert!(
        opened.queues.iter_mut().all(|queue| matches!(queue.read(&mut [0; 100]), Ok(None))),
        "nothing more"
    );
    Ok(())
}

fn a_written_frame_reaches_a_socket() -> Result<(), Failed> {
    let namespace = namespace()?;
    let mut opened = OffloadOpener.open(&spec(&namespace))?;
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

fn an_impossible_frame_is_refused() -> Result<(), Failed> {
    let namespace = namespace()?;
    let mut opened = OffloadOpener.open(&spec(&namespace))?;
    let queue = &mut opened.queues[0];
    let mut packet = ipv4(17, ROUTED, OWN, &udp(4000, 53, &[0; 2000]));
    let segmentation = Some(Segmentation { kind: SegmentationKind::Udp, ecn: false, size: 1000 });
    queue.write(&Frame {
        offload: Offload { checksum: Checksum::Partial, segmentation },
        bytes: &mut packet,
    })?;
    // UDP segmentation without a partial checksum.
    let refused = queue.write(&Frame {
        offload: Offload { checksum: Checksum::Complete, segmentation },
        bytes: &mut packet,
    });
    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::InvalidInput));
    queue.write(&Frame::plain(&mut packet))?;
    Ok(())
}

/// The test is the other end of a TCP connection: it answers the SYN and acknowledges nothing more.
fn a_large_send_arrives_as_super_packets() -> Result<(), Failed> {
    let namespace = namespace()?;
    let mut opened = OffloadOpener.open(&spec(&namespace))?;
    let path = namespace.path().to_owned();
    let sender = thread::spawn(move || {
        inside(&path, || -> std::io::Result<()> {
            let mut stream = TcpStream::connect_timeout(&(ROUTED, 80).into(), Duration::from_secs(2))?;
            stream.set_write_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(&[7; 60_000])
        })
    });
    let is_tcp = |packet: &Received| packet.bytes[9] == 6;
    let syn = receive(&mut opened.queues, is_tcp)?;
    accept(opened.queues[syn.queue].as_mut(), &syn.bytes)?;
    let large = receive(&mut opened.queues, |packet| is_tcp(packet) && packet.bytes.len() > 10_000)?;
    sender.join().map_err(|_| "the sender panicked")???;

    let segmentation = large.offload.segmentation.ok_or("no super-packet")?;
    assert_eq!(segmentation.kind, SegmentationKind::Tcp4);
    assert!((8000..9001).contains(&segmentation.size), "{segmentation:?}");
    assert_eq!(large.offload.checksum, Checksum::Partial);
    assert!(large.bytes.ends_with(&[7; 8000]));
    Ok(())
}

/// Writes the SYN-ACK that answers `syn`: MSS 8960, a window of 65,535.
fn accept(queue: &mut dyn Queue, syn: &[u8]) -> Result<(), Failed> {
    let acknowledged = u32::from_be_bytes([syn[24], syn[25], syn[26], syn[27]]).wrapping_add(1);
    let [source, destination] = [ROUTED, OWN].map(|address| Addr::v4(address.octets()));
    let mut header = [syn[22], syn[23], syn[20], syn[21], 0, 0, 0, 1].to_vec();
    header.extend(acknowledged.to_be_bytes());
    header.extend([0x60, 0x12, 0xff, 0xff]);
    header.extend(pseudo_header(source, destination, Protocol::Tcp, 24).to_be_bytes());
    header.extend([0, 0, 2, 4, 0x23, 0x00]);
    let offload = Offload { checksum: Checksum::Partial, segmentation: None };
    Ok(queue.write(&Frame { offload, bytes: &mut ipv4(6, ROUTED, OWN, &header) })?)
}

fn return_traffic_follows_the_queue_that_wrote_the_flow() -> Result<(), Failed> {
    let namespace = namespace()?;
    let mut opened = OffloadOpener.open(&spec(&namespace))?;
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
