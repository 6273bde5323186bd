//! The demo's networks, its operator's file, and the forwarder between them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use device::{OffloadOpener, lab};
use runtime::Forwarder;
use topology::{Origin, Topology};

/// What both consumers have as their own address.
pub(super) const CONSUMER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
/// What the provider's programs have as theirs.
pub(super) const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 2));
/// What the provider's programs see as the source.
pub(super) const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 9, 1));
/// Where both consumers find the service.
const ENDPOINT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 9, 50));

pub(super) const PORT_NAT: u16 = 80;
pub(super) const PORT_TERMINATE: u16 = 8443;
const PORT_ECHO: u16 = 53;
/// Where the provider's servers listen.
pub(super) const HTTP_SERVER: SocketAddr = SocketAddr::new(TARGET, 8080);
pub(super) const ECHO_SERVER: SocketAddr = SocketAddr::new(TARGET, 5353);

/// What the consumers connect to.
pub(super) fn door(port: u16) -> SocketAddr {
    SocketAddr::new(ENDPOINT, port)
}

/// Where the consumers send datagrams.
pub(super) fn echo_door() -> SocketAddr {
    door(PORT_ECHO)
}

/// A consumer's network.
pub(super) struct Consumer {
    pub(super) name: &'static str,
    namespace: lab::Namespace,
}

impl Consumer {
    fn make(name: &'static str, label: &str) -> Result<Self> {
        Ok(Self { name, namespace: namespace(label, CONSUMER)? })
    }

    /// The file of its namespace.
    pub(super) fn namespace(&self) -> &Path {
        self.namespace.path()
    }
}

/// The networks, which are removed when this is dropped.
pub(super) struct Network {
    consumers: [Consumer; 2],
    provider: lab::Namespace,
    file: String,
}

impl Network {
    pub(super) fn make() -> Result<Self> {
        let consumers = [Consumer::make("a", "sg-demo-a")?, Consumer::make("b", "sg-demo-b")?];
        let provider = namespace("sg-demo-p", TARGET)?;
        let file = operators_file(&consumers, provider.name());
        Ok(Self { consumers, provider, file })
    }

    pub(super) fn consumers(&self) -> &[Consumer] {
        &self.consumers
    }

    /// The file of the provider's namespace.
    pub(super) fn provider(&self) -> &Path {
        self.provider.path()
    }

    /// The operator's file.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    pub(super) fn description(&self) -> String {
        let [a, b] = self.consumers.each_ref().map(|consumer| consumer.namespace.name());
        format!("namespaces {a} and {b}, {CONSUMER} in each; {}, {TARGET}", self.provider.name())
    }

    /// Starts the forwarder that the file asks for.
    pub(super) fn forward(&self) -> Result<Forwarder> {
        let topology = Topology::parse(&self.file, &Origin::new(PathBuf::from("demo.toml")))
            .map_err(|problems| anyhow!("the demo's own file is refused: {problems:?}"))?;
        Ok(Forwarder::start(Arc::new(topology), Arc::new(OffloadOpener))?)
    }
}

fn namespace(label: &str, address: IpAddr) -> Result<lab::Namespace> {
    let namespace = lab::Namespace::unique(label)?;
    namespace.address(&[(address, 24)])?;
    Ok(namespace)
}

fn operators_file([a, b]: &[Consumer; 2], provider: &str) -> String {
    let (a, b) = (a.namespace.name(), b.namespace.name());
    format!(
        r#"[run]
name = "demo-{pid}"

[[service]]
name      = "orders"
namespace = "{provider}"
nodes     = [{{ zone = "a", address = "{NODE}" }}]
listeners = [
  {{ protocol = "tcp", port = {PORT_NAT}, forward = "web" }},
  {{ protocol = "tcp", port = {PORT_TERMINATE}, forward = "web", path = "terminate" }},
  {{ protocol = "udp", port = {PORT_ECHO}, forward = "echo" }},
]

[[target_group]]
name    = "web"
targets = [{{ address = "{TARGET}", port = {http} }}]

[[target_group]]
name    = "echo"
targets = [{{ address = "{TARGET}", port = {echo} }}]

[[endpoint]]
name       = "orders-a"
service    = "orders"
namespace  = "{a}"
interfaces = [{{ zone = "a", address = "{ENDPOINT}" }}]

[[endpoint]]
name       = "orders-b"
service    = "orders"
namespace  = "{b}"
interfaces = [{{ zone = "a", address = "{ENDPOINT}" }}]
"#,
        pid = process::id(),
        http = HTTP_SERVER.port(),
        echo = ECHO_SERVER.port(),
    )
}
