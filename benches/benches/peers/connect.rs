//! New connections per second: from the consumer's addresses through a peer to four targets.
//!
//! Whoever closes first keeps the connection in TIME-WAIT for a minute. Where that is the target, the clients' ports are free at
//! once. Where it is the client, 8 addresses have 516,096 ports to each door; the kernel keeps 262,144 connections in TIME-WAIT at
//! most (`tcp_max_tw_buckets` as it comes), and lets a port be used again after a second (`tcp_tw_reuse`, which `lab.rs` sets for
//! everyone): so ports last, however long a run takes.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::connections::greeter::Greeter;
use benches::connections::way::Ways;
use benches::connections::{Closer, clients};
use benches::process::Interrupt;
use benches::threads::{both_ends, join_all};
use mio::Waker;

use crate::lab::TARGETS;
use crate::peer::Session;

/// Where each target listens: where it closes first, and where the client does.
pub(crate) const PORTS: [u16; 2] = [7001, 7002];

/// Who connects, and who closes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Clients with many connections in progress each; the target closes first.
    TargetFirst,
    /// The same, but the client closes first.
    ClientFirst,
    /// A thread per connection in progress; the target closes first.
    Threads,
}

impl Manner {
    /// How many threads of clients: enough to keep both cores of everyone busy.
    const fn threads(self) -> usize {
        match self {
            Self::TargetFirst | Self::ClientFirst => 2,
            Self::Threads => 32,
        }
    }

    const fn closer(self) -> Closer {
        match self {
            Self::TargetFirst | Self::Threads => Closer::Target,
            Self::ClientFirst => Closer::Client,
        }
    }

    /// A port for either, so that the TIME-WAIT of the one is not in the way of the other.
    const fn port(self) -> u16 {
        match self.closer() {
            Closer::Target => PORTS[0],
            Closer::Client => PORTS[1],
        }
    }

    fn keep_connecting(self, ways: Ways<'_>, length: Duration, interrupt: &Interrupt) -> Result<u64> {
        match self {
            Self::TargetFirst | Self::ClientFirst => {
                clients::many_at_once(ways, self.closer(), length, interrupt)
            }
            Self::Threads => clients::one_at_a_time(ways, length, interrupt),
        }
    }
}

/// Connects for as long as `length`, and gives connections per second.
pub(crate) fn rate(session: &Session, length: Duration, manner: Manner) -> Result<f64> {
    let (consumer, provider) = (&session.lab.consumer, &session.lab.provider);
    let interrupt = session.interrupt();
    let listen =
        |target| Greeter::listen((target, manner.port()).into(), manner.closer(), session.header, interrupt);
    let greeters = provider.inside(|| TARGETS.into_iter().map(listen).collect::<Result<Vec<_>>>())?;
    let ways = |number| Ways::new(session.clients(), session.doors(), manner.port(), number);
    let start = &Barrier::new(manner.threads());

    let (made, _) = thread::scope(|scope| {
        let (stops, targets): (Vec<Waker>, Vec<_>) = greeters
            .into_iter()
            .map(|(greeter, stop)| {
                let greeting = scope.spawn(|| {
                    provider.enter()?;
                    greeter.greet_everyone()
                });
                (stop, greeting)
            })
            .unzip();
        let clients = (0..manner.threads()).map(|number| {
            let ways = ways(number);
            scope.spawn(move || {
                let entered = consumer.enter();
                start.wait();
                entered?;
                manner.keep_connecting(ways, length, interrupt)
            })
        });
        let made = join_all(clients.collect());
        // One that cannot be told would be waited for in vain; but this is a write to an eventfd of our own.
        stops.iter().try_for_each(Waker::wake).context("stopping the targets")?;
        both_ends(made, join_all(targets))
    })?;
    let total: u64 = made.iter().sum();
    ensure!(total > 0, "not one connection came to its end within {length:?}");
    Ok(total as f64 / length.as_secs_f64())
}
