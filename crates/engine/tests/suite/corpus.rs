//! The fuzz target's seeds and finds, played once: what it found stays found, and what it reaches stays in its reach.

use std::fs;
use std::path::Path;

use engine::Reason;
use engine_fuzz::{Script, play, seeds};

const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds");

#[test]
fn every_seed_plays_and_together_they_go_everywhere() {
    let mut tally = [0; Reason::COUNT];
    for entry in fs::read_dir(SEEDS).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        let script = Script::decode(&fs::read(path).unwrap());
        tally.iter_mut().zip(play(&script)).for_each(|(sum, own)| *sum += own);
    }
    // One thread has no two workers at one moment; TLS is always there; a thousand packets, targets or reloads are more than a seed; no file has no
    // target.
    let beyond = [
        Reason::Raced,
        Reason::TerminateFull,
        Reason::TerminateMemory,
        Reason::PortsExhausted,
        Reason::EscortsFull,
        Reason::ResetLimited,
        Reason::NoTarget,
        Reason::LanesExhausted,
        Reason::ChecksFull,
        Reason::TlsUnavailable,
    ];
    let missed: Vec<_> =
        Reason::ALL.iter().filter(|reason| tally[reason.index()] == 0 && !beyond.contains(reason)).collect();
    assert!(missed.is_empty(), "no seed has met {missed:?}");
}

#[test]
fn the_seeds_on_disk_are_the_seeds() {
    for (name, script) in seeds::all() {
        let bytes = fs::read(Path::new(SEEDS).join(&name)).unwrap_or_default();
        assert_eq!(bytes, script.encode(), "{name}; run scripts/fuzz --seeds");
        assert_eq!(Script::decode(&bytes), script, "{name} is what it says");
    }
}
