//! TCP streams through a peer by a client and a server of our own: see [`benches::stream`].

use std::thread;
use std::time::Duration;

use anyhow::Result;
use benches::bulk::PORT;
use benches::stream::{Server, call};
use benches::threads::{both_ends, join};

pub(crate) use benches::stream::Receiver;

use crate::lab::TARGET;
use crate::peer::Session;

/// Bits per second that arrive in streams of this length, at both ends together.
pub(crate) fn rate(session: &Session, length: Duration, receiver: Receiver) -> Result<f64> {
    let (consumer, provider) = (&session.lab.consumer, &session.lab.provider);
    let interrupt = session.interrupt();
    let server = provider.inside(|| Server::listen((TARGET, PORT), session.header))?;
    thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(interrupt));
        let heard = consumer.inside(|| call(session.way(PORT), receiver, length, interrupt));
        server.stop()?;
        let (heard, served) = both_ends(heard, join(serving))?;
        Ok(heard + served)
    })
}
