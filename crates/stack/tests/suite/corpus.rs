//! The fuzz target's seeds and finds, played once: what it found stays found, and what it reaches stays in its reach.

use std::fs;
use std::path::Path;

use stack_fuzz::{Script, Tally, play, seeds};

const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds");

#[test]
fn every_seed_plays_and_together_they_go_everywhere() {
    let mut sum = Tally::default();
    for entry in fs::read_dir(SEEDS).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        sum += play(&Script::decode(&fs::read(path).unwrap()));
    }
    assert!(sum.delivered.iter().all(|bytes| *bytes > 100_000), "{sum:?}");
    assert!(sum.damaged > 0 && sum.lowered > 0 && sum.over > 0 && sum.parted > 0, "{sum:?}");
}

#[test]
fn the_seeds_on_disk_are_the_seeds() {
    for (name, script) in seeds::all() {
        let bytes = fs::read(Path::new(SEEDS).join(&name)).unwrap_or_default();
        assert_eq!(bytes, script.encode(), "{name}; run scripts/fuzz --target relay --seeds");
        assert_eq!(Script::decode(&bytes), script, "{name} is what it says");
    }
}
