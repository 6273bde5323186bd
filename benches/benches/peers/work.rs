//! The kinds of work that a peer is measured by.

use std::time::Duration;

use anyhow::{Context, Result};
use benches::bulk::{Bulk, Transfer};
use benches::cpu::Busy;
use benches::memory::taken;
use benches::readings::Requests;
use benches::report::{Figure, Unit};
use clap::ValueEnum;

use crate::connect::{self, Manner};
use crate::lab::TARGET;
use crate::peer::{Peer, Session};
use crate::stream::{self, Receiver};
use crate::{idle, latency, requests, udp};

/// A small packet, with its IP header.
const SMALL: u16 = 64;
/// What [`Unit::SecondsPerGigabyte`] is for each of, in what rates count.
const GIGABYTE_IN_BITS: f64 = 8e9;

/// A kind of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Work {
    /// One TCP stream from the consumer to the target, and what it costs.
    Bulk1,
    /// Four at once.
    Bulk4,
    /// Sixteen at once.
    Bulk16,
    /// One TCP stream from the target to the consumer.
    Reverse,
    /// One each way at the same time, by a client and a server of our own: their sum.
    Both,
    /// As `bulk1`, by the same, which targets that get a header can have too.
    Stream,
    /// As `reverse`, by the same.
    StreamReverse,
    /// HTTP requests, one after the other.
    Requests1,
    /// HTTP requests on 64 keep-alive connections.
    Requests64,
    /// How long HTTP requests take that come at a fixed rate, whether or not earlier ones have been answered.
    Latency,
    /// New connections, by clients with many in progress each; the target closes first.
    Connect,
    /// The same, but the client closes first.
    ConnectClientFirst,
    /// As `connect`, by a thread per connection in progress.
    ConnectThreads,
    /// Small datagrams, as fast as one core sends them.
    UdpSmall,
    /// Datagrams as large as the MTU lets them be.
    UdpBulk,
    /// A TCP stream beside very many connections that are silent.
    Idle,
    /// What the peer takes before it has carried anything much.
    Memory,
}

/// How work is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// For how long.
    pub(crate) length: Duration,
    /// How many requests a second [`Work::Latency`] makes.
    pub(crate) rate: Option<f64>,
}

impl Work {
    /// All kinds, in the order of the table.
    pub(crate) const ALL: [Self; 17] = [
        Self::Bulk1,
        Self::Bulk4,
        Self::Bulk16,
        Self::Reverse,
        Self::Both,
        Self::Stream,
        Self::StreamReverse,
        Self::Requests1,
        Self::Requests64,
        Self::Latency,
        Self::Connect,
        Self::ConnectClientFirst,
        Self::ConnectThreads,
        Self::UdpSmall,
        Self::UdpBulk,
        Self::Idle,
        Self::Memory,
    ];

    /// Its name on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Bulk1 => "bulk1",
            Self::Bulk4 => "bulk4",
            Self::Bulk16 => "bulk16",
            Self::Reverse => "reverse",
            Self::Both => "both",
            Self::Stream => "stream",
            Self::StreamReverse => "stream-reverse",
            Self::Requests1 => "requests1",
            Self::Requests64 => "requests64",
            Self::Latency => "latency",
            Self::Connect => "connect",
            Self::ConnectClientFirst => "connect-client-first",
            Self::ConnectThreads => "connect-threads",
            Self::UdpSmall => "udp-small",
            Self::UdpBulk => "udp-bulk",
            Self::Idle => "idle",
            Self::Memory => "memory",
        }
    }

    /// Whether it is anything for this peer: iperf3 understands no header, and not everyone carries UDP.
    pub(crate) const fn suits(self, peer: Peer) -> bool {
        match self {
            Self::Bulk1 | Self::Bulk4 | Self::Bulk16 | Self::Reverse | Self::Idle => !peer.sends_headers(),
            Self::UdpSmall | Self::UdpBulk => peer.carries_udp(),
            Self::Both
            | Self::Stream
            | Self::StreamReverse
            | Self::Requests1
            | Self::Requests64
            | Self::Latency
            | Self::Connect
            | Self::ConnectClientFirst
            | Self::ConnectThreads => true,
            // A cable takes none.
            Self::Memory => !matches!(peer, Peer::Direct),
        }
    }

    /// Whether the peer has to be a new one each time: what programs once had, they may keep, and then it does not show.
    /// The one that does everything else goes on, as everybody's does.
    pub(crate) const fn wants_new_session(self) -> bool {
        matches!(self, Self::Idle | Self::Memory)
    }

    /// What it measures: a row of the table each.
    pub(crate) const fn figures(self) -> &'static [Figure] {
        const fn figure(name: &'static str, unit: Unit) -> Figure {
            Figure { name, unit }
        }
        match self {
            Self::Bulk1 => {
                &const { [figure("bulk1", Unit::BitsPerSecond), figure("bulk1, CPU", Unit::SecondsPerGigabyte)] }
            }
            Self::Bulk4 => &const { [figure("bulk4", Unit::BitsPerSecond)] },
            Self::Bulk16 => &const { [figure("bulk16", Unit::BitsPerSecond)] },
            Self::Reverse => &const { [figure("reverse", Unit::BitsPerSecond)] },
            Self::Both => &const { [figure("both", Unit::BitsPerSecond)] },
            Self::Stream => &const { [figure("stream", Unit::BitsPerSecond)] },
            Self::StreamReverse => &const { [figure("stream-reverse", Unit::BitsPerSecond)] },
            Self::Requests1 => {
                &const { [figure("requests1", Unit::PerSecond), figure("requests1, p99", Unit::Seconds)] }
            }
            Self::Requests64 => {
                &const { [figure("requests64", Unit::PerSecond), figure("requests64, p99", Unit::Seconds)] }
            }
            Self::Latency => {
                &const {
                    [
                        figure("latency, p50", Unit::Seconds),
                        figure("latency, p99", Unit::Seconds),
                        figure("latency, p99.9", Unit::Seconds),
                        figure("latency, generator's p99", Unit::Seconds),
                    ]
                }
            }
            Self::Connect => {
                &const { [figure("connect", Unit::PerSecond), figure("connect, CPU", Unit::SecondsPerThousand)] }
            }
            Self::ConnectClientFirst => &const { [figure("connect-client-first", Unit::PerSecond)] },
            Self::ConnectThreads => &const { [figure("connect-threads", Unit::PerSecond)] },
            Self::UdpSmall => {
                &const { [figure("udp-small", Unit::PerSecond), figure("udp-small, lost", Unit::Fraction)] }
            }
            Self::UdpBulk => &const { [figure("udp-bulk", Unit::BitsPerSecond)] },
            Self::Idle => {
                &const { [figure("idle", Unit::BitsPerSecond), figure("idle, memory", Unit::BytesEach)] }
            }
            Self::Memory => {
                &const { [figure("memory, programs", Unit::Bytes), figure("memory, kernel", Unit::Bytes)] }
            }
        }
    }

    /// Does it once; gives a value for each of [`Work::figures`].
    pub(crate) fn run(self, session: &Session, ask: &Ask) -> Result<Vec<f64>> {
        session.with_room(|| self.measure(session, ask))
    }

    fn measure(self, session: &Session, ask: &Ask) -> Result<Vec<f64>> {
        let length = ask.length;
        match self {
            Self::Bulk1 => {
                let Transfer { rate, busy } = bulk(session, length, &["--parallel", "1"])?;
                Ok(with_cost(rate, length, busy, GIGABYTE_IN_BITS))
            }
            Self::Bulk4 => bulk_rate(session, length, &["--parallel", "4"]),
            Self::Bulk16 => bulk_rate(session, length, &["--parallel", "16"]),
            Self::Reverse => bulk_rate(session, length, &["--reverse"]),
            Self::Both => one(stream::rate(session, length, Receiver::Both)),
            Self::Stream => one(stream::rate(session, length, Receiver::Target)),
            Self::StreamReverse => one(stream::rate(session, length, Receiver::Consumer)),
            Self::Requests1 => requests::run(session, length, 1).map(both),
            Self::Requests64 => requests::run(session, length, 64).map(both),
            Self::Latency => latency::run(session, ask),
            Self::Connect => {
                let before = Busy::now()?;
                let rate = connect::rate(session, length, Manner::TargetFirst)?;
                Ok(with_cost(rate, length, Busy::now()?.since(before), 1e3))
            }
            Self::ConnectClientFirst => one(connect::rate(session, length, Manner::ClientFirst)),
            Self::ConnectThreads => one(connect::rate(session, length, Manner::Threads)),
            Self::UdpSmall => {
                udp::run(session, length, SMALL).map(|run| vec![run.arrived.rate(), run.lost()])
            }
            Self::UdpBulk => {
                one(udp::run(session, length, session.lab.mtu).map(|run| run.arrived.bits_per_second()))
            }
            Self::Idle => idle::run(session, length),
            Self::Memory => {
                let came = session.memory_at_rest()?.since(session.before);
                Ok(vec![taken(came.programs).context("programs")?, taken(came.kernel).context("the kernel")?])
            }
        }
    }
}

/// An iperf3 run; `how` goes to its client.
pub(crate) fn bulk(session: &Session, length: Duration, how: &[&str]) -> Result<Transfer> {
    let lab = &session.lab;
    let (consumer, provider) = (&lab.consumer, &lab.provider);
    let bulk = Bulk { consumer, door: session.door().into(), provider, target: TARGET.into() };
    bulk.run(&lab.stage, length, how)
}

fn bulk_rate(session: &Session, length: Duration, how: &[&str]) -> Result<Vec<f64>> {
    bulk(session, length, how).map(|transfer| vec![transfer.rate])
}

fn one(figure: Result<f64>) -> Result<Vec<f64>> {
    figure.map(|figure| vec![figure])
}

fn both(Requests { rate, p99 }: Requests) -> Vec<f64> {
    vec![rate, p99]
}

/// The rate of a run of this length, and for how many seconds of it all cores together were busy for each `amount`.
fn with_cost(rate: f64, length: Duration, busy: Duration, amount: f64) -> Vec<f64> {
    vec![rate, busy.as_secs_f64() / (rate * length.as_secs_f64() / amount)]
}
