//! The demo's networks, its operator's file, and the forwarder between them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
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

/// What the names of the demo's namespaces begin with.
const PREFIX: &str = "sg-demo-";
/// The networks, as their namespaces are called: a consumer's, the other's, the provider's.
const LABELS: [&str; 3] = ["a", "b", "p"];

/// The instance that is the demo of this process.
pub(super) fn instance(pid: u32) -> String {
    format!("demo-{pid}")
}

/// The process that an instance is the demo of.
pub(super) fn process_of_instance(instance: &str) -> Option<u32> {
    number(instance.strip_prefix("demo-")?)
}

/// The process whose demo a namespace is part of: its name is a label, the process and a count, and nothing else is, for
/// `--cleanup` removes what has such a name.
pub(super) fn process_of_namespace(name: &str) -> Option<u32> {
    let parts: Vec<&str> = name.strip_prefix(PREFIX)?.split('-').collect();
    let [label, process, count] = parts[..] else { return None };
    if !LABELS.contains(&label) {
        return None;
    }
    number(count).and(number(process))
}

/// A number as it is printed: without sign or leading zeros.
fn number(digits: &str) -> Option<u32> {
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// A consumer's network.
pub(super) struct Consumer {
    pub(super) name: &'static str,
    namespace: lab::Namespace,
}

impl Consumer {
    fn make(name: &'static str) -> Result<Self> {
        Ok(Self { name, namespace: namespace(name, CONSUMER)? })
    }

    /// The name of its namespace.
    pub(super) fn network(&self) -> &str {
        self.namespace.name()
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
    pub(super) fn make(instance: &str) -> Result<Self> {
        let [a, b, p] = LABELS;
        let consumers = [Consumer::make(a)?, Consumer::make(b)?];
        let provider = namespace(p, TARGET)?;
        let file = operators_file(instance, &consumers, provider.name());
        Ok(Self { consumers, provider, file })
    }

    pub(super) fn consumers(&self) -> &[Consumer; 2] {
        &self.consumers
    }

    /// The name of the provider's namespace.
    pub(super) fn providers(&self) -> &str {
        self.provider.name()
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
        let [a, b] = self.consumers.each_ref().map(Consumer::network);
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
    let namespace = lab::Namespace::unique(&format!("{PREFIX}{label}"))?;
    namespace.address(&[(address, 24)])?;
    Ok(namespace)
}

fn operators_file(instance: &str, consumers: &[Consumer; 2], provider: &str) -> String {
    let [a, b] = consumers.each_ref().map(Consumer::network);
    format!(
        r#"[run]
name = "{instance}"

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
        http = HTTP_SERVER.port(),
        echo = ECHO_SERVER.port(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_demo_is_known_by_its_name() {
        assert_eq!(process_of_instance(&instance(4711)), Some(4711));
        assert_eq!(process_of_namespace("sg-demo-p-4711-2"), Some(4711));
        for label in LABELS {
            assert_eq!(process_of_namespace(&format!("sg-demo-{label}-1-10")), Some(1));
        }
        for other in ["sg-demo", "sg-demo-a", "sg-demo-a-b-0", "sg-test-4711-0", "4711"] {
            assert_eq!(process_of_namespace(other), None, "{other}");
        }
        for other in ["orders", "demo-day", "demo-", "demo-+5", "demo-05", "demo-5-1", "demo-5.old"] {
            assert_eq!(process_of_instance(other), None, "{other}");
        }
    }

    #[test]
    fn what_only_looks_like_a_demos_is_somebody_elses() {
        for other in [
            "sg-demo-web-8080",
            "sg-demolition-eu-7",
            "sg-demo-test-1",
            "sg-demo-web-8080-1",
            "sg-demo-a-4711",
            "sg-demo-a-4711-",
            "sg-demo-a-4711-x",
            "sg-demo-a-4711-0-old",
            "sg-demo-a-4711--0",
            "sg-demo--4711-0",
            "sg-demo-a-+4711-0",
            "sg-demo-a-04711-0",
            "sg-demo-a-99999999999-0",
            "sg-demoa-4711-0",
            "xsg-demo-a-4711-0",
        ] {
            assert_eq!(process_of_namespace(other), None, "{other}");
        }
    }
}
