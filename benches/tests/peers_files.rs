//! The peers' benchmark brings sidegate's own operator's file: it must be one that sidegate accepts.

use topology::{Origin, Path, Topology};

#[test]
fn sidegate_accepts_its_file_on_every_path() {
    for (path, header) in
        [(Path::Nat, false), (Path::Nat, true), (Path::Splice, true), (Path::Terminate, false)]
    {
        let text = include_str!("../peers/sidegate.toml")
            .replace("INSTANCE", "bench-1-nat")
            .replace("CONSUMER", "consumer")
            .replace("PROVIDER", "provider")
            .replace("PATH", path.as_str())
            .replace("HEADER", &header.to_string());
        let topology = Topology::parse(&text, &Origin::new("/tmp/sidegate.toml")).unwrap();
        assert!(topology.listeners.iter().all(|(_, listener)| listener.path == path));
        assert_eq!(topology.listeners.len(), 6);
        assert!(topology.groups.iter().all(|(_, group)| group.attributes.proxy_protocol.is_some() == header));
    }
}
