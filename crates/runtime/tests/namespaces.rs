//! A forwarder between real kernels: namespaces of its own, real devices, the standard library's sockets at both ends.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that fails here has failed

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use device::lab::Namespace;
use device::{OffloadOpener, inside};
use libtest_mimic::{Arguments, Failed, Trial};
use runtime::{DeviceState, Forwarder, Snapshot};
use topology::{Origin, Topology};

fn main() {
    let skipped = device::lab::skips_tests_of("runtime");
    let trials: [(&str, fn()); 5] = [
        ("every_path_and_family_carries", every_path_and_family_carries),
        ("megabytes_come_through_whole", megabytes_come_through_whole),
        ("a_refused_target_refuses", a_refused_target_refuses),
        ("a_replaced_namespace_is_attached_again", a_replaced_namespace_is_attached_again),
        ("stopping_removes_devices_and_routes", stopping_removes_devices_and_routes),
    ];
    let trials = trials.map(|(name, run)| {
        let run = move || {
            run();
            Ok::<_, Failed>(())
        };
        Trial::test(name, run).with_ignored_flag(skipped)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}

const PATIENCE: Duration = Duration::from_secs(5);
const INTERFACES: [&str; 2] = ["10.1.9.50", "fd01::9:50"];
const NAT: u16 = 80;
const TERMINATE: u16 = 8443;
/// Ports on which nobody listens.
const DEAD_NAT: u16 = 81;
const DEAD_TERMINATE: u16 = 82;

/// A consumer and a provider, with an echo server for TCP and one for UDP in the provider.
struct Lab {
    forwarder: Forwarder,
    consumer: Namespace,
    _provider: Namespace,
}

impl Lab {
    fn new() -> Self {
        let consumer = namespace("sg-rc", &["10.1.0.2", "fd01::2"]);
        let provider = namespace("sg-rp", &["10.2.0.2", "fd02::2"]);
        inside(provider.path(), serve).unwrap();
        let file = file(&consumer, &provider);
        let origin = PathBuf::from(format!("/{}.toml", consumer.name()));
        let topology = Topology::parse(&file, &Origin::new(&origin)).unwrap();
        let forwarder = Forwarder::start(Arc::new(topology), Arc::new(OffloadOpener)).unwrap();
        Self { forwarder, consumer, _provider: provider }
    }

    fn connect(&self, interface: &str, port: u16) -> std::io::Result<TcpStream> {
        connect(self.consumer.path(), interface, port)
    }

    fn await_state(&self, what: &str, is_it: impl Fn(&Snapshot) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_it(&self.forwarder.snapshot()) {
            assert!(Instant::now() < deadline, "{what} did not happen: {:#?}", self.forwarder.snapshot());
            std::thread::yield_now();
        }
    }
}

fn namespace(label: &str, addresses: &[&str]) -> Namespace {
    let namespace = Namespace::unique(label).unwrap();
    address(&namespace, addresses);
    namespace
}

fn address(namespace: &Namespace, addresses: &[&str]) {
    let addresses: Vec<(IpAddr, u8)> = addresses
        .iter()
        .map(|text| text.parse().unwrap())
        .map(|ip: IpAddr| (ip, if ip.is_ipv4() { 32 } else { 128 }))
        .collect();
    namespace.address(&addresses).unwrap();
}

fn file(consumer: &Namespace, provider: &Namespace) -> String {
    format!(
        r#"
        [run]
        workers = 2
        [[service]]
        name = "echo"
        namespace = "{provider}"
        nodes = [{{ address = "10.2.9.1" }}, {{ address = "fd02::9:1" }}]
        listeners = [
          {{ protocol = "tcp", port = {NAT}, forward = "echo" }},
          {{ protocol = "tcp", port = {TERMINATE}, forward = "echo", path = "terminate" }},
          {{ protocol = "udp", port = 53, forward = "echo" }},
          {{ protocol = "tcp", port = {DEAD_NAT}, forward = "dead" }},
          {{ protocol = "tcp", port = {DEAD_TERMINATE}, forward = "dead", path = "terminate" }},
        ]
        [[target_group]]
        name = "echo"
        targets = [{{ address = "10.2.0.2", port = 7 }}, {{ address = "fd02::2", port = 7 }}]
        [[target_group]]
        name = "dead"
        targets = [{{ address = "10.2.0.2", port = 9 }}, {{ address = "fd02::2", port = 9 }}]
        [[endpoint]]
        name = "echo-a"
        service = "echo"
        namespace = "{consumer}"
        interfaces = [{{ address = "10.1.9.50" }}, {{ address = "fd01::9:50" }}]
        "#,
        provider = provider.name(),
        consumer = consumer.name(),
    )
}

/// Starts the echo servers in the namespace that the calling thread is in. Their threads end with the process.
fn serve() {
    let tcp = TcpListener::bind("[::]:7").unwrap();
    let udp = UdpSocket::bind("[::]:7").unwrap();
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            std::thread::spawn(move || {
                let mut reader = stream.unwrap();
                let mut writer = reader.try_clone().unwrap();
                drop(std::io::copy(&mut reader, &mut writer));
                drop(writer.shutdown(std::net::Shutdown::Write));
            });
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 9000];
        while let Ok((len, from)) = udp.recv_from(&mut buffer) {
            udp.send_to(&buffer[..len], from).unwrap();
        }
    });
}

fn connect(namespace: &Path, interface: &str, port: u16) -> std::io::Result<TcpStream> {
    let to = SocketAddr::new(interface.parse().unwrap(), port);
    let stream = inside(namespace, move || TcpStream::connect_timeout(&to, PATIENCE)).unwrap()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn echoes(stream: &mut TcpStream, text: &[u8]) -> bool {
    let mut answer = vec![0; text.len()];
    stream.write_all(text).unwrap();
    stream.read_exact(&mut answer).unwrap();
    answer == text
}

fn every_path_and_family_carries() {
    let lab = Lab::new();
    for interface in INTERFACES {
        for port in [NAT, TERMINATE] {
            let mut stream = lab.connect(interface, port).unwrap();
            assert!(echoes(&mut stream, b"hello"), "{interface} port {port}");
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "its FIN comes back as one");
        }
        let any = if interface.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = inside(lab.consumer.path(), move || UdpSocket::bind(any).unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect((interface, 53)).unwrap();
        socket.send(b"datagram").unwrap();
        let mut buffer = [0; 100];
        let len = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"datagram");
    }
    let snapshot = lab.forwarder.snapshot();
    let count = |reason: &str| snapshot.verdicts.iter().find(|count| count.reason == reason).unwrap().count;
    assert!(count("forwarded") > 10 && count("terminated") > 10);
    assert_eq!(snapshot.flows.opened, 6);
    assert!(snapshot.devices.iter().all(|device| device.send_errors == 0 && device.receive_errors == 0));
}

fn megabytes_come_through_whole() {
    const LEN: usize = 20 << 20;
    let lab = Lab::new();
    let pattern: Vec<u8> = (0..LEN).map(|n| (n ^ n >> 8 ^ n >> 16) as u8).collect();
    for interface in INTERFACES {
        for port in [NAT, TERMINATE] {
            let mut stream = lab.connect(interface, port).unwrap();
            let mut sender = stream.try_clone().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    sender.write_all(&pattern).unwrap();
                    sender.shutdown(std::net::Shutdown::Write).unwrap();
                });
                let mut echoed = Vec::with_capacity(LEN);
                stream.read_to_end(&mut echoed).unwrap();
                assert!(echoed == pattern, "{interface} port {port}: {} bytes came back", echoed.len());
            });
        }
    }
}

fn a_refused_target_refuses() {
    let lab = Lab::new();
    for interface in INTERFACES {
        assert!(lab.connect(interface, NAT).is_ok() && lab.connect(interface, TERMINATE).is_ok());
        for port in [DEAD_NAT, DEAD_TERMINATE] {
            let refused = lab.connect(interface, port).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{interface} port {port}");
        }
    }
}

fn a_replaced_namespace_is_attached_again() {
    let Lab { forwarder, consumer, _provider } = Lab::new();
    let name = consumer.name().to_owned();
    assert!(echoes(&mut connect(consumer.path(), INTERFACES[0], NAT).unwrap(), b"before"));
    drop(consumer);
    let is_down = |snapshot: &Snapshot| matches!(snapshot.devices[1].state, DeviceState::Down(_));
    let consumer_is_down = |snapshot: &Snapshot| is_down(snapshot) && !snapshot.endpoints[0].up;
    let consumer = {
        let deadline = Instant::now() + PATIENCE;
        while !consumer_is_down(&forwarder.snapshot()) {
            assert!(Instant::now() < deadline, "the loss was not noticed");
            std::thread::yield_now();
        }
        let again = Namespace::create(&name).unwrap();
        address(&again, &["10.1.0.2", "fd01::2"]);
        again
    };
    let lab = Lab { forwarder, consumer, _provider };
    lab.await_state("re-attachment", |snapshot| !is_down(snapshot));
    assert!(echoes(&mut lab.connect(INTERFACES[0], NAT).unwrap(), b"after"));
}

fn stopping_removes_devices_and_routes() {
    let Lab { forwarder, consumer, _provider } = Lab::new();
    let device = forwarder.snapshot().devices[0].name.clone();
    let exists = || {
        let devices =
            inside(consumer.path(), || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        devices.unwrap().contains(&device)
    };
    assert!(exists());
    forwarder.stop();
    assert!(!exists());
    assert!(connect(consumer.path(), INTERFACES[0], NAT).is_err());
}
