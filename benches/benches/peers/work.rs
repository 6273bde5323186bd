//! The kinds of work that a peer is measured by.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use benches::bulk::Bulk;
use benches::readings::{self, Requests};
use benches::report::Unit;
use clap::ValueEnum;

use crate::connect::{self, Clients};
use crate::lab::TARGET;
use crate::peer::{Peer, Session};
use crate::stream::{self, Receiver};

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
    /// As `bulk1`, by a client and a server of our own, which targets that get a header can have too.
    Stream,
    /// As `reverse`, by the same.
    StreamReverse,
    /// New connections, by clients with many in progress each; the target closes first.
    Connect,
    /// The same, by a thread per connection in progress.
    ConnectThreads,
    /// HTTP requests on keep-alive connections.
    Requests,
}

impl Work {
    /// All kinds, in the order of the table.
    pub(crate) const ALL: [Self; 8] = [
        Self::Bulk1,
        Self::Bulk4,
        Self::Reverse,
        Self::Stream,
        Self::StreamReverse,
        Self::Connect,
        Self::ConnectThreads,
        Self::Requests,
    ];

    /// Whether this peer's targets can do it: iperf3 understands no header.
    pub(crate) const fn suits(self, peer: Peer) -> bool {
        !(matches!(self, Self::Bulk1 | Self::Bulk4 | Self::Reverse) && peer.sends_headers())
    }

    /// What it measures: a row of the table each, by its name there.
    pub(crate) const fn figures(self) -> &'static [(&'static str, Unit)] {
        match self {
            Self::Bulk1 => &[("bulk1", Unit::BitsPerSecond)],
            Self::Bulk4 => &[("bulk4", Unit::BitsPerSecond)],
            Self::Reverse => &[("reverse", Unit::BitsPerSecond)],
            Self::Stream => &[("stream", Unit::BitsPerSecond)],
            Self::StreamReverse => &[("stream-reverse", Unit::BitsPerSecond)],
            Self::Connect => &[("connect", Unit::PerSecond)],
            Self::ConnectThreads => &[("connect-threads", Unit::PerSecond)],
            Self::Requests => &[("requests", Unit::PerSecond), ("requests, p99", Unit::Seconds)],
        }
    }

    /// Does it once, for as long as `length`; gives a value for each of [`Work::figures`].
    pub(crate) fn run(self, session: &Session, length: Duration) -> Result<Vec<f64>> {
        let Session { door, header, ref lab, .. } = *session;
        let stream = |receiver| stream::rate(lab, door, length, receiver).map(|rate| vec![rate]);
        let connect = |clients| connect::rate(lab, door, length, clients, header).map(|rate| vec![rate]);
        match self {
            Self::Bulk1 => bulk(session, length, &["--parallel", "1"]).map(|rate| vec![rate]),
            Self::Bulk4 => bulk(session, length, &["--parallel", "4"]).map(|rate| vec![rate]),
            Self::Reverse => bulk(session, length, &["--reverse"]).map(|rate| vec![rate]),
            Self::Stream => stream(Receiver::Target),
            Self::StreamReverse => stream(Receiver::Consumer),
            Self::Connect => connect(Clients::Events),
            Self::ConnectThreads => connect(Clients::Threads),
            Self::Requests => requests(session, length).map(|Requests { rate, p99 }| vec![rate, p99]),
        }
    }
}

fn bulk(session: &Session, length: Duration, how: &[&str]) -> Result<f64> {
    let Session { door, lab, .. } = session;
    let (consumer, provider) = (&lab.consumer, &lab.provider);
    let bulk = Bulk { consumer, door: (*door).into(), provider, target: TARGET.into() };
    bulk.run(&lab.stage, length, how)
}

fn requests(session: &Session, length: Duration) -> Result<Requests> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", &THREADS.to_string(), "--connections", &CONNECTIONS.to_string()]);
    wrk.args(["--latency", "--duration", &format!("{}s", length.as_secs())]);
    wrk.arg(format!("http://{}:{REQUESTS_PORT}/", session.door));
    let printed = session.lab.stage.start(&session.lab.consumer, "wrk", wrk)?.finish(length + GRACE)?;
    Ok(readings::wrk(&printed)?)
}
