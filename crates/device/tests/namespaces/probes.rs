//! What the probe finds in namespaces where things are right, and where one thing is not.

use std::net::IpAddr;

use device::lab::Namespace;
use device::probe::{self, Finding, Outcome, Packet, Severity};
use device::{Answer, DeviceError, DeviceSpec, OffloadOpener, Opener};
use libtest_mimic::Failed;

use crate::Named;
use crate::support::{BACKENDS, Backend, OWN, ROUTED, ip, namespace, run, spec};

pub(crate) const TRIALS: &[Named] = &[
    ("a_target_in_the_namespace_is_fine", a_target_in_the_namespace_is_fine),
    ("a_target_behind_it_needs_forwarding", a_target_behind_it_needs_forwarding),
    ("a_target_needs_a_route", a_target_needs_a_route),
    ("a_forward_hook_that_drops_is_a_warning", a_forward_hook_that_drops_is_a_warning),
    ("a_way_back_elsewhere_meets_reverse_path_filtering", a_way_back_elsewhere_meets_reverse_path_filtering),
    ("a_running_instance_is_asked_and_not_disturbed", a_running_instance_is_asked_and_not_disturbed),
    ("a_route_of_anothers_is_an_error", a_route_of_anothers_is_an_error),
    ("either_backends_device_can_be_tried", either_backends_device_can_be_tried),
    ("an_assigned_address_is_an_error", an_assigned_address_is_an_error),
    ("disabled_ipv6_is_an_error", disabled_ipv6_is_an_error),
    ("answering_hosts_needs_forwarding", answering_hosts_needs_forwarding),
    ("answering_hosts_needs_the_link", answering_hosts_needs_the_link),
    ("answering_hosts_needs_a_way_back", answering_hosts_needs_a_way_back),
    ("answering_hosts_is_asked_about_without_answering", answering_hosts_is_asked_about_without_answering),
];

/// A namespace with a veth to one behind it, which forwards or does not; the far addresses are routed there.
struct Hop {
    near: Namespace,
    _far: Namespace,
}

const FAR: [&str; 2] = ["10.78.0.5", "fd78::5"];
const NODES: [&str; 2] = ["10.77.0.1", "fd77::1"];

impl Hop {
    fn new(forwarding: bool) -> Result<Self, Failed> {
        let (near, far) = (namespace()?, namespace()?);
        run(&near, &format!("ip link add hop type veth peer name hop netns {}", far.name()))?;
        run(&far, "ip link set hop up")?;
        run(&near, "ip link set hop up")?;
        run(&near, "ip route add 10.78.0.0/24 dev hop")?;
        run(&near, "ip route add fd78::/64 dev hop")?;
        let hop = Self { near, _far: far };
        hop.forward(forwarding)?;
        Ok(hop)
    }

    fn forward(&self, on: bool) -> Result<(), Failed> {
        let value = u8::from(on);
        run(
            &self.near,
            &format!("sysctl -w net.ipv4.ip_forward={value} net.ipv6.conf.all.forwarding={value}"),
        )?;
        Ok(())
    }
}

/// What is found about one pair by a temporary device.
fn ask(namespace: &Namespace, node: &str, target: &str) -> Result<Vec<Finding>, Failed> {
    let node = ip(node)?;
    let packet = Packet::FromNode { node, target: ip(target)? };
    Ok(probe::with_temporary_device(&OffloadOpener, namespace.path(), "test", &[node], &[packet])?)
}

fn outcome(namespace: &Namespace, node: &str, target: &str) -> Result<Outcome, Failed> {
    let mut findings = ask(namespace, node, target)?;
    assert_eq!(findings.len(), 1, "{findings:?}");
    Ok(findings.remove(0).outcome)
}

/// Runs the command that the finding's sentence holds.
fn follow_remedy(namespace: &Namespace, finding: &Finding) -> Result<(), Failed> {
    let sentence = finding.to_string();
    let command = sentence.split('`').nth(1).and_then(|command| command.split_once(namespace.name()));
    run(namespace, command.ok_or("no remedy")?.1).map(drop)
}

fn a_target_in_the_namespace_is_fine() -> Result<(), Failed> {
    let namespace = namespace()?;
    namespace.address(&[(ip("fd77::2")?, 128)])?;
    run(&namespace, "sysctl -w net.ipv4.ip_forward=0")?;
    for (node, target) in NODES.iter().zip(["10.77.0.2", "fd77::2"]) {
        assert_eq!(outcome(&namespace, node, target)?, Outcome::Local);
    }
    for (node, target) in NODES.iter().zip(["127.0.0.1", "::1"]) {
        assert_eq!(outcome(&namespace, node, target)?, Outcome::LoopbackTarget);
    }
    assert!(!run(&namespace, "ip link")?.contains("sgp-"), "nothing is left of the temporary device");
    Ok(())
}

fn a_target_behind_it_needs_forwarding() -> Result<(), Failed> {
    let hop = Hop::new(true)?;
    for (node, target) in NODES.iter().zip(FAR) {
        hop.forward(true)?;
        assert_eq!(outcome(&hop.near, node, target)?, Outcome::Forwarded { via: "hop".into() });
        hop.forward(false)?;
        let findings = ask(&hop.near, node, target)?;
        assert_eq!(findings[0].outcome, Outcome::ForwardingOff);

        let sentence = findings[0].to_string();
        let remedy =
            sentence.split('`').nth(1).and_then(|it| it.split_once(hop.near.name())).ok_or("no remedy")?;
        run(&hop.near, remedy.1)?;
        assert_eq!(outcome(&hop.near, node, target)?, Outcome::Forwarded { via: "hop".into() });
    }
    Ok(())
}

fn a_target_needs_a_route() -> Result<(), Failed> {
    let hop = Hop::new(true)?;
    for (node, target) in NODES.iter().zip(["10.79.0.5", "fd79::5"]) {
        assert_eq!(outcome(&hop.near, node, target)?, Outcome::NoRoute);
    }
    Ok(())
}

fn a_forward_hook_that_drops_is_a_warning() -> Result<(), Failed> {
    let hop = Hop::new(true)?;
    run(&hop.near, "nft add table ip guard")?;
    run(
        &hop.near,
        "nft add chain ip guard through { type filter hook forward priority 0 ; policy accept ; }",
    )?;
    run(&hop.near, "nft add chain ip guard inwards { type filter hook input priority 0 ; policy drop ; }")?;
    assert_eq!(ask(&hop.near, NODES[0], FAR[0])?.len(), 1, "nothing to warn of");

    run(&hop.near, "nft add chain ip guard through { policy drop ; }")?;
    let findings = ask(&hop.near, NODES[0], FAR[0])?;
    let warning = Outcome::ForwardHookDrops { chain: "ip guard through".into() };
    assert_eq!(
        findings.iter().map(|finding| &finding.outcome).collect::<Vec<_>>(),
        [&Outcome::Forwarded { via: "hop".into() }, &warning]
    );
    assert_eq!(ask(&hop.near, NODES[1], FAR[1])?.len(), 1, "an ip table sees no IPv6");
    assert_eq!(ask(&hop.near, NODES[0], "10.77.0.2")?.len(), 1, "a local target is not forwarded");
    Ok(())
}

/// Only a rule can send the way back elsewhere, now that the node's own route leads to the device.
fn a_way_back_elsewhere_meets_reverse_path_filtering() -> Result<(), Failed> {
    let hop = Hop::new(true)?;
    let forwarded = Outcome::Forwarded { via: "hop".into() };
    run(&hop.near, "sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0")?;
    run(&hop.near, "ip route add 10.77.0.0/24 dev hop table 100")?;
    run(&hop.near, "ip rule add to 10.77.0.0/24 lookup 100")?;
    assert_eq!(outcome(&hop.near, NODES[0], FAR[0])?, forwarded);
    run(&hop.near, "sysctl -w net.ipv4.conf.all.rp_filter=1")?;
    let findings = ask(&hop.near, NODES[0], FAR[0])?;
    assert_eq!(findings[0].outcome, Outcome::ReversePath { all: 1, device: 0 });
    follow_remedy(&hop.near, &findings[0])?;
    assert_eq!(outcome(&hop.near, NODES[0], FAR[0])?, forwarded);
    Ok(())
}

fn a_running_instance_is_asked_and_not_disturbed() -> Result<(), Failed> {
    let namespace = namespace()?;
    let running = OffloadOpener.open(&spec(&namespace))?;
    let routed = [ROUTED.into(), ip("10.77.0.3")?];
    let packets = routed.map(|node: IpAddr| Packet::FromNode { node, target: OWN.into() });
    let findings = probe::with_temporary_device(&OffloadOpener, namespace.path(), "test", &routed, &packets)?;
    assert_eq!(findings.iter().map(|finding| finding.packet.clone()).collect::<Vec<_>>(), packets);
    let is_fine = |finding: &Finding| finding.device == running.name && finding.outcome == Outcome::Local;
    assert!(findings.iter().all(is_fine), "{findings:?}");
    let routes = run(&namespace, "ip route")?;
    assert_eq!(routes.trim(), format!("{ROUTED} dev sg-test proto static scope link"));
    Ok(())
}

/// What `run` would be refused, without asking about any target: a consumer's namespace has no nodes.
fn try_to_route(namespace: &Namespace, instance: &str, address: IpAddr) -> Result<(), DeviceError> {
    probe::with_temporary_device(&OffloadOpener, namespace.path(), instance, &[address], &[]).map(
        |findings| {
            assert!(findings.is_empty(), "{findings:?}");
        },
    )
}

fn a_route_of_anothers_is_an_error() -> Result<(), Failed> {
    let namespace = namespace()?;
    for device in ["sg-test", "other"] {
        try_to_route(&namespace, "test", ROUTED.into())?;
        try_to_route(&namespace, "another", ROUTED.into())?;
        let _holder = OffloadOpener.open(&DeviceSpec { name: device.into(), ..spec(&namespace) })?;
        let of_test = try_to_route(&namespace, "test", ROUTED.into());
        assert_eq!(of_test.is_ok(), device == "sg-test", "{of_test:?}");
        match try_to_route(&namespace, "another", ROUTED.into()) {
            Err(DeviceError::RouteExists { holder, .. }) => assert_eq!(holder.as_deref(), Some(device)),
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok(())
}

fn either_backends_device_can_be_tried() -> Result<(), Failed> {
    let namespace = namespace()?;
    let routed = [ROUTED.into()];
    let packets = [Packet::FromNode { node: ROUTED.into(), target: OWN.into() }];
    for Backend { opener, name, .. } in &BACKENDS {
        let findings = probe::with_temporary_device(*opener, namespace.path(), "test", &routed, &packets)?;
        assert!(findings.iter().all(|finding| finding.outcome == Outcome::Local), "{name}: {findings:?}");
    }
    Ok(())
}

fn an_assigned_address_is_an_error() -> Result<(), Failed> {
    let namespace = namespace()?;
    try_to_route(&namespace, "test", ROUTED.into())?;
    let assigned = try_to_route(&namespace, "test", OWN.into());
    assert!(matches!(assigned, Err(DeviceError::AddressAssigned { .. })), "{assigned:?}");
    Ok(())
}

fn disabled_ipv6_is_an_error() -> Result<(), Failed> {
    let namespace = namespace()?;
    try_to_route(&namespace, "test", ip(NODES[1])?)?;
    run(&namespace, "sysctl -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")?;
    let disabled = try_to_route(&namespace, "test", ip(NODES[1])?);
    assert!(matches!(disabled, Err(DeviceError::Ipv6Disabled { .. })), "{disabled:?}");
    try_to_route(&namespace, "test", ip(NODES[0])?)?;
    Ok(())
}

/// A namespace that forwards, with a link to a network that our addresses seem to be of.
fn network() -> Result<Hop, Failed> {
    let hop = Hop::new(true)?;
    for address in ["10.77.0.254/24", "fd77::fe/64"] {
        run(&hop.near, &format!("ip address add {address} dev hop nodad"))?;
    }
    Ok(hop)
}

/// What is found about hosts on a link that are to be answered for one of our addresses.
fn ask_hosts(namespace: &Namespace, link: &str, address: &str) -> Result<Finding, Failed> {
    let answer = Answer { link: link.into(), address: ip(address)? };
    let (routed, packets) = ([answer.address], [Packet::FromHosts(answer)]);
    let mut findings =
        probe::with_temporary_device(&OffloadOpener, namespace.path(), "test", &routed, &packets)?;
    assert_eq!(findings.len(), 1, "{findings:?}");
    Ok(findings.remove(0))
}

/// Shows what is wrong on the link called hop, and that the remedy helps.
fn mends(hop: &Hop, address: &str, wrong: &Outcome) -> Result<(), Failed> {
    let finding = ask_hosts(&hop.near, "hop", address)?;
    assert_eq!((&finding.outcome, finding.severity()), (wrong, Severity::Broken), "{address}");
    follow_remedy(&hop.near, &finding)?;
    assert_eq!(ask_hosts(&hop.near, "hop", address)?.severity(), Severity::Fine, "{address}");
    Ok(())
}

fn answering_hosts_needs_forwarding() -> Result<(), Failed> {
    let hop = network()?;
    for address in NODES {
        assert_eq!(ask_hosts(&hop.near, "hop", address)?.severity(), Severity::Fine);
        hop.forward(false)?;
        mends(&hop, address, &Outcome::ForwardingOff)?;
        hop.forward(true)?;
    }
    run(&hop.near, "sysctl -w net.ipv4.conf.hop.forwarding=0 net.ipv6.conf.hop.forwarding=0")?;
    for address in NODES {
        assert_eq!(
            ask_hosts(&hop.near, "hop", address)?.outcome,
            Outcome::ForwardingOff,
            "on the link alone"
        );
    }
    Ok(())
}

fn answering_hosts_needs_the_link() -> Result<(), Failed> {
    let hop = network()?;
    for address in NODES {
        assert_eq!(ask_hosts(&hop.near, "br7", address)?.outcome, Outcome::LinkMissing);
    }
    run(&hop.near, "ip link set hop down")?;
    mends(&hop, NODES[0], &Outcome::LinkDown { link: "hop".into() })?;

    run(&hop.near, "sysctl -w net.ipv6.conf.hop.disable_ipv6=1")?;
    let six = ask_hosts(&hop.near, "hop", NODES[1])?;
    assert_eq!(six.outcome, Outcome::Ipv6Off);
    follow_remedy(&hop.near, &six)?;
    run(&hop.near, "ip address add fd77::fe/64 dev hop nodad")?;
    assert_eq!(ask_hosts(&hop.near, "hop", NODES[1])?.severity(), Severity::Fine);
    Ok(())
}

fn answering_hosts_needs_a_way_back() -> Result<(), Failed> {
    let hop = Hop::new(true)?;
    let no_way_back = |refused| Outcome::NoWayBack { link: "hop".into(), refused };
    for address in NODES {
        let finding = ask_hosts(&hop.near, "hop", address)?;
        assert_eq!((&finding.outcome, finding.severity()), (&no_way_back(false), Severity::Warning));
    }
    run(&hop.near, "sysctl -w net.ipv4.conf.hop.rp_filter=1")?;
    let strict = ask_hosts(&hop.near, "hop", NODES[0])?;
    assert_eq!((&strict.outcome, strict.severity()), (&no_way_back(true), Severity::Broken));
    assert_eq!(ask_hosts(&hop.near, "hop", NODES[1])?.outcome, no_way_back(false), "IPv6 has no such filter");

    for (address, network) in NODES.iter().zip(["10.77.0.0/24", "fd77::/64"]) {
        run(&hop.near, &format!("ip route add {network} dev hop"))?;
        assert_eq!(ask_hosts(&hop.near, "hop", address)?.severity(), Severity::Fine);
    }
    Ok(())
}

fn answering_hosts_is_asked_about_without_answering() -> Result<(), Failed> {
    let hop = network()?;
    run(&hop.near, "ip neigh add proxy fd77::1 dev hop")?;
    for address in NODES {
        let finding = ask_hosts(&hop.near, "hop", address)?;
        assert_eq!((finding.outcome, finding.device.as_str()), (Outcome::Answered, "sg-test"));
    }
    assert_eq!(run(&hop.near, "ip neigh show proxy")?.trim(), "fd77::1 dev hop proxy");
    assert_eq!(run(&hop.near, "cat /proc/sys/net/ipv6/conf/hop/proxy_ndp")?.trim(), "0");
    Ok(())
}
