//! The whole forwarder in a virtual network, from a seed.
//!
//! # Theory of operation
//!
//! A seed draws a [`scenario`]: the operator's file, how many workers there are, what links, routers and devices do to
//! frames, and a handful of connections, each with a [`plan`] that both of its ends know. The [`world`] then runs it: the
//! real engine, on a virtual clock, between virtual [`hosts`] that speak a small [`tcp`] and [`udp`] of the simulator's own.
//!
//! ```text
//!   client ─▶ link ─▶ device ─▶ a worker's queue ─▶ engine ─▶ (sabotage) ─▶ judge ─▶ device ─▶ router ─▶ link ─▶ server
//!                                                    │  ▲
//!                                                    └──┘ rings between the workers
//! ```
//!
//! | what | does |
//! |---|---|
//! | link ([`network`]) | loses, doubles, delays, damages; brings fragments in any order |
//! | [`router`] | has an MTU that changes: cuts what may be cut, drops the rest, and now and then a segment of any length, and says so, by an address of its own network |
//! | [`device`] | fails writes, refuses what leaves work undone, stops, is gone for a while |
//! | [`hosts`] | put [`fragment`]s together as a kernel does, tell of closed ports, heed [`icmp`] errors |
//! | their [`tcp`] | announces any MSS and any window; reads slowly, takes windows back, forgets what it has acknowledged selectively; and complains when the other side breaks what was agreed upon |
//! | [`intruder`] | sends what nobody asked for: each kind is to end in its own way; and speaks in clients' names |
//! | each kind of [`shop`] | is told who its clients are, or not, at first or with their first bytes, and reads that by a reader of its own ([`proxy`]); speaks first, or waits; and some are deaf, or rude |
//! | the provider's [`clinic`] | is asked by health checks how its targets are, which have every [`ailment`] now and then |
//! | the operator | changes his file: targets, weights, attributes, listeners and endpoints come and go |
//! | [`scarcity`] | leaves few flows or ports to be had, few places for escorts, or little memory for terminated connections |
//!
//! After each step the [`judge`] asks the [`invariants`]. They rest on three things that owe nothing to the forwarder:
//! streams whose every word says whose it is ([`stream`]), a [`ledger`] of what the hosts have sent, and readers and writers
//! of ICMP, fragments and headers that are not the forwarder's. What is to become of targets, newcomers and flows, the judge works
//! out by itself, from the operator's files and from what targets have done to those who asked. That they notice anything
//! at all is shown by planting bugs ([`sabotage`]). What has befallen headers and splices is counted
//! ([`judge::Occasions`]), and the suite demands that everything has.
//!
//! Everything random comes from the seed, and nothing depends on the order of a hash table, on threads or on the time of
//! day: the same seed gives the same run, to the last byte.
//!
//! ```
//! let report = sim::run(1).unwrap();
//! assert_eq!(report.trace, sim::run(1).unwrap().trace);
//! ```

pub mod ailment;
pub mod client;
pub mod clinic;
pub mod device;
pub mod fragment;
pub mod header;
pub mod hosts;
pub mod icmp;
pub mod intruder;
pub mod invariants;
pub mod judge;
pub mod ledger;
pub mod network;
pub mod packet;
pub mod plan;
pub mod provider;
pub mod proxy;
pub mod recorder;
pub mod rng;
pub mod router;
pub mod sabotage;
pub mod scarcity;
pub mod scenario;
pub mod segments;
pub mod shop;
pub mod story;
pub mod stream;
pub mod tcp;
pub mod trace;
pub mod udp;
pub mod workers;
pub mod world;

use std::time::Duration;

use engine::Reason;
use thiserror::Error;

use invariants::Violation;
use judge::Tally;
use rng::Rng;
use sabotage::Sabotage;
use scenario::Scenario;
use world::World;

/// A run in which every invariant held.
#[derive(Clone, Debug)]
pub struct Report {
    /// How many steps it had.
    pub steps: u64,
    /// How long it was, by the virtual clock.
    pub lasted: Duration,
    /// A digest of everything that the workers said.
    pub trace: u64,
    /// How many frames ended for each reason, in the order of [`Reason::ALL`].
    pub reasons: [u64; Reason::COUNT],
    /// How many frames were lost to faults of the devices.
    pub lost: u64,
    /// How much has happened to targets and files, and to headers.
    pub tally: Tally,
    /// Whether a device has refused frames, so that the forwarder leaves no work undone any more.
    pub lowered: bool,
}

/// A run in which an invariant was broken.
#[derive(Clone, Debug, Error)]
#[error(
    "seed {seed}, step {step}, at {at:?}: broken: {}: {}\n{}\nbefore that:\n{story}",
    violation.invariant, violation.message, replay(*seed)
)]
pub struct Failure {
    /// The seed that repeats it.
    pub seed: u64,
    /// At which step.
    pub step: u64,
    /// At which moment of the virtual clock.
    pub at: Duration,
    /// What was broken.
    pub violation: Violation,
    /// The last things that the workers said.
    pub story: String,
}

/// How to see a seed's run again.
pub fn replay(seed: u64) -> String {
    format!("replay it with: SIDEGATE_SIM_SEED={seed} cargo test -p sim --test seeds")
}

/// Runs the scenario of a seed.
pub fn run(seed: u64) -> Result<Report, Box<Failure>> {
    run_with(seed, None)
}

/// Runs the scenario of a seed, with a planted bug if one is named.
pub fn run_with(seed: u64, sabotage: Option<Sabotage>) -> Result<Report, Box<Failure>> {
    let _named = NamedPanic(seed);
    let mut rng = Rng::new(seed);
    let scenario = Scenario::draw(&mut rng);
    let fail = |step, at, violation, story| Box::new(Failure { seed, step, at, violation, story });
    let mut world = World::new(scenario, sabotage, rng)
        .map_err(|violation| fail(0, Duration::ZERO, violation, String::new()))?;
    world
        .run()
        .map_err(|violation| fail(world.steps(), world.now(), violation, world.story().to_string()))?;
    Ok(Report {
        steps: world.steps(),
        lasted: world.now(),
        trace: world.trace(),
        reasons: *world.reasons(),
        lost: world.lost(),
        tally: world.tally(),
        lowered: world.is_lowered(),
    })
}

/// A panic in the forwarder must not leave without its seed.
struct NamedPanic(u64);

impl Drop for NamedPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}: panicked; {}", self.0, replay(self.0));
        }
    }
}
