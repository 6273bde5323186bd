//! What is carried, refused and found again, whichever backend makes the devices.

use std::io::Read;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Instant;

use device::inside;
use device::lab::Namespace;
use runtime::{DeviceState, DeviceStatus, Snapshot};

use crate::OfEach;
use crate::lab::{
    Backend, DEAD_NAT, DEAD_TERMINATE, INTERFACES, Lab, NAT, PATIENCE, TERMINATE, address, connect, echoes,
    transfer,
};

pub(crate) const OF_EACH: &[OfEach] = &[
    ("every_path_and_family_carries", every_path_and_family_carries),
    ("megabytes_come_through_whole", megabytes_come_through_whole),
    ("a_refused_target_refuses", a_refused_target_refuses),
    ("a_replaced_namespace_is_attached_again", a_replaced_namespace_is_attached_again),
    ("a_device_that_somebody_removes_is_made_anew", a_device_that_somebody_removes_is_made_anew),
    ("a_device_that_somebody_sets_down_is_made_anew", a_device_that_somebody_sets_down_is_made_anew),
    ("stopping_removes_devices_and_routes", stopping_removes_devices_and_routes),
];

fn every_path_and_family_carries(backend: &Backend) {
    let lab = Lab::new(backend);
    for interface in INTERFACES {
        for port in [NAT, TERMINATE] {
            let mut stream = lab.connect(interface, port).unwrap();
            assert!(echoes(&mut stream, b"hello"), "{interface} port {port}");
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "its FIN comes back as one");
        }
        let any = if interface.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = inside(lab.consumer.path(), move || UdpSocket::bind(any).unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect((interface, 53)).unwrap();
        socket.send(b"datagram").unwrap();
        let mut buffer = [0; 100];
        let len = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"datagram");
    }
    let snapshot = lab.forwarder.snapshot();
    let count = |reason: &str| snapshot.verdicts.iter().find(|count| count.reason == reason).unwrap().count;
    assert!(count("forwarded") > 10 && count("terminated") > 10);
    assert_eq!(snapshot.flows.opened, 6);
    assert!(snapshot.devices.iter().all(|device| device.send_errors == 0 && device.receive_errors == 0));
}

fn megabytes_come_through_whole(backend: &Backend) {
    let lab = Lab::new(backend);
    for interface in INTERFACES {
        for port in [NAT, TERMINATE] {
            transfer(&lab, interface, port, 20 << 20);
        }
    }
}

fn a_refused_target_refuses(backend: &Backend) {
    let lab = Lab::new(backend);
    for interface in INTERFACES {
        assert!(lab.connect(interface, NAT).is_ok() && lab.connect(interface, TERMINATE).is_ok());
        for port in [DEAD_NAT, DEAD_TERMINATE] {
            let refused = lab.connect(interface, port).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{interface} port {port}");
        }
    }
}

fn a_replaced_namespace_is_attached_again(backend: &Backend) {
    let Lab { forwarder, consumer, provider } = Lab::new(backend);
    let name = consumer.name().to_owned();
    assert!(echoes(&mut connect(consumer.path(), INTERFACES[0], NAT).unwrap(), b"before"));
    drop(consumer);
    let is_down = |snapshot: &Snapshot| matches!(snapshot.devices[1].state, DeviceState::Down(_));
    let consumer_is_down = |snapshot: &Snapshot| is_down(snapshot) && !snapshot.endpoints[0].up;
    let consumer = {
        let deadline = Instant::now() + PATIENCE;
        while !consumer_is_down(&forwarder.snapshot()) {
            assert!(Instant::now() < deadline, "the loss was not noticed");
            std::thread::yield_now();
        }
        let again = Namespace::create(&name).unwrap();
        address(&again, &["10.1.0.2", "fd01::2"]);
        again
    };
    let lab = Lab { forwarder, consumer, provider };
    lab.await_state("re-attachment", |snapshot| !is_down(snapshot));
    assert!(echoes(&mut lab.connect(INTERFACES[0], NAT).unwrap(), b"after"));
}

fn a_device_that_somebody_removes_is_made_anew(backend: &Backend) {
    let lab = Lab::new(backend);
    let mut stream = lab.connect(INTERFACES[0], NAT).unwrap();
    assert!(echoes(&mut stream, b"before"));
    let device = lab.forwarder.snapshot().devices[1].name.clone();
    let removed = Command::new("ip").args(["-n", lab.consumer.name(), "link", "del", &device]).status();
    assert!(removed.unwrap().success());
    lab.await_state("the loss", |snapshot| snapshot.devices[1].receive_errors > 0);
    lab.await_state("the new device", |snapshot| snapshot.endpoints[0].up);
    assert!(echoes(&mut stream, b"after"), "not even the flow is lost");
}

/// The kernel says nothing of it to the queues, and setting the device up again does not bring its routes back.
fn a_device_that_somebody_sets_down_is_made_anew(backend: &Backend) {
    let lab = Lab::new(backend);
    let mut stream = lab.connect(INTERFACES[0], NAT).unwrap();
    let is_up = |snapshot: &Snapshot| snapshot.devices.iter().all(DeviceStatus::is_up);
    for (side, namespace, states) in [(0, &lab.provider, &["down", "up"][..]), (1, &lab.consumer, &["down"])]
    {
        assert!(echoes(&mut stream, b"before"));
        let device = lab.forwarder.snapshot().devices[side].name.clone();
        for state in states {
            let set = ["-n", namespace.name(), "link", "set", &device, state];
            assert!(Command::new("ip").args(set).status().unwrap().success());
        }
        lab.await_state("the loss", |snapshot| !is_up(snapshot));
        lab.await_state("the new device", is_up);
        assert!(echoes(&mut stream, b"after"), "not even the flow is lost");
        for interface in INTERFACES {
            assert!(echoes(&mut lab.connect(interface, NAT).unwrap(), b"afterwards"));
        }
    }
}

fn stopping_removes_devices_and_routes(backend: &Backend) {
    let Lab { forwarder, consumer, provider: _provider } = Lab::new(backend);
    let device = forwarder.snapshot().devices[0].name.clone();
    let exists = || {
        let devices =
            inside(consumer.path(), || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        devices.unwrap().contains(&device)
    };
    assert!(exists());
    forwarder.stop();
    assert!(!exists());
    assert!(connect(consumer.path(), INTERFACES[0], NAT).is_err());
}
