//! The peers' benchmark brings sidegate's own operator's file: it must be one that sidegate accepts.

use topology::{Origin, Path, Topology};

#[test]
fn sidegate_accepts_its_file_on_both_paths() {
    for path in [Path::Nat, Path::Terminate] {
        let text = include_str!("../peers/sidegate.toml")
            .replace("INSTANCE", "bench-1-nat")
            .replace("CONSUMER", "consumer")
            .replace("PROVIDER", "provider")
            .replace("PATH", path.as_str());
        let topology = Topology::parse(&text, &Origin::new("/tmp/sidegate.toml")).unwrap();
        assert!(topology.listeners.iter().all(|(_, listener)| listener.path == path));
        assert_eq!(topology.listeners.len(), 6);
    }
}
