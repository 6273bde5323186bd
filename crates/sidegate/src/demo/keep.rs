//! `sidegate demo --keep`: everything is there, and whoever likes plays with it.

use std::env;
use std::process;
use std::thread;

use anyhow::{Context, Result};
use device::Privilege;
use runtime::Forwarder;
use signal_hook::iterator::Signals;

use super::network::{self, CONSUMER, NODE, Network, PORT_NAT, PORT_TERMINATE, door};
use super::report::Report;
use super::{SIGNALS, Scene, Stop};

/// Prints commands, waits for Ctrl-C, and removes everything.
pub(super) fn keep(scene: Scene, privilege: Privilege, report: &Report, stop: &Stop) -> Result<()> {
    report.step("keep", &invitation(privilege))?;
    report.commands(&commands(&scene.network, privilege)?)?;
    wait(&scene.forwarder, stop)?;
    drop(scene);
    report.step("done", "the forwarder has stopped and the networks are removed")
}

fn invitation(privilege: Privilege) -> String {
    let whose = match privilege {
        Privilege::Root => "as root",
        Privilege::Rootless => {
            "as the same user; the first takes you inside, and the others are for the shell there"
        }
    };
    format!("all this stays until Ctrl-C. Commands for another terminal, {whose}:")
}

fn commands(network: &Network, privilege: Privilege) -> Result<Vec<(&'static str, String)>> {
    let sidegate = env::current_exe().context("cannot find out where sidegate is")?;
    let pid = process::id();
    let [a, b] =
        network.consumers().each_ref().map(|consumer| format!("ip netns exec {}", consumer.network()));
    let provider = format!("ip netns exec {}", network.providers());
    let (nat, terminate, echo) = (door(PORT_NAT), door(PORT_TERMINATE), network::echo_door());
    let inside = ("step inside", format!("nsenter --preserve-credentials --user --mount --target {pid}"));
    let commands = [
        (
            "consumer a asks; the provider tells whom it sees, which is the load balancer",
            format!("{a} curl http://{nat}/hello/a"),
        ),
        (
            "consumer b has the same addresses; here TCP ends in sidegate and goes on from there",
            format!("{b} curl http://{terminate}/hello/b"),
        ),
        ("a gigabyte", format!("{a} curl -o /dev/null http://{nat}/bytes/1000000000")),
        (
            "a datagram, and its echo",
            format!("{b} sh -c 'echo hello | nc -u -w 1 {} {}'", echo.ip(), echo.port()),
        ),
        ("the provider has no way to a consumer", format!("{provider} nc -v -w 2 {CONSUMER} 22")),
        (
            "nor does anybody answer where the consumers' connections come from",
            format!("{provider} nc -v -w 2 {NODE} 40000"),
        ),
        (
            "what was carried, what was dropped, and why",
            format!("{} status {}", sidegate.display(), network::instance(pid)),
        ),
    ];
    let inside = (privilege == Privilege::Rootless).then_some(inside);
    Ok(inside.into_iter().chain(commands).collect())
}

/// Until a signal comes, or the forwarder has died.
fn wait(forwarder: &Forwarder, stop: &Stop) -> Result<()> {
    let mut signals = Signals::new(SIGNALS).context("cannot wait for signals")?;
    let stopper = forwarder.stopper();
    let listen = move || signals.forever().for_each(|_| stopper.stop());
    thread::Builder::new().name("signals".into()).spawn(listen).context("cannot start a thread")?;
    // One that came before anybody listened.
    if stop.is_asked() {
        forwarder.stopper().stop();
    }
    Ok(forwarder.wait()?)
}
