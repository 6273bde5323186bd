//! What the trials share: a consumer, a provider with echo servers, and a forwarder between them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use device::lab::Namespace;
use device::{OffloadOpener, Opener, PlainOpener, inside};
use runtime::{Forwarder, ReloadError, Reloaded, Snapshot};
use topology::{Origin, Topology};

pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const INTERFACES: [&str; 2] = ["10.1.9.50", "fd01::9:50"];
pub(crate) const NAT: u16 = 80;
pub(crate) const TERMINATE: u16 = 8443;
/// Ports on which nobody listens.
pub(crate) const DEAD_NAT: u16 = 81;
pub(crate) const DEAD_TERMINATE: u16 = 82;

/// One of the ways to open devices.
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    opener: fn() -> Arc<dyn Opener>,
    run: &'static str,
}

pub(crate) static BACKENDS: [Backend; 2] = [
    Backend { name: "offload", opener: || Arc::new(OffloadOpener), run: "workers = 2" },
    Backend { name: "plain", opener: || Arc::new(PlainOpener), run: "device = \"plain\"" },
];

/// A consumer and a provider, with an echo server for TCP and one for UDP in the provider.
pub(crate) struct Lab {
    pub(crate) forwarder: Forwarder,
    pub(crate) consumer: Namespace,
    pub(crate) provider: Namespace,
}

impl Lab {
    pub(crate) fn new(backend: &Backend) -> Self {
        Self::with(backend.run, (backend.opener)())
    }

    /// A lab whose file has these lines under `[run]`.
    pub(crate) fn with(run: &str, opener: Arc<dyn Opener>) -> Self {
        let consumer = namespace("sg-rc", &["10.1.0.2", "fd01::2"]);
        let provider = namespace("sg-rp", &["10.2.0.2", "fd02::2"]);
        inside(provider.path(), serve).unwrap();
        let topology = parse(&file(run, &consumer, &provider), &consumer);
        let forwarder = Forwarder::start(Arc::new(topology), opener).unwrap();
        Self { forwarder, consumer, provider }
    }

    /// Reloads the lab's file with more at its end.
    pub(crate) fn reload(&self, backend: &Backend, more: &str) -> Result<Reloaded, ReloadError> {
        let file = file(backend.run, &self.consumer, &self.provider) + more;
        self.forwarder.observer().reload(parse(&file, &self.consumer))
    }

    pub(crate) fn connect(&self, interface: &str, port: u16) -> std::io::Result<TcpStream> {
        connect(self.consumer.path(), interface, port)
    }

    pub(crate) fn await_state(&self, what: &str, is_it: impl Fn(&Snapshot) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_it(&self.forwarder.snapshot()) {
            assert!(Instant::now() < deadline, "{what} did not happen: {:#?}", self.forwarder.snapshot());
            std::thread::yield_now();
        }
    }
}

/// The topology of a lab's file; the instance's name comes from the consumer's.
fn parse(file: &str, consumer: &Namespace) -> Topology {
    let origin = PathBuf::from(format!("/{}.toml", consumer.name()));
    Topology::parse(file, &Origin::new(&origin)).unwrap()
}

pub(crate) fn namespace(label: &str, addresses: &[&str]) -> Namespace {
    let namespace = Namespace::unique(label).unwrap();
    address(&namespace, addresses);
    namespace
}

pub(crate) fn address(namespace: &Namespace, addresses: &[&str]) {
    let addresses: Vec<(IpAddr, u8)> = addresses
        .iter()
        .map(|text| text.parse().unwrap())
        .map(|ip: IpAddr| (ip, if ip.is_ipv4() { 32 } else { 128 }))
        .collect();
    namespace.address(&addresses).unwrap();
}

pub(crate) fn file(run: &str, consumer: &Namespace, provider: &Namespace) -> String {
    format!(
        r#"
        [run]
        {run}
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
pub(crate) fn serve() {
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

pub(crate) fn connect(namespace: &Path, interface: &str, port: u16) -> std::io::Result<TcpStream> {
    let to = SocketAddr::new(interface.parse().unwrap(), port);
    let stream = inside(namespace, move || TcpStream::connect_timeout(&to, PATIENCE)).unwrap()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub(crate) fn echoes(stream: &mut TcpStream, text: &[u8]) -> bool {
    let mut answer = vec![0; text.len()];
    stream.write_all(text).unwrap();
    stream.read_exact(&mut answer).unwrap();
    answer == text
}

/// Sends megabytes and gets them back.
pub(crate) fn transfer(lab: &Lab, interface: &str, port: u16, len: usize) {
    let pattern: Vec<u8> = (0..len).map(|n| (n ^ n >> 8 ^ n >> 16) as u8).collect();
    let mut stream = lab.connect(interface, port).unwrap();
    let mut sender = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sender.write_all(&pattern).unwrap();
            sender.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut echoed = Vec::with_capacity(len);
        stream.read_to_end(&mut echoed).unwrap();
        assert!(echoed == pattern, "{interface} port {port}: {} bytes came back", echoed.len());
    });
}
