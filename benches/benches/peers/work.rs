//! The kinds of work that a peer is measured by.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use benches::bulk::Bulk;
use benches::readings;
use benches::report::Unit;
use clap::ValueEnum;

use crate::connect::{self, Clients};
use crate::lab::TARGET;
use crate::peer::Session;

/// Where the HTTP server listens.
pub(crate) const REQUESTS_PORT: u16 = 8080;

/// How much longer than its own length a run may take.
const GRACE: Duration = Duration::from_secs(10);
/// wrk's keep-alive connections.
const CONNECTIONS: usize = 64;
/// wrk's threads: one per core of the smallest machine that this runs on.
const THREADS: usize = 2;

/// A kind of work.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// One TCP stream from the consumer to the target.
    Bulk1,
    /// Four at once.
    Bulk4,
    /// One TCP stream from the target to the consumer.
    Reverse,
    /// New connections, by clients with many in progress each; the target closes first.
    Connect,
    /// The same, by a thread per connection in progress.
    ConnectThreads,
    /// HTTP requests on keep-alive connections.
    Requests,
}

impl Work {
    /// All kinds, in the order of the table.
    pub(crate) const ALL: [Self; 6] =
        [Self::Bulk1, Self::Bulk4, Self::Reverse, Self::Connect, Self::ConnectThreads, Self::Requests];

    /// As it is written on the command line and in the table.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Bulk1 => "bulk1",
            Self::Bulk4 => "bulk4",
            Self::Reverse => "reverse",
            Self::Connect => "connect",
            Self::ConnectThreads => "connect-threads",
            Self::Requests => "requests",
        }
    }

    /// What its figures count.
    pub(crate) const fn unit(self) -> Unit {
        match self {
            Self::Bulk1 | Self::Bulk4 | Self::Reverse => Unit::BitsPerSecond,
            Self::Connect | Self::ConnectThreads | Self::Requests => Unit::PerSecond,
        }
    }

    /// Does it once, for as long as `length`.
    pub(crate) fn run(self, session: &Session, length: Duration) -> Result<f64> {
        match self {
            Self::Bulk1 => bulk(session, length, &["--parallel", "1"]),
            Self::Bulk4 => bulk(session, length, &["--parallel", "4"]),
            Self::Reverse => bulk(session, length, &["--reverse"]),
            Self::Connect => connect::rate(&session.lab, session.door, length, Clients::Events),
            Self::ConnectThreads => connect::rate(&session.lab, session.door, length, Clients::Threads),
            Self::Requests => requests(session, length),
        }
    }
}

fn bulk(session: &Session, length: Duration, how: &[&str]) -> Result<f64> {
    let Session { door, lab, .. } = session;
    let (consumer, provider) = (&lab.consumer, &lab.provider);
    let bulk = Bulk { consumer, door: (*door).into(), provider, target: TARGET.into() };
    bulk.run(&lab.stage, length, how)
}

fn requests(session: &Session, length: Duration) -> Result<f64> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", &THREADS.to_string(), "--connections", &CONNECTIONS.to_string()]);
    wrk.args(["--duration", &format!("{}s", length.as_secs())]);
    wrk.arg(format!("http://{}:{REQUESTS_PORT}/", session.door));
    let printed = session.lab.stage.start(&session.lab.consumer, "wrk", wrk)?.finish(length + GRACE)?;
    Ok(readings::wrk(&printed)?)
}
