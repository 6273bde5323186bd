//! What a good file says about target groups: forwards, weights, health checks, attributes, and who may use which target.

#![cfg(test)]

use std::time::Duration;

use topology::{
    Attributes, CheckProtocol, DeviceId, EndpointWords, HeaderPlacement, HealthCheck, HttpCheck, Matcher,
    Minimum, Origin, ProxyProtocol, TargetGroup, Topology, Way,
};

const ORDERS: &str = include_str!("orders.toml");

fn parse(text: &str) -> Topology {
    match Topology::parse(text, &Origin::new("/etc/sidegate/orders.toml")) {
        Ok(topology) => topology,
        Err(problems) => panic!("{problems:#?}\nin\n{text}"),
    }
}

/// The first group of the file, with these keys.
fn web(keys: &str) -> TargetGroup {
    let topology = parse(&ORDERS.replace("name    = \"web\"", &format!("name = \"web\"\n{keys}")));
    topology.groups.iter().next().unwrap().1.clone()
}

fn check(keys: &str) -> HealthCheck {
    web(&format!("health_check = {{ {keys} }}")).health_check.unwrap()
}

fn attributes(keys: &str) -> Attributes {
    web(&format!("attributes = {{ {keys} }}")).attributes
}

fn seconds(duration: Duration) -> u64 {
    assert_eq!(duration.subsec_nanos(), 0);
    duration.as_secs()
}

#[test]
fn a_listener_forwards_to_one_group_or_to_several_by_weight() {
    let text = ORDERS.replacen(
        "forward = \"web\"",
        "forward = [{ target_group = \"dns\", weight = 0 }, { target_group = \"web\" }]",
        1,
    );
    let topology = parse(&text);
    let forwards = |index: usize| -> Vec<(&str, u16)> {
        let (_, listener) = topology.listeners.iter().nth(index).unwrap();
        let forwards = listener.forward.iter();
        forwards.map(|own| (topology.groups[own.group].name.as_str(), own.weight)).collect()
    };
    assert_eq!(forwards(0), [("dns", 0), ("web", 1)]);
    assert_eq!(forwards(1), [("web", 1)]);
}

#[test]
fn five_groups_are_not_too_many() {
    let name = |index| format!("g{index}");
    let with = |count: usize| {
        let forwards: Vec<_> = (0..count)
            .map(|index| format!("{{ target_group = \"{}\", weight = 999 }}", name(index)))
            .collect();
        let groups: String = (0..count)
            .map(|index| {
                let target = "{ address = \"10.2.0.9\", port = 1 }";
                format!("\n[[target_group]]\nname = \"{}\"\ntargets = [{target}]\n", name(index))
            })
            .collect();
        let forward = format!("forward = [{}]", forwards.join(", "));
        ORDERS.replacen("forward = \"web\"", &forward, 1) + &groups
    };
    let topology = parse(&with(5));
    assert_eq!(topology.listeners.iter().next().unwrap().1.forward.len(), 5);
    let [problem] = Topology::parse(&with(6), &Origin::new("/x")).unwrap_err().try_into().unwrap();
    assert_eq!(
        problem.to_string(),
        "6:46: service \"orders\": listeners[0].forward: 6 target groups are too many for one listener; \
         keep 5 at most, as the real thing does"
    );
}

#[test]
fn a_target_has_a_weight() {
    let weights =
        |text: &str| -> Vec<u16> { parse(text).targets.iter().map(|(_, target)| target.weight).collect() };
    assert_eq!(weights(ORDERS), [1, 1]);
    for weight in [0, 1, 999] {
        let text = ORDERS.replace("port = 5353", &format!("port = 5353, weight = {weight}"));
        assert_eq!(weights(&text), [1, weight]);
    }
}

#[test]
fn a_group_may_have_lost_its_last_target() {
    for target in
        ["{ address = \"10.2.0.2\", port = 8080, zone = \"a\" }", "{ address = \"10.2.0.2\", port = 5353 }"]
    {
        let topology = parse(&ORDERS.replace(target, ""));
        assert_eq!(topology.targets.len(), 1, "whether it is behind nat or terminate");
        assert!(topology.to_string().contains("  target     none\n"), "{topology}");
        assert_eq!(topology.ways_from(DeviceId(0)).len(), 1);
    }
}

#[test]
fn a_health_check_has_the_real_ones_defaults() {
    assert_eq!(web("").health_check, None);
    let tcp = check("");
    let expected = HealthCheck {
        protocol: CheckProtocol::Tcp,
        port: None,
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(10),
        healthy_threshold: 5,
        unhealthy_threshold: 2,
        passive: false,
    };
    assert_eq!(tcp, expected);
    assert_eq!(check("protocol = \"tcp\""), expected);

    let request = HttpCheck { path: "/".into(), host: None, matcher: Matcher(vec![200..=399]) };
    let http = check("protocol = \"http\"");
    let timeout = Duration::from_secs(6);
    assert_eq!(
        http,
        HealthCheck { protocol: CheckProtocol::Http(request.clone()), timeout, ..expected.clone() }
    );
    let https = check("protocol = \"https\"");
    let protocol = CheckProtocol::Https(request);
    assert_eq!(https, HealthCheck { protocol, ..expected }, "only without TLS is less time given");
    for protocol in ["tcp", "http", "https"] {
        let hasty = check(&format!("protocol = \"{protocol}\", interval = 5"));
        assert_eq!(seconds(hasty.timeout), 5, "a check ends before the next begins");
    }
}

#[test]
fn every_key_of_a_health_check_is_honoured() {
    let found = check(
        "protocol = \"https\", port = 81, path = \"/health?deep=1&x=%20\", host = \"[fd00::1]:81\", interval = 5, \
         timeout = 2, healthy_threshold = 2, unhealthy_threshold = 10, matcher = \"200,202,300-302\", passive = true",
    );
    let matcher = Matcher(vec![200..=200, 202..=202, 300..=302]);
    assert_eq!(matcher.to_string(), "200,202,300-302");
    assert_eq!(
        [200, 201, 202, 301, 303].map(|status| matcher.accepts(status)),
        [true, false, true, true, false]
    );
    let request =
        HttpCheck { path: "/health?deep=1&x=%20".into(), host: Some("[fd00::1]:81".into()), matcher };
    let expected = HealthCheck {
        protocol: CheckProtocol::Https(request),
        port: Some(81),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        healthy_threshold: 2,
        unhealthy_threshold: 10,
        passive: true,
    };
    assert_eq!(found, expected);
}

#[test]
fn a_health_checks_limits_are_within_reach() {
    for (interval, timeout) in [(5, 5), (300, 120), (300, 2), (7, 7)] {
        let found = check(&format!("interval = {interval}, timeout = {timeout}"));
        assert_eq!((seconds(found.interval), seconds(found.timeout)), (interval, timeout));
    }
    for (keys, timeout) in
        [("", 5), ("protocol = \"http\", ", 5), ("protocol = \"https\", passive = false, ", 5)]
    {
        assert_eq!(
            seconds(check(&format!("{keys}interval = 5")).timeout),
            timeout,
            "no longer than the interval"
        );
    }
    for threshold in [2, 10] {
        let found = check(&format!("healthy_threshold = {threshold}, unhealthy_threshold = {threshold}"));
        assert_eq!((found.healthy_threshold, found.unhealthy_threshold), (threshold, threshold));
    }
    let (path, host) = (format!("/{}", "a".repeat(1023)), "h".repeat(255));
    let found =
        check(&format!("protocol = \"http\", path = \"{path}\", host = \"{host}\", matcher = \"200-599\""));
    let expected = HttpCheck { path, host: Some(host), matcher: Matcher(vec![200..=599]) };
    assert_eq!(found.protocol, CheckProtocol::Http(expected));
}

#[test]
fn attributes_have_the_real_ones_defaults() {
    for found in [web("").attributes, attributes(""), attributes("\"proxy_protocol_v2.enabled\" = false")] {
        assert_eq!(found, Attributes::default());
        assert_eq!(found.changed(), []);
    }
}

#[test]
fn every_attribute_is_honoured() {
    let found = attributes(
        r#""deregistration_delay.timeout_seconds" = 3600,
        "deregistration_delay.connection_termination.enabled" = true,
        "proxy_protocol_v2.enabled" = true, "proxy_protocol_v2.tlv" = "gcp",
        "proxy_protocol_v2.client_to_server.header_placement" = "on_first_ack",
        "stickiness.enabled" = true, "stickiness.type" = "source_ip",
        "load_balancing.cross_zone.enabled" = true,
        "target_health_state.unhealthy.connection_termination.enabled" = false,
        "target_health_state.unhealthy.draining_interval_seconds" = 360000,
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count" = 2,
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage" = 100,
        "target_group_health.dns_failover.minimum_healthy_targets.count" = "off",
        "target_group_health.dns_failover.minimum_healthy_targets.percentage" = "1""#,
    );
    let expected = Attributes {
        deregistration_delay: Duration::from_secs(3600),
        terminates_deregistered: true,
        proxy_protocol: Some(ProxyProtocol {
            placement: HeaderPlacement::OnFirstAck,
            words: EndpointWords::Gcp,
        }),
        is_sticky: true,
        cross_zone: Some(true),
        terminates_unhealthy: false,
        unhealthy_draining: Duration::from_secs(360_000),
        routing_minimum: Minimum { count: Some(2), percentage: Some(100) },
        dns_minimum: Minimum { count: None, percentage: Some(1) },
    };
    assert_eq!(found, expected);
    assert_eq!(found.changed().len(), 13, "all of them");
}

#[test]
fn a_header_is_the_real_ones_unless_told() {
    let header = |keys: &str| attributes(&format!("\"proxy_protocol_v2.enabled\" = {keys}")).proxy_protocol;
    let (placement, tlv) = ("proxy_protocol_v2.client_to_server.header_placement", "proxy_protocol_v2.tlv");
    let real = ProxyProtocol { placement: HeaderPlacement::OnFirstAckWithPayload, words: EndpointWords::Aws };
    assert_eq!(header("true"), Some(real));
    assert_eq!(
        header(&format!("true, \"{placement}\" = \"on_first_ack_with_payload\", \"{tlv}\" = \"aws\"")),
        Some(real)
    );
    let azure = ProxyProtocol { words: EndpointWords::Azure, ..real };
    assert_eq!(header(&format!("true, \"{tlv}\" = \"azure\"")), Some(azure));
    let said_in_vain = format!("false, \"{placement}\" = \"on_first_ack\", \"{tlv}\" = \"gcp\"");
    assert_eq!(header(&said_in_vain), None, "it may be said beforehand, as to the real one");
}

#[test]
fn attributes_take_what_the_real_one_writes() {
    let count = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count";
    for (written, meant) in
        [("1", Some(1)), ("\"1\"", Some(1)), ("\"off\"", None), ("1_000_000", Some(1_000_000))]
    {
        assert_eq!(attributes(&format!("\"{count}\" = {written}")).routing_minimum.count, meant);
    }
    let cross_zone = "load_balancing.cross_zone.enabled";
    let words = [("true", Some(true)), ("false", Some(false)), ("\"use_load_balancer_configuration\"", None)];
    for (written, meant) in words {
        assert_eq!(attributes(&format!("\"{cross_zone}\" = {written}")).cross_zone, meant);
    }
    let draining = "target_health_state.unhealthy.draining_interval_seconds";
    assert_eq!(attributes(&format!("\"{draining}\" = 0")).unhealthy_draining, Duration::ZERO);
    let delay = "deregistration_delay.timeout_seconds";
    assert_eq!(attributes(&format!("\"{delay}\" = 0")).deregistration_delay, Duration::ZERO);
}

/// Two zones with a target each, a target without a zone, and a group that has targets in one zone only.
const ZONES: &str = r#"
    [[service]]
    name = "s"
    namespace = "p"
    nodes = [{ zone = "a", address = "10.2.9.1" }, { zone = "b", address = "10.2.9.2" }, { address = "10.2.9.3" }]
    listeners = [{ protocol = "tcp", port = 80, forward = [{ target_group = "g" }, { target_group = "only-b" }] }]
    [[target_group]]
    name = "g"
    targets = [
      { address = "10.2.0.1", port = 1, zone = "a" }, { address = "10.2.0.2", port = 2, zone = "b" },
      { address = "10.2.0.3", port = 3 }, { address = "fd02::4", port = 4, zone = "a" },
    ]
    #g
    [[target_group]]
    name = "only-b"
    targets = [{ address = "10.2.0.5", port = 5, zone = "b" }]
    #only-b
    [[endpoint]]
    name = "e"
    service = "s"
    namespace = "c"
    interfaces = [{ address = "10.1.9.3" }]
"#;

/// `ZONES` with cross-zone said to be on or off, or not said.
fn zones(cross_zone: Option<bool>) -> Topology {
    let said = |on| format!("attributes = {{ \"load_balancing.cross_zone.enabled\" = {on} }}");
    let line = cross_zone.map_or(String::new(), said);
    parse(&ZONES.replace("#g", &line).replace("#only-b", &line))
}

#[test]
fn a_node_uses_the_targets_that_zones_open_to_it() {
    let ports = |cross_zone, group: &str| -> Vec<Vec<u16>> {
        let topology = zones(cross_zone);
        let (group, _) = topology.groups.iter().find(|(_, found)| found.name == group).unwrap();
        let of = |node| topology.selected(group, node).iter().map(|id| topology.targets[*id].port).collect();
        topology.nodes.iter().map(|(node, _)| of(node)).collect()
    };
    let everywhere = vec![1, 2, 3];
    assert_eq!(ports(None, "g"), [vec![1, 3], vec![2, 3], everywhere.clone()], "no zone is every zone");
    assert_eq!(ports(Some(false), "g"), [vec![1, 3], vec![2, 3], everywhere.clone()]);
    assert_eq!(ports(Some(true), "g"), [everywhere.clone(), everywhere.clone(), everywhere]);
    assert_eq!(ports(None, "only-b"), [[5], [5], [5]], "rather another zone's than none");
    assert_eq!(ports(Some(false), "only-b"), [vec![], vec![5], vec![5]]);
    assert_eq!(ports(Some(true), "only-b"), [[5], [5], [5]]);
}

#[test]
fn the_ways_of_a_device_lead_to_the_targets_of_all_groups() {
    let ways = |cross_zone| zones(cross_zone).ways_from(DeviceId(0)).len();
    assert_eq!(ways(None), 3 + 3 + 4, "2 of g and 1 of only-b, twice; 3 and 1 from the node without a zone");
    assert_eq!(ways(Some(false)), 2 + 3 + 4);
    assert_eq!(ways(Some(true)), 4 * 3);
    assert_eq!(zones(None).ways_from(DeviceId(1)), []);
}

#[test]
fn newcomers_have_a_way_from_each_node_through_each_listener_to_each_target_of_weight() {
    let ways = |topology: &Topology| -> Vec<(String, u16, u16)> {
        let named = |way: Way| {
            let node = topology.nodes[way.node].address.to_string();
            (node, topology.listeners[way.listener].port, topology.targets[way.target].port)
        };
        topology.ways_of_newcomers().map(named).collect()
    };
    let way = |listener, target| ("10.2.9.1".to_owned(), listener, target);
    let topology = parse(ORDERS);
    assert_eq!(ways(&topology), [way(80, 8080), way(8443, 8080), way(53, 5353)]);
    let light = ORDERS.replace("port = 5353", "port = 5353, weight = 0");
    assert_eq!(ways(&parse(&light)), [way(80, 8080), way(8443, 8080)]);
    assert_eq!(parse(&light).ways_from(DeviceId(0)), topology.ways_from(DeviceId(0)), "old flows go on");
    assert_eq!(zones(None).ways_of_newcomers().count(), 3 + 3 + 4);
}

#[test]
fn groups_are_printed_as_understood() {
    let text = ORDERS
        .replacen(
            "forward = \"web\"",
            "forward = [{ target_group = \"web\", weight = 9 }, { target_group = \"canary\" }]",
            1,
        )
        .replace(
            "\"dns\" },",
            "\"dns\" }, { protocol = \"tcp\", port = 81, path = \"splice\", forward = \"canary\" }",
        )
        .replace(
            "port = 8080, zone = \"a\" }",
            "port = 8080, zone = \"a\", weight = 3 }, { address = \"fd02::2\", port = 1 }",
        )
        + r#"
            [[target_group]]
            name = "canary"
            targets = [{ address = "10.2.0.7", port = 8080, weight = 1 }]
            health_check = { protocol = "http", port = 81, path = "/up", host = "orders.example", interval = 5, passive = true }
            [target_group.attributes]
            "deregistration_delay.timeout_seconds" = 300
            "target_health_state.unhealthy.connection_termination.enabled" = false
            "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage" = 50
            "load_balancing.cross_zone.enabled" = false
            "proxy_protocol_v2.enabled" = true
            "proxy_protocol_v2.tlv" = "gcp"
            [[target_group]]
            name = "spare"
            targets = [{ address = "10.2.0.8", port = 1 }]
            health_check = {}
            [run]
            propagation_delay = 30
        "#;
    let printed = parse(&text).to_string();
    let paragraphs: Vec<_> = printed
        .split("\n\n")
        .filter(|part| !part.starts_with("endpoint") && !part.starts_with("name"))
        .collect();
    assert!(paragraphs[0].ends_with("\n  reload       takes effect after 30 s"), "{printed}");
    assert_eq!(paragraphs[1..].join("\n\n") + "\n", include_str!("groups.txt"));
    assert!(printed.lines().all(|line| line.chars().count() <= 100), "{printed}");
}
