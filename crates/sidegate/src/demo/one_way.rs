//! What the provider's side tries and must not get: a way in.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use runtime::{Forwarder, Snapshot};

use super::network::{CONSUMER, NODE, Network, PORT_NAT, TARGET, door};
use super::report::Report;
use super::traffic::{Http, dial};

/// How long the provider waits for an answer that must not come: longer than it takes a SYN to be sent again.
const IN_VAIN: Duration = Duration::from_millis(1200);

/// Two attempts from the provider's side: to the consumer, and to the very port that a connection of the consumer's
/// comes from.
pub(super) fn show(network: &Network, forwarder: &Forwarder, report: &Report) -> Result<()> {
    let consumer = &network.consumers()[0];
    let mut http = Http::connect(consumer, None, door(PORT_NAT))?;
    let live = http.hello(consumer.name)?.peer;

    let hidden = SocketAddr::new(CONSUMER, 22);
    let Err(error) = dial(network.provider(), None, hidden, IN_VAIN)? else {
        bail!("the provider has reached {hidden}");
    };
    report.step("one way", &format!("the provider tries the consumer, {hidden}: {error}"))?;

    let before = dropped(&forwarder.snapshot());
    let stranger = SocketAddr::new(TARGET, 0);
    match dial(network.provider(), Some(stranger), live, IN_VAIN)? {
        Err(error) if error.kind() == ErrorKind::TimedOut => {}
        Err(error) => bail!("the provider's attempt at {live} should have been ignored, but: {error}"),
        Ok(_) => bail!("the provider has reached {live}"),
    }
    let rose = dropped(&forwarder.snapshot()) - before;
    ensure!(rose > 0, "the provider's attempt at {live} was not counted as {COUNTER}");
    ensure!(live.ip() == NODE && http.hello(consumer.name)?.peer == live, "the connection was disturbed");
    let told = format!(
        "the provider tries {live}, where a live connection comes from: no answer, {COUNTER} +{rose}, and the \
         connection goes on"
    );
    report.step("one way", &told)
}

/// The counter for what the provider's side began.
const COUNTER: &str = "one_way";

fn dropped(snapshot: &Snapshot) -> u64 {
    snapshot.verdicts.iter().filter(|verdict| verdict.reason == COUNTER).map(|verdict| verdict.count).sum()
}
