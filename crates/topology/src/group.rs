//! Target groups: where traffic ends up, how its health is checked, and what a load balancer does about it.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::{TargetGroupId, TargetId, Zone};

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

/// `health_check`: how the targets of a group are asked whether they are well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    /// What is asked.
    pub protocol: CheckProtocol,
    /// At which port; `None` is the target's own.
    pub port: Option<u16>,
    /// How long from the beginning of one check to that of the next: 30 s unless told (5-300).
    pub interval: Duration,
    /// How long an answer may take: 10 s unless told, 6 s for HTTP (2-120, and not more than the interval).
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

/// `attributes` of a target group, under the names that the real load balancer has for them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// `deregistration_delay.timeout_seconds`: how long a target that was removed is draining. 300 s (0-3600).
    pub deregistration_delay: Duration,
    /// `deregistration_delay.connection_termination.enabled`: whether its flows end after that. They do not.
    pub terminates_deregistered: bool,
    /// `stickiness.enabled` (with `stickiness.type`, `source_ip`): whether a client's address alone chooses its target.
    pub is_sticky: bool,
    /// `load_balancing.cross_zone.enabled`: whether targets of all zones are used. `None`: not said, which is off, except that
    /// a node whose zone has no target at all uses those of the others.
    pub cross_zone: Option<bool>,
    /// `target_health_state.unhealthy.connection_termination.enabled`: whether the flows of an unhealthy target end. They do.
    pub terminates_unhealthy: bool,
    /// `target_health_state.unhealthy.draining_interval_seconds`: for how long the flows of an unhealthy target are kept, where
    /// they are not ended at once; 0 is for as long as they last. 0 (0-360000).
    pub unhealthy_draining: Duration,
    /// `target_group_health.unhealthy_state_routing.minimum_healthy_targets.*`: with fewer healthy targets than this, in a node's
    /// view, all are used.
    pub routing_minimum: Minimum,
    /// `target_group_health.dns_failover.minimum_healthy_targets.*`: with fewer, the node's zone leaves the service's names.
    pub dns_minimum: Minimum,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            deregistration_delay: Duration::from_secs(300),
            terminates_deregistered: false,
            is_sticky: false,
            cross_zone: None,
            terminates_unhealthy: true,
            unhealthy_draining: Duration::ZERO,
            routing_minimum: Minimum::default(),
            dns_minimum: Minimum::default(),
        }
    }
}

/// How many healthy targets a group needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Minimum {
    /// `count`: so many. `None` is "off". 1 unless told.
    pub count: Option<u32>,
    /// `percentage`: so many in a hundred (1-100). `None` is "off", as unless told.
    pub percentage: Option<u8>,
}

impl Default for Minimum {
    fn default() -> Self {
        Self { count: Some(1), percentage: None }
    }
}

impl Minimum {
    /// Whether so many healthy ones of so many are enough.
    pub fn is_met(&self, healthy: usize, all: usize) -> bool {
        let enough = self.count.is_none_or(|count| healthy >= count as usize);
        enough && self.percentage.is_none_or(|percentage| healthy * 100 >= usize::from(percentage) * all)
    }
}
