//! Hosts on a link that hold our addresses to be a neighbour's: answered while the device lives, and no longer.

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use device::lab::Namespace;
use device::{Answer, DeviceError, DeviceSpec, OffloadOpener, Opened, Opener, inside};
use libtest_mimic::Failed;

use crate::Named;
use crate::support::{ip, receive, run, spec};

pub(crate) const TRIALS: &[Named] = &[
    ("proxy::hosts_find_the_device_while_it_lives", hosts_find_the_device_while_it_lives),
    ("proxy::what_was_there_before_is_left_as_it_was", what_was_there_before_is_left_as_it_was),
    ("proxy::an_entry_that_was_left_is_taken_over", an_entry_that_was_left_is_taken_over),
    ("proxy::a_missing_link_is_said_so_and_nothing_is_left", a_missing_link_is_said_so_and_nothing_is_left),
    ("proxy::a_missing_link_can_be_waited_for", a_missing_link_can_be_waited_for),
    ("proxy::who_answers_beside_us_keeps_it_on", who_answers_beside_us_keeps_it_on),
    ("proxy::a_link_that_was_down_is_answered_on_again", a_link_that_was_down_is_answered_on_again),
    ("proxy::a_lost_carrier_is_no_loss", a_lost_carrier_is_no_loss),
    ("proxy::the_successor_of_a_namespace_is_not_touched", the_successor_of_a_namespace_is_not_touched),
];

const OURS: [&str; 2] = ["10.77.0.1", "fd77::1"];

/// A network with a bridge in `router`, which forwards, and one host on it.
struct Network {
    router: Namespace,
    host: Namespace,
}

impl Network {
    fn new() -> Result<Self, Failed> {
        let (router, host) = (Namespace::unique("sg-test")?, Namespace::unique("sg-test")?);
        bridge(&router)?;
        run(&router, &format!("ip link add port type veth peer name uplink netns {}", host.name()))?;
        run(&router, "ip link set port master br0 up")?;
        run(&host, "ip link set uplink up")?;
        for address in ["10.77.0.7/24", "fd77::7/64"] {
            run(&host, &format!("ip address add {address} dev uplink nodad"))?;
        }
        Ok(Self { router, host })
    }

    /// Sends a datagram from the host to the address.
    fn send(&self, to: &str) -> Result<(), Failed> {
        let to = ip(to)?;
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        inside(self.host.path(), || UdpSocket::bind(any)?.send_to(b"hello", (to, 9)))??;
        Ok(())
    }

    /// Waits until the host has given up asking for the address, more quickly than it would by itself.
    fn nobody_answers(&self, address: &str) -> Result<(), Failed> {
        let family = if address.contains(':') { "ipv6" } else { "ipv4" };
        let patience = format!("net.{family}.neigh.uplink.retrans_time_ms");
        run(&self.host, &format!("sysctl -w {patience}=100"))?;
        self.send(address)?;
        await_in(&self.host, &format!("ip neigh show {address}"), "FAILED")?;
        run(&self.host, &format!("ip neigh del {address} dev uplink"))?;
        run(&self.host, &format!("sysctl -w {patience}=1000")).map(drop)
    }
}

/// Waits until the command's answer contains this.
fn await_in(namespace: &Namespace, command: &str, wanted: &str) -> Result<(), Failed> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !run(namespace, command)?.contains(wanted) {
        assert!(Instant::now() < deadline, "`{command}` does not say {wanted}");
    }
    Ok(())
}

/// A bridge that is up, with an address of each family, in a namespace that forwards.
fn bridge(namespace: &Namespace) -> Result<(), Failed> {
    run(namespace, "ip link add br0 type bridge")?;
    run(namespace, "ip link set br0 up")?;
    for address in ["10.77.0.254/24", "fd77::fe/64"] {
        run(namespace, &format!("ip address add {address} dev br0 nodad"))?;
    }
    run(namespace, "sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1").map(drop)
}

fn answer(address: &str) -> Result<Answer, Failed> {
    Ok(Answer { link: "br0".into(), address: ip(address)? })
}

/// A device for both of our addresses, which hosts on the bridge are answered for, or are not.
fn open(namespace: &Namespace, answered: bool) -> Result<Opened, Failed> {
    let routed = OURS.iter().map(|address| ip(address)).collect::<Result<Vec<IpAddr>, _>>()?;
    let answers = OURS.iter().map(|address| answer(address)).collect::<Result<Vec<_>, _>>()?;
    let answers = if answered { answers } else { Vec::new() };
    Ok(OffloadOpener.open(&DeviceSpec { routed, answers, ..spec(namespace) })?)
}

/// As the watch does now and then.
fn renew(opened: &mut Opened) -> Result<(), Failed> {
    Ok(opened.hold.as_mut().ok_or("nobody to ask")?.keep()?)
}

fn entries(namespace: &Namespace) -> Result<String, Failed> {
    run(namespace, "ip neigh show proxy")
}

fn proxy_ndp(namespace: &Namespace) -> Result<String, Failed> {
    Ok(run(namespace, "cat /proc/sys/net/ipv6/conf/br0/proxy_ndp")?.trim().into())
}

fn hosts_find_the_device_while_it_lives() -> Result<(), Failed> {
    let network = Network::new()?;
    let silent = open(&network.router, false)?;
    OURS.iter().try_for_each(|address| network.nobody_answers(address))?;
    drop(silent);

    let mut opened = open(&network.router, true)?;
    for address in OURS {
        network.send(address)?;
        receive(&mut opened.queues, |packet| packet.bytes.ends_with(b"hello"))?;
    }
    assert_eq!(proxy_ndp(&network.router)?, "1");
    drop(opened);
    assert_eq!((entries(&network.router)?, proxy_ndp(&network.router)?), (String::new(), "0".into()));
    Ok(())
}

fn what_was_there_before_is_left_as_it_was() -> Result<(), Failed> {
    let network = Network::new()?;
    run(&network.router, "sysctl -w net.ipv6.conf.br0.proxy_ndp=1")?;
    drop(open(&network.router, true)?);
    assert_eq!(proxy_ndp(&network.router)?, "1", "it was on before");

    run(&network.router, "sysctl -w net.ipv6.conf.br0.proxy_ndp=0")?;
    let opened = open(&network.router, true)?;
    run(&network.router, "ip neigh add proxy fd77::5 dev br0")?;
    drop(opened);
    assert_eq!(entries(&network.router)?.trim(), "fd77::5 dev br0 proxy");
    assert_eq!(proxy_ndp(&network.router)?, "1", "somebody else needs it by now");
    Ok(())
}

fn an_entry_that_was_left_is_taken_over() -> Result<(), Failed> {
    let network = Network::new()?;
    for address in OURS {
        run(&network.router, &format!("ip neigh add proxy {address} dev br0"))?;
    }
    let opened = open(&network.router, true)?;
    assert_eq!(entries(&network.router)?.lines().count(), OURS.len());
    drop(opened);
    assert_eq!(entries(&network.router)?, "");
    Ok(())
}

fn a_missing_link_is_said_so_and_nothing_is_left() -> Result<(), Failed> {
    let network = Network::new()?;
    drop(open(&network.router, true)?);
    let missing = Answer { link: "br1".into(), ..answer(OURS[0])? };
    let spec = DeviceSpec { answers: vec![answer(OURS[0])?, missing.clone()], ..spec(&network.router) };
    let error = OffloadOpener.open(&spec).err().ok_or("not refused")?;
    assert!(matches!(&error, DeviceError::LinkMissing { answer, .. } if *answer == missing), "{error}");
    let remedy = format!("`ip netns exec {} ip link`", network.router.name());
    assert!(error.to_string().contains(&remedy), "{error}");
    assert_eq!(entries(&network.router)?, "");
    assert!(!run(&network.router, "ip link")?.contains("sg-test:"));
    Ok(())
}

fn a_missing_link_can_be_waited_for() -> Result<(), Failed> {
    let router = Namespace::unique("sg-test")?;
    let spec = DeviceSpec { answers: vec![answer(OURS[0])?], answers_may_wait: true, ..spec(&router) };
    let mut opened = OffloadOpener.open(&spec)?;
    bridge(&router)?;
    assert_eq!(entries(&router)?, "");
    renew(&mut opened)?;
    assert_eq!(entries(&router)?.trim(), format!("{} dev br0 proxy", OURS[0]));
    drop(opened);
    assert_eq!(entries(&router)?, "");
    Ok(())
}

/// Two devices whose hosts are on one link: the first to come has found `proxy_ndp` off.
fn who_answers_beside_us_keeps_it_on() -> Result<(), Failed> {
    let network = Network::new()?;
    let first = open(&network.router, true)?;
    let beside = Answer { link: "br0".into(), address: ip("fd77::5")? };
    let spec = DeviceSpec {
        name: "sg-beside".into(),
        routed: vec![beside.address],
        answers: vec![beside],
        ..spec(&network.router)
    };
    let mut second = OffloadOpener.open(&spec)?;
    drop(first);
    network.send("fd77::5")?;
    receive(&mut second.queues, |packet| packet.bytes.ends_with(b"hello"))?;
    drop(second);
    assert_eq!((entries(&network.router)?, proxy_ndp(&network.router)?), (String::new(), "1".into()));
    Ok(())
}

fn a_link_that_was_down_is_answered_on_again() -> Result<(), Failed> {
    let network = Network::new()?;
    let mut opened = open(&network.router, true)?;

    run(&network.router, "ip link set br0 down")?;
    assert_eq!(entries(&network.router)?, "", "the kernel forgets");
    run(&network.router, "ip link set br0 up")?;
    renew(&mut opened)?;
    assert_eq!(entries(&network.router)?.lines().count(), OURS.len());

    run(&network.router, "ip link del br0")?;
    renew(&mut opened)?;
    bridge(&network.router)?;
    renew(&mut opened)?;
    assert_eq!(entries(&network.router)?.lines().count(), OURS.len());
    drop(opened);
    assert_eq!((entries(&network.router)?, proxy_ndp(&network.router)?), (String::new(), "0".into()));
    Ok(())
}

fn a_lost_carrier_is_no_loss() -> Result<(), Failed> {
    let network = Network::new()?;
    let _opened = open(&network.router, true)?;
    await_in(&network.router, "ip link show br0", "state UP")?;
    run(&network.host, "ip link set uplink down")?;
    await_in(&network.router, "ip link show br0", "state DOWN")?;
    assert_eq!(entries(&network.router)?.lines().count(), OURS.len());
    Ok(())
}

fn the_successor_of_a_namespace_is_not_touched() -> Result<(), Failed> {
    let first = Namespace::unique("sg-test")?;
    bridge(&first)?;
    let opened = open(&first, true)?;
    let name = first.name().to_owned();
    drop(first);
    let successor = Namespace::create(&name)?;
    bridge(&successor)?;
    run(&successor, &format!("ip neigh add proxy {} dev br0", OURS[0]))?;
    run(&successor, "sysctl -w net.ipv6.conf.br0.proxy_ndp=1")?;
    drop(opened);
    assert_eq!(entries(&successor)?.lines().count(), 1);
    assert_eq!(proxy_ndp(&successor)?, "1");
    Ok(())
}
