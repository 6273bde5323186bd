//! By which queue packets come out: by that which a model of our program says, whoever writes what.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use device::lab::Namespace;
use device::{DeviceSpec, OffloadOpener, Opened, Opener, Refusal, Steered, Steering, inside};
use libtest_mimic::Failed;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use wire::Frame;

use crate::Named;
use crate::support::{
    BACKENDS, OWN, ROUTED, Received, header_checksum, ip, ipv4, namespace, receive, run, spec, udp,
};

pub(crate) const TRIALS: &[Named] = &[
    ("a_program_that_is_refused_is_no_failure", a_program_that_is_refused_is_no_failure),
    ("one_queue_needs_no_program", one_queue_needs_no_program),
];

/// Those that need a kernel that takes programs.
pub(crate) const OF_PROGRAMS: &[Named] = &[
    ("a_flow_stays_whoever_writes_to_it", a_flow_stays_whoever_writes_to_it),
    ("what_sockets_send_comes_out_where_the_model_says", what_sockets_send_comes_out_where_the_model_says),
    ("packets_of_any_kind_come_out_where_the_model_says", packets_of_any_kind_come_out_where_the_model_says),
    ("every_queue_has_its_share_of_flows", every_queue_has_its_share_of_flows),
    ("the_fragments_of_a_datagram_stay_together", the_fragments_of_a_datagram_stay_together),
];

const QUEUES: usize = 4;
const STEERINGS: [Steering; 2] = [Steering::ByFlow, Steering::ByDestinationPort];

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const ICMP_V6: u8 = 58;
const OPTIONS: u8 = 60;

/// Whether there are no programs to be had; if so, says it loudly.
pub(crate) fn skips_programs() -> bool {
    let skips = !takes_programs();
    if skips {
        eprintln!(
            "SKIPPED: some tests of `device`: the kernel takes programs only from root; run them with sudo"
        );
    }
    skips
}

/// From a user namespace the kernel takes programs only where it takes them from everybody.
fn takes_programs() -> bool {
    let says = |path: &str, words: &[&str]| {
        fs::read_to_string(path).is_ok_and(|text| text.split_whitespace().eq(words.iter().copied()))
    };
    says("/proc/self/uid_map", &["0", "0", "4294967295"])
        || says("/proc/sys/kernel/unprivileged_bpf_disabled", &["0"])
}

fn own() -> Result<[IpAddr; 2], Failed> {
    Ok([OWN.into(), ip("fd77::2")?])
}

fn routed() -> Result<[IpAddr; 2], Failed> {
    Ok([ROUTED.into(), ip("fd77::1")?])
}

/// A namespace with an address of each family.
fn dual() -> Result<Namespace, Failed> {
    let namespace = Namespace::unique("sg-test")?;
    namespace.address(&own()?.map(|address| (address, if address.is_ipv4() { 32 } else { 128 })))?;
    Ok(namespace)
}

/// A device of four queues.
fn open(namespace: &Namespace, steering: Option<Steering>) -> Result<Opened, Failed> {
    let routed = routed()?.into();
    Ok(OffloadOpener.open(&DeviceSpec { queues: QUEUES, steering, routed, ..spec(namespace) })?)
}

/// As [`open`], with a program of ours.
fn steered(namespace: &Namespace, steering: Steering) -> Result<Opened, Failed> {
    let opened = open(namespace, Some(steering))?;
    match opened.steering {
        Steered::Ours(ours) if ours == steering => Ok(opened),
        other => Err(format!("{steering:?} became {other}").into()),
    }
}

/// The queue that a packet should come out of. One that is cut off before its ports comes out of the first.
fn predicted(steering: Steering, packet: &[u8]) -> usize {
    let number = |at: usize, length: usize| {
        let bytes = packet.get(at..at + length)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let is_v4 = packet[0] >> 4 == 4;
    let (source, destination, protocol) = if is_v4 { (12, 16, packet[9]) } else { (20, 36, packet[6]) };
    let header = if is_v4 { usize::from(packet[0] & 15) * 4 } else { 40 };
    let is_fragment = is_v4 && number(6, 2).is_some_and(|field| field & 0x3fff != 0);
    let mut words = vec![number(source, 4), number(destination, 4)];
    if matches!(protocol, TCP | UDP) && !is_fragment {
        match steering {
            Steering::ByFlow => words.push(number(header, 4)),
            Steering::ByDestinationPort => return number(header + 2, 2).unwrap_or(0) as usize % QUEUES,
        }
    }
    let hash = words
        .into_iter()
        .try_fold(0_u64, |hash, word| Some(hash.wrapping_add(word?).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    (hash.unwrap_or(0) >> 48) as usize % QUEUES
}

#[track_caller]
fn assert_predicted(steering: Steering, packet: &Received) {
    let Received { queue, bytes, .. } = packet;
    assert_eq!(*queue, predicted(steering, bytes), "{steering:?}: {bytes:02x?}");
}

fn a_program_that_is_refused_is_no_failure() -> Result<(), Failed> {
    let namespace = namespace()?;
    let sender = inside(namespace.path(), || UdpSocket::bind((OWN, 4000)))??;
    for steering in STEERINGS {
        let routed = vec![ROUTED.into()];
        let spec = DeviceSpec { queues: QUEUES, steering: Some(steering), routed, ..spec(&namespace) };
        let mut opened = OffloadOpener.open(&spec)?;
        match &opened.steering {
            Steered::Ours(ours) if takes_programs() => assert_eq!(*ours, steering),
            Steered::Refused(Refusal::Load(cause)) if !takes_programs() => {
                assert_eq!(Errno::from_io_error(cause), Some(Errno::PERM));
            }
            other => return Err(format!("{steering:?} became {other}").into()),
        }
        sender.send_to(b"hello", (ROUTED, 53))?;
        receive(&mut opened.queues, |packet| packet.bytes.ends_with(b"hello"))?;
    }
    Ok(())
}

fn one_queue_needs_no_program() -> Result<(), Failed> {
    let namespace = namespace()?;
    for backend in &BACKENDS {
        let steering = Some(Steering::ByDestinationPort);
        let opened = backend.opener.open(&DeviceSpec { queues: 1, steering, ..backend.spec(&namespace) })?;
        assert!(matches!(opened.steering, Steered::OneQueue), "{}: {}", backend.name, opened.steering);
    }
    let opened = open(&dual()?, None)?;
    assert!(matches!(opened.steering, Steered::Kernel), "nobody asked: {}", opened.steering);
    Ok(())
}

/// As answers of a flow would be that each queue writes in turn. Left to itself, the kernel follows them.
fn a_flow_stays_whoever_writes_to_it() -> Result<(), Failed> {
    for (steering, queues) in
        [None, Some(Steering::ByFlow), Some(Steering::ByDestinationPort)].into_iter().zip([QUEUES, 1, 1])
    {
        let namespace = dual()?;
        let mut opened = open(&namespace, steering)?;
        let socket = inside(namespace.path(), || UdpSocket::bind((OWN, 53)))??;
        for port in 4000..4016 {
            let mut seen = BTreeSet::new();
            for writer in 0..QUEUES {
                let mut answer = ipv4(UDP, ROUTED, OWN, &udp(port, 53, b"answer"));
                opened.queues[writer].write(&Frame::plain(&mut answer))?;
                socket.send_to(b"question", (ROUTED, port))?;
                let packet = receive(&mut opened.queues, |packet| packet.bytes.ends_with(b"question"))?;
                seen.insert(packet.queue);
            }
            assert_eq!(seen.len(), queues, "{}: port {port} came by {seen:?}", opened.steering);
        }
    }
    Ok(())
}

/// Datagrams, and SYNs, over both families.
fn what_sockets_send_comes_out_where_the_model_says() -> Result<(), Failed> {
    for steering in STEERINGS {
        let namespace = dual()?;
        let mut opened = steered(&namespace, steering)?;
        for (own, routed) in own()?.into_iter().zip(routed()?) {
            for port in 5000..5032 {
                let (from, to) = (SocketAddr::new(own, 0), SocketAddr::new(routed, port));
                for send in [send_datagram, send_syn] {
                    inside(namespace.path(), || send(from, to))??;
                    let packet = receive(&mut opened.queues, |_| true)?;
                    assert_predicted(steering, &packet);
                    if steering == Steering::ByDestinationPort {
                        assert_eq!(packet.queue, usize::from(port) % QUEUES);
                    }
                }
            }
        }
    }
    Ok(())
}

fn send_datagram(from: SocketAddr, to: SocketAddr) -> std::io::Result<()> {
    UdpSocket::bind(from)?.send_to(b"hello", to).map(drop)
}

/// Begins to connect, and gives up.
fn send_syn(_: SocketAddr, to: SocketAddr) -> std::io::Result<()> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Brings packets of any kind to a device: the namespace forwards them.
struct Feeder {
    namespace: Namespace,
    feeding: Opened,
    fed: Opened,
    random: u64,
}

impl Feeder {
    fn new(steering: Steering) -> Result<Self, Failed> {
        let namespace = dual()?;
        let fed = steered(&namespace, steering)?;
        let feeder =
            DeviceSpec { name: "sg-feeder".into(), queues: 1, routed: Vec::new(), ..spec(&namespace) };
        let feeding = OffloadOpener.open(&feeder)?;
        run(&namespace, "sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
        for (range, device) in [
            ("10.78.0.0/16", "sg-feeder"),
            ("fd78::/64", "sg-feeder"),
            ("10.79.0.0/16", "sg-test"),
            ("fd79::/64", "sg-test"),
        ] {
            run(&namespace, &format!("ip route add {range} dev {device}"))?;
        }
        Ok(Self { namespace, feeding, fed, random: 1 })
    }

    /// The packet as it comes out.
    fn feed(&mut self, mut packet: Vec<u8>) -> Result<Received, Failed> {
        self.feeding.queues[0].write(&Frame::plain(&mut packet))?;
        let addresses = if packet[0] >> 4 == 4 { 12..20 } else { 8..40 };
        let is_it =
            |received: &Received| received.bytes.get(addresses.clone()) == packet.get(addresses.clone());
        receive(&mut self.fed.queues, is_it)
            .map_err(|_| format!("not forwarded in {}: {packet:02x?}", self.namespace.name()).into())
    }

    /// So many bytes, others each time.
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        [(); N].map(|()| {
            self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (self.random >> 56) as u8
        })
    }

    fn ipv4(&mut self, protocol: u8, field: u16, options: u8, transport: &[u8]) -> Vec<u8> {
        let [a, b, c, d] = self.bytes();
        let header = 20 + options;
        let length = u16::from(header) + transport.len() as u16;
        let mut packet = vec![0x40 + header / 4, 0];
        [length, 7, field].iter().for_each(|field| packet.extend(field.to_be_bytes()));
        packet.extend([64, protocol, 0, 0, 10, 78, a, b, 10, 79, c, d]);
        const NOTHING: u8 = 1;
        packet.resize(header.into(), NOTHING);
        let checksum = header_checksum(&packet);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet.extend(transport);
        packet
    }

    fn ipv6(&mut self, next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next_header, 64];
        for network in [0x78, 0x79] {
            packet.extend([0xfd, network, 0, 0, 0, 0, 0, 0]);
            packet.extend(self.bytes::<8>());
        }
        packet.extend(payload);
        packet
    }
}

fn packets_of_any_kind_come_out_where_the_model_says() -> Result<(), Failed> {
    const DONT: u16 = 0x4000;
    const MORE: u16 = 0x2000;
    for steering in STEERINGS {
        let mut feeder = Feeder::new(steering)?;
        for _ in 0..40 {
            let transport = feeder.bytes::<24>();
            let extended = |header: [u8; 8]| [&header[..], &transport].concat();
            let packets = [
                feeder.ipv4(UDP, DONT, 0, &transport),
                feeder.ipv4(TCP, 0, 4, &transport),
                feeder.ipv4(UDP, 0, 40, &transport),
                feeder.ipv4(UDP, MORE, 0, &transport),
                feeder.ipv4(UDP, MORE | 3, 0, &transport),
                feeder.ipv4(TCP, 9, 8, &transport),
                feeder.ipv4(ICMP, DONT, 0, &transport),
                feeder.ipv4(UDP, DONT, 0, &transport[..2]),
                feeder.ipv6(UDP, &transport),
                feeder.ipv6(TCP, &transport),
                feeder.ipv6(ICMP_V6, &[&[128, 0], &transport[..]].concat()),
                feeder.ipv6(OPTIONS, &extended([UDP, 0, 1, 4, 0, 0, 0, 0])),
                feeder.ipv6(FRAGMENT, &extended([UDP, 0, 0, 1, 0, 0, 0, 7])),
                feeder.ipv6(TCP, &transport[..3]),
            ];
            for packet in packets {
                assert_predicted(steering, &feeder.feed(packet)?);
            }
        }
    }
    Ok(())
}

/// Of flows from one client to one door, whose ports are in a row, or every other.
fn every_queue_has_its_share_of_flows() -> Result<(), Failed> {
    const FLOWS: usize = 400;
    let mut feeder = Feeder::new(Steering::ByFlow)?;
    for (step, mut packet) in [(1, feeder.ipv4(UDP, 0, 0, &[0; 8])), (2, feeder.ipv6(UDP, &[0; 8]))] {
        let ports = packet.len() - 8;
        let mut shares = [0; QUEUES];
        for port in (32_768_u16..).step_by(step).take(FLOWS) {
            packet[ports..ports + 4].copy_from_slice(&[port.to_be_bytes(), [0, 80]].concat());
            shares[feeder.feed(packet.clone())?.queue] += 1;
        }
        let even = FLOWS / QUEUES;
        assert!(shares.iter().all(|share| (even * 9 / 10..=even * 11 / 10).contains(share)), "{shares:?}");
    }
    Ok(())
}

fn the_fragments_of_a_datagram_stay_together() -> Result<(), Failed> {
    const DATAGRAM: usize = 20_000;
    for steering in STEERINGS {
        let namespace = dual()?;
        let mut opened = steered(&namespace, steering)?;
        for (own, routed) in own()?.into_iter().zip(routed()?) {
            let socket = inside(namespace.path(), || UdpSocket::bind((own, 4000)))??;
            for port in 5000..5016 {
                socket.send_to(&[7; DATAGRAM], (routed, port))?;
                let mut arrived = 0;
                while arrived < DATAGRAM {
                    let fragment = receive(&mut opened.queues, |_| true)?;
                    assert_predicted(steering, &fragment);
                    assert_ne!(fragment.bytes.len(), DATAGRAM + 28, "it was to be in fragments");
                    arrived += fragment.bytes.iter().filter(|byte| **byte == 7).count();
                }
            }
        }
    }
    Ok(())
}
