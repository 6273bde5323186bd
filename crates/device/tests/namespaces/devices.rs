//! A device from its making to its end, and what stands in its way.

use std::net::IpAddr;

use device::{DeviceError, DeviceSpec, OffloadOpener, Opener};
use libtest_mimic::Failed;

use crate::Named;
use crate::support::{OWN, ROUTED, ip, namespace, receive, run, spec};

pub(crate) const TRIALS: &[Named] = &[
    ("a_device_has_the_right_settings", a_device_has_the_right_settings),
    ("a_local_address_is_the_preferred_source", a_local_address_is_the_preferred_source),
    ("a_second_opener_is_refused_and_the_first_works_on", a_second_opener_is_refused_and_the_first_works_on),
    (
        "dropping_the_queues_removes_the_device_and_its_routes",
        dropping_the_queues_removes_the_device_and_its_routes,
    ),
    ("a_route_that_exists_is_not_replaced", a_route_that_exists_is_not_replaced),
    ("an_assigned_address_is_refused", an_assigned_address_is_refused),
    ("ipv6_needs_to_be_enabled", ipv6_needs_to_be_enabled),
    ("a_missing_namespace_is_said_so", a_missing_namespace_is_said_so),
    ("a_name_that_the_kernel_cannot_take_is_refused", a_name_that_the_kernel_cannot_take_is_refused),
];

fn a_device_has_the_right_settings() -> Result<(), Failed> {
    let namespace = namespace()?;
    let opened = OffloadOpener.open(&spec(&namespace))?;
    assert_eq!(opened.queues.len(), 2);
    assert_eq!(opened.offloads.to_string(), "csum tso4 tso6 ecn uso4 uso6");

    let link = run(&namespace, "ip -d link show sg-test")?;
    for expected in [
        "UP",
        "mtu 9001",
        "qdisc noqueue",
        "qlen 10000",
        "tun type tun pi off vnet_hdr on multi_queue",
        "numqueues 2",
        "persist off",
        "addrgenmode none",
    ] {
        assert!(link.contains(expected), "no `{expected}` in {link}");
    }
    assert_eq!(run(&namespace, "ip -o address show dev sg-test")?, "", "no link-local address");
    assert_eq!(run(&namespace, "cat /proc/sys/net/ipv6/conf/sg-test/accept_ra")?.trim(), "0");
    assert_eq!(
        run(&namespace, "ip route show dev sg-test")?.trim(),
        format!("{ROUTED} proto static scope link")
    );
    Ok(())
}

fn a_local_address_is_the_preferred_source() -> Result<(), Failed> {
    let namespace = namespace()?;
    let (routed, local) = ([ip("10.77.0.1")?, ip("fd77::1")?], [ip("10.77.0.9")?, ip("fd77::9")?]);
    let _opened =
        OffloadOpener.open(&DeviceSpec { routed: routed.into(), local: local.into(), ..spec(&namespace) })?;
    for (destination, source) in routed.iter().zip(local) {
        let route = run(&namespace, &format!("ip route get {destination}"))?;
        assert!(route.contains("dev sg-test") && route.contains(&format!("src {source}")), "{route}");
    }
    let addresses = run(&namespace, "ip address show dev sg-test")?;
    assert!(addresses.contains("10.77.0.9/32") && addresses.contains("fd77::9/128"), "{addresses}");
    assert!(!addresses.contains("tentative"), "usable at once: {addresses}");
    Ok(())
}

fn a_second_opener_is_refused_and_the_first_works_on() -> Result<(), Failed> {
    let namespace = namespace()?;
    let mut first = OffloadOpener.open(&spec(&namespace))?;
    let other = DeviceSpec { routed: vec![ip("10.77.0.3")?], ..spec(&namespace) };
    match OffloadOpener.open(&other) {
        Err(DeviceError::Busy { place }) => assert_eq!(place.device, "sg-test"),
        other => return Err(format!("not refused as busy: {:?}", other.err()).into()),
    }
    let socket = device::inside(namespace.path(), || std::net::UdpSocket::bind((OWN, 0)))??;
    socket.send_to(b"still here", (ROUTED, 9))?;
    receive(&mut first.queues, |packet| packet.bytes.ends_with(b"still here"))?;
    Ok(())
}

fn dropping_the_queues_removes_the_device_and_its_routes() -> Result<(), Failed> {
    let namespace = namespace()?;
    for _ in 0..3 {
        let mut opened = OffloadOpener.open(&spec(&namespace))?;
        opened.queues.pop();
        assert!(run(&namespace, "ip route")?.contains("dev sg-test"), "one queue is enough to live");
        drop(opened);
        assert!(!run(&namespace, "ip link")?.contains("sg-test"));
        assert_eq!(run(&namespace, "ip route")?, "");
    }
    Ok(())
}

fn a_route_that_exists_is_not_replaced() -> Result<(), Failed> {
    let namespace = namespace()?;
    for address in ["10.77.0.1", "fd77::1"] {
        let holder = DeviceSpec { name: "sg-holder".into(), routed: vec![ip(address)?], ..spec(&namespace) };
        let _first = OffloadOpener.open(&holder)?;
        let second =
            DeviceSpec { name: "sg-second".into(), routed: vec![ip("10.77.0.3")?, ip(address)?], ..holder };
        match OffloadOpener.open(&second) {
            Err(DeviceError::RouteExists { holder, .. }) => assert_eq!(holder.as_deref(), Some("sg-holder")),
            other => return Err(format!("not refused: {:?}", other.err()).into()),
        }
        let links = run(&namespace, "ip link")?;
        assert!(
            links.contains("sg-holder") && !links.contains("sg-second"),
            "nothing is left of it: {links}"
        );
    }
    Ok(())
}

fn an_assigned_address_is_refused() -> Result<(), Failed> {
    let namespace = namespace()?;
    drop(OffloadOpener.open(&spec(&namespace))?);
    let error = OffloadOpener.open(&DeviceSpec { routed: vec![IpAddr::V4(OWN)], ..spec(&namespace) }).err();
    assert!(
        matches!(error, Some(DeviceError::AddressAssigned { address, .. }) if address == OWN),
        "{error:?}"
    );
    Ok(())
}

fn ipv6_needs_to_be_enabled() -> Result<(), Failed> {
    let namespace = namespace()?;
    let six = DeviceSpec { routed: vec![ip("fd77::1")?], ..spec(&namespace) };
    drop(OffloadOpener.open(&six)?);
    run(&namespace, "sysctl -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")?;
    let error = OffloadOpener.open(&six).err().ok_or("not refused")?;
    assert!(matches!(error, DeviceError::Ipv6Disabled { .. }), "{error}");
    drop(OffloadOpener.open(&spec(&namespace))?);

    let sentence = error.to_string();
    let remedy = sentence
        .split('`')
        .nth(1)
        .and_then(|command| command.split_once(namespace.name()))
        .ok_or("no remedy")?;
    run(&namespace, remedy.1)?;
    drop(OffloadOpener.open(&six)?);
    Ok(())
}

fn a_missing_namespace_is_said_so() -> Result<(), Failed> {
    let namespace = namespace()?;
    let spec = spec(&namespace);
    drop(OffloadOpener.open(&spec)?);
    let name = namespace.name().to_owned();
    drop(namespace);
    let error = OffloadOpener.open(&spec).err().ok_or("not refused")?;
    assert!(matches!(error, DeviceError::NamespaceMissing { .. }), "{error}");
    assert!(error.to_string().contains(&name), "{error}");
    Ok(())
}

fn a_name_that_the_kernel_cannot_take_is_refused() -> Result<(), Failed> {
    let namespace = namespace()?;
    for name in ["", "sixteen-letters-", "a/b"] {
        let error = OffloadOpener.open(&DeviceSpec { name: name.into(), ..spec(&namespace) }).err();
        assert!(matches!(error, Some(DeviceError::Step { .. })), "{name}: {error:?}");
    }
    assert!(!run(&namespace, "ip link")?.contains("tun"), "nothing is left");
    Ok(())
}
