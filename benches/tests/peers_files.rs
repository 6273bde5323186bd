//! The peers' benchmark brings sidegate's own operator's file: it must be one that sidegate accepts. And everybody else's have to
//! forward the same as it does.

use benches::sidegate_file::SidegateFile;
use topology::{DeviceBackend, Origin, Path, Problem, Topology};
use wire::Protocol;

const FILE: SidegateFile<'_> = SidegateFile {
    instance: "bench-4194303-8500-terminate-1",
    consumer: "consumer",
    provider: "provider",
    device: DeviceBackend::Offload,
    workers: 2,
    mtu: 8500,
    path: Path::Nat,
    header: false,
};

fn parsed(file: SidegateFile<'_>) -> Result<Topology, Vec<Problem>> {
    Topology::parse(&file.text(), &Origin::new("/tmp/sidegate.toml"))
}

#[test]
fn sidegate_accepts_its_file_on_every_path() {
    for (path, header) in [
        (Path::Nat, false),
        (Path::Nat, true),
        (Path::Splice, false),
        (Path::Splice, true),
        (Path::Terminate, false),
    ] {
        let topology = parsed(SidegateFile { path, header, ..FILE }).unwrap();
        for (_, listener) in topology.listeners.iter() {
            let (path, header) = match listener.protocol {
                Protocol::Tcp => (path, header),
                Protocol::Udp => (Path::Nat, false),
            };
            assert_eq!(listener.path, path);
            let group = &topology.groups[listener.forward[0].group];
            assert_eq!(group.attributes.proxy_protocol.is_some(), header);
        }
    }
}

#[test]
fn it_is_run_with_either_device_and_at_either_mtu() {
    let plain = SidegateFile { device: DeviceBackend::Plain, workers: 1, mtu: 1500, ..FILE };
    let plain = parsed(plain).unwrap();
    assert_eq!((plain.run.device, plain.run.workers), (DeviceBackend::Plain, Some(1)));
    assert_eq!((plain.run.mtu, plain.run.mss_ceiling), (1500, 1460));
    let offload = parsed(FILE).unwrap();
    assert_eq!((offload.run.device, offload.run.workers), (DeviceBackend::Offload, Some(2)));
    assert_eq!((offload.run.mtu, offload.run.mss_ceiling), (8500, 8460));
}

/// A proxy's file, and how a socket is written in it.
struct Proxy {
    file: &'static str,
    socket: fn(&str, u16) -> String,
    carries_udp: bool,
}

const PROXIES: [Proxy; 3] = [
    Proxy {
        file: include_str!("../peers/haproxy.cfg"),
        socket: |address, port| format!(" {address}:{port}\n"),
        carries_udp: false,
    },
    Proxy {
        file: include_str!("../peers/nginx-stream.conf"),
        socket: |address, port| format!(" {address}:{port}"),
        carries_udp: true,
    },
    Proxy {
        file: include_str!("../peers/envoy.yaml"),
        socket: |address, port| format!("address: {address}, port_value: {port} "),
        carries_udp: true,
    },
];

#[test]
fn proxies_forward_the_same_ports_to_the_same_targets() {
    let topology = parsed(FILE).unwrap();
    for (_, listener) in topology.listeners.iter() {
        let group = &topology.groups[listener.forward[0].group];
        let targets = group.targets.iter().map(|target| topology.targets[*target].address.to_string());
        let targets: Vec<String> = targets.collect();
        for Proxy { file, socket, carries_udp } in PROXIES {
            let has = |address: &str| file.matches(&socket(address, listener.port)).count();
            let carries = listener.protocol == Protocol::Tcp || carries_udp;
            assert_eq!(has("10.1.0.1"), usize::from(carries), "{file}\n{listener:?}");
            for target in ["10.2.0.2", "10.2.0.3", "10.2.0.4", "10.2.0.5"] {
                let expected = carries && targets.iter().any(|address| address == target);
                assert_eq!(has(target), usize::from(expected), "{file}\n{listener:?}: {target}");
            }
        }
    }
}
