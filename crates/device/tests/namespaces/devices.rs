//! A device from its making to its end, and what stands in its way.

use std::net::IpAddr;

use device::{DeviceError, DeviceSpec, Fallen, Opened};
use libtest_mimic::Failed;

use crate::support::{BACKENDS, Backend, OWN, PLAIN, ROUTED, ip, namespace, receive, run, spec};
use crate::{Named, OfEach};

pub(crate) const OF_EACH: &[OfEach] = &[
    ("a_device_has_the_right_settings", a_device_has_the_right_settings),
    ("a_local_address_is_the_preferred_source", a_local_address_is_the_preferred_source),
    ("a_second_opener_is_refused_and_the_first_works_on", a_second_opener_is_refused_and_the_first_works_on),
    ("a_device_that_others_have_made_is_left_alone", a_device_that_others_have_made_is_left_alone),
    (
        "dropping_the_queues_removes_the_device_and_its_routes",
        dropping_the_queues_removes_the_device_and_its_routes,
    ),
    ("a_device_that_has_fallen_is_known", a_device_that_has_fallen_is_known),
    ("a_route_that_exists_is_not_replaced", a_route_that_exists_is_not_replaced),
    ("an_assigned_address_is_refused", an_assigned_address_is_refused),
    ("ipv6_needs_to_be_enabled", ipv6_needs_to_be_enabled),
    ("a_missing_namespace_is_said_so", a_missing_namespace_is_said_so),
    ("a_name_that_the_kernel_cannot_take_is_refused", a_name_that_the_kernel_cannot_take_is_refused),
];

pub(crate) const TRIALS: &[Named] = &[("a_plain_device_has_one_queue", a_plain_device_has_one_queue)];

fn a_device_has_the_right_settings(backend: &Backend) -> Result<(), Failed> {
    let namespace = namespace()?;
    let opened = backend.open(&namespace)?;
    assert_eq!((opened.queues.len(), opened.offloads), (backend.queues, backend.offloads));

    let link = run(&namespace, "ip -d link show sg-test")?;
    for expected in
        ["UP", "mtu 9001", "qdisc noqueue", "qlen 10000", backend.link, "persist off", "addrgenmode none"]
    {
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

fn a_local_address_is_the_preferred_source(backend: &Backend) -> Result<(), Failed> {
    let namespace = namespace()?;
    let (routed, local) = ([ip("10.77.0.1")?, ip("fd77::1")?], [ip("10.77.0.9")?, ip("fd77::9")?]);
    let _opened = backend.opener.open(&DeviceSpec {
        routed: routed.into(),
        local: local.into(),
        ..backend.spec(&namespace)
    })?;
    for (destination, source) in routed.iter().zip(local) {
        let route = run(&namespace, &format!("ip route get {destination}"))?;
        assert!(route.contains("dev sg-test") && route.contains(&format!("src {source}")), "{route}");
    }
    let addresses = run(&namespace, "ip address show dev sg-test")?;
    assert!(addresses.contains("10.77.0.9/32") && addresses.contains("fd77::9/128"), "{addresses}");
    assert!(!addresses.contains("tentative"), "usable at once: {addresses}");
    Ok(())
}

/// Whichever backend the second uses.
fn a_second_opener_is_refused_and_the_first_works_on(backend: &Backend) -> Result<(), Failed> {
    let namespace = namespace()?;
    let mut first = backend.open(&namespace)?;
    for second in &BACKENDS {
        let other = DeviceSpec { routed: vec![ip("10.77.0.3")?], ..second.spec(&namespace) };
        expect_busy(second.opener.open(&other))?;
    }
    let socket = device::inside(namespace.path(), || std::net::UdpSocket::bind((OWN, 0)))??;
    socket.send_to(b"still here", (ROUTED, 9))?;
    receive(&mut first.queues, |packet| packet.bytes.ends_with(b"still here"))?;
    Ok(())
}

fn expect_busy(opened: Result<Opened, DeviceError>) -> Result<(), Failed> {
    match opened {
        Err(DeviceError::Busy { place }) if place.device == "sg-test" => Ok(()),
        other => Err(format!("not refused as busy: {:?}", other.err()).into()),
    }
}

/// The driver would hand a persistent device to anybody who asks for one queue.
fn a_device_that_others_have_made_is_left_alone(backend: &Backend) -> Result<(), Failed> {
    let namespace = namespace()?;
    drop(backend.open(&namespace)?);
    let others = [
        "tuntap add dev sg-test mode tun",
        "tuntap add dev sg-test mode tun multi_queue",
        "link add sg-test type veth",
    ];
    for other in others {
        run(&namespace, &format!("ip {other}"))?;
        expect_busy(backend.open(&namespace))?;
        run(&namespace, "ip link del sg-test")?;
    }
    Ok(())
}

fn dropping_the_queues_removes_the_device_and_its_routes(backend: &Backend) -> Result<(), Failed> {
    let namespace = namespace()?;
    for _ in 0..3 {
        let mut opened = backend.open(&namespace)?;
        opened.queues.truncate(1);
        assert!(run(&namespace, "ip route")?.contains("dev sg-test"), "one queue is enough to live");
        drop(opened);
        assert!(!run(&namespace, "ip link")?.contains("sg-test"));
        assert_eq!(run(&namespace, "ip route")?, "");
    }
    Ok(())
}

fn a_device_that_has_fallen_is_known(backend: &Backend) -> Result<(), Failed> {
    let (namespace, elsewhere) = (namespace()?, namespace()?);
    let spec = DeviceSpec { routed: vec![ROUTED.into(), ip("fd77::1")?], ..backend.spec(&namespace) };
    let mut opened = backend.opener.open(&spec)?;
    let mut hold = opened.hold.take().ok_or("nobody to ask")?;
    assert_eq!(hold.keep(), Ok(()));
    run(&namespace, "ip link set sg-test down")?;
    assert_eq!(hold.keep(), Err(Fallen::Down));
    assert!(matches!(opened.queues[0].read(&mut [0; 100]), Ok(None)), "its queue says nothing of it");

    run(&namespace, "ip link set sg-test up")?;
    for address in spec.routed {
        assert_eq!(hold.keep(), Err(Fallen::Unrouted(address)));
        run(&namespace, &format!("ip route add {address} dev sg-test"))?;
    }
    assert_eq!(hold.keep(), Ok(()));
    run(&namespace, &format!("ip route replace unreachable {ROUTED}"))?;
    assert_eq!(hold.keep(), Err(Fallen::Unrouted(ROUTED.into())));
    run(&namespace, &format!("ip link set sg-test netns {}", elsewhere.name()))?;
    assert_eq!(hold.keep(), Err(Fallen::Gone));
    Ok(())
}

fn a_route_that_exists_is_not_replaced(backend: &Backend) -> Result<(), Failed> {
    let namespace = namespace()?;
    for address in ["10.77.0.1", "fd77::1"] {
        let holder =
            DeviceSpec { name: "sg-holder".into(), routed: vec![ip(address)?], ..backend.spec(&namespace) };
        let _first = backend.opener.open(&holder)?;
        let second =
            DeviceSpec { name: "sg-second".into(), routed: vec![ip("10.77.0.3")?, ip(address)?], ..holder };
        match backend.opener.open(&second) {
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

fn an_assigned_address_is_refused(backend: &Backend) -> Result<(), Failed> {
    let namespace = namespace()?;
    drop(backend.open(&namespace)?);
    let error =
        backend.opener.open(&DeviceSpec { routed: vec![IpAddr::V4(OWN)], ..backend.spec(&namespace) }).err();
    assert!(
        matches!(error, Some(DeviceError::AddressAssigned { address, .. }) if address == OWN),
        "{error:?}"
    );
    Ok(())
}

fn ipv6_needs_to_be_enabled(backend: &Backend) -> Result<(), Failed> {
    let namespace = namespace()?;
    let six = DeviceSpec { routed: vec![ip("fd77::1")?], ..backend.spec(&namespace) };
    drop(backend.opener.open(&six)?);
    run(&namespace, "sysctl -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")?;
    let error = backend.opener.open(&six).err().ok_or("not refused")?;
    assert!(matches!(error, DeviceError::Ipv6Disabled { .. }), "{error}");
    drop(backend.open(&namespace)?);

    let sentence = error.to_string();
    let remedy = sentence
        .split('`')
        .nth(1)
        .and_then(|command| command.split_once(namespace.name()))
        .ok_or("no remedy")?;
    run(&namespace, remedy.1)?;
    drop(backend.opener.open(&six)?);
    Ok(())
}

fn a_missing_namespace_is_said_so(backend: &Backend) -> Result<(), Failed> {
    let namespace = namespace()?;
    let spec = backend.spec(&namespace);
    drop(backend.opener.open(&spec)?);
    let name = namespace.name().to_owned();
    drop(namespace);
    let error = backend.opener.open(&spec).err().ok_or("not refused")?;
    assert!(matches!(error, DeviceError::NamespaceMissing { .. }), "{error}");
    assert!(error.to_string().contains(&name), "{error}");
    Ok(())
}

fn a_name_that_the_kernel_cannot_take_is_refused(backend: &Backend) -> Result<(), Failed> {
    let namespace = namespace()?;
    for name in ["", "sixteen-letters-", "a/b"] {
        let error = backend.opener.open(&DeviceSpec { name: name.into(), ..backend.spec(&namespace) }).err();
        assert!(matches!(error, Some(DeviceError::Step { .. })), "{name}: {error:?}");
    }
    assert!(!run(&namespace, "ip link")?.contains("tun"), "nothing is left");
    Ok(())
}

fn a_plain_device_has_one_queue() -> Result<(), Failed> {
    let namespace = namespace()?;
    drop(PLAIN.open(&namespace)?);
    let error =
        PLAIN.opener.open(&DeviceSpec { queues: 2, ..spec(&namespace) }).err().ok_or("not refused")?;
    assert!(error.to_string().ends_with("a plain device has one queue"), "{error}");
    assert!(!run(&namespace, "ip link")?.contains("sg-test"), "nothing is left");
    Ok(())
}
