//! Target groups: where traffic ends up, and how its health is checked.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::{Attributes, TargetGroupId, TargetId, Zone};

/// A group of targets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetGroup {
    /// Its name.
    pub name: String,
    /// Its targets.
    pub targets: Vec<TargetId>,
    /// How they are checked; without it every target counts as healthy.
    pub health_check: Option<HealthCheck>,
    /// What is done with them.
    pub attributes: Attributes,
}

/// Where traffic ends up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Whose target it is.
    pub group: TargetGroupId,
    /// Its address in the provider's namespace.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its zone; without one it serves every zone.
    pub zone: Option<Zone>,
    /// Its share of new flows, beside the other targets' weights: 0 to 999, 1 unless told.
    pub weight: u16,
}

impl Target {
    /// Its address and port.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// `health_check`: how the targets of a group are asked whether they are well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    /// What is asked.
    pub protocol: CheckProtocol,
    /// At which port; `None` is the target's own.
    pub port: Option<u16>,
    /// How long from the beginning of one check to that of the next: 30 s unless told (5-300).
    pub interval: Duration,
    /// How long an answer may take: 10 s unless told, 6 s for HTTP without TLS (2-120, and not more than the interval).
    pub timeout: Duration,
    /// So many successes in a row make an unhealthy target healthy: 5 unless told (2-10).
    pub healthy_threshold: u8,
    /// So many failures in a row make a healthy target unhealthy: 2 unless told (2-10).
    pub unhealthy_threshold: u8,
    /// Whether what becomes of real flows counts, too: a target that resets or ignores as many newcomers in a row as the
    /// unhealthy threshold says is unhealthy before the next check finds out. Off unless told.
    pub passive: bool,
}

/// What a health check asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CheckProtocol {
    /// Whether a connection can be opened.
    Tcp,
    /// Whether a page is served.
    Http(HttpCheck),
    /// The same over TLS. The certificate is not validated.
    Https(HttpCheck),
}

/// What an HTTP check asks for, and which answers are good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpCheck {
    /// The path, with its query: `/` unless told.
    pub path: String,
    /// The Host header; unless told, the node's address and the listener's port, as the real one sends.
    pub host: Option<String>,
    /// The statuses that mean health: 200-399 unless told.
    pub matcher: Matcher,
}

/// Statuses of HTTP that mean health.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Matcher(pub Vec<RangeInclusive<u16>>);

impl Matcher {
    /// Whether this status means health.
    pub fn accepts(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl Default for Matcher {
    fn default() -> Self {
        Self(vec![200..=399])
    }
}

impl fmt::Display for Matcher {
    /// As the operator writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}
