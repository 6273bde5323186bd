//! How long HTTP requests take that come at a rate which everyone can keep up with: the same for all peers, half of what the slowest
//! of them can do at most. See [`benches::open_loop`].

use std::time::Duration;

use anyhow::{Context, Result};
use benches::open_loop::Load;
pub(crate) use benches::open_loop::slowest_half;
use benches::patient::PATIENCE;

use crate::peer::Session;
use crate::requests;
use crate::work::Ask;

/// Keep-alive connections: as many as have room for bursts at any rate here, and as requests without a rate are made on.
const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_millis(200);

/// The most requests each second that the peer carries on as many connections.
pub(crate) fn maximum(session: &Session, length: Duration) -> Result<f64> {
    Ok(requests::run(session, length, CONNECTIONS)?.rate)
}

/// Seconds that one half of the requests stay within, 99 of 100, and 999 of 1,000; and within which the generator takes up 99 of 100
/// once they are due, which is in the others.
pub(crate) fn run(session: &Session, ask: &Ask) -> Result<Vec<f64>> {
    let load = Load {
        way: session.way(requests::PORT),
        connections: CONNECTIONS,
        rate: ask.rate.context("nobody has said at which rate")?,
        warm_up: WARM_UP,
        length: ask.length,
        patience: PATIENCE,
    };
    let latencies = session.lab.consumer.inside(|| load.run(session.interrupt()))?;
    let [half, most, nearly_all] = [0.5, 0.99, 0.999].map(|share| latencies.within(share));
    Ok([half, most, nearly_all, latencies.late(0.99)].map(|time| time.as_secs_f64()).to_vec())
}
