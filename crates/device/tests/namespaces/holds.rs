//! What leads to an open device changes while packets flow: all of it, or nothing of it, and never what stays.

use std::net::IpAddr;

use device::lab::Namespace;
use device::{Answer, DeviceError, DeviceSpec, Hold, OffloadOpener, Opened, Opener, Steering};
use libtest_mimic::Failed;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::support::{ip, receive, run, spec};
use crate::{Backend, Named, OfEach};

pub(crate) const OF_EACH: &[OfEach] = &[
    (
        "holds::what_leads_to_a_device_changes_while_it_is_open",
        what_leads_to_a_device_changes_while_it_is_open,
    ),
    ("holds::what_fails_half_way_is_undone", what_fails_half_way_is_undone),
    ("holds::another_local_address_is_preferred_at_once", another_local_address_is_preferred_at_once),
    ("holds::what_cannot_be_taken_away_is_tried_again", what_cannot_be_taken_away_is_tried_again),
    ("holds::a_local_address_is_routed_only_when_it_is_free", a_local_address_is_routed_only_when_it_is_free),
];

pub(crate) const TRIALS: &[Named] =
    &[("holds::hosts_are_answered_for_others", hosts_are_answered_for_others)];

pub(crate) const OF_PROGRAMS: &[Named] =
    &[("holds::an_open_device_is_steered_in_another_way", an_open_device_is_steered_in_another_way)];

const FIRST: [&str; 2] = ["10.77.0.1", "fd77::1"];
const SECOND: [&str; 2] = ["10.77.0.3", "fd77::3"];

/// A spec with these addresses.
fn wanting(
    backend: &Backend,
    namespace: &Namespace,
    routed: &[&str],
    local: &[&str],
) -> Result<DeviceSpec, Failed> {
    let parsed = |texts: &[&str]| texts.iter().map(|text| ip(text)).collect::<Result<Vec<IpAddr>, _>>();
    Ok(DeviceSpec { routed: parsed(routed)?, local: parsed(local)?, ..backend.spec(namespace) })
}

fn hold(opened: &mut Opened) -> Result<&mut Hold, Failed> {
    opened.hold.as_mut().ok_or_else(|| "nothing to hold".into())
}

/// All that leads to the device, as iproute2 shows it.
fn seen(namespace: &Namespace) -> Result<[String; 3], Failed> {
    let routes = run(namespace, "ip -4 route show dev sg-test")?;
    let routes6 = run(namespace, "ip -6 route show dev sg-test")?;
    Ok([routes, routes6, run(namespace, "ip -o address show dev sg-test")?])
}

/// A datagram to the address comes out of the device.
fn leads(namespace: &Namespace, opened: &mut Opened, address: &str) -> Result<(), Failed> {
    let (to, any) = (ip(address)?, if address.contains(':') { "[::]:0" } else { "0.0.0.0:0" });
    let text = format!("to {address}");
    device::inside(namespace.path(), || std::net::UdpSocket::bind(any)?.send_to(text.as_bytes(), (to, 9)))??;
    receive(&mut opened.queues, |packet| packet.bytes.ends_with(text.as_bytes())).map(drop)
}

fn what_leads_to_a_device_changes_while_it_is_open(backend: &Backend) -> Result<(), Failed> {
    let namespace = Namespace::unique("sg-test")?;
    let local = ["10.77.0.9", "fd77::9"];
    let before = wanting(backend, &namespace, &FIRST, &local)?;
    let after = wanting(backend, &namespace, &[FIRST[0], SECOND[0], SECOND[1]], &local)?;
    let mut opened = backend.opener.open(&before)?;
    let fresh = seen(&namespace)?;

    hold(&mut opened)?.widen(&after)?;
    for address in [FIRST, SECOND].concat() {
        leads(&namespace, &mut opened, address)?;
    }
    hold(&mut opened)?.narrow(&after);
    for address in [FIRST[0], SECOND[0], SECOND[1]] {
        leads(&namespace, &mut opened, address)?;
    }
    assert!(leads(&namespace, &mut opened, FIRST[1]).is_err(), "it is not routed any more");
    assert_eq!(hold(&mut opened)?.keep(), Ok(()));

    hold(&mut opened)?.widen(&before)?;
    hold(&mut opened)?.narrow(&before);
    assert_eq!(seen(&namespace)?, fresh, "as if nothing had been");
    hold(&mut opened)?.narrow(&wanting(backend, &namespace, &[], &[])?);
    assert_eq!(seen(&namespace)?, [String::new(), String::new(), String::new()]);
    Ok(())
}

fn what_fails_half_way_is_undone(backend: &Backend) -> Result<(), Failed> {
    let namespace = Namespace::unique("sg-test")?;
    let before = wanting(backend, &namespace, &FIRST, &["10.77.0.9"])?;
    let mut opened = backend.opener.open(&before)?;
    let fresh = seen(&namespace)?;
    run(&namespace, "ip link set lo up")?;
    run(&namespace, "ip address add 10.77.0.5/32 dev lo")?;
    run(&namespace, "ip route add unreachable 10.77.0.6")?;
    for refused in ["10.77.0.5", "10.77.0.6"] {
        let next = [SECOND[0], SECOND[1], refused, "10.77.0.7"];
        let next = wanting(backend, &namespace, &next, &["10.77.0.8", "fd77::8"])?;
        let error = hold(&mut opened)?.widen(&next).err().ok_or("not refused")?;
        assert!(error.to_string().contains(refused), "{error}");
        assert_ne!(seen(&namespace)?, fresh, "part of it is there");
        hold(&mut opened)?.narrow(&before);
        assert_eq!(seen(&namespace)?, fresh);
        for address in FIRST {
            leads(&namespace, &mut opened, address)?;
        }
    }
    run(&namespace, "sysctl -w net.ipv6.conf.sg-test.disable_ipv6=1")?;
    let six = wanting(backend, &namespace, &[FIRST[0], SECOND[1]], &[])?;
    let error = hold(&mut opened)?.widen(&six).err().ok_or("not refused")?;
    assert!(matches!(error, DeviceError::Ipv6Disabled { .. }), "{error}");
    Ok(())
}

fn another_local_address_is_preferred_at_once(backend: &Backend) -> Result<(), Failed> {
    let namespace = Namespace::unique("sg-test")?;
    let specs = [["10.77.0.9", "fd77::9"], ["10.77.0.8", "fd77::8"]]
        .iter()
        .map(|local| wanting(backend, &namespace, &FIRST, local))
        .collect::<Result<Vec<_>, _>>()?;
    let mut opened = backend.opener.open(&specs[0])?;
    for spec in [&specs[1], &specs[0]] {
        hold(&mut opened)?.widen(spec)?;
        for (destination, source) in FIRST.iter().zip(&spec.local) {
            let route = run(&namespace, &format!("ip route get {destination}"))?;
            assert!(route.contains(&format!("src {source}")), "{route}");
        }
        hold(&mut opened)?.narrow(spec);
        for address in FIRST {
            leads(&namespace, &mut opened, address)?;
        }
        assert_eq!(run(&namespace, "ip -o address show dev sg-test")?.lines().count(), spec.local.len());
    }
    Ok(())
}

fn what_cannot_be_taken_away_is_tried_again(backend: &Backend) -> Result<(), Failed> {
    let namespace = Namespace::unique("sg-test")?;
    let before = wanting(backend, &namespace, &FIRST, &["10.77.0.9"])?;
    let mut opened = backend.opener.open(&before)?;
    let fresh = seen(&namespace)?;
    let nothing = wanting(backend, &namespace, &[], &[])?;
    let hold = hold(&mut opened)?;
    let is_done = std::thread::scope(|scope| {
        let powerless = || {
            without_network_administration()?;
            Ok::<_, Failed>(hold.narrow(&nothing))
        };
        scope.spawn(powerless).join().map_err(|_| "it panicked")?
    })?;
    assert!(!is_done);
    assert_eq!(seen(&namespace)?, fresh);
    assert!(hold.narrow(&nothing));
    assert_eq!(seen(&namespace)?, [String::new(), String::new(), String::new()]);
    Ok(())
}

/// The calling thread, and those that it starts, may still enter namespaces, and change nothing there.
fn without_network_administration() -> Result<(), Failed> {
    let mut sets = capabilities(None)?;
    sets.effective.remove(CapabilitySet::NET_ADMIN);
    sets.permitted.remove(CapabilitySet::NET_ADMIN);
    Ok(set_capabilities(None, sets)?)
}

fn a_local_address_is_routed_only_when_it_is_free(backend: &Backend) -> Result<(), Failed> {
    let namespace = Namespace::unique("sg-test")?;
    let mut opened = backend.opener.open(&wanting(backend, &namespace, &FIRST, &[SECOND[0]])?)?;
    let next = wanting(backend, &namespace, &SECOND, &[])?;
    let error = hold(&mut opened)?.widen(&next).err().ok_or("not refused")?;
    assert!(matches!(error, DeviceError::StillLocal { .. }), "{error}");
    hold(&mut opened)?.narrow(&wanting(backend, &namespace, &FIRST, &[])?);
    hold(&mut opened)?.widen(&next)?;
    leads(&namespace, &mut opened, SECOND[0])
}

fn hosts_are_answered_for_others() -> Result<(), Failed> {
    let namespace = Namespace::unique("sg-test")?;
    for bridge in ["br0", "br1"] {
        run(&namespace, &format!("ip link add {bridge} type bridge"))?;
        run(&namespace, &format!("ip link set {bridge} up"))?;
    }
    let answer =
        |link: &str, address: &str| Ok::<_, Failed>(Answer { link: link.into(), address: ip(address)? });
    let entries = || run(&namespace, "ip neigh show proxy");
    let proxy_ndp = |link: &str| run(&namespace, &format!("cat /proc/sys/net/ipv6/conf/{link}/proxy_ndp"));
    let routed = [FIRST, SECOND].concat().iter().map(|text| ip(text)).collect::<Result<Vec<_>, _>>()?;
    let with = |answers: Vec<Answer>| DeviceSpec { routed: routed.clone(), answers, ..spec(&namespace) };
    let before = with(vec![answer("br0", FIRST[0])?, answer("br0", FIRST[1])?]);
    let after = with(vec![answer("br0", FIRST[0])?, answer("br1", SECOND[1])?]);
    let mut opened = OffloadOpener.open(&before)?;

    let missing = with(vec![answer("br1", SECOND[1])?, answer("br2", SECOND[0])?]);
    let error = hold(&mut opened)?.widen(&missing).err().ok_or("not refused")?;
    assert!(matches!(error, DeviceError::LinkMissing { .. }), "{error}");
    hold(&mut opened)?.narrow(&before);
    assert_eq!((entries()?.lines().count(), proxy_ndp("br1")?.trim()), (2, "0"));

    hold(&mut opened)?.widen(&after)?;
    assert_eq!(entries()?.lines().count(), 3);
    hold(&mut opened)?.narrow(&after);
    let left = entries()?;
    assert!(left.lines().count() == 2 && left.contains(FIRST[0]) && left.contains(SECOND[1]), "{left}");
    assert_eq!((proxy_ndp("br0")?.trim(), proxy_ndp("br1")?.trim()), ("0", "1"));
    drop(opened);
    assert_eq!((entries()?, proxy_ndp("br1")?.trim().into()), (String::new(), String::from("0")));
    Ok(())
}

fn an_open_device_is_steered_in_another_way() -> Result<(), Failed> {
    let namespace = Namespace::unique("sg-test")?;
    let by_port = DeviceSpec { steering: Some(Steering::ByDestinationPort), ..spec(&namespace) };
    let mut opened = OffloadOpener.open(&by_port)?;
    run(&namespace, "ip address add 10.77.0.2/32 dev sg-test")?;
    let queues = |opened: &mut Opened| -> Result<Vec<usize>, Failed> {
        let socket = device::inside(namespace.path(), || std::net::UdpSocket::bind("10.77.0.2:0"))??;
        (0..16u16)
            .map(|nth| {
                socket.send_to(b"where", ("10.77.0.1", 1000 + 2 * nth))?;
                Ok(receive(&mut opened.queues, |packet| packet.bytes.ends_with(b"where"))?.queue)
            })
            .collect()
    };
    assert_eq!(queues(&mut opened)?, [0; 16], "even ports");
    assert_eq!(hold(&mut opened)?.steer(Some(Steering::ByFlow)).to_string(), "by flow");
    assert!(queues(&mut opened)?.contains(&1), "each is a flow of its own");
    assert_eq!(
        hold(&mut opened)?.steer(Some(Steering::ByDestinationPort)).to_string(),
        "by destination port"
    );
    assert_eq!(queues(&mut opened)?, [0; 16]);
    Ok(())
}
