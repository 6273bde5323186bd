//! HTTP requests on keep-alive connections, each as soon as the one before it has been answered, by wrk.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use benches::readings::{self, Requests};

use crate::peer::Session;

/// Where the HTTP server listens.
pub(crate) const PORT: u16 = 8080;

/// wrk's threads, if there are as many connections: one for each core of the smallest machine that this runs on.
const THREADS: usize = 2;
/// How much longer than its own length a run may take.
const GRACE: Duration = Duration::from_secs(10);

/// Requests on so many connections at once.
pub(crate) fn run(session: &Session, length: Duration, connections: usize) -> Result<Requests> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", &connections.min(THREADS).to_string()]);
    wrk.args(["--connections", &connections.to_string()]);
    wrk.args(["--latency", "--duration", &format!("{}s", length.as_secs())]);
    wrk.arg(format!("http://{}:{PORT}/", session.door()));
    let lab = &session.lab;
    let printed = lab.stage.start(&lab.consumer, "wrk", wrk)?.finish(length + GRACE)?;
    Ok(readings::wrk(&printed)?)
}
