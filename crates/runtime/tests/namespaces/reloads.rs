//! Another topology while real traffic flows: what it does not concern is not disturbed, and nothing is left of what is gone.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use device::lab::Namespace;
use runtime::{FlowFilter, Question, ReloadError, Transport};

use crate::OfEach;
use crate::lab::{Backend, INTERFACES, Lab, NAT, TERMINATE, connect, echoes, namespace};

pub(crate) const OF_EACH: &[OfEach] = &[
    ("endpoints_come_and_go_beside_connections", endpoints_come_and_go_beside_connections),
    ("a_reload_that_is_refused_changes_nothing", a_reload_that_is_refused_changes_nothing),
    (
        "a_device_that_was_set_down_a_moment_ago_refuses_no_reload",
        a_device_that_was_set_down_a_moment_ago_refuses_no_reload,
    ),
    ("two_hundred_reloads_leave_nothing_behind", two_hundred_reloads_leave_nothing_behind),
    ("everything_can_be_looked_at", everything_can_be_looked_at),
];

/// An address that is added to a namespace that has a device.
const BESIDE: &str = "10.1.9.51";
/// One in a namespace that has none.
const ELSEWHERE: &str = "10.1.9.52";
/// One in the provider's own namespace.
const AT_HOME: &str = "10.1.9.53";

/// An endpoint of the lab's service.
fn endpoint(name: &str, namespace: &Namespace, address: &str) -> String {
    format!(
        "[[endpoint]]\nname = {name:?}\nservice = \"echo\"\nnamespace = {:?}\ninterfaces = [{{ address = {address:?} }}]\n",
        namespace.name()
    )
}

fn shown(namespace: &Namespace, command: &str) -> String {
    let arguments = ["-n", namespace.name()].into_iter().chain(command.split(' '));
    String::from_utf8(Command::new("ip").args(arguments).output().unwrap().stdout).unwrap()
}

/// Routes, addresses and neighbours, as iproute2 shows them.
fn state(namespaces: [&Namespace; 3]) -> Vec<String> {
    let commands =
        ["route show table all", "-6 route show table all", "-o address", "neigh show proxy", "-o link"];
    let states =
        namespaces.into_iter().flat_map(|namespace| commands.map(|command| shown(namespace, command)));
    // A device that is made anew has another index.
    let without_index = |line: &str| line.split_once(": ").map_or(line, |(_, rest)| rest).to_owned();
    states.flat_map(|state| state.lines().map(without_index).collect::<Vec<_>>()).collect()
}

/// Waits until the forwarder has let go of the last namespace that came, and so of all else that is gone. It is asked itself:
/// each `ip -n` waits for every reader in the kernel, so on a busy machine a look at the state takes seconds.
fn await_end(lab: &Lab, other: &Namespace) {
    lab.await_state("the end of the device", |snapshot| {
        snapshot.devices.iter().all(|device| device.namespace != other.name())
    });
}

/// Lets the threads end, also after a failure.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Does `work` while echoes go on over these connections, and while new ones are made. None fails.
fn amid_echoes<T>(lab: &Lab, streams: &mut [TcpStream], work: impl FnOnce() -> T) -> T {
    let goes_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let echo = |stream: &mut TcpStream| {
            let mut times = 0u64;
            while goes_on.load(Ordering::Relaxed) {
                assert!(echoes(stream, &[times as u8; 4000]));
                times += 1;
            }
            assert!(times > 0);
        };
        let mut threads: Vec<_> =
            streams.iter_mut().map(|stream| scope.spawn(move || echo(stream))).collect();
        threads.push(scope.spawn(|| {
            while goes_on.load(Ordering::Relaxed) {
                for (interface, port) in INTERFACES.into_iter().zip([NAT, TERMINATE]) {
                    assert!(echoes(&mut lab.connect(interface, port).unwrap(), b"a new one"));
                }
            }
        }));
        let end = End(&goes_on);
        let done = work();
        drop(end);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        done
    })
}

fn endpoints_come_and_go_beside_connections(backend: &Backend) {
    let lab = Lab::new(backend);
    let other = namespace("sg-rc", &["10.1.0.2"]);
    let more = [
        endpoint("echo-b", &lab.consumer, BESIDE),
        endpoint("echo-c", &other, ELSEWHERE),
        endpoint("echo-d", &lab.provider, AT_HOME),
    ];
    let fresh = state([&lab.consumer, &lab.provider, &other]);
    let mut steady = [NAT, TERMINATE].map(|port| lab.connect(INTERFACES[0], port).unwrap());
    let steering = lab.forwarder.snapshot().devices[0].steering.clone();
    let mut ending = amid_echoes(&lab, &mut steady, || {
        let reloaded = lab.reload(backend, &more.concat()).unwrap();
        let changes: Vec<String> = reloaded.changes.iter().map(ToString::to_string).collect();
        assert_eq!(changes, ["endpoint echo-b added", "endpoint echo-c added", "endpoint echo-d added"]);
        let places = [(&lab.consumer, BESIDE), (&other, ELSEWHERE), (&lab.provider, AT_HOME)];
        let mut streams = Vec::new();
        for ((namespace, interface), port) in
            places.into_iter().flat_map(|own| [(own, NAT), (own, TERMINATE)])
        {
            let mut stream = connect(namespace.path(), interface, port).unwrap();
            assert!(echoes(&mut stream, b"hello"), "{interface}");
            streams.push(stream);
        }
        if steering == "by destination port" {
            assert_eq!(lab.forwarder.snapshot().devices[0].steering, "by flow", "clients speak there now");
        }
        lab.reload(backend, "").unwrap();
        await_end(&lab, &other);
        assert_eq!(state([&lab.consumer, &lab.provider, &other]), fresh);
        assert_eq!(lab.forwarder.snapshot().devices[0].steering, steering);
        streams
    });
    for stream in &mut ending {
        let told = stream.read(&mut [0; 8]).map_err(|error| error.kind());
        assert_eq!(told, Err(ErrorKind::ConnectionReset), "both ends are told");
    }
    assert!(steady.iter_mut().all(|stream| echoes(stream, b"afterwards")));
    for interface in [BESIDE, ELSEWHERE, AT_HOME] {
        assert!(lab.connect(interface, NAT).is_err(), "{interface}");
    }
}

fn a_reload_that_is_refused_changes_nothing(backend: &Backend) {
    let lab = Lab::new(backend);
    let other = namespace("sg-rc", &["10.1.0.2", ELSEWHERE]);
    let fresh = state([&lab.consumer, &lab.provider, &other]);
    let mut steady = [lab.connect(INTERFACES[0], NAT).unwrap()];
    let more = endpoint("echo-b", &lab.consumer, BESIDE);
    amid_echoes(&lab, &mut steady, || {
        // The address is the namespace's own, so its packets would not come to the device.
        let refused =
            lab.reload(backend, &(more.clone() + &endpoint("echo-c", &other, ELSEWHERE))).unwrap_err();
        assert!(matches!(refused, ReloadError::Device(_)), "{refused}");
        assert!(refused.to_string().contains(ELSEWHERE), "{refused}");
        assert_eq!(state([&lab.consumer, &lab.provider, &other]), fresh);
        assert!(lab.connect(BESIDE, NAT).is_err());
    });
    lab.reload(backend, &more).unwrap();
    assert!(echoes(&mut lab.connect(BESIDE, NAT).unwrap(), b"without the wrong one"));
}

fn a_device_that_was_set_down_a_moment_ago_refuses_no_reload(backend: &Backend) {
    let lab = Lab::new(backend);
    let device = lab.forwarder.snapshot().devices[1].name.clone();
    shown(&lab.consumer, &format!("link set {device} down"));
    lab.reload(backend, &endpoint("echo-b", &lab.consumer, BESIDE)).unwrap();
    lab.await_state("the new device", |snapshot| snapshot.endpoints.iter().all(|own| own.up));
    for interface in [INTERFACES[0], BESIDE] {
        assert!(echoes(&mut lab.connect(interface, NAT).unwrap(), b"hello"));
    }
}

fn two_hundred_reloads_leave_nothing_behind(backend: &Backend) {
    let lab = Lab::new(backend);
    let other = namespace("sg-rc", &["10.1.0.2"]);
    let more = endpoint("echo-b", &lab.consumer, BESIDE) + &endpoint("echo-c", &other, ELSEWHERE);
    let mut steady = [NAT, TERMINATE].map(|port| lab.connect(INTERFACES[0], port).unwrap());
    let reload = |times: usize| {
        amid_echoes(&lab, &mut steady.each_ref().map(|stream| stream.try_clone().unwrap()), || {
            for time in 0..times {
                lab.reload(backend, if time % 2 == 0 { &more } else { "" }).unwrap();
            }
        });
        await_end(&lab, &other);
        assert_eq!(shown(&other, "-o link").lines().count(), 1);
    };
    reload(20);
    let (fresh, files, memory) = (state([&lab.consumer, &lab.provider, &other]), open_files(), resident());
    reload(200);
    assert_eq!(state([&lab.consumer, &lab.provider, &other]), fresh);
    assert_eq!(open_files(), files);
    let grown = resident().saturating_sub(memory);
    assert!(grown < 4 << 20, "{grown} bytes of memory more");
    assert!(steady.iter_mut().all(|stream| echoes(stream, b"afterwards")));
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Bytes of memory that the process has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

fn everything_can_be_looked_at(backend: &Backend) {
    let lab = Lab::new(backend);
    let observer = lab.forwarder.observer();
    let mut streams = [NAT, TERMINATE].map(|port| lab.connect(INTERFACES[0], port).unwrap());
    streams.iter_mut().for_each(|stream| assert!(echoes(stream, &[7; 100])));

    let targets = observer.targets();
    let echo = targets.iter().find(|target| target.group == "echo" && target.address.is_ipv4()).unwrap();
    assert_eq!((targets.len(), echo.state.as_str(), echo.port, echo.flows), (4, "healthy", 7, 2));
    assert_eq!((echo.reason.as_deref(), echo.ports_in_use), (Some("Target.HealthCheckDisabled"), 2));

    let services = observer.services();
    let [service] = services.as_slice() else { panic!("{services:?}") };
    assert_eq!((service.name.as_str(), service.up, service.flows, service.endpoints), ("echo", true, 2, 1));
    assert_eq!((service.nodes.len(), service.listeners.len()), (2, 5));
    let forward = &service.listeners[0].forward[0];
    assert_eq!((forward.group.as_str(), forward.healthy, forward.targets), ("echo", 2, 2));

    let endpoints = observer.endpoints();
    let [endpoint] = endpoints.as_slice() else { panic!("{endpoints:?}") };
    let interface = &endpoint.interfaces[0];
    assert_eq!((endpoint.flows, interface.flows, interface.node), (2, 2, "10.2.9.1".parse().ok()));

    let all = observer.flows(&FlowFilter::default()).unwrap();
    assert_eq!((all.total, all.matching, all.flows.len()), (2, 2, 2));
    let filter = FlowFilter { path: Some(runtime::Carriage::Nat), ..FlowFilter::default() };
    let list = observer.flows(&filter).unwrap();
    let [flow] = list.flows.as_slice() else { panic!("{list:?}") };
    let client = streams[0].local_addr().unwrap();
    assert_eq!((flow.client, flow.interface), (client, "10.1.9.50:80".parse().unwrap()));
    assert_eq!((flow.target, flow.phase.as_str()), ("10.2.0.2:7".parse().unwrap(), "established"));
    assert!(flow.sent.bytes > 100 && flow.received.bytes > 100 && flow.age < 60.0, "{flow:?}");
    let one = observer.flows(&FlowFilter { limit: 1, ..FlowFilter::default() }).unwrap();
    assert_eq!((one.total, one.matching, one.flows.len()), (2, 2, 1));
    assert!(observer.flows(&FlowFilter { endpoint: Some("nobody".into()), ..filter }).is_err());

    let question = Question {
        endpoint: None,
        protocol: Transport::Tcp,
        from: client,
        to: "10.1.9.50:80".parse().unwrap(),
        isn: None,
    };
    let told = observer.explain(&question).unwrap();
    assert!(told.refused.is_none() && told.known, "{told:?}");
    let way = told.way.unwrap();
    assert_eq!((way.choice, way.groups[0].targets.len()), ("10.2.0.2:7".parse().ok(), 2));
    let refused =
        observer.explain(&Question { to: "10.1.9.50:9".parse().unwrap(), ..question.clone() }).unwrap();
    assert_eq!(refused.refused.unwrap().reason, "no_listener");
    assert!(observer.explain(&Question { endpoint: Some("nobody".into()), ..question }).is_err());
}
