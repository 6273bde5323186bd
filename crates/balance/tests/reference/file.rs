//! What the operator writes in these tests: a group of up to three targets, which a listener forwards to or not.

use proptest::prelude::*;
use topology::{Origin, Topology};

/// How many targets can be in the group.
pub(crate) const TARGETS: usize = 3;
/// The thresholds of its health check.
pub(crate) const HEALTHY_THRESHOLD: usize = 3;
pub(crate) const UNHEALTHY_THRESHOLD: usize = 2;

/// The operator's file. There is one node, in zone a.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Whether the group is in it at all.
    pub(crate) has_group: bool,
    /// Those that are in the group.
    pub(crate) targets: [Option<Entry>; TARGETS],
    pub(crate) is_forwarded: bool,
    pub(crate) is_checked: bool,
    pub(crate) cross_zone: Option<bool>,
    pub(crate) attributes: Attributes,
}

/// A target as it is in the file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) zone: Option<&'static str>,
    pub(crate) weight: u16,
}

/// What becomes of flows. Times are in seconds.
#[derive(Clone, Default, Debug)]
pub(crate) struct Attributes {
    pub(crate) delay: u64,
    pub(crate) terminates_deregistered: bool,
    pub(crate) terminates_unhealthy: bool,
    pub(crate) unhealthy_draining: u64,
}

impl File {
    /// The file that the others take over from.
    pub(crate) fn empty() -> Self {
        Self {
            has_group: false,
            targets: [const { None }; TARGETS],
            is_forwarded: false,
            is_checked: false,
            cross_zone: None,
            attributes: Attributes::default(),
        }
    }

    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let zone = prop_oneof![2 => Just(None), 3 => Just(Some("a")), 2 => Just(Some("b"))];
        let weight = prop_oneof![1 => Just(0), 6 => 1..1000u16];
        let entry =
            prop::option::weighted(0.7, (zone, weight).prop_map(|(zone, weight)| Entry { zone, weight }));
        let often = || prop::bool::weighted(0.9);
        (
            (often(), prop::array::uniform3(entry), often(), often()),
            prop::option::weighted(0.3, any::<bool>()),
            Attributes::any(),
        )
            .prop_map(|((has_group, targets, is_forwarded, is_checked), cross_zone, attributes)| {
                Self { has_group, targets, is_forwarded, is_checked, cross_zone, attributes }
            })
    }

    pub(crate) fn parse(&self) -> Topology {
        let text = self.text();
        match Topology::parse(&text, &Origin::new("/etc/sidegate/test.toml")) {
            Ok(topology) => topology,
            Err(problems) => panic!("{problems:#?}\n{text}"),
        }
    }

    fn text(&self) -> String {
        let forward = if self.has_group && self.is_forwarded { "web" } else { "other" };
        let group = if self.has_group { self.group() } else { String::new() };
        format!(
            r#"
            [[service]]
            name = "orders"
            namespace = "provider"
            nodes = [{{ zone = "a", address = "10.2.9.1" }}]
            listeners = [{{ protocol = "tcp", port = 80, forward = "{forward}" }}]
            [[target_group]]
            name = "other"
            targets = [{{ address = "10.2.0.99", port = 80 }}]
            {group}"#
        )
    }

    fn group(&self) -> String {
        let targets = self.targets.iter().enumerate().filter_map(|(n, entry)| Some(entry.as_ref()?.text(n)));
        let check = format!(
            "health_check = {{ healthy_threshold = {HEALTHY_THRESHOLD}, \
             unhealthy_threshold = {UNHEALTHY_THRESHOLD}, passive = true }}\n"
        );
        let cross_zone = match self.cross_zone {
            Some(on) => format!(r#""load_balancing.cross_zone.enabled" = {on}"#),
            None => String::new(),
        };
        format!(
            "[[target_group]]\nname = \"web\"\ntargets = [{}]\n{}[target_group.attributes]\n{}{cross_zone}\n",
            targets.collect::<Vec<_>>().join(", "),
            if self.is_checked { check.as_str() } else { "" },
            self.attributes.text(),
        )
    }
}

impl Entry {
    fn text(&self, n: usize) -> String {
        let zone = self.zone.map_or(String::new(), |zone| format!(r#", zone = "{zone}""#));
        format!(r#"{{ address = "10.2.0.{n}", port = 80, weight = {}{zone} }}"#, self.weight)
    }
}

impl Attributes {
    fn any() -> impl Strategy<Value = Self> {
        let seconds = || prop_oneof![1 => Just(0), 3 => 1..40u64];
        (seconds(), any::<bool>(), any::<bool>(), seconds()).prop_map(
            |(delay, terminates_deregistered, terminates_unhealthy, interval)| Self {
                delay,
                terminates_deregistered,
                terminates_unhealthy,
                unhealthy_draining: if terminates_unhealthy { 0 } else { interval },
            },
        )
    }

    fn text(&self) -> String {
        format!(
            r#""deregistration_delay.timeout_seconds" = {}
            "deregistration_delay.connection_termination.enabled" = {}
            "target_health_state.unhealthy.connection_termination.enabled" = {}
            "target_health_state.unhealthy.draining_interval_seconds" = {}
            "#,
            self.delay, self.terminates_deregistered, self.terminates_unhealthy, self.unhealthy_draining,
        )
    }
}
