//! What a good file means: the model it becomes, the defaults it leaves to us, and how it is printed.

#![cfg(test)]

use std::net::IpAddr;
use std::time::Duration;

use topology::{
    Answer, DeviceBackend, DeviceId, EndpointIds, Family, Namespace, Origin, Path, Steering, Topology,
};
use wire::Protocol;

const ORDERS: &str = include_str!("orders.toml");

fn parse(text: &str) -> Topology {
    match Topology::parse(text, &Origin::new("/etc/sidegate/orders.toml")) {
        Ok(topology) => topology,
        Err(problems) => panic!("{problems:#?}"),
    }
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

#[test]
fn the_file_of_the_design_becomes_this_model() {
    let topology = parse(ORDERS);
    assert_eq!(topology.run.workers, None);
    assert_eq!((topology.run.device, topology.run.steering), (DeviceBackend::Offload, Steering::Flow));
    assert_eq!((topology.run.mtu, topology.run.mss_ceiling), (8500, 8365));
    assert_eq!(topology.flows.capacity, 262_144);
    assert_eq!(topology.terminate.memory, 1 << 30);

    let namespace = |name: &str, routed: &str| Namespace {
        name: name.into(),
        path: format!("/run/netns/{name}").into(),
        routed: vec![ip(routed)],
        local: vec![],
        answers: vec![],
    };
    assert_eq!(
        topology.namespaces,
        [namespace("provider", "10.2.9.1"), namespace("consumer-a", "10.1.9.50")]
    );

    let (service_id, service) = topology.services.iter().next().unwrap();
    assert_eq!((service.name.as_str(), service.device), ("orders", DeviceId(0)));
    let node = &topology.nodes[service.nodes[0]];
    assert_eq!((node.service, node.device, node.zone.as_deref()), (service_id, DeviceId(0), Some("a")));
    assert_eq!(node.address, ip("10.2.9.1"));

    let listeners: Vec<_> = service.listeners.iter().map(|id| &topology.listeners[*id]).collect();
    let summary: Vec<_> = listeners
        .iter()
        .map(|l| {
            (
                l.protocol,
                l.port,
                l.path,
                topology.groups[l.forward[0].group].name.as_str(),
                l.idle_timeout.as_secs(),
            )
        })
        .collect();
    assert_eq!(
        summary,
        [
            (Protocol::Tcp, 80, Path::Nat, "web", 350),
            (Protocol::Tcp, 8443, Path::Terminate, "web", 350),
            (Protocol::Udp, 53, Path::Nat, "dns", 120),
        ]
    );
    assert!(listeners.iter().all(|listener| listener.service == service_id));

    let targets: Vec<_> = topology
        .targets
        .iter()
        .map(|(_, t)| (topology.groups[t.group].name.as_str(), t.address, t.port, t.zone.as_deref()))
        .collect();
    let host = ip("10.2.0.2");
    assert_eq!(targets, [("web", host, 8080, Some("a")), ("dns", host, 5353, None)]);

    let (endpoint_id, endpoint) = topology.endpoints.iter().next().unwrap();
    assert_eq!(
        (endpoint.name.as_str(), endpoint.service, endpoint.device),
        ("orders-a", service_id, DeviceId(1))
    );
    let interface = &topology.interfaces[endpoint.interfaces[0]];
    assert_eq!((interface.endpoint, interface.device), (endpoint_id, DeviceId(1)));
    assert_eq!((interface.zone.as_deref(), interface.address), (Some("a"), ip("10.1.9.50")));

    let sizes =
        [topology.services.len(), topology.nodes.len(), topology.endpoints.len(), topology.interfaces.len()];
    assert_eq!(sizes, [1, 1, 1, 1]);
}

#[test]
fn every_optional_key_is_honoured() {
    let text = ORDERS
        .replace(r#"forward = "dns""#, r#"forward = "dns", path = "nat", idle_timeout = 1"#)
        .replace(r#"forward = "web" }"#, r#"forward = "web", idle_timeout = 6_000 }"#)
        + r#"
            local = ["10.1.9.2", "fd00::2"]
            [run]
            name = "lab_1.orders-x"
            workers = 4
            device = "offload"
            steering = "kernel"
            mtu = 1500
            mss_ceiling = 1400
            [flows]
            capacity = 0x1000
            [terminate]
            memory = "64 MiB"
        "#;
    let topology = parse(&text);
    assert_eq!(topology.run.name, "lab_1.orders-x");
    assert_eq!((topology.run.workers, topology.run.steering), (Some(4), Steering::Kernel));
    assert!(topology.to_string().contains("  steering     kernel\n"), "{topology}");
    assert_eq!((topology.run.mtu, topology.run.mss_ceiling), (1500, 1400));
    assert_eq!(topology.flows.capacity, 4096);
    assert_eq!(topology.terminate.memory, 64 << 20);
    assert!(topology.to_string().contains("  terminate    in 64 MiB of memory at most\n"), "{topology}");
    assert_eq!(topology.namespaces[1].local, [ip("10.1.9.2"), ip("fd00::2")]);
    let idle: Vec<_> = topology.listeners.iter().map(|(_, listener)| listener.idle_timeout).collect();
    assert_eq!(idle, [6000, 350, 1].map(Duration::from_secs));
}

#[test]
fn a_plain_device_makes_do_with_one_worker() {
    for workers in ["", "workers = 1"] {
        let topology = parse(&format!("{ORDERS}\n[run]\ndevice = \"plain\"\n{workers}"));
        assert_eq!((topology.run.device, topology.run.workers), (DeviceBackend::Plain, Some(1)));
        assert!(topology.to_string().contains("  device       plain\n"), "{topology}");
    }
}

#[test]
fn a_lower_mtu_lowers_the_mss_ceiling_with_it() {
    let topology = parse(&format!("{ORDERS}\n[run]\nmtu = 1500"));
    assert_eq!(topology.run.mss_ceiling, 1365);
}

#[test]
fn an_mss_ceiling_may_fill_the_mtu() {
    for (mtu, mss_ceiling) in [(1500, 1460), (8500, 8460), (9000, 8960)] {
        let topology = parse(&format!("{ORDERS}\n[run]\nmtu = {mtu}\nmss_ceiling = {mss_ceiling}"));
        assert_eq!((topology.run.mtu, topology.run.mss_ceiling), (mtu, mss_ceiling));
    }
}

#[test]
fn a_local_address_may_stand_alone() {
    let topology = parse(&format!("{ORDERS}\nlocal = \"10.1.9.2\""));
    assert_eq!(topology.namespaces[1].local, [ip("10.1.9.2")]);
}

fn ids(text: &str) -> Vec<EndpointIds> {
    parse(text).endpoints.iter().map(|(_, endpoint)| endpoint.ids.clone()).collect()
}

#[test]
fn an_endpoint_has_the_ids_that_it_is_given() {
    let given = |keys: &str| ids(&format!("{ORDERS}\nids = {{ {keys} }}")).remove(0);
    let own = ids(ORDERS).remove(0);
    assert_eq!(given(""), own);
    for aws in ["vpce-08d2bf15fac5001c9", "vpce-1a2b3c4d"] {
        assert_eq!(given(&format!("aws = \"{aws}\"")), EndpointIds { aws: aws.into(), ..own.clone() });
    }
    for gcp in [0, 78_902_308_415_062_016, u64::MAX] {
        assert_eq!(given(&format!("gcp = {gcp}")), EndpointIds { gcp, ..own.clone() });
    }
    for azure in [0, u32::MAX] {
        assert_eq!(given(&format!("azure = {azure}")), EndpointIds { azure, ..own.clone() });
    }
}

#[test]
fn an_endpoints_own_ids_follow_from_its_name_and_never_change() {
    let own = EndpointIds {
        aws: "vpce-094b9e084fadd1d76".into(),
        gcp: 5_232_833_813_502_883,
        azure: 4_208_794_998,
    };
    assert_eq!(ids(ORDERS)[0], own, "in no release");
    assert_eq!(ids(&ORDERS.replace("10.1.9.50", "10.1.9.51").replace("consumer-a", "b"))[0], own);
    let second = ORDERS[ORDERS.find("[[endpoint]]").unwrap()..].replace("-a", "-b");
    let both = ids(&format!("{ORDERS}\n{second}"));
    assert!(both[0].aws != both[1].aws && both[0].gcp != both[1].gcp && both[0].azure != both[1].azure);
}

#[test]
fn a_listener_may_splice() {
    let topology = parse(&ORDERS.replace("terminate", "splice"));
    let paths: Vec<_> = topology.listeners.iter().map(|(_, listener)| listener.path).collect();
    assert_eq!(paths, [Path::Nat, Path::Splice, Path::Nat]);
}

#[test]
fn a_namespace_spelled_twice_is_one_with_one_device() {
    let text = format!(
        r#"{ORDERS}
        local = "10.1.9.2"
        [[endpoint]]
        name = "again"
        service = "orders"
        namespace = "/run/netns//consumer-a"
        interfaces = [{{ address = "10.1.9.51" }}]
        local = "10.1.9.2"
        [[endpoint]]
        name = "and-again"
        service = "orders"
        namespace = "/var/run/netns/consumer-a"
        interfaces = [{{ address = "10.1.9.52" }}]
        local = "10.1.9.2"
        [[endpoint]]
        name = "inside"
        service = "orders"
        namespace = "provider"
        interfaces = [{{ address = "10.1.9.50" }}]
        "#
    );
    let topology = parse(&text);
    assert_eq!(topology.namespaces.len(), 2);
    assert_eq!(
        topology.namespaces[0].routed,
        [ip("10.2.9.1"), ip("10.1.9.50")],
        "consumer and provider at once"
    );
    assert_eq!(topology.namespaces[1].routed, [ip("10.1.9.50"), ip("10.1.9.51"), ip("10.1.9.52")]);
    assert_eq!(topology.namespaces[1].local, [ip("10.1.9.2")]);
}

#[test]
fn each_address_is_answered_for_on_each_link() {
    let text = TWO_ZONES
        .replace("namespace = \"c\"", "namespace = \"c\"\nanswer_on = [\"br0\", \"br1\"]")
        .replace("namespace = \"p\"", "namespace = \"p\"\nanswer_on = [\"eth1\"]")
        + r#"
            [[endpoint]]
            name = "inside"
            service = "s"
            namespace = "p"
            interfaces = [{ address = "10.2.9.9" }]
            answer_on = ["br0"]
        "#;
    let topology = parse(&text);
    let answers = |device: usize| -> Vec<(&str, String)> {
        let answers = topology.namespaces[device].answers.iter();
        answers.map(|Answer { link, address }| (link.as_str(), address.to_string())).collect()
    };
    let on = |link, addresses: &[&'static str]| -> Vec<(&str, String)> {
        addresses.iter().map(|address| (link, (*address).into())).collect()
    };
    let nodes = on("eth1", &["10.2.9.1", "10.2.9.2", "fd02::9:2"]);
    assert_eq!(answers(0), [nodes, on("br0", &["10.2.9.9"])].concat(), "nodes, and an endpoint beside them");
    let doors = ["10.1.9.2", "fd01::9:1", "10.1.9.3"];
    assert_eq!(answers(1), [on("br0", &doors), on("br1", &doors)].concat());
}

#[test]
fn namespaces_come_in_the_order_of_the_file() {
    let (provider, consumer) = ORDERS.split_at(ORDERS.find("[[endpoint]]").unwrap());
    let topology = parse(&format!("{consumer}{provider}"));
    let names: Vec<_> = topology.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
    assert_eq!(names, ["consumer-a", "provider"]);
}

#[test]
fn an_instance_without_a_name_takes_its_files() {
    assert_eq!(parse(ORDERS).run.name, Origin::new("/etc/sidegate/orders.toml").default_name());
    let name = |path: &str| Origin::new(path).default_name();
    assert!(name("/a/orders.toml").starts_with("orders-"));
    assert_eq!(name("/a/orders.toml").len(), "orders-".len() + 8);
    assert_eq!(name("/a/orders.toml"), name("/a/orders.toml"));
    assert_ne!(name("/a/orders.toml"), name("/b/orders.toml"));
    assert_eq!(name("/a/orders.toml"), "orders-062ade90", "a name must never change between versions");
    assert!(name("/a/my file: 1.toml").starts_with("my-file--1-"));
    assert!(name("/a/.hidden").starts_with("hidden-"));
    assert!(name("").starts_with("sidegate-"));
    for path in ["/ü/éé.toml".to_owned(), format!("/{}.toml", "long".repeat(40))] {
        let given = format!("{ORDERS}\n[run]\nname = {:?}", name(&path));
        assert_eq!(parse(&given).run.name, name(&path), "a default name is a valid one");
    }
}

const TWO_ZONES: &str = r#"
    [[service]]
    name = "s"
    namespace = "p"
    nodes = [
      { zone = "a", address = "10.2.9.1" }, { zone = "b", address = "10.2.9.2" },
      { zone = "b", address = "fd02::9:2" },
    ]
    listeners = [
      { protocol = "tcp", port = 80, forward = "g", path = "terminate" },
      { protocol = "tcp", port = 81, forward = "only-b", path = "terminate" },
    ]
    [[target_group]]
    name = "g"
    targets = [
      { address = "10.2.0.1", port = 1, zone = "a" }, { address = "10.2.0.2", port = 2, zone = "b" },
      { address = "10.2.0.3", port = 3 }, { address = "fd02::4", port = 4, zone = "a" },
    ]
    [[target_group]]
    name = "only-b"
    targets = [{ address = "10.2.0.2", port = 2, zone = "b" }]
    [[endpoint]]
    name = "e"
    service = "s"
    namespace = "c"
    interfaces = [
      { zone = "b", address = "10.1.9.2" }, { zone = "a", address = "fd01::9:1" }, { address = "10.1.9.3" },
    ]
"#;

#[test]
fn a_node_is_of_the_interfaces_zone_where_there_is_one() {
    let topology = parse(TWO_ZONES);
    let node_of = |index: usize, family| {
        let (_, interface) = topology.interfaces.iter().nth(index).unwrap();
        topology.node_for(interface, family).map(|id| topology.nodes[id].address.to_string())
    };
    assert_eq!(node_of(0, Family::V4).as_deref(), Some("10.2.9.2"), "zone b");
    assert_eq!(node_of(1, Family::V6).as_deref(), Some("fd02::9:2"), "no IPv6 node in zone a");
    assert_eq!(node_of(1, Family::V4).as_deref(), Some("10.2.9.1"), "terminate may change the family");
    assert_eq!(node_of(2, Family::V4).as_deref(), Some("10.2.9.1"), "no zone: the first");
    assert_eq!(
        parse(ORDERS).node_for(&topology.interfaces.iter().next().unwrap().1.clone(), Family::V6),
        None
    );
}

#[test]
fn targets_are_of_the_nodes_zone_and_family_or_at_least_of_its_family() {
    let topology = parse(TWO_ZONES);
    let ports = |listener: u16, node: &str| -> Vec<u16> {
        let (_, listener) = topology.listeners.iter().find(|(_, found)| found.port == listener).unwrap();
        let (node, _) = topology.nodes.iter().find(|(_, found)| found.address == ip(node)).unwrap();
        topology
            .selected(listener.forward[0].group, node)
            .iter()
            .map(|id| topology.targets[*id].port)
            .collect()
    };
    assert_eq!(ports(80, "10.2.9.1"), [1, 3]);
    assert_eq!(ports(80, "10.2.9.2"), [2, 3]);
    assert_eq!(ports(80, "fd02::9:2"), [4], "none in zone b: all of the family");
    assert_eq!(ports(81, "10.2.9.1"), [2]);
    assert_eq!(ports(81, "fd02::9:2"), []);
}

#[test]
fn the_ways_of_a_device_lead_from_its_nodes_to_their_targets() {
    let topology = parse(ORDERS);
    assert_eq!(
        topology.ways_from(DeviceId(0)),
        [(ip("10.2.9.1"), ip("10.2.0.2"))],
        "once, for three listeners"
    );
    assert_eq!(topology.ways_from(DeviceId(1)), [], "a consumer's device has no nodes");
}

#[test]
fn it_is_printed_as_understood() {
    let text = format!("{ORDERS}local = \"10.1.9.2\"\nanswer_on = [\"br0\"]\n[run]\nname = \"lab\"\n");
    assert_eq!(parse(&text).to_string(), include_str!("orders.txt"));
    for topology in [parse(ORDERS), parse(TWO_ZONES)] {
        assert!(topology.to_string().lines().all(|line| line.chars().count() <= 100));
    }
}
