//! `sidegate demo`: the whole thing at work, in networks made for the occasion.
//!
//! Nothing is staged: the networks are namespaces, the file is an operator's, the forwarder is the one of
//! `sidegate run`, and every claim that is printed was checked a moment before. Whatever ends the demo, dropping the
//! network removes it; a kill leaves it to `--cleanup`. Without root all of it happens in a user namespace.

mod cleanup;
mod keep;
mod network;
mod one_way;
mod report;
mod servers;
mod traffic;

use std::net::SocketAddr;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use control::{Claim, Server, socket_of};
use device::{Privilege, gain_privilege};
use runtime::Forwarder;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::Failure;
use crate::answers::Answers;
use crate::args::DemoArgs;
use network::{Network, PORT_NAT, PORT_TERMINATE};
use report::{Measured, Report};
use traffic::{Echo, Http};

/// How long each measurement takes.
const MEASURED: Duration = Duration::from_secs(2);
/// The source port that both consumers use, at once.
const SAME_PORT: u16 = 40_000;

/// What ends a demo before its time.
const SIGNALS: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// Runs the demo, which succeeds only if all was as it should be; or cleans up after others.
pub(crate) fn demo(args: &DemoArgs) -> Result<ExitCode, Failure> {
    if args.cleanup {
        return cleanup::cleanup();
    }
    // First of all: there must be no other thread yet.
    let privilege = gain_privilege()?;
    let stop = Stop::on_signals().map_err(Failure::system)?;
    let report = Report::new();
    let shown = Scene::set(privilege, &report).and_then(|scene| {
        if args.keep { keep::keep(scene, privilege, &report, &stop) } else { tour(scene, &report, &stop) }
    });
    match shown {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(_) if stop.is_asked() => Err(Failure::Interrupted),
        Err(error) => Err(Failure::system(format_args!("{error:#}"))),
    }
}

/// The networks, the forwarder between them, and what answers `sidegate status` and the like. Dropped in this order: for as long as
/// there is anything to clean up, the demo can be seen to live.
struct Scene {
    forwarder: Forwarder,
    network: Network,
    _server: Server,
}

impl Scene {
    fn set(privilege: Privilege, report: &Report) -> Result<Self> {
        report.title("Two consumers with the same addresses, one provider, and sidegate between them.")?;
        if privilege == Privilege::Rootless {
            report.step("rootless", "all in a user namespace of its own, which nobody else sees")?;
        }
        let instance = network::instance(process::id());
        let claim = Claim::take(&instance, &socket_of(&instance))?;
        let network = Network::make(&instance)?;
        report.step("network", &network.description())?;
        servers::start(network.provider())?;
        report.quote(network.file())?;
        let forwarder = network.forward()?;
        let answers = Answers::new(forwarder.observer(), None);
        let server = Server::start(claim, move |request| answers.to(request))?;
        report.step("forwarder", "packets flow")?;
        Ok(Self { forwarder, network, _server: server })
    }
}

/// Shows what there is to see, measures it, and removes everything.
fn tour(scene: Scene, report: &Report, stop: &Stop) -> Result<()> {
    let Scene { forwarder, network, .. } = &scene;
    let paths = [("nat", network::door(PORT_NAT)), ("terminate", network::door(PORT_TERMINATE))];
    for (path, door) in paths {
        stop.check()?;
        greet(network, path, door, report)?;
    }
    same_port(network, report)?;
    stop.check()?;
    one_way::show(network, forwarder, report)?;

    let mut measured = Vec::new();
    for (path, door) in paths {
        report.step("measuring", &format!("{path}: requests, then bulk, from both consumers"))?;
        let requests = traffic::requests(network.consumers(), door, MEASURED, stop)?;
        let bulk = traffic::bulk(network.consumers(), door, MEASURED, stop)?;
        measured.push(Measured { path, requests, bulk: Some(bulk) });
    }
    report.step("measuring", "nat, UDP: datagrams there and back, from both consumers")?;
    let echoes = traffic::datagrams(network.consumers(), network::echo_door(), MEASURED / 2, stop)?;
    measured.push(Measured { path: "nat, UDP", requests: echoes, bulk: None });
    report.summary(&measured, &forwarder.snapshot())?;
    drop(scene);
    report.step("done", "all as it should be; the forwarder has stopped and the networks are removed")
}

/// Each consumer asks, and is answered by the provider, which sees the load balancer's address.
fn greet(network: &Network, path: &str, door: SocketAddr, report: &Report) -> Result<()> {
    for consumer in network.consumers() {
        let mut http = Http::connect(consumer, None, door)?;
        let answer = http.hello(consumer.name)?;
        ensure!(answer.name == consumer.name, "consumer {} got an answer to {}", consumer.name, answer.name);
        ensure!(answer.peer.ip() == network::NODE, "the provider saw {} instead of the node", answer.peer);
        http.verify_bytes()?;
        let told = format!(
            "consumer {} asks {door}; the provider answers {}; 8 MB arrive intact",
            consumer.name, answer.peer
        );
        report.step(path, &told)?;
    }
    Ok(())
}

/// Both consumers use the same source address and port at once. Over TCP and UDP each gets its own answers.
fn same_port(network: &Network, report: &Report) -> Result<()> {
    let source = SocketAddr::new(network::CONSUMER, SAME_PORT);
    let mut open = Vec::new();
    for consumer in network.consumers() {
        let http = Http::connect(consumer, Some(source), network::door(PORT_NAT))?;
        let echo = Echo::connect(consumer, source, network::echo_door())?;
        echo.send()?;
        open.push((consumer.name, http, echo));
    }
    for (name, http, echo) in &mut open {
        let answer = http.hello(name)?;
        ensure!(answer.name == *name, "consumer {name} got an answer to {}", answer.name);
        echo.receive()?;
        let told =
            format!("consumer {name} from {source}: its own answers over TCP ({}) and UDP", answer.peer);
        report.step("same port", &told)?;
    }
    Ok(())
}

/// Whether the operator has had enough.
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    fn on_signals() -> std::io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in SIGNALS {
            flag::register(signal, Arc::clone(&asked))?;
        }
        Ok(Self(asked))
    }

    fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error once it is asked for, which ends whatever is going on.
    fn check(&self) -> Result<()> {
        ensure!(!self.is_asked(), "interrupted");
        Ok(())
    }
}
