//! `attributes` of a target group, under the names that the real load balancer has for them.

use std::time::Duration;

pub(crate) const DEREGISTRATION_DELAY: &str = "deregistration_delay.timeout_seconds";
pub(crate) const TERMINATES_DEREGISTERED: &str = "deregistration_delay.connection_termination.enabled";
pub(crate) const PROXY_PROTOCOL: &str = "proxy_protocol_v2.enabled";
pub(crate) const HEADER_PLACEMENT: &str = "proxy_protocol_v2.client_to_server.header_placement";
pub(crate) const ENDPOINT_WORDS: &str = "proxy_protocol_v2.tlv";
pub(crate) const IS_STICKY: &str = "stickiness.enabled";
pub(crate) const STICKINESS_TYPE: &str = "stickiness.type";
pub(crate) const CROSS_ZONE: &str = "load_balancing.cross_zone.enabled";
pub(crate) const TERMINATES_UNHEALTHY: &str = "target_health_state.unhealthy.connection_termination.enabled";
pub(crate) const UNHEALTHY_DRAINING: &str = "target_health_state.unhealthy.draining_interval_seconds";
pub(crate) const ROUTING_COUNT: &str =
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count";
pub(crate) const ROUTING_PERCENTAGE: &str =
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage";
pub(crate) const DNS_COUNT: &str = "target_group_health.dns_failover.minimum_healthy_targets.count";
pub(crate) const DNS_PERCENTAGE: &str = "target_group_health.dns_failover.minimum_healthy_targets.percentage";

/// The value of [`CROSS_ZONE`] that says nothing.
pub(crate) const INHERITED: &str = "use_load_balancer_configuration";
/// The value of a minimum that is none.
pub(crate) const OFF: &str = "off";

/// What a load balancer does with the targets of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// `deregistration_delay.timeout_seconds`: how long a target that was removed is draining. 300 s (0-3600).
    pub deregistration_delay: Duration,
    /// `deregistration_delay.connection_termination.enabled`: whether its flows end after that. They do not.
    pub terminates_deregistered: bool,
    /// `proxy_protocol_v2.*`: whether a TCP connection to a target begins with a header that says who its client is. It does not.
    pub proxy_protocol: Option<ProxyProtocol>,
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

/// How targets are told who their clients are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProxyProtocol {
    /// `proxy_protocol_v2.client_to_server.header_placement`.
    pub placement: HeaderPlacement,
    /// `proxy_protocol_v2.tlv`, which the real load balancer does not have: in whose words the endpoint is named.
    pub words: EndpointWords,
}

/// When a target gets the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HeaderPlacement {
    /// With the client's first bytes: where the server speaks first, it may never come. Unless told.
    #[default]
    OnFirstAckWithPayload,
    /// As soon as the connection stands.
    OnFirstAck,
}

/// In whose words a header names the endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EndpointWords {
    /// AWS'. Unless told.
    #[default]
    Aws,
    /// GCP's.
    Gcp,
    /// Azure's.
    Azure,
}

impl HeaderPlacement {
    /// As the operator writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnFirstAckWithPayload => "on_first_ack_with_payload",
            Self::OnFirstAck => "on_first_ack",
        }
    }
}

impl EndpointWords {
    /// As the operator writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Gcp => "gcp",
            Self::Azure => "azure",
        }
    }
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            deregistration_delay: Duration::from_secs(300),
            terminates_deregistered: false,
            proxy_protocol: None,
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

impl Attributes {
    /// Those that are not as they are unless told, each with its name and its value.
    pub fn changed(&self) -> Vec<(&'static str, String)> {
        let pairs = self.shown().into_iter().zip(Self::default().shown());
        pairs.filter(|(own, default)| own != default).map(|(own, _)| own).collect()
    }

    fn shown(&self) -> [(&'static str, String); 13] {
        let seconds = |duration: Duration| duration.as_secs().to_string();
        let inherited = || INHERITED.into();
        let ProxyProtocol { placement, words } = self.proxy_protocol.unwrap_or_default();
        let [routing, dns] = [self.routing_minimum, self.dns_minimum];
        [
            (DEREGISTRATION_DELAY, seconds(self.deregistration_delay)),
            (TERMINATES_DEREGISTERED, self.terminates_deregistered.to_string()),
            (PROXY_PROTOCOL, self.proxy_protocol.is_some().to_string()),
            (HEADER_PLACEMENT, placement.as_str().into()),
            (ENDPOINT_WORDS, words.as_str().into()),
            (IS_STICKY, self.is_sticky.to_string()),
            (CROSS_ZONE, self.cross_zone.map_or_else(inherited, |cross_zone| cross_zone.to_string())),
            (TERMINATES_UNHEALTHY, self.terminates_unhealthy.to_string()),
            (UNHEALTHY_DRAINING, seconds(self.unhealthy_draining)),
            (ROUTING_COUNT, shown_or_off(routing.count)),
            (ROUTING_PERCENTAGE, shown_or_off(routing.percentage)),
            (DNS_COUNT, shown_or_off(dns.count)),
            (DNS_PERCENTAGE, shown_or_off(dns.percentage)),
        ]
    }
}

fn shown_or_off(number: Option<impl ToString>) -> String {
    number.map_or_else(|| OFF.into(), |number| number.to_string())
}
